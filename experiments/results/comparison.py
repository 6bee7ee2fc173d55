"""Methods compared over few seeds as Agarwal et al. 2021 do: interquartile means, and how probable an improvement is.

A mean of few runs follows its outliers. The interquartile mean leaves out the quarter of the seeds at either end, and the
probability of improvement, that a seed of one method is better than a seed of another, does not depend on a scale. Both have 95 %
intervals by the percentile bootstrap over seeds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.results.rows import Column, Row

RESAMPLES = 10_000


class Bootstrapped(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def interquartile_mean(values: Sequence[float]) -> Bootstrapped:
    """The mean of what is left of values `[n]` without the `n // 4` smallest and largest (Agarwal et al. 2021, section 4.3)."""
    from scipy.stats import trim_mean

    x = np.asarray(values, np.float64)
    return _estimate(float(trim_mean(x, 0.25)), trim_mean(_resampled(x, 0), 0.25, axis=1))


def probability_of_improvement(values: Sequence[float], others: Sequence[float], better: str) -> Bootstrapped:
    """The probability that a seed of `values` `[n]` is better than one of `others` `[m]`, ties counted by halves (section 4.3).

    This is the statistic of Mann and Whitney divided by n m. `better` is 'higher' or 'lower'.
    """
    sign = 1 if better == 'higher' else -1
    x, y = (sign * np.asarray(each, np.float64) for each in (values, others))

    def share(x: np.ndarray, y: np.ndarray) -> Any:
        first, second = x[..., :, None], y[..., None, :]
        return ((first > second) + (first == second) / 2).mean((-2, -1))

    return _estimate(float(share(x, y)), share(_resampled(x, 1), _resampled(y, 2)))


def _resampled(x: np.ndarray, seed: int) -> np.ndarray:
    """`[RESAMPLES, n]`, drawn with replacement. Always the same, so that the page is too."""
    return x[np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))]


def _estimate(value: float, resampled: np.ndarray) -> Bootstrapped:
    low, high = np.quantile(resampled, (0.025, 0.975), method='inverted_cdf')  # which takes infinite values too
    return Bootstrapped(value, float(low), float(high))


class Compared(NamedTuple):
    """One model beside the one it is compared with."""

    row: Row
    line: str
    mean: Bootstrapped
    improvement: Bootstrapped | None
    """None for the baseline itself, and where the baseline has yet to be run."""


def comparisons(rows: Sequence[Row], title: str) -> Iterator[Compared]:
    """The figures of the column `title` of every line with at least two seeds, beside those of its row's `baseline`."""
    by_name = {row.name: row for row in rows}
    for row in rows:
        column = next((column for column in row.columns if column.title == title), None)
        if not row.baseline or column is None:
            continue
        for line in row.figures:
            values = _values(row, line, column)
            if len(values) > 1:
                source, own = (row, row.baseline) if row.baseline in row.figures else (by_name.get(row.baseline), line)
                others = [] if source is None or (source, own) == (row, line) else _values(source, own, column)
                improvement = probability_of_improvement(values, others, column.better) if len(others) > 1 else None
                yield Compared(row, line, interquartile_mean(values), improvement)


def _values(row: Row, line: str, column: Column) -> list[float]:
    """One number for each seed; a seed that diverged has the worst of all."""
    figures: Mapping[str, Any] = row.figures.get(line, {})
    if column.title not in figures or figures[column.title].values is None:
        return []
    worst = -np.inf if column.better == 'higher' else np.inf
    values = [worst if x is None else x for x in figures[column.title].values]
    return values if np.isfinite(values).any() else []
