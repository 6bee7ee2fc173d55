"""Distances and kernels of large sets: blocks of rows against all rows, in O(block * n) memory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.typing import AnyArray, Array


def feature_sets(*, at_least: int = 1, **sets: AnyArray) -> list[Array]:
    """Returns the named sets `[n, d]` as arrays of one floating-point type, float32 or wider.

    Raises `ValueError`, which names the set, if a set is not an array `[n >= at_least, d]` of JAX or NumPy, if the dimensions
    differ, or if a concrete set contains non-finite values or loses its differences when it is rounded to this type. Values under
    a transformation (`jax.jit`, `jax.vmap`) cannot be inspected; there, non-finite values make the result NaN.
    """
    check_arrays(**sets)
    for name, x in sets.items():
        if x.ndim != 2 or len(x) < at_least or not x.shape[1]:
            raise ValueError(f'{name} must be a set [n >= {at_least}, d] of features, got {x.shape}')
    if len({x.shape[1] for x in sets.values()}) > 1:
        shapes = ' and '.join(f'{name} {x.shape}' for name, x in sets.items())
        raise ValueError(f'features must be of the same dimension, got {shapes}')
    dtype = jnp.result_type(jnp.float32, *sets.values())
    _check_rounding(dtype, sets)
    arrays = {name: jnp.asarray(x, dtype) for name, x in sets.items()}
    for name, x in arrays.items():
        if concrete(x) and (bad := int((~jnp.isfinite(x)).sum())):
            raise ValueError(f'{name} contains {bad} values that are not finite')
    return list(arrays.values())


def _check_rounding(dtype: Any, sets: dict[str, AnyArray]) -> None:
    """Raises `ValueError` if NumPy's float64 or int64 sets, rounded to `dtype`, move by 1 % of their deviation from the mean."""
    wide = {name: np.asarray(x, np.float64) for name, x in sets.items() if isinstance(x, np.ndarray) and x.dtype.itemsize > 4}
    if not wide or dtype.itemsize > 4:
        return
    count = sum(map(len, wide.values()))
    with np.errstate(all='ignore'):  # other checks find values that are not finite
        mean = sum(x.sum(0) for x in wide.values()) / count
        size = lambda change: sum(float(np.square(change(x)).sum()) for x in wide.values())
        moved, deviation = size(lambda x: x - x.astype(dtype)), size(lambda x: x - mean)
    if moved > 1e-4 * deviation > 0:
        raise ValueError(
            f'{" and ".join(wide)}: float32 rounds away the differences of these features, which lie too far from 0; subtract '
            'their mean, or set jax_enable_x64'
        )


def check_arrays(**sets: Any) -> None:
    """Raises `ValueError` for anything but arrays of JAX or NumPy, such as tensors of PyTorch."""
    for name, x in sets.items():
        if not isinstance(x, np.ndarray | jax.Array):
            kind = f'{type(x).__module__}.{type(x).__qualname__}'.removeprefix('builtins.')
            advice = f'{name}.numpy(force=True)' if kind.startswith('torch.') else f'np.asarray({name})'
            raise ValueError(f'{name} must be an array of JAX or NumPy, not {kind}; {advice} is one')


def unit_rows(*, at_least: int = 1, **sets: AnyArray) -> list[Array]:
    """`feature_sets`, `[n, d]` each, with each row divided by its norm. Raises `ValueError` for rows of zeros, too."""
    found = []
    for name, x in zip(sets, feature_sets(at_least=at_least, **sets), strict=True):
        norms = jnp.linalg.norm(x, axis=1, keepdims=True)
        if concrete(norms) and not norms.all():
            raise ValueError(f'{name} contains {int((norms == 0).sum())} rows of zeros, which have no direction')
        found.append(x / norms)
    return found


def scan_blocks(f: Callable[[Any, tuple[Any, Array]], tuple[Any, Any]], init: Any, rows: Any, block: int) -> tuple[Any, Any]:
    """`lax.scan` over blocks of the rows of a pytree of arrays `[n, ...]`; returns the carry and the outputs `[n, ...]`.

    All blocks have the same size, and the last one is padded with rows of zeros, whose `index` is n or more. `f` must exclude
    them from the carry. Raises `ValueError` for a block below 1.

    Args:
        f: `(carry, (rows [b, ...], index [b])) -> (carry, outputs [b, ...])`.
        init: the initial carry.
        rows: pytree of arrays `[n, ...]`.
        block: largest number of rows in a block.
    """
    if block < 1:
        raise ValueError(f'a block must have at least one row, got {block}')
    n = len(jax.tree.leaves(rows)[0])
    blocks = -(-n // block)
    size = -(-n // blocks)

    def split(x: Array) -> Array:
        return jnp.pad(x, [(0, blocks * size - n)] + [(0, 0)] * (x.ndim - 1)).reshape(blocks, size, *x.shape[1:])

    carry, outputs = lax.scan(f, init, (jax.tree.map(split, rows), jnp.arange(blocks * size).reshape(blocks, size)))
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], outputs)


def rounded_mean(x: Array) -> Array:
    """The mean of `x [n, d]` over rows, `[d]`, each entry rounded to a multiple of a power of two near its standard deviation.

    Subtracting this mean preserves ties: it involves no rounding for integers, pixels, and any values on a grid that is not too
    fine for their type. Subtracting the exact mean would turn integers into non-integers.
    """
    mean, std = x.mean(0), x.std(0)
    unit = jnp.ldexp(jnp.ones_like(std), jnp.frexp(std)[1] - 1)
    return jnp.where(std > jnp.finfo(x.dtype).tiny, jnp.round(mean / unit) * unit, mean)


def near_origin(real: Array, fake: Array) -> tuple[Array, Array]:
    """Both sets, `real [n, d]` and `fake [m, d]`, less the `rounded_mean` of `real`.

    The unit is a power of two near the largest entry of `real`. Which distances are smaller does not change, and their squares
    neither overflow nor underflow.
    """
    exponent = jnp.frexp(lax.stop_gradient(jnp.abs(real).max()))[1] - 1
    unit = jnp.ldexp(jnp.ones((), real.dtype), jnp.maximum(exponent, jnp.finfo(real.dtype).minexp))
    real, fake = real / unit, fake / unit
    centre = rounded_mean(real)
    return real - centre, fake - centre


def dots(x: Array, y: Array) -> Array:
    """Scalar products of rows `[n, d]` with rows `[m, d]`, `[n, m]`, in full float32 even where matrix units are less precise."""
    return jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)


def squared_distances(x: Array, y: Array) -> Array:
    """|x_i - y_j|^2 of rows `[n, d]` and `[m, d]`, `[n, m]`, computed as |x_i|^2 + |y_j|^2 - 2 x_i.y_j.

    Subtract `rounded_mean` first. The result is exact where all products and sums are, as for small integers; elsewhere its error
    is the rounding error of |x|^2 + |y|^2.
    """
    squares = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)
    return jnp.maximum(squares - 2 * dots(x, y), 0)


def smallest(values: Array, k: int) -> tuple[Array, Array]:
    """The k smallest values in each row of `values [n, m]` and their columns, in ascending order, `[n, k]` each.

    Ties are ordered by column. The k smallest values lie in the k groups of columns with the smallest minima, so one pass over
    all values suffices; `lax.top_k` sorts all values on the CPU.
    """
    n, m = values.shape
    width = max(1, math.isqrt(m // k))  # as many groups as candidates
    groups = -(-m // width)
    padded = jnp.pad(values, ((0, 0), (0, groups * width - m)), constant_values=jnp.inf)
    grouped = padded.reshape(n, groups, width)
    group = jnp.sort(_in_order(grouped.min(2), k)[1], axis=1)
    candidates = jnp.take_along_axis(grouped, group[:, :, None], axis=1).reshape(n, k * width)
    found, place = _in_order(candidates, k)
    return found, jnp.take_along_axis(group, place // width, axis=1) * width + place % width


def _in_order(values: Array, k: int) -> tuple[Array, Array]:
    """`smallest` in k passes, each of which finds the minimum of the values that follow the previous one."""
    column = jnp.arange(values.shape[1])

    def following(last: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        value, index = (x[:, None] for x in last)
        after = (values > value) | ((values == value) & (column > index))
        value = jnp.where(after, values, jnp.inf).min(1)
        index = jnp.where(after & (values == value[:, None]), column, values.shape[1]).min(1)
        return (value, index), (value, index)

    n = len(values)
    start = (jnp.full(n, -jnp.inf, values.dtype), jnp.full(n, -1, column.dtype))
    found, index = lax.scan(following, start, length=k)[1]
    return found.T, index.T


def concrete(*arrays: AnyArray) -> bool:
    """Whether the values can be inspected, which is not possible under `jax.jit` or `jax.vmap`."""
    return not any(isinstance(x, jax.core.Tracer) for x in arrays)


def as_rows(x: AnyArray) -> AnyArray:
    """`[n, ...] -> [n, d]`."""
    return x.reshape(len(x), math.prod(x.shape[1:]))
