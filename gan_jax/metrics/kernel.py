"""The kernel distance (KID): the squared maximum mean discrepancy of features under k(x, y) = (x.y / d + 1)^3.

Bińkowski et al. 2018; Gretton et al. 2012, lemma 6.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.pairwise import concrete, dots, feature_sets, scan_blocks
from gan_jax.typing import AnyArray, Array, Key


def kernel_distance(x: AnyArray, y: AnyArray, *, block: int = 1024) -> Estimate:
    """The unbiased U-statistic of MMD^2 of features `x [m, d]` and `y [n, d]` (Gretton et al. 2012, lemma 6), with its error.

    Every pair counts once and no example is paired with itself, so the value may be negative. The computation proceeds in blocks
    of rows and takes O(block * (m + n)) memory. The standard error follows from `variance`; it is NaN if a set has fewer than
    four examples.

    Raises `ValueError` for fewer than two examples, unequal dimensions, non-finite features, or a block below 1.
    """
    x, y = feature_sets(at_least=2, x=x, y=y)
    return _kernel_distance(x, y, block)


class SubsetEstimate(NamedTuple):
    """The kernel distance over random subsets."""

    mean: Array
    std: Array
    """Over the subsets, with ddof 0, as published. Subsets overlap and have a fixed size, so this is not a standard error of the
    mean."""


def kernel_distance_subsets(
    x: AnyArray,
    y: AnyArray,
    key: Key | None = None,
    *,
    subsets: int = 100,
    size: int = 1000,
    indices: tuple[AnyArray, AnyArray] | None = None,
) -> SubsetEstimate:
    """The published protocol of KID: the mean kernel distance over random subsets (Bińkowski et al. 2018).

    Raises `ValueError` as `kernel_distance` does, for a size below 2 or above m or n, for fewer than 1 subset, if neither a key
    nor indices are given, and for indices that do not fit.

    Args:
        x: features `[m, d]`.
        y: features `[n, d]`.
        key: draws the subsets; not required if `indices` is given.
        subsets: number of subsets.
        size: rows of x and of y in each subset, drawn without replacement.
        indices: rows of x and rows of y, `[subsets, size]` each, which replace the draws. All implementations share the
            definition, but not the random numbers.
    """
    x, y = feature_sets(at_least=2, x=x, y=y)
    if indices is None:
        if key is None:
            raise ValueError('either a key or indices must be given')
        if not 2 <= size <= min(len(x), len(y)) or subsets < 1:
            raise ValueError(f'{subsets} subsets of {size} rows cannot be drawn from {len(x)} and {len(y)} rows')
        rows = _draw(key, len(x), len(y), subsets, size)
    else:
        rows = tuple(jnp.asarray(i) for i in indices)
        _check_rows(rows, (len(x), len(y)))
    return _subset_distances(x, y, rows)


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
    second = parts.second_xx / (m * (m - 1)) + parts.second_yy / (n * (n - 1)) + 2 * parts.second_xy / (m * n)
    return 4 * first + 2 * second


class _Sums(NamedTuple):
    """Sums of a kernel matrix over its columns `[rows]` and over its rows `[columns]`, and the sum of its squared entries."""

    rows: Array
    columns: Array
    squares: Array


def _components(xx: _Sums, yy: _Sums, xy: _Sums) -> Components:
    m, n = len(xx.rows), len(yy.rows)
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


def _second(sums: _Sums) -> Array:
    """The mean square of the U-centred matrix (Székely and Rizzo 2014): unbiased for E c(X, X')^2."""
    m = len(sums.rows)
    squares = sums.squares - 2 * (sums.rows**2).sum() / (m - 2) + sums.rows.sum() ** 2 / ((m - 1) * (m - 2))
    return squares / (m * (m - 3))


class _Centred(NamedTuple):
    """Features as x = c + u, with a = c.u / d, so that x.y / d + 1 = s + a + b + u.v / d with s = 1 + |c|^2 / d."""

    u: Array
    a: Array


def _centred(x: Array, y: Array) -> tuple[_Centred, _Centred, Array]:
    c = (x.mean(0) + y.mean(0)) / 2
    x, y = x - c, y - c
    mean_product = lambda u: (u * c).mean(-1)
    return _Centred(x, mean_product(x)), _Centred(y, mean_product(y)), 1 + mean_product(c)


def _kernel(x: _Centred, y: _Centred, s: Array) -> Array:
    """k(x, y) - k(x, c) - k(c, y) + k(c, c), `[m, n]`.

    The subtracted terms cancel in the U-statistic and in its variance. In float32 they would cancel inaccurately, since for
    features far from the origin they make up nearly all of k. With p = s + a + b and w = u.v / d, k is (p + w)^3.
    """
    w = dots(x.u, y.u) / x.u.shape[1]
    a, b = x.a[:, None], y.a
    p = s + a + b
    return w * (3 * p * (p + w) + w * w) + 3 * a * b * (p + s)


def _sums(x: _Centred, y: _Centred, s: Array, block: int, *, paired: bool = False) -> _Sums:
    """Sums of the kernel matrix; if `paired`, of that of a set with itself, without its diagonal."""

    def add(columns: Array, part: tuple[_Centred, Array]) -> tuple[Array, tuple[Array, Array]]:
        rows, index = part
        k = _kernel(rows, y, s)  # zero in the padding of a block, where u = 0 and a = 0
        if paired:
            k = jnp.where(index[:, None] == jnp.arange(len(y.a)), 0, k)
        return columns + k.sum(0), (k.sum(1), (k * k).sum(1))

    columns, (rows, squares) = scan_blocks(add, jnp.zeros_like(y.a), x, block)
    return _Sums(rows, columns, squares.sum())


def _all_sums(x: Array, y: Array, block: int) -> tuple[Array, tuple[_Sums, _Sums, _Sums]]:
    """The U-statistic and the sums that compose it. Differences are taken row by row, before large numbers accumulate."""
    u, v, s = _centred(x, y)
    xx, yy, xy = _sums(u, u, s, block, paired=True), _sums(v, v, s, block, paired=True), _sums(u, v, s, block)
    m, n = len(x), len(y)
    value = (xx.rows / (m - 1) - xy.rows / n).mean() + (yy.rows / (n - 1) - xy.columns / m).mean()
    return value, (xx, yy, xy)


@partial(compilation.jit, static_argnames='block')
def _kernel_distance(x: Array, y: Array, block: int) -> Estimate:
    value, sums = _all_sums(x, y, block)
    if min(len(x), len(y)) < 4:
        return Estimate(value, jnp.full_like(value, jnp.nan))
    return Estimate(value, jnp.sqrt(variance(_components(*sums), len(x), len(y))))


@partial(compilation.jit, static_argnames=('m', 'n', 'subsets', 'size'))
def _draw(key: Key, m: int, n: int, subsets: int, size: int) -> tuple[Array, Array]:
    draw = lambda key, rows: jax.random.choice(key, rows, (size,), replace=False)

    def one(key: Key) -> tuple[Array, Array]:
        x_key, y_key = jax.random.split(key)
        return draw(x_key, m), draw(y_key, n)

    return lax.map(one, jax.random.split(key, subsets))


@compilation.jit
def _subset_distances(x: Array, y: Array, rows: tuple[Array, Array]) -> SubsetEstimate:
    values = lax.map(lambda i: _all_sums(x[i[0]], y[i[1]], len(i[0]))[0], rows)
    return SubsetEstimate(values.mean(), values.std())


def _check_rows(rows: tuple[Array, ...], sizes: tuple[int, int]) -> None:
    if len(rows) != 2 or any(i.ndim != 2 or i.shape[1] < 2 for i in rows) or len({len(i) for i in rows}) > 1:
        raise ValueError(f'indices must be two arrays [subsets, size >= 2], got {[i.shape for i in rows]}')
    for name, i, n in zip('xy', rows, sizes, strict=True):
        if not jnp.issubdtype(i.dtype, jnp.integer) or (concrete(i) and bool(((i < 0) | (i >= n)).any())):
            raise ValueError(f'indices of {name} must be integers from 0 to {n - 1}')
