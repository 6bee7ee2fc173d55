"""Losses of reconstructions: differences between images, one number for each."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.numerics import euclidean_norm
from gan_jax.typing import Array

if TYPE_CHECKING:
    from gan_jax.metrics.extractors.extraction import Extractor

Difference = Callable[[Array, Array], Array]
"""`(real, reconstruction) -> [n]`: the loss of each reconstruction."""


def difference(a: Array, b: Array) -> Array:
    """`a - b`, for images of the same shape. Raises `ValueError` if the shapes differ."""
    if a.shape != b.shape:  # one channel would silently broadcast to three
        raise ValueError(f'images to compare must have the same shape, got {a.shape} and {b.shape}')
    return a - b


def absolute_difference(a: Array, b: Array) -> Array:
    """The mean absolute difference of each example, `[batch, ...] -> [batch]`. Raises `ValueError` if the shapes differ."""
    return jnp.abs(difference(a, b)).mean(tuple(range(1, a.ndim)))


def squared_difference(a: Array, b: Array) -> Array:
    """The mean squared difference of each example, `[n, ...] -> [n]`. Raises `ValueError` if the shapes differ."""
    return jnp.square(difference(a, b)).mean(tuple(range(1, a.ndim)))


def perceptual(extractor: 'Extractor', weight: float = 1.0) -> Difference:
    """weight times |f(a) / |f(a)| - f(b) / |f(b)||^2 for the features f of an extractor of `gan_jax.metrics`, `[n]`.

    LPIPS (Zhang et al. 2018), which VQGAN uses, compares normalised features in the same way, but at every position of five
    layers and with learned weights. Features of the extractor `lpips` are normalised there, and their squared distance is taken
    as it is. Other extractors return one vector for each image, so this term judges the whole image and leaves the details to
    the others; it is then at most 4 times the weight. Raises `InputError` for an extractor that runs on the host or
    rounds its images, which cannot be differentiated.
    """
    if extractor.on_host or extractor.rounds:
        why = 'rounds images to 256 levels' if extractor.rounds else 'runs on the host'
        raise InputError(f'a perceptual loss requires an extractor that can be differentiated; {extractor.name} {why}')

    def unit(images: Array) -> Array:
        features = extractor.apply(images).features
        if extractor.distances:
            return features
        return features / (euclidean_norm(features)[:, None] + 1e-10)

    return lambda real, fake: weight * jnp.square(unit(real) - unit(fake)).sum(-1)
