"""The random keys of a run: one root for each seed, and from it a key for each use, by its name.

Sums such as `seed + 1` would give one run's samples the key of another's weights; names are folded in, so no two uses of no two
seeds share a key.
"""

import zlib

import jax
import jax.numpy as jnp

from gan_jax.typing import Key


def roots(seed: int, count: int) -> Key:
    """The root keys of the seeds `seed`, `seed + 1`, ..., `[count]`: each is that of a run of this seed alone."""
    return jnp.stack([jax.random.key((seed + i) % 2**32) for i in range(count)])


def named(root: Key, use: str) -> Key:
    """The key of a use, such as 'init' or 'data', of a root key; of roots `[n]` as many."""
    number = zlib.crc32(use.encode())
    return jax.vmap(jax.random.fold_in, (0, None))(root, number) if root.shape else jax.random.fold_in(root, number)
