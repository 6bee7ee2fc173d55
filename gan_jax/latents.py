"""Latent distributions: factories of `sampler(key) -> [size]`, one example's latent vector from one example's key."""

from collections.abc import Callable

import jax

from gan_jax.typing import Array, Key


def normal(size: int) -> Callable[[Key], Array]:
    """Standard normal latents, `[size]`."""
    return lambda key: jax.random.normal(key, (size,))


def uniform(size: int, low: float = -1.0, high: float = 1.0) -> Callable[[Key], Array]:
    """Latents uniform on `[low, high)`, `[size]`: DCGAN's are on [-1, 1), Goodfellow et al.'s on [-sqrt(3), sqrt(3))."""
    return lambda key: jax.random.uniform(key, (size,), minval=low, maxval=high)
