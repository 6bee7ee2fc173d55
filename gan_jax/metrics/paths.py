"""How evenly images change along a path in latent space: a generator that has learned examples by heart jumps between them."""

from typing import NamedTuple

import jax.numpy as jnp

from gan_jax.typing import Array


class Smoothness(NamedTuple):
    """The steps between neighbouring images of a path."""

    steps: Array
    """`[n - 1]`, root mean squared difference of an entry"""
    ratio: Array
    """The largest step over the mean one: 1 if all are equal, n - 1 if all of the change is in one."""


def smoothness(images: Array) -> Smoothness:
    """The steps along `images [n, ...]`, a path in order. The ratio of a path that does not move is not a number.

    Raises `ValueError` for fewer than 3 images.
    """
    if len(images) < 3:
        raise ValueError(f'a path has at least 3 images, of which 2 steps can be compared, got {images.shape}')
    steps = jnp.sqrt(jnp.square(jnp.diff(images, axis=0)).reshape(len(images) - 1, -1).mean(1))
    return Smoothness(steps, steps.max() / steps.mean())
