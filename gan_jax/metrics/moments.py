"""Mean and covariance of features, in one pass in float32, over batches and devices.

A set is summarised by its size, its mean and its scatter, and two sets are merged by the formula of Chan, Golub and LeVeque
(1979). Unlike a running sum of x x^T this causes no cancellation, so features far from zero do no harm.
"""

import functools
import io
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.files import load_arrays, write_whole
from gan_jax.metrics.pairwise import check_arrays, concrete
from gan_jax.typing import AnyArray

BLOCK = 8192  # number of rows of NumPy features that are held in float64 at a time


class FeatureMoments(NamedTuple):
    """The moments of a set of n features of dimension d."""

    size: AnyArray
    """n, an integer."""
    mean: AnyArray
    """`[d]`"""
    scatter: AnyArray
    """The sum of (x - mean)(x - mean)^T, `[d, d]`."""

    @property
    def covariance(self) -> AnyArray:
        """scatter / (n - 1), `[d, d]`."""
        return self.scatter / (self.size - 1)


class Gaussian(NamedTuple):
    """A mean and a covariance of an unknown number of samples. They can be compared, but not merged."""

    mean: AnyArray
    """`[d]`"""
    covariance: AnyArray
    """`[d, d]`"""


def init(dimension: int, dtype: jnp.dtype | type = jnp.float32) -> FeatureMoments:
    """The moments of an empty set of features."""
    return FeatureMoments(jnp.zeros((), jnp.int32), jnp.zeros(dimension, dtype), jnp.zeros((dimension, dimension), dtype))


def update(moments: FeatureMoments, features: AnyArray, mask: AnyArray | None = None) -> FeatureMoments:
    """Adds `features [n, d]` to the moments.

    Rows where `mask [n]` is false are padding and have no effect, whatever they contain. This is a pure function for loops and
    `lax.scan`, in the precision of `moments`, and does not inspect values. Non-finite features give non-finite moments, which
    `frechet_distance` rejects. Raises `ValueError` for wrong shapes.
    """
    if features.ndim != 2 or features.shape[1:] != moments.mean.shape or (mask is not None and mask.shape != features.shape[:1]):
        shapes = f'{features.shape}' + ('' if mask is None else f' under a mask {mask.shape}')
        raise ValueError(f'features must be [n, {len(moments.mean)}], and a mask must be [n], got {shapes}')
    features = _namespace(moments.mean, features).asarray(features, moments.mean.dtype)
    return merge(moments, _of_rows(features, mask))


def merge(a: FeatureMoments, b: FeatureMoments) -> FeatureMoments:
    """The moments of the union of two sets, either of which may be empty (Chan, Golub and LeVeque 1979)."""
    size = a.size + b.size
    xp, dtype = _namespace(a.mean, b.mean), a.mean.dtype
    n, n_a, n_b = (xp.asarray(k, dtype) for k in (xp.maximum(size, 1), a.size, b.size))
    delta = b.mean - a.mean
    scatter = a.scatter + b.scatter + (delta * (n_a * (n_b / n)))[:, None] * delta
    return FeatureMoments(size, a.mean + delta * (n_b / n), scatter)


def all_reduce(moments: FeatureMoments) -> FeatureMoments:
    """The moments of the union of all devices' sets, by `merge`; the result is the same on every device."""
    if parallel.axis_size() == 1:
        return moments
    weight = moments.size.astype(moments.mean.dtype)
    size, total = parallel.psum((moments.size, weight * moments.mean))
    mean = total / jnp.maximum(size, 1)
    delta = moments.mean - mean
    return FeatureMoments(size, mean, parallel.psum(moments.scatter + weight * delta[:, None] * delta))


def feature_moments(features: AnyArray) -> FeatureMoments:
    """The moments of `features [n, d]`: in float64 on the host for a NumPy array, on its device and in its type for a JAX array.

    Types narrower than float32 are widened to it. Raises `ValueError` for fewer than two rows and for non-finite rows; under a
    transformation (`jax.jit`, `jax.vmap`) the latter cannot be detected.
    """
    check_rows(features=features)
    if isinstance(features, np.ndarray):
        blocks = (features[i : i + BLOCK].astype(np.float64) for i in range(0, len(features), BLOCK))
        return functools.reduce(merge, map(_of_rows, blocks))
    return _of_rows(features.astype(jnp.promote_types(features.dtype, jnp.float32)))


def save(path: str | pathlib.Path, moments: FeatureMoments | Gaussian) -> None:
    """Writes an npz file with `mu [d]` and `sigma [d, d]` (with n - 1), as TTUR and pytorch-fid do, and `count` if it is known.

    The arrays are in float64, which restores float32 moments exactly. Raises `ValueError` for fewer than two features or moments
    that are not finite.
    """
    check_moments(moments=moments)
    host = jax.tree.map(lambda x: np.asarray(x, np.float64), moments)
    arrays: dict[str, Any] = {'mu': host.mean, 'sigma': host.covariance}
    if isinstance(host, FeatureMoments):
        arrays['count'] = np.int64(host.size)
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_whole(pathlib.Path(path), file.getvalue())


def load(path: str | pathlib.Path) -> FeatureMoments | Gaussian:
    """Reads the output of `save`, TTUR or pytorch-fid as NumPy float64; a file without a `count` gives a `Gaussian`.

    Raises `InputError` for any other file.
    """
    return of_arrays(load_arrays(path), path)


def of_arrays(file: Mapping[str, np.ndarray], path: str | pathlib.Path) -> FeatureMoments | Gaussian:
    """What `load` returns, from the arrays of the file at `path`. Raises `InputError` as `load` does."""
    try:
        if missing := [name for name in ('mu', 'sigma') if name not in file]:
            raise ValueError(f'it has no {missing[0]}')
        mean, covariance = (np.asarray(file[name], np.float64) for name in ('mu', 'sigma'))
        count = int(file['count']) if 'count' in file else None
    except (ValueError, TypeError) as error:
        raise InputError(f'{path} is not an npz file of statistics mu and sigma: {error}') from error
    fine = mean.ndim == 1 and len(mean) > 0 and covariance.shape == 2 * mean.shape and (count is None or count >= 2)
    fine = fine and bool(np.isfinite(mean).all() and np.isfinite(covariance).all())
    if not fine or abs(covariance - covariance.T).max() > 1e-5 * abs(covariance).max():
        shapes = f'mu {mean.shape}, sigma {covariance.shape}' + ('' if count is None else f', count {count}')
        raise InputError(f'{path} must hold a finite mean [d], a symmetric covariance [d, d] and a count >= 2, not {shapes}')
    if count is None:
        return Gaussian(mean, covariance)
    return FeatureMoments(np.asarray(count), mean, covariance * (count - 1))


def check_rows(**sets: AnyArray) -> None:
    """Raises `ValueError` unless all are arrays `[n >= 2, d]` of the same d and, where values are concrete, finite."""
    check_arrays(**sets)
    if any(x.ndim != 2 or len(x) < 2 or not x.shape[1] for x in sets.values()) or len({x.shape[1] for x in sets.values()}) > 1:
        shapes = ' and '.join(f'{name} {x.shape}' for name, x in sets.items())
        raise ValueError(f'features must be [n >= 2, d]{" of the same dimension" * (len(sets) > 1)}, got {shapes}')
    for name, x in sets.items():
        if concrete(x) and (bad := int((~_namespace(x).isfinite(x)).any(1).sum())):
            raise ValueError(f'{bad} of the {len(x)} rows of {name} are not finite')


def check_moments(**sets: FeatureMoments | Gaussian) -> None:
    """Raises `ValueError` unless all are finite moments of at least two features, of the same dimension."""
    if len(shapes := {x.mean.shape for x in sets.values()}) > 1:
        raise ValueError(f'moments must be of the same dimension, got means of {" and ".join(map(str, shapes))}')
    for name, x in sets.items():
        if concrete(*x) and isinstance(x, FeatureMoments) and x.size < 2:
            raise ValueError(f'a covariance requires at least two features, and {name} has {int(x.size)}')
        if concrete(*x) and not all(np.isfinite(np.asarray(leaf)).all() for leaf in x):
            raise ValueError(f'{name} is not finite: some of its features were not finite, or overflowed')


def centred(rows: AnyArray, mask: AnyArray | None = None) -> tuple[AnyArray, AnyArray]:
    """The mean of `rows [n, d]`, and the rows minus the mean; masked rows are zero."""
    xp = _namespace(rows)
    kept = lambda x: x if mask is None else xp.where(mask.astype(bool)[:, None], x, 0)
    n = len(rows) if mask is None else xp.maximum(mask.astype(bool).sum(), 1).astype(rows.dtype)
    mean = kept(rows).sum(0) / n
    rest = kept(rows - mean)
    shift = rest.sum(0) / n  # the rounding error of the mean
    return mean + shift, kept(rest - shift)


def _of_rows(rows: AnyArray, mask: AnyArray | None = None) -> FeatureMoments:
    xp = _namespace(rows)
    size = xp.asarray(len(rows) if mask is None else mask.astype(bool).sum(), xp.int32)
    mean, rest = centred(rows, mask)
    with jax.default_matmul_precision('highest'):  # matrix units would otherwise round to half precision
        return FeatureMoments(size, mean, rest.T @ rest)


def _namespace(*arrays: AnyArray) -> ModuleType:
    return np if all(isinstance(x, np.ndarray) for x in arrays) else jnp
