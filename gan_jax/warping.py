"""Affine maps of an image: by whole pixels, which is exact, and by one resampling through a wavelet's low-pass filter.

An image is `[h, w, c]`. A map is a matrix `[3, 3]` that takes the place (x, y, 1) of a pixel of the result to the place in the
image that it shows; places are counted in pixels from the image's centre, x to the right and y down. Beyond the edges an image
continues as its mirror image about the pixels at the edge.
"""

import functools

import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.typing import Array

SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
])  # fmt: skip
"""The low-pass filter of Daubechies' least asymmetric wavelet with 6 vanishing moments."""
SYM2 = np.array([-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025])
"""That with 2 vanishing moments."""
_CENTRE = float(np.arange(len(SYM6)) @ SYM6 / SYM6.sum())
"""Where a pixel lies in its filtered enlargement, counted from the first tap."""


def mirrored(index: Array | np.ndarray, side: int) -> Array:
    """Maps any indices, of any shape, into [0, side - 1] by mirroring at the edges."""
    period = max(2 * (side - 1), 1)
    index = jnp.mod(index, period)
    return jnp.minimum(index, period - index) if side > 1 else jnp.zeros_like(index)


def moved(image: Array, inverse: Array) -> Array:
    """An image `[h, w, c]` after a map that takes pixels to pixels, exactly; a place between pixels shows the nearest one.

    `inverse` is the map `[3, 3]` from places in the result to places in the image.
    """
    (height, width), places = image.shape[:2], _places(image.shape[:2], 1.0, 0.0)
    x, y = _mapped(inverse, places)
    column, row = (jnp.floor(at + (side - 1) / 2 + 0.5).astype(jnp.int32) for at, side in ((x, width), (y, height)))
    return image[mirrored(row, height), mirrored(column, width)]


@compilation.exact
def resampled(image: Array, inverse: Array) -> Array:
    """An image `[h, w, c]` after any affine map, by bilinear interpolation at twice its size (Karras et al. 2020, appendix B.2).

    The image is enlarged by 2 through the filter `SYM6`, interpolated, and reduced through the same filter, which is orthogonal
    to its even shifts; so the identity changes nothing but rounding, and linear ramps stay linear.
    `inverse` is the map `[3, 3]` from places in the result to places in the image.
    """
    height, width, _ = image.shape
    fine = jnp.einsum('ih,jw,hwc->ijc', _enlarging(height), _enlarging(width), image)
    x, y = _mapped(inverse, _places((height, width), 0.5, _CENTRE))
    (row, low), (column, left) = _between(y, height), _between(x, width)
    rows, columns = (slice(None, -1), slice(1, None)), (slice(None, -1), slice(1, None))
    corners = jnp.stack([fine[r, c] for r in rows for c in columns], 2)  # together, so that there is one gather
    shares = jnp.stack([a * b for a in (1 - low, low) for b in (1 - left, left)], -1)
    found = (shares[..., None] * corners[row, column]).sum(2)
    return jnp.einsum('hi,wj,ijc->hwc', _reducing(height), _reducing(width), found).astype(image.dtype)


def _places(sides: tuple[int, ...], step: float, centre: float) -> tuple[Array, Array]:
    """The places (x, y) of the pixels of the result, or of its filtered enlargement, each `[rows, columns]`."""
    rows, columns = (jnp.arange(side if step == 1 else _fine(side)) * step - step * centre - (side - 1) / 2 for side in sides)
    y, x = jnp.meshgrid(rows, columns, indexing='ij')
    return x, y


def _mapped(inverse: Array, places: tuple[Array, Array]) -> tuple[Array, Array]:
    x, y = places
    a = inverse.astype(x.dtype)
    return a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]


def _fine(side: int) -> int:
    """The number of entries of an enlargement that has all that the reduction to `side` pixels reads."""
    return 2 * side - 2 + len(SYM6)


def _between(place: Array, side: int) -> tuple[Array, Array]:
    """The first of the two entries of an enlargement between which a place lies, and the share of the second."""
    at, last = place + (side - 1) / 2, side - 1
    period = max(2 * last, 1)
    fold = jnp.mod(at, period)
    beyond = (at < -_CENTRE / 2) | (2 * at + _CENTRE > _fine(side) - 1)
    at = jnp.where(beyond, jnp.minimum(fold, period - fold) if last else 0, at)
    entry = jnp.clip(2 * at + _CENTRE, 0, _fine(side) - 1)
    first = jnp.minimum(jnp.floor(entry), _fine(side) - 2).astype(jnp.int32)
    return first, entry - first


@functools.cache
def _reducing(side: int) -> np.ndarray:
    """`[side, fine]`: row n is the filter that begins at entry 2n, with sum 1."""
    matrix = np.zeros((side, _fine(side)), np.float32)
    for n in range(side):
        matrix[n, 2 * n : 2 * n + len(SYM6)] = SYM6 / np.sqrt(2)
    return matrix


@functools.cache
def _enlarging(side: int) -> np.ndarray:
    """`[fine, side]`: every pixel of the image and of its mirror images puts a filter, with sum 2, at twice its index."""
    matrix = np.zeros((_fine(side), side))
    period = max(2 * (side - 1), 1)
    for n in range(-len(SYM6), side + len(SYM6)):
        index = n % period
        pixel = min(index, period - index) if side > 1 else 0
        for tap, value in enumerate(SYM6):
            if 0 <= 2 * n + tap < len(matrix):
                matrix[2 * n + tap, pixel] += np.sqrt(2) * value
    return matrix.astype(np.float32)
