"""Preprocesses images for the network on the device, with the three resizes that published scores were computed with.

They define different metrics, so a score must state which one it used.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from gan_jax.metrics.extractors.inception.network import SIZE
from gan_jax.registry import Table
from gan_jax.typing import AnyArray, Array


def preprocess(images: AnyArray, resize: str = 'tf1') -> Array:
    """Converts images `[n, h, w, 1 or 3]` of any size to float32 `[n, 299, 299, 3]` in [-1, 1).

    The result is `(x - 128) / 128` of the resized levels x. Images are uint8, or floats in [-1, 1], which are first rounded to
    the nearest of the 256 levels and clipped, as they would be in an image file. Grey images are repeated to three channels.
    `resize` is a name in `RESIZES`. Raises `ValueError` for another type or shape, and `InputError` for an unknown resize.
    """
    x = RESIZES[resize](levels(images))
    return ((jnp.repeat(x, 3, -1) if x.shape[-1] == 1 else x) - 128) / 128


def levels(images: AnyArray) -> Array:
    """Converts uint8 images, or floats in [-1, 1], to float32 levels 0, 1, ..., 255; NaN stays NaN.

    Raises `ValueError` for another type or shape.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f'images must be [n, height, width, 1 or 3 channels], got {images.shape}')
    if images.dtype == jnp.uint8:
        return jnp.asarray(images, jnp.float32)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f'images must be uint8, or floats in [-1, 1], got {images.dtype}')
    return jnp.clip(jnp.round((jnp.asarray(images, jnp.float32) + 1) * 127.5), 0, 255)


def tf1(x: Array) -> Array:
    """TensorFlow 1's `ResizeBilinear`, as in the 2015 graph, of levels `[n, h, w, c]` to `[n, 299, 299, c]`.

    Pixel i lies at i * scale, without half-pixel centres or antialiasing. Published FID, KID and Inception scores use this resize
    (TTUR, torch-fidelity, guided-diffusion).
    """
    rows, columns = (_bilinear_matrix(size) for size in x.shape[1:3])
    return jnp.einsum('ih,nhwc,jw->nijc', rows, x, columns, precision=Precision.HIGHEST)


def _bilinear_matrix(size: int) -> np.ndarray:
    """`[SIZE, size]` in float32 arithmetic, as in TensorFlow: at 1024 pixels the rounding of the positions matters."""
    position = np.arange(SIZE, dtype=np.float32) * np.float32(size / SIZE)
    low = np.floor(position).astype(int)
    weight = position - low.astype(np.float32)
    matrix = np.zeros((SIZE, size), np.float32)
    np.add.at(matrix, (np.arange(SIZE), low), 1 - weight)
    np.add.at(matrix, (np.arange(SIZE), np.minimum(low + 1, size - 1)), weight)
    return matrix


def clean(x: Array) -> Array:
    """Pillow's antialiased bicubic resize of levels `[n, h, w, c]` to `[n, 299, 299, c]`, for "clean" FID (Parmar et al. 2022).

    Each channel is resized in float, clipped to [0, 255] and not rounded.
    """
    return jnp.clip(_resize(x, 'cubic', antialias=True), 0, 255)


def half_pixel(x: Array) -> Array:
    """PyTorch's bilinear `interpolate` of levels `[n, h, w, c]` to `[n, 299, 299, c]`: half-pixel centres, no antialiasing.

    This is the resize of pytorch-fid, whose input is then `x / 127.5 - 1`; here it is `(x - 128) / 128`, as in the graph.
    """
    return _resize(x, 'bilinear', antialias=False)


def _resize(x: Array, method: str, *, antialias: bool) -> Array:
    shape = (x.shape[0], SIZE, SIZE, x.shape[3])
    return jax.image.resize(x, shape, method, antialias=antialias, precision=Precision.HIGHEST)


RESIZES = Table('resize', {'tf1': tf1, 'clean': clean, 'half_pixel': half_pixel})
"""Name -> function from levels `[n, h, w, c]` to `[n, 299, 299, c]`."""
