"""What the primitives of `networks.convolution` and `networks.channels` have in common."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive

from gan_jax import compilation
from gan_jax.typing import Array


def compile_alone(primitive: Primitive) -> None:
    """Has the primitive evaluated outside of `jax.jit` by a program of its own, by `compilation.jit`."""

    @functools.cache
    def compiled(**options: Any) -> Callable:
        return compilation.jit(functools.partial(primitive.bind, **options))

    @primitive.def_impl
    def evaluate(*operands: Any, **options: Any) -> Any:
        with jax.disable_jit(False):  # otherwise this function would call itself
            return compiled(**options)(*operands)


def equally_varying(*operands: Array) -> list[Array]:
    """The arrays, which within `jax.shard_map` vary over all axes of the mesh over which any of them varies.

    Thus the gradient of an array that all devices share, such as a kernel, is summed over the devices. Elsewhere they are
    unchanged.
    """
    own = [_varying(jax.typeof(x)) for x in operands]
    missing = [tuple(sorted(frozenset().union(*own) - axes)) for axes in own]
    return [jax.lax.pcast(x, axes, to='varying') if axes else x for x, axes in zip(operands, missing, strict=True)]


def shaped(shape: tuple[int, ...], *operands: Any) -> jax.core.ShapedArray:
    """The type of a primitive's result of this shape, which has the dtype of its operands' types and varies as they do."""
    most = max(operands, key=lambda operand: len(_varying(operand)))
    if not _varying(most):
        return jax.core.ShapedArray(shape, most.dtype)
    sharding = jax.sharding.NamedSharding(most.sharding.mesh, jax.sharding.PartitionSpec(*[None] * len(shape)))
    return most.update(shape=shape, weak_type=False, sharding=sharding)


def _varying(kind: Any) -> frozenset[str]:
    """The axes of a mesh over which an array of this type varies, within `jax.shard_map` with `check_vma`."""
    found = getattr(kind, 'manual_axis_type', None)  # `vma` in JAX before 0.10
    return frozenset() if found is None else frozenset(found.varying)
