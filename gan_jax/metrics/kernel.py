"""Kernel distances: the squared maximum mean discrepancy of features (Gretton et al. 2012, lemma 6).

The kernel of KID is (x.y / d + 1)^3 (Bińkowski et al. 2018), and that of CMMD is Gaussian (Jayasumana et al. 2024).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.pairwise import concrete, dots, feature_sets, scan_blocks, unit_rows
from gan_jax.metrics.ustatistics import KernelSums, components, variance
from gan_jax.typing import AnyArray, Array, Key


def kernel_distance(x: AnyArray, y: AnyArray, *, sigma: float | None = None, block: int = 1024) -> Estimate:
    """The unbiased U-statistic of MMD^2 (Gretton et al. 2012, lemma 6) and its standard error.

    Every pair counts once and no example is paired with itself, so the value may be negative. The computation proceeds in blocks
    of rows and takes O(block * (m + n)) memory. The standard error follows from `variance`; it is NaN if a set has fewer than
    four examples.

    Raises `ValueError` for fewer than two examples, unequal dimensions, non-finite features, a sigma outside [1e-18, 1e18], or a
    block below 1.

    Args:
        x: features `[m, d]`.
        y: features `[n, d]`.
        sigma: if given, the kernel is exp(-|x - y|^2 / (2 sigma^2)) instead of (x.y / d + 1)^3.
        block: number of rows that are compared with all others at a time.
    """
    x, y = feature_sets(at_least=2, x=x, y=y)
    value, _, error = _kernel_distance(x, y, _checked(sigma), block)
    return Estimate(value, error)


class CMMD(NamedTuple):
    """The distance of CLIP embeddings in the units of its paper, which are 1000 times those of MMD^2."""

    value: Array
    """The biased V-statistic, as published. It pairs examples with themselves, so it is positive even for equal distributions."""
    unbiased: Array
    """The U-statistic, which is 0 on average for equal distributions."""
    standard_error: Array
    """Of `unbiased`, by `variance`; NaN if a set has fewer than four examples."""


def cmmd(x: AnyArray, y: AnyArray, *, sigma: float = 10.0, scale: float = 1000.0, block: int = 1024) -> CMMD:
    """CMMD, the MMD^2 of image embeddings under a Gaussian kernel (Jayasumana et al. 2024, section 4), as three scalars.

    The paper uses the embeddings of CLIP ViT-L/14 at 336 pixels, of unit length, so rows are divided by their norms first. The
    authors' code computes the biased statistic from whole kernel matrices; here the computation proceeds in blocks of rows and
    takes O(block * (m + n)) memory. Since all entries of the kernel are within 2 % of 1, their differences from 1 are summed.

    Raises `ValueError` as `kernel_distance` does, and for embeddings that are zero.

    Args:
        x: embeddings `[m, d]`.
        y: embeddings `[n, d]`.
        sigma: width of the kernel.
        scale: factor of all three results.
        block: number of rows that are compared with all others at a time.
    """
    x, y = unit_rows(at_least=2, x=x, y=y)
    unbiased, biased, error = _kernel_distance(x, y, _checked(sigma), block)
    return CMMD(scale * biased, scale * unbiased, scale * error)


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
    sigma: float | None = None,
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
        sigma: width of a Gaussian kernel, as in `kernel_distance`.
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
    return _subset_distances(x, y, rows, _checked(sigma))


class _Centred(NamedTuple):
    """Features as x = c + u, and what the kernel requires of each of them."""

    u: Array
    """`[n, d]`"""
    a: Array
    """`[n]`: c.u / d for the polynomial kernel, and |u|^2 / (2 sigma^2) for the Gaussian one."""
    f: Array
    """`[n]`: exp(-a) minus its mean, for the Gaussian kernel."""


_Kernel = Callable[[_Centred, _Centred], Array]
"""k(x, y) - g(x) - g(y), `[m, n]`, for a suitable function g.

The subtracted terms cancel in the statistics and in their variance. In float32 they would cancel inaccurately, since they make up
nearly all of k: for the polynomial kernel if features are far from the origin, for the Gaussian one if sigma is large.
"""


def _centred(x: Array, y: Array, sigma: float | None) -> tuple[_Centred, _Centred, _Kernel, Array]:
    """Both sets, the kernel, and the unit in which it is computed."""
    if sigma is None:
        # The square of (x.y / d + 1)^3 overflows for features of some thousands, so it is computed in units of r^6 as
        # (x.y / (d r^2) + 1 / r^2)^3; r is a power of two, by which division is exact.
        size = lax.stop_gradient(jnp.sqrt(jnp.maximum(jnp.square(x).mean(), jnp.square(y).mean())))
        r = jnp.ldexp(jnp.ones_like(size), jnp.maximum(jnp.frexp(size)[1], 0))
        x, y = x / r, y / r
    c = (x.mean(0) + y.mean(0)) / 2
    x, y = x - c, y - c
    if sigma is None:
        mean_product = lambda u: (u * c).mean(-1)
        a, b = mean_product(x), mean_product(y)
        kernel: _Kernel = partial(_polynomial, s=1 / r**2 + mean_product(c))
        return _Centred(x, a, jnp.zeros_like(a)), _Centred(y, b, jnp.zeros_like(b)), kernel, r**6
    a, b = (jnp.square(u).sum(1) / (2 * sigma**2) for u in (x, y))
    f, g = jnp.expm1(-a), jnp.expm1(-b)
    mean = (f.mean() + g.mean()) / 2
    return _Centred(x, a, f - mean), _Centred(y, b, g - mean), partial(_gaussian, sigma=sigma), jnp.ones_like(mean)


def _polynomial(x: _Centred, y: _Centred, s: Array) -> Array:
    """With s = 1 / r^2 + |c|^2 / d, p = s + a + b and w = u.v / d, k is (p + w)^3, and g(x) = k(x, c) - k(c, c) / 2."""
    w = dots(x.u, y.u) / x.u.shape[1]
    a, b = x.a[:, None], y.a
    p = s + a + b
    return w * (3 * p * (p + w) + w * w) + 3 * a * b * (p + s)


def _gaussian(x: _Centred, y: _Centred, sigma: float) -> Array:
    """With w = u.v / sigma^2, k is exp(w - a - b), and exp(-a - b) - f(x) f(y) has the form g(x) + g(y)."""
    w = dots(x.u, y.u) / sigma**2
    a, b = x.a[:, None], y.a
    apart = jnp.exp(-a) * jnp.exp(-b)
    # The first form does not cancel for small w, and the second does not overflow for large w.
    k = jnp.where(jnp.abs(w) < 1, apart * jnp.expm1(w), jnp.exp(jnp.minimum(w - a - b, 0)) - apart)
    return k + x.f[:, None] * y.f


def _sums(x: _Centred, y: _Centred, kernel: _Kernel, block: int, *, paired: bool = False) -> KernelSums:
    """Sums of the kernel matrix; `paired` states that both sets are the same."""

    def add(columns: Array, part: tuple[_Centred, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
        rows, index = part
        k = kernel(rows, y)  # zero in the padding of a block, where u = 0, a = 0 and f = 0
        itself = (index[:, None] == jnp.arange(len(y.a))) & paired
        diagonal = jnp.where(itself, k, 0).sum(1)
        k = jnp.where(itself, 0, k)
        return columns + k.sum(0), (k.sum(1), (k * k).sum(1), diagonal)

    columns, (rows, squares, diagonal) = scan_blocks(add, jnp.zeros_like(y.a), x, block)
    return KernelSums(rows, columns, squares.sum(), diagonal)


def _all_sums(
    x: Array, y: Array, block: int, sigma: float | None = None
) -> tuple[Array, tuple[KernelSums, KernelSums, KernelSums], Array]:
    """The U-statistic and the sums that compose it, in a unit, and that unit.

    Differences are taken row by row, before large numbers accumulate.
    """
    u, v, kernel, unit = _centred(x, y, sigma)
    xx, yy = _sums(u, u, kernel, block, paired=True), _sums(v, v, kernel, block, paired=True)
    xy = _sums(u, v, kernel, block)
    m, n = len(x), len(y)
    value = (xx.rows / (m - 1) - xy.rows / n).mean() + (yy.rows / (n - 1) - xy.columns / m).mean()
    return value, (xx, yy, xy), unit


@partial(compilation.jit, static_argnames=('sigma', 'block'))
def _kernel_distance(x: Array, y: Array, sigma: float | None, block: int) -> tuple[Array, Array, Array]:
    """The U-statistic, the V-statistic, and the standard error of the former."""
    value, (xx, yy, xy), unit = _all_sums(x, y, block, sigma)
    m, n = len(x), len(y)
    biased = ((xx.rows + xx.diagonal) / m - xy.rows / n).mean() + ((yy.rows + yy.diagonal) / n - xy.columns / m).mean()
    if min(m, n) < 4:
        return unit * value, unit * biased, jnp.full_like(value, jnp.nan)
    return unit * value, unit * biased, unit * jnp.sqrt(variance(components(xx, yy, xy), m, n))


@partial(compilation.jit, static_argnames=('m', 'n', 'subsets', 'size'))
def _draw(key: Key, m: int, n: int, subsets: int, size: int) -> tuple[Array, Array]:
    draw = lambda key, rows: jax.random.choice(key, rows, (size,), replace=False)

    def one(key: Key) -> tuple[Array, Array]:
        x_key, y_key = jax.random.split(key)
        return draw(x_key, m), draw(y_key, n)

    return lax.map(one, jax.random.split(key, subsets))


@partial(compilation.jit, static_argnames='sigma')
def _subset_distances(x: Array, y: Array, rows: tuple[Array, Array], sigma: float | None) -> SubsetEstimate:
    def one(indices: tuple[Array, Array]) -> Array:
        value, _, unit = _all_sums(x[indices[0]], y[indices[1]], len(indices[0]), sigma)
        return unit * value

    values = lax.map(one, rows)
    return SubsetEstimate(values.mean(), values.std())


def _checked(sigma: float | None) -> float | None:
    if sigma is not None and not 1e-18 <= sigma <= 1e18:  # float32 holds its square
        raise ValueError(f'the width of a Gaussian kernel must be between 1e-18 and 1e18, got {sigma}')
    return sigma


def _check_rows(rows: tuple[Array, ...], sizes: tuple[int, int]) -> None:
    if len(rows) != 2 or any(i.ndim != 2 or i.shape[1] < 2 for i in rows) or len({len(i) for i in rows}) > 1:
        raise ValueError(f'indices must be two arrays [subsets, size >= 2], got {[i.shape for i in rows]}')
    for name, i, n in zip('xy', rows, sizes, strict=True):
        if not jnp.issubdtype(i.dtype, jnp.integer) or (concrete(i) and bool(((i < 0) | (i >= n)).any())):
            raise ValueError(f'indices of {name} must be integers from 0 to {n - 1}')
