"""The variance of the U-statistic of MMD^2, by Hoeffding's decomposition, from sums of kernel matrices."""

from typing import NamedTuple

import jax.numpy as jnp

from gan_jax.typing import Array


class Components(NamedTuple):
    """Unbiased estimates of the variance components of the U-statistic, which do not assume equal distributions."""

    first_x: Array
    """Var w(X) of the witness w(z) = E k(z, X) - E k(z, Y)."""
    first_y: Array
    """Var w(Y)."""
    second_xx: Array
    """E c(X, X')^2, where c is the kernel minus its conditional means; the two below are analogous."""
    second_yy: Array
    second_xy: Array


def variance(parts: Components, m: int, n: int) -> Array:
    """The variance of the U-statistic of m and n examples, by Hoeffding's decomposition, whose terms are uncorrelated.

    4 Var w(X) / m + 4 Var w(Y) / n + 2 c_xx / (m (m - 1)) + 2 c_yy / (n (n - 1)) + 4 c_xy / (m n). A negative estimate of Var w
    counts as zero, so any error is towards too large a variance. If the distributions are equal, w is constant and only the other
    terms remain; an estimate from the row sums alone would be twice too large there.
    """
    first = jnp.maximum(parts.first_x, 0) / m + jnp.maximum(parts.first_y, 0) / n
    pairs_xx, pairs_yy, pairs_xy = float(m * (m - 1)), float(n * (n - 1)), float(m * n)  # beyond int32 from 46,341 examples on
    second = parts.second_xx / pairs_xx + parts.second_yy / pairs_yy + 2 * parts.second_xy / pairs_xy
    return 4 * first + 2 * second


class KernelSums(NamedTuple):
    """Sums of a kernel matrix over its columns `[rows]` and over its rows `[columns]`, and the sum of its squared entries.

    For the matrix of a set with itself, the diagonal `[rows]` is separate, and the sums exclude it.
    """

    rows: Array
    columns: Array
    squares: Array
    diagonal: Array


def components(xx: KernelSums, yy: KernelSums, xy: KernelSums) -> Components:
    """Estimates the components from the kernel matrices of a set with itself, of the other with itself, and of both."""
    m, n = float(len(xx.rows)), float(len(yy.rows))
    total = xy.rows.sum()
    residual = xy.squares - (xy.rows**2).sum() / n - (xy.columns**2).sum() / m + total**2 / (m * n)
    second_xx, second_yy, second_xy = _second(xx), _second(yy), residual / ((m - 1) * (n - 1))
    # Dividing the sum over the other rows by m - 2 preserves the effect of the row itself, so only the noise must be subtracted.
    noisy_x = jnp.var(xx.rows / (m - 2) - xy.rows / n, ddof=1)
    noisy_y = jnp.var(yy.rows / (n - 2) - xy.columns / m, ddof=1)
    return Components(
        noisy_x - second_xx / (m - 2) - second_xy / n,
        noisy_y - second_yy / (n - 2) - second_xy / m,
        second_xx,
        second_yy,
        second_xy,
    )


def _second(sums: KernelSums) -> Array:
    """The mean square of the U-centred matrix (Székely and Rizzo 2014): unbiased for E c(X, X')^2."""
    m = float(len(sums.rows))
    squares = sums.squares - 2 * (sums.rows**2).sum() / (m - 2) + sums.rows.sum() ** 2 / ((m - 1) * (m - 2))
    return squares / (m * (m - 3))
