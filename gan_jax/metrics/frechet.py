"""The Fréchet distance between the Gaussians of two sets of features (Heusel et al. 2017, eq. 6).

For any factors S = A^T A of the covariances, Tr (S1 S2)^(1/2) is the sum of the singular values of A1 A2^T, and the distance is
the least |A1 - Q A2|^2 over rotations Q, plus that of the means. This needs no matrix root, holds at any rank, adds no epsilon,
and keeps its digits in float32, where eigenvalues of S1 S2 do not: those are known to the rounding of the largest, and then
rooted. Float32 is good to about 1e-6 of the covariances' traces.

Values that can be seen are computed on the host, in float64 and by LAPACK. Under a transformation (`jax.jit`, `jax.vmap`) the
same route runs on the device in the arrays' own precision, so `jax.jit(frechet_distance)` is the device's version; there, what is
not finite makes the distance not a number, where the host raises.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.metrics.moments import FeatureMoments, Gaussian, centred, check_moments, check_rows, feature_moments
from gan_jax.metrics.pairwise import concrete
from gan_jax.typing import AnyArray, Array, Key

Moments = FeatureMoments | Gaussian
ROUNDING = 10  # variances below this many epsilons of a feature's own are rounding


def frechet_distance(a: Moments, b: Moments) -> AnyArray:
    """|mean a - mean b|^2 + Tr(Sa + Sb - 2 (Sa Sb)^(1/2)); exact for covariances of any rank.

    The rank of a covariance of n features is at most n - 1, which is made use of: rounding would else fill its null space, and
    roots make much of it. Raises `ValueError` for unequal dimensions and, on the host, for fewer than two features, values that
    are not finite, and a `Gaussian` whose covariance has negative eigenvalues.
    """
    check_moments(a=a, b=b)
    on_host = concrete(*a, *b)
    return _distance(_root(a, on_host), _root(b, on_host))


def frechet_distance_from_features(x: AnyArray, y: AnyArray) -> AnyArray:
    """The same of features `x [n, d]` and `y [m, d]`. Sets of d features or fewer are their own factors: no covariance is formed.

    Raises `ValueError` for fewer than two rows, unequal d and, on the host, rows that are not finite.
    """
    check_rows(x=x, y=y)
    on_host = concrete(x, y)
    return _distance(_root_of_features(x, on_host), _root_of_features(y, on_host))


class Extrapolation(NamedTuple):
    """The Fréchet distance of a straight line in 1 / n at infinite n."""

    value: AnyArray
    standard_error: AnyArray
    """Over draws of the features; the reference is taken as it is."""
    slope: AnyArray
    """What one over the number of features adds to the distance."""
    sizes: np.ndarray
    """`[points]`"""
    values: AnyArray
    """`[points]`: the distance at each size."""


def frechet_infinity(reference: Moments, features: AnyArray, key: Key, *, points: int = 15) -> Extrapolation:
    """The distance of `features [n, d]` to `reference`, less its bias of order 1 / n (Chong and Forsyth 2020, section 4).

    Sizes run evenly from min(5000, n / 10) to n. At each, a subset is drawn without replacement; least squares give the line.

    All subsets are of the same n features, so that the scatter about the line misses how far those are from the next n, and the
    usual error of an intercept is too small. To first order the distance is a mean over features: at size k it has variance
    v (1 / k - 1 / n) given the n features, which yields v, and v / n more over them. `standard_error` counts both. Where the two
    distributions are equal the first order vanishes, and it is an upper estimate.

    Raises `ValueError` for fewer than 20 features or 3 points, and as `frechet_distance`.
    """
    n = len(features)
    if n < 20 or points < 3 or features.shape[1:] != reference.mean.shape:
        raise ValueError(f'need 3 points and features [n >= 20, {len(reference.mean)}], got {points} and {features.shape}')
    check_rows(features=features)
    check_moments(reference=reference)
    on_host = concrete(key, features, *reference)
    features = np.asarray(features) if on_host else features
    target = _root(reference, on_host)

    def distance(key: Key, size: int) -> AnyArray:
        rows = jax.random.permutation(key, n)[:size]
        return _distance(target, _root_of_features(features[np.asarray(rows) if on_host else rows], on_host))

    sizes = np.linspace(min(5000, n / 10), n, points).astype(int)
    values = (np if on_host else jnp).stack([distance(k, s) for k, s in zip(jax.random.split(key, points), sizes, strict=True)])
    line = np.linalg.pinv(np.stack([np.ones(points), 1 / sizes], 1))  # values -> (intercept, slope)
    residual = np.eye(points) - np.stack([np.ones(points), 1 / sizes], 1) @ line
    free = 1 / sizes - 1 / n
    variance = ((residual @ values) ** 2).sum() / (residual**2 @ free).sum()
    error = (variance * (1 / n + line[0] ** 2 @ free)) ** 0.5
    return Extrapolation(line[0] @ values, error, line[1] @ values, sizes, values)


class _Root(NamedTuple):
    """A Gaussian, its covariance as A^T A."""

    mean: Any
    factor: Any


def _distance(a: _Root, b: _Root) -> Any:
    xp = np if isinstance(a.factor, np.ndarray) else jnp
    with jax.default_matmul_precision('highest'):
        cross = a.factor @ b.factor.T
    total = xp.square(a.mean - b.mean).sum() + xp.square(a.factor).sum() + xp.square(b.factor).sum()
    return _from_eigenvalues(cross, total) if xp is np else total - 2 * jnp.linalg.svd(cross, compute_uv=False).sum()


def _from_eigenvalues(cross: np.ndarray, total: np.float64) -> np.float64:
    """total - 2 * the sum of singular values, as roots of the eigenvalues of `cross cross^T` where they are known well enough.

    That takes a third of the time. An eigenvalue is off by up to epsilon times the largest, and its root by that over twice the
    root; if all this may move the distance by 1e-9 of itself, the singular values are computed.
    """
    squares = np.linalg.eigvalsh(cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross)
    if squares.min(initial=np.inf) > 0:
        roots = np.sqrt(squares)
        distance = total - 2 * roots.sum()
        if np.finfo(float).eps * squares.max(initial=0) * np.sum(1 / roots) < 1e-9 * distance:
            return distance
    return total - 2 * np.linalg.svd(cross, compute_uv=False).sum()


def _root(moments: Moments, on_host: bool) -> _Root:
    rank = moments.size - 1 if isinstance(moments, FeatureMoments) else len(moments.mean)
    if on_host:
        eps = np.finfo(np.result_type(moments.mean.dtype, np.float32)).eps
        moments = jax.tree.map(lambda x: np.asarray(x, np.float64), moments)
        return _Root(moments.mean, _factor_on_host(np.asarray(moments.covariance), int(rank), eps))
    with jax.default_matmul_precision('highest'):
        return _Root(jnp.where(rank > 0, moments.mean, jnp.nan), _factor(jnp.asarray(moments.covariance), rank))


def _root_of_features(x: AnyArray, on_host: bool) -> _Root:
    x = np.asarray(x, np.float64) if on_host else jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    if len(x) > x.shape[1]:
        return _root(feature_moments(x), on_host)
    mean, rest = centred(x)
    return _Root(mean, rest / np.sqrt(len(x) - 1))


def _factor_on_host(covariance: np.ndarray, rank: int, eps: float) -> np.ndarray:
    """A `[at most rank, d]` with A^T A = covariance, by Cholesky with pivots."""
    from scipy.linalg import lapack

    refusal = ValueError(f'a covariance has no negative eigenvalue, and no rank above the {rank} that its sample size allows')
    if np.diag(covariance).min() < 0:
        raise refusal
    scale = _deviations(covariance)
    lower, pivots, found, _ = lapack.dpstrf(covariance / scale / scale[:, None], tol=ROUNDING * eps, lower=1)
    factor = np.zeros((min(found, rank), len(scale)))
    factor[:, pivots - 1] = np.tril(lower)[:, : len(factor)].T * scale[pivots - 1]
    if abs(np.square(factor).sum() - np.trace(covariance)) > 1e-3 * np.trace(covariance):
        raise refusal
    return factor


def _factor(covariance: Array, rank: AnyArray | int) -> Array:
    """The same on the device, `[d, d]`, the rows after the last pivot zero."""
    scale = _deviations(covariance)
    correlation = covariance / scale / scale[:, None]
    d, tolerance = len(scale), ROUNDING * jnp.finfo(scale.dtype).eps

    def more(state: tuple[Array, Array, Array]) -> Array:
        k, _, left = state
        return (k < jnp.minimum(rank, d)) & (left.max() > tolerance)

    def eliminate(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, factor, left = state
        pivot = left.argmax()
        row = (correlation[pivot] - factor[:, pivot] @ factor) / jnp.sqrt(left[pivot])
        row = jnp.where(left > 0, row, 0)
        return k + 1, factor.at[k].set(row), jnp.maximum(left - row**2, 0).at[pivot].set(0)

    start = (jnp.int32(0), jnp.zeros_like(correlation), jnp.diag(correlation))
    return lax.while_loop(more, eliminate, start)[1] * scale


def _deviations(covariance: AnyArray) -> AnyArray:
    """Standard deviations, 1 where they are 0: pivots are compared in units of these."""
    xp = np if isinstance(covariance, np.ndarray) else jnp
    variance = xp.diag(covariance)
    return xp.sqrt(xp.where(variance == 0, 1, variance))
