"""The Fréchet distance between the Gaussians of two sets of features (Heusel et al. 2017, eq. 6).

For any factorisations S = A^T A of the covariances, Tr (S1 S2)^(1/2) is the sum of the singular values of A1 A2^T, and the
distance is the minimum of |A1 - Q A2|^2 over rotations Q, plus the squared distance of the means. This requires no matrix square
root, holds for any rank, adds no epsilon, and remains accurate in float32. The eigenvalues of S1 S2 would not be accurate enough:
they are known only to the rounding error of the largest, which their square roots amplify. In float32 the error is about 1e-6 of
the traces of the covariances.

Concrete values are computed on the host, in float64 and by LAPACK. Under a transformation (`jax.jit`, `jax.vmap`) the same method
runs on the device in the precision of the arrays, so `jax.jit(frechet_distance)` is the version for devices. There, non-finite
values make the distance NaN; on the host they raise an error.
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
ROUNDING = 10  # variances below this many epsilons of a feature's own variance are treated as rounding errors


def frechet_distance(a: Moments, b: Moments) -> AnyArray:
    """Fréchet distance |mean a - mean b|^2 + Tr(Sa + Sb - 2 (Sa Sb)^(1/2)), a scalar (Heusel et al. 2017, eq. 6).

    The distance is exact for covariances of any rank. The covariance of n features has a rank of at most n - 1. The computation
    uses this fact, since rounding would otherwise fill the null space, and square roots would amplify it. Raises `ValueError` for
    unequal dimensions and, on the host, for fewer than two features, non-finite values, and a `Gaussian` whose covariance has
    negative eigenvalues.
    """
    check_moments(a=a, b=b)
    on_host = concrete(*a, *b)
    return _distance(_root(a, on_host), _root(b, on_host))


def frechet_distance_from_features(x: AnyArray, y: AnyArray) -> AnyArray:
    """`frechet_distance` of features `x [n, d]` and `y [m, d]`, a scalar.

    A set of d features or fewer serves as its own factor, without forming a covariance. Raises `ValueError` for fewer than two
    rows, unequal d and, on the host, rows that are not finite.
    """
    check_rows(x=x, y=y)
    on_host = concrete(x, y)
    return _distance(_root_of_features(x, on_host), _root_of_features(y, on_host))


class Extrapolation(NamedTuple):
    """The Fréchet distance at infinite n, extrapolated along a straight line in 1 / n."""

    value: AnyArray
    standard_error: AnyArray
    """Over draws of the features; the reference is treated as fixed."""
    slope: AnyArray
    """The slope of the line, the change of the distance per unit of 1 / n."""
    sizes: np.ndarray
    """`[points]`, the sizes of the subsets."""
    values: AnyArray
    """`[points]`, the distance at each size."""


def frechet_infinity(reference: Moments, features: AnyArray, key: Key, *, points: int = 15) -> Extrapolation:
    """The Fréchet distance of features to a reference without its bias of order 1 / n (Chong and Forsyth 2020, section 4).

    The sizes are evenly spaced from min(5000, n / 10) to n. For each size a subset is drawn without replacement, and the line is
    fitted by least squares.

    All subsets are drawn from the same n features. The scatter about the line therefore ignores how far these features are from
    the next n, and the usual error of an intercept is too small. To first order the distance is a mean over features: at size k
    its variance given the n features is v (1 / k - 1 / n), from which v is estimated, and the n features contribute another
    v / n. `standard_error` includes both. If the two distributions are equal the first order vanishes, and `standard_error`
    overestimates.

    Raises `ValueError` for fewer than 20 features or 3 points, and as `frechet_distance` does.

    Args:
        reference: the moments to which the features are compared.
        features: `[n, d]`.
        key: draws the subsets.
        points: number of sizes.
    """
    n = len(features)
    if n < 20 or points < 3 or features.shape[1:] != reference.mean.shape:
        raise ValueError(f'need >= 3 points and features [n >= 20, {len(reference.mean)}], got {points} and {features.shape}')
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
    """A Gaussian with its covariance as A^T A."""

    mean: Any
    factor: Any


def _distance(a: _Root, b: _Root) -> Any:
    xp = np if isinstance(a.factor, np.ndarray) else jnp
    with jax.default_matmul_precision('highest'):
        cross = a.factor @ b.factor.T
    total = xp.square(a.mean - b.mean).sum() + xp.square(a.factor).sum() + xp.square(b.factor).sum()
    return _from_eigenvalues(cross, total) if xp is np else total - 2 * jnp.linalg.svd(cross, compute_uv=False).sum()


def _from_eigenvalues(cross: np.ndarray, total: np.float64) -> np.float64:
    """total - 2 * the sum of singular values, as roots of the eigenvalues of `cross cross^T` where those are accurate enough.

    This takes a third of the time. The error of an eigenvalue is up to epsilon times the largest, and that of its root is this
    error divided by twice the root. If all of these errors may change the distance by a relative 1e-9, the singular values are
    computed.
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
    """A factor A `[at most rank, d]` with A^T A = covariance, by pivoted Cholesky decomposition."""
    from scipy.linalg import lapack

    refusal = ValueError(f'a covariance must have no negative eigenvalues and, by its sample size, a rank of at most {rank}')
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
    """The same on the device, `[d, d]`; the rows after the last pivot are zero."""
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
    """Standard deviations, with 1 in place of 0: pivots are compared in these units."""
    xp = np if isinstance(covariance, np.ndarray) else jnp
    variance = xp.diag(covariance)
    return xp.sqrt(xp.where(variance == 0, 1, variance))
