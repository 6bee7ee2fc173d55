"""The order of examples: batch t is a pure function of (seed, t), computed within the step and never stored."""

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.typing import Array, Key

_ROUNDS = 8


def shuffled(positions: Array, size: int, key: Key) -> Array:
    """Applies a random permutation of `range(size)` to `positions`, of any shape.

    The permutation is evaluated only at these positions: it is a Feistel network on the next even number of bits, restricted to
    the range by cycle walking (Black and Rogaway 2002, section 4).

    Args:
        positions: integers in `range(size)`.
        size: number of permuted integers.
        key: determines the permutation.
    """
    half = max(1, -(-(size - 1).bit_length() // 2))
    mask = jnp.uint32((1 << half) - 1)
    keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def permute(x: Array) -> Array:
        def step(sides: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
            left, right = sides
            return (right, left ^ (_mix(right ^ k) & mask)), None

        (left, right), _ = lax.scan(step, (x >> half, x & mask), keys)
        return (left << half) | right

    outside = lambda x: x >= size
    walk = lambda x: jnp.where(outside(x), permute(x), x)
    walked = lax.while_loop(lambda x: outside(x).any(), walk, permute(jnp.asarray(positions, jnp.uint32)))
    return walked.astype(jnp.int32)


def batch_indices(size: int, batch_size: int, step: Array, key: Key) -> Array:
    """Returns the indices of the examples in minibatch number `step`, `[batch_size]`.

    Each epoch has a different order and leaves out the `size % batch_size` examples that do not fill a batch.

    Args:
        size: number of examples.
        batch_size: number of examples in a minibatch.
        step: number of the minibatch.
        key: determines the order.
    """
    epoch, number = jnp.divmod(step, size // batch_size)
    return shuffled(number * batch_size + jnp.arange(batch_size), size, jax.random.fold_in(key, epoch))


def _mix(x: Array) -> Array:
    """Applies the finalizer of MurmurHash3: every input bit affects every output bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
