"""What figures claim to find, whether they do, and their tables."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.planted.failures import Failure
from experiments.results.rows import figure_of, prediction
from gan_jax import runs

NEW = 'new images'
"""The name of the images without a failure."""


class Claim(NamedTuple):
    """What a figure claims to judge."""

    worse: int
    """1 if larger values are worse, and -1 if smaller ones are."""
    aspects: tuple[str, ...]
    """What it judges: 'fidelity', 'diversity', 'novelty'."""
    is_p_value: bool = False


_FIDELITY, _DIVERSITY, _NOVELTY = ('fidelity',), ('diversity',), ('novelty',)
_BOTH = _FIDELITY + _DIVERSITY
CLAIMS = {
    'frechet_distance': Claim(1, _BOTH),
    'frechet_infinity': Claim(1, _BOTH),
    'kernel_distance': Claim(1, _BOTH),
    'monge_distance': Claim(1, _BOTH),
    'cmmd': Claim(1, _BOTH),
    'cmmd_unbiased': Claim(1, _BOTH),
    'classifier_score': Claim(-1, _BOTH),
    'classifier_score_infinity': Claim(-1, _BOTH),
    'precision': Claim(-1, _FIDELITY),
    'density': Claim(-1, _FIDELITY),
    'clipped_density': Claim(-1, _FIDELITY),
    'recall': Claim(-1, _DIVERSITY),
    'coverage': Claim(-1, _DIVERSITY),
    'clipped_coverage': Claim(-1, _DIVERSITY),
    'vendi_score': Claim(-1, _DIVERSITY),
    'fld': Claim(1, _BOTH + _NOVELTY),
    'fld_gap': Claim(-1, _NOVELTY),
    'auth_pct': Claim(-1, _NOVELTY),
    'c_t': Claim(-1, _NOVELTY),
    'ratio': Claim(-1, _NOVELTY),
    'p_value': Claim(-1, _NOVELTY, is_p_value=True),
    'nearer': Claim(1, _NOVELTY),
    'nearer_p_value': Claim(-1, _NOVELTY, is_p_value=True),
}
"""By the names of the rows of measures, and of the fields of `MemorisationTest`."""
_UNKNOWN = Claim(0, ())
"""Of any other figure, which is shown without a mark."""

Figures = Mapping[str, Sequence[float]]
"""Name -> values `[seeds]`."""


def is_found(name: str, values: Sequence[float], of_new: Sequence[float]) -> bool | None:
    """Whether a figure `[seeds]` is worse than that of new images, `[seeds]`; None for one seed.

    The mean must lie on the worse side of the 95 % prediction interval of one more set of new images, so that whoever computes
    the figure once would notice. Of p-values each must be below .05.
    """
    claim = CLAIMS.get(name, _UNKNOWN)
    if claim.is_p_value:
        return bool(np.max(values) < 0.05) if len(values) > 1 else None
    half = prediction(figure_of(of_new))
    return None if half is None else bool(claim.worse * (np.mean(values) - np.mean(of_new)) > half)


def report(results: Mapping[str, Figures], failures: Mapping[str, Failure], title: str) -> str:
    """The table of fidelity and diversity, and that of copies, of kind -> figures."""
    names = list(results[NEW])
    of_copies = [name for name in names if CLAIMS.get(name, _UNKNOWN).aspects == _NOVELTY]
    tables = {
        'fidelity and diversity': [name for name in names if name not in of_copies],
        'novelty': of_copies,
    }
    return '\n\n'.join(_table(f'{aspect}: {title}', results, failures, own) for aspect, own in tables.items() if own)


def _table(title: str, results: Mapping[str, Figures], failures: Mapping[str, Failure], names: Sequence[str]) -> str:
    rows: list[tuple] = [('', *names)]
    for kind, figures in results.items():
        cells = []
        for name in names:
            found = is_found(name, figures[name], results[NEW][name]) if kind in failures else None
            missed = found is False and failures[kind].aspect in CLAIMS.get(name, _UNKNOWN).aspects
            cells.append(_cell(name, figures[name], _digits(name, results)) + ('*' if found else '?' if missed else ' '))
        rows.append((kind, *cells))
    return runs.table(rows, title=title)


def _cell(name: str, values: Sequence[float], digits: int) -> str:
    return f'{np.max(values):.2g}' if CLAIMS.get(name, _UNKNOWN).is_p_value else runs.spread(values, digits=digits)


def _digits(name: str, results: Mapping[str, Figures]) -> int:
    """After the decimal point, so that the largest mean of a column has three significant digits."""
    largest = max(abs(float(np.mean(figures[name]))) for figures in results.values())
    return max(0, 2 - math.floor(math.log10(largest))) if 0 < largest < math.inf else 2
