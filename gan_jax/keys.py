"""The random keys of a run: one root key per seed, from which every use derives a key by name.

Arithmetic such as `seed + 1` would give one run's sampling the key of another run's initialisation. Names are folded in
instead, so no two uses share a key, whatever their seeds.
"""

import zlib

import jax
import jax.numpy as jnp

from gan_jax.typing import Key


def roots(seed: int, count: int) -> Key:
    """The root keys of the seeds `seed`, `seed + 1`, ..., `[count]`; each equals that of a run of this seed alone."""
    return jnp.stack([jax.random.key(seed + i) for i in range(count)])


def named(root: Key, use: str) -> Key:
    """The key of a use such as 'init' or 'data', derived from a root key; `[n]` keys from root keys `[n]`."""
    number = zlib.crc32(use.encode())
    return jax.vmap(jax.random.fold_in, (0, None))(root, number) if root.shape else jax.random.fold_in(root, number)
