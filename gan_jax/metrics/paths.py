"""How evenly images change along a path in latent space: a generator that has memorised examples jumps between them."""

from typing import NamedTuple

import jax.numpy as jnp

from gan_jax.typing import Array


class Smoothness(NamedTuple):
    """The steps between neighbouring images of a path."""

    steps: Array
    """`[n - 1]`, the root mean squared difference of the entries of neighbouring images."""
    ratio: Array
    """The largest step divided by the mean step: 1 if all steps are equal, n - 1 if one step accounts for all of the change."""


def smoothness(images: Array) -> Smoothness:
    """The steps along `images [n, ...]`, which are a path in order. The ratio is NaN for a path that does not move.

    Raises `ValueError` for fewer than 3 images.
    """
    if len(images) < 3:
        raise ValueError(f'a path must have at least 3 images, so that 2 steps can be compared, got {images.shape}')
    steps = jnp.sqrt(jnp.square(jnp.diff(images, axis=0)).reshape(len(images) - 1, -1).mean(1))
    return Smoothness(steps, steps.max() / steps.mean())
