"""Prepares images for networks of square RGB images with standardised channels: VGG-16, DINOv2 and CLIP."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from gan_jax.errors import InputError
from gan_jax.metrics.extractors.inception.preprocessing import RESIZES as FLOAT_RESIZES
from gan_jax.metrics.extractors.inception.preprocessing import levels
from gan_jax.registry import Table
from gan_jax.typing import AnyArray, Array

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of ImageNet's channels in [0, 1]."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Means and standard deviations of the channels that CLIP was trained with, in [0, 1]."""


def pillow(x: Array, side: int) -> Array:
    """Pillow's antialiased bicubic resize of levels `[n, h, w, c]` to `[n, side, side, c]`, rounded as in an 8-bit image.

    Pillow resizes the width first, then the height, and rounds and clips after each.
    """
    n, h, _, c = x.shape
    for shape in ((n, h, side, c), (n, side, side, c)):
        x = jax.image.resize(x, shape, 'cubic', antialias=True, precision=Precision.HIGHEST)
        x = jnp.clip(jnp.floor(x + 0.5), 0, 255)
    return x


RESIZES = Table('resize', {**FLOAT_RESIZES, 'pillow': pillow})
"""Name -> function from levels `[n, h, w, c]` and a side to `[n, side, side, c]`."""


def prepare(images: AnyArray, side: int, resize: str, standard: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """Converts images `[n, h, w, 1 or 3]`, uint8 or float in [-1, 1], to standardised float32 `[n, side, side, 3]`.

    Floats are first rounded to the nearest of the 256 levels, and grey images are repeated to three channels. Raises `ValueError`
    for images of another type or shape, and `InputError` for an unknown resize.

    Args:
        images: the images.
        side: height and width of the network's images.
        resize: a name in `RESIZES`.
        standard: the means and standard deviations of the three channels, in [0, 1].
    """
    x = RESIZES[resize](levels(images), side)
    mean, deviation = (255 * np.array(row, np.float32) for row in standard)
    return ((jnp.repeat(x, 3, -1) if x.shape[-1] == 1 else x) - mean) / deviation


def check_square(images: AnyArray, what: str) -> None:
    """Raises `InputError` for images `[n, h, w, c]` that are not square."""
    if images.shape[1] != images.shape[2]:
        raise InputError(f'{what} requires square images, not {images.shape[1]} x {images.shape[2]}: --resize N crops them')
