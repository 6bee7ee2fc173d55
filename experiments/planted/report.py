"""How figures of planted failures are read, and their tables."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.planted.failures import Failure
from experiments.results.rows import figure_of, prediction
from gan_jax import runs

NEW = 'new images'
"""The name of the images without a failure."""


class Reading(NamedTuple):
    """How a figure is read."""

    worse: int
    """1 if larger values are worse, and -1 if smaller ones are."""
    claims: tuple[str, ...]
    """The aspects that it claims to judge: 'fidelity', 'diversity', 'novelty'."""
    is_p_value: bool = False


_FIDELITY, _DIVERSITY, _NOVELTY = ('fidelity',), ('diversity',), ('novelty',)
_BOTH = _FIDELITY + _DIVERSITY
READINGS = {
    'frechet_distance': Reading(1, _BOTH),
    'frechet_infinity': Reading(1, _BOTH),
    'kernel_distance': Reading(1, _BOTH),
    'monge_distance': Reading(1, _BOTH),
    'cmmd': Reading(1, _BOTH),
    'cmmd_unbiased': Reading(1, _BOTH),
    'classifier_score': Reading(-1, _BOTH),
    'classifier_score_infinity': Reading(-1, _BOTH),
    'precision': Reading(-1, _FIDELITY),
    'density': Reading(-1, _FIDELITY),
    'clipped_density': Reading(-1, _FIDELITY),
    'recall': Reading(-1, _DIVERSITY),
    'coverage': Reading(-1, _DIVERSITY),
    'clipped_coverage': Reading(-1, _DIVERSITY),
    'vendi_score': Reading(-1, _DIVERSITY),
    'fld': Reading(1, _BOTH + _NOVELTY),
    'fld_gap': Reading(-1, _NOVELTY),
    'auth_pct': Reading(-1, _NOVELTY),
    'c_t': Reading(-1, _NOVELTY),
    'ratio': Reading(-1, _NOVELTY),
    'p_value': Reading(-1, _NOVELTY, is_p_value=True),
    'nearer': Reading(1, _NOVELTY),
    'nearer_p_value': Reading(-1, _NOVELTY, is_p_value=True),
}
"""By the names of the rows of measures, and of the fields of `MemorisationTest`."""
_UNKNOWN = Reading(0, ())
"""Of any other figure, which is shown without a mark."""

Figures = Mapping[str, Sequence[float]]
"""Name -> values `[seeds]`."""


def is_found(name: str, values: Sequence[float], of_new: Sequence[float]) -> bool | None:
    """Whether a figure `[seeds]` is worse than that of new images, `[seeds]`; None for one seed.

    The mean must lie on the worse side of the 95 % prediction interval of one more set of new images, so that whoever computes
    the figure once would notice. Of p-values each must be below .05.
    """
    reading = READINGS.get(name, _UNKNOWN)
    if reading.is_p_value:
        return bool(np.max(values) < 0.05)
    half = prediction(figure_of(of_new))
    return None if half is None else bool(reading.worse * (np.mean(values) - np.mean(of_new)) > half)


def report(results: Mapping[str, Figures], failures: Mapping[str, Failure], title: str) -> str:
    """The table of fidelity and diversity, and that of copies, of kind -> figures."""
    names = list(results[NEW])
    of_copies = [name for name in names if READINGS.get(name, _UNKNOWN).claims == _NOVELTY]
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
            missed = found is False and failures[kind].aspect in READINGS.get(name, _UNKNOWN).claims
            cells.append(_cell(name, figures[name], _digits(name, results)) + ('*' if found else '?' if missed else ' '))
        rows.append((kind, *cells))
    return runs.table(rows, title=title)


def _cell(name: str, values: Sequence[float], digits: int) -> str:
    return f'{np.max(values):.2g}' if READINGS.get(name, _UNKNOWN).is_p_value else runs.spread(values, digits=digits)


def _digits(name: str, results: Mapping[str, Figures]) -> int:
    """After the decimal point, so that the largest mean of a column has three significant digits."""
    largest = max(abs(float(np.mean(figures[name]))) for figures in results.values())
    return max(0, 2 - math.floor(math.log10(largest))) if 0 < largest < math.inf else 2
