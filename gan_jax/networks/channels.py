"""Sums over all axes but the channels', and their transposes, from which biases and norms are built.

XLA's CPU back end computes the sum of `[n, h, w, c]` to `[c]` on one core with a stride of all channels, which is 3 to 12 times
slower than a matrix product with a row of ones (.52 against .09 ms for 32 x 32 x 32 x 32, 1.64 against .13 ms for 64 x 16 x 16 x
128, on 2 cores with AVX-512). The gradient of every bias and four passes of a batch norm are such sums. `channel_sum` and
`channel_broadcast` are therefore primitives that are each other's transposes. On a CPU the sum lowers to a matrix product;
otherwise they are `sum` and `broadcast_to`.

Both preserve `lead` leading axes, over which instance norm and `jax.vmap` map them.
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gan_jax.networks.primitives import compile_alone, shaped
from gan_jax.typing import Array

ROW = 1024
"""Length of the rows into which a sum over few channels is folded; products are faster with longer rows."""
BLOCK = 64
"""Minimum number of rows in a product: rounding errors grow with the rows of a product rather than with all rows."""


def channel_sum(x: Array, *, lead: int = 0) -> Array:
    """Sums over all axes except the last and the first `lead`: `[*lead, ..., c] -> [*lead, c]`."""
    return _sum_p.bind(x, lead=lead)


def channel_mean(x: Array, *, lead: int = 0) -> Array:
    """Averages over all axes except the last and the first `lead`: `[*lead, ..., c] -> [*lead, c]`."""
    return channel_sum(x, lead=lead) / math.prod(x.shape[lead:-1])


def channel_broadcast(channels: Array, shape: Sequence[int]) -> Array:
    """Repeats the channels at every position: `[*lead, c] -> shape`, where `shape` is `[*lead, ..., c]`."""
    return _broadcast_p.bind(channels, shape=tuple(shape))


def _native_sum(x: Array, *, lead: int) -> Array:
    return x.sum(range(lead, x.ndim - 1))


def _sum_as_product(x: Array, *, lead: int) -> Array:
    groups, rows, c = x.shape[:lead], math.prod(x.shape[lead:-1]), x.shape[-1]
    if not jnp.issubdtype(x.dtype, jnp.floating) or rows < 2 or 0 in x.shape:
        return _native_sum(x, lead=lead)
    fold = _power_of_two(rows, ROW // c)
    blocks = _power_of_two(rows // fold, rows // fold // BLOCK)
    x = x.reshape(*groups, blocks, rows // fold // blocks, fold * c)
    ones = jnp.ones((*groups, blocks, 1, x.shape[-2]), x.dtype)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    sums = jnp.matmul(ones, x, preferred_element_type=wide).sum((-3, -2)).reshape(*groups, fold, c).sum(-2)
    return sums.astype(x.dtype)


def _power_of_two(n: int, limit: int) -> int:
    """Returns the largest power of two that divides `n` and is at most `limit`, or 1."""
    return math.gcd(n, 1 << max(0, limit.bit_length() - 1))


def _broadcast(channels: Array, *, shape: tuple[int, ...]) -> Array:
    lead = channels.ndim - 1
    return jnp.broadcast_to(channels.reshape(*channels.shape[:-1], *[1] * (len(shape) - lead - 1), channels.shape[-1]), shape)


def _primitive(name: str, shape: Callable, native: Callable, cpu: Callable) -> Primitive:
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda x, **options: shaped(shape(x.shape, **options), x))
    compile_alone(primitive)
    for function, platform in ((native, None), (cpu, 'cpu')):
        mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False), platform=platform)
    return primitive


_sum_p = _primitive('gan_jax_channel_sum', lambda x, lead: (*x[:lead], x[-1]), _native_sum, _sum_as_product)
_broadcast_p = _primitive('gan_jax_channel_broadcast', lambda x, shape: shape, _broadcast, _broadcast)

ad.deflinear2(_sum_p, lambda ct, x, lead: [_broadcast_p.bind(ct, shape=x.aval.shape)])
ad.deflinear2(_broadcast_p, lambda ct, x, shape: [_sum_p.bind(ct, lead=x.aval.ndim - 1)])


def _batch_sum(operands: Sequence[Array], axes: Sequence[int], *, lead: int) -> tuple[Array, int]:
    return _sum_p.bind(jnp.moveaxis(operands[0], axes[0], 0), lead=lead + 1), 0


def _batch_broadcast(operands: Sequence[Array], axes: Sequence[int], *, shape: tuple[int, ...]) -> tuple[Array, int]:
    channels = jnp.moveaxis(operands[0], axes[0], 0)
    return _broadcast_p.bind(channels, shape=(len(channels), *shape)), 0


batching.primitive_batchers[_sum_p] = _batch_sum
batching.primitive_batchers[_broadcast_p] = _batch_broadcast
