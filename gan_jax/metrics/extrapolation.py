"""Scores at infinitely many samples, extrapolated along a straight line in 1 / n (Chong and Forsyth 2020)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.typing import AnyArray, Key


class Extrapolation(NamedTuple):
    """A score at infinite n, extrapolated along a straight line in 1 / n."""

    value: AnyArray
    standard_error: AnyArray
    """Over draws of the samples; any reference is treated as fixed."""
    slope: AnyArray
    """The slope of the line, the change of the score per unit of 1 / n."""
    sizes: np.ndarray
    """`[points]`, the sizes of the subsets."""
    values: AnyArray
    """`[points]`, the score at each size."""


def extrapolated(score: Callable[[AnyArray], AnyArray], n: int, key: Key, *, points: int, on_host: bool) -> Extrapolation:
    """Extrapolates the score of subsets of n samples (Chong and Forsyth 2020, section 4).

    The sizes are evenly spaced from min(5000, n / 10) to n. For each size a subset is drawn without replacement, and the line is
    fitted by least squares.

    All subsets are drawn from the same n samples. The scatter about the line therefore ignores how far these samples are from the
    next n, and the usual error of an intercept is too small. To first order the score is a mean over samples: at size k its
    variance given the n samples is v (1 / k - 1 / n), from which v is estimated, and the n samples contribute another v / n. The
    standard error includes both.

    Args:
        score: rows `[k]` of the samples -> score of that subset.
        n: number of samples.
        key: draws the subsets.
        points: number of sizes.
        on_host: whether rows are NumPy arrays.
    """
    sizes = np.linspace(min(5000, n / 10), n, points).astype(int)
    drawn = [jax.random.permutation(k, n)[:size] for k, size in zip(jax.random.split(key, points), sizes, strict=True)]
    values = (np if on_host else jnp).stack([score(np.asarray(rows) if on_host else rows) for rows in drawn])
    line = np.linalg.pinv(np.stack([np.ones(points), 1 / sizes], 1))  # values -> (intercept, slope)
    residual = np.eye(points) - np.stack([np.ones(points), 1 / sizes], 1) @ line
    free = 1 / sizes - 1 / n
    variance = ((residual @ values) ** 2).sum() / (residual**2 @ free).sum()
    error = (variance * (1 / n + line[0] ** 2 @ free)) ** 0.5
    return Extrapolation(line[0] @ values, error, line[1] @ values, sizes, values)
