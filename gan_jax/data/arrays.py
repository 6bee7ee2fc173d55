"""Arrays of images in the forms that other programs write: their axes, their value range, and their files."""

import pathlib

import numpy as np

from gan_jax.data.images import Images, recoloured, resize
from gan_jax.data.reading import Size
from gan_jax.errors import InputError, told_to_user
from gan_jax.files import load_arrays

SUFFIXES = ('.npy', '.npz')
"""Suffixes of files of arrays."""
_ROUNDING = 1e-3
"""By how much resized or normalised floats may exceed their range."""
_CHANNELS = (1, 3)


def array_file(file: str | pathlib.Path, *, size: Size | None = None, channels: int | None = None) -> Images:
    """Loads the images of a `.npy` or `.npz` file as uint8 `[n, h, w, 1 or 3]`, cropped and resized if `size` is given.

    An `.npz` file must contain exactly one array of images. The array can have any form that `as_images` accepts. Raises
    `InputError` for a file that cannot be read, and for one with no array of images or with several.
    """
    arrays = load_arrays(file)
    pictures = {name: x for name, x in arrays.items() if x.ndim == 4} or {name: x for name, x in arrays.items() if x.ndim == 3}
    if len(pictures) != 1:
        what = ', '.join(f'{name} {x.dtype}{list(x.shape)}' for name, x in arrays.items()) or 'nothing'
        raise InputError(f'{file} must have one array of images [n, h, w, c], not {len(pictures)}; it has {what}')
    ((_, array),) = pictures.items()
    with told_to_user(str(file)):
        images = recoloured(as_images(array), channels)
    return Images(images if size is None else resize(images, size), None)


def as_images(array: np.ndarray) -> np.ndarray:
    """Converts any array of images to uint8 `[n, h, w, 1 or 3]`.

    The axes must be `[n, h, w, c]`, `[n, c, h, w]` (if the last axis cannot be channels) or `[n, h, w]`, with 1 or 3 channels.
    The values can be booleans; unsigned integers of 8 or 16 bits over their whole range; other integers from 0 to 255; or floats
    over [0, 1], [-1, 1] or [0, 255], whichever is the first to contain them all, but for rounding.

    Raises `ValueError` for any other array, for an empty one, for what looks like a single image, and for values that may be of
    two ranges: of uint16 below 256, and floats that are just above 1.
    """
    if array.ndim == 3:
        if array.shape[2] in (3, 4) and array.shape[1] != array.shape[2]:  # rather than grey images so narrow
            raise ValueError(f'{list(array.shape)} may be a single image: images must be [n, h, w, c] or [n, h, w]')
        array = array[..., None]
    if array.ndim != 4 or not array.size:
        raise ValueError(f'images must be a non-empty [n, h, w, c], [n, c, h, w] or [n, h, w], not {list(array.shape)}')
    if array.shape[3] not in _CHANNELS:
        if array.shape[1] not in _CHANNELS:
            raise ValueError(f'images must have 1 or 3 channels in the last or second axis, not {list(array.shape)}')
        array = array.transpose(0, 2, 3, 1)
    return _as_bytes(array)


def _as_bytes(x: np.ndarray) -> np.ndarray:
    """Converts pixels to uint8 according to their dtype and range."""
    x = x.astype(x.dtype.newbyteorder('='), copy=False)
    if x.dtype == np.uint8:
        return x
    if x.dtype == bool:
        return x.astype(np.uint8) * np.uint8(255)
    if not (np.issubdtype(x.dtype, np.integer) or np.issubdtype(x.dtype, np.floating)):
        raise ValueError(f'pixels must be numbers, not {x.dtype}')
    low, high = float(x.min()), float(x.max())
    if x.dtype == np.uint16 and high > 255:
        return np.round(x / 257).astype(np.uint8)
    if np.issubdtype(x.dtype, np.floating):
        for start, end in ((0, 1), (-1, 1)):
            if start - _ROUNDING <= low and high <= end + _ROUNDING:
                return np.round((x.astype(np.float32).clip(start, end) - start) * (255 / (end - start))).astype(np.uint8)
        if low >= 0 and high <= 2:
            raise ValueError(f'{x.dtype} pixels from {low:g} to {high:g} may be of 0 to 1 or of 0 to 255; convert them to uint8')
    elif x.dtype == np.uint16:
        raise ValueError(f'uint16 pixels from 0 to {high:g} may have 8 or 16 bits; convert them to uint8')
    if low >= 0 and high <= 255:
        return np.round(x).astype(np.uint8)
    raise ValueError(f'{x.dtype} pixels from {low:g} to {high:g} are not in the range 0 to 1, -1 to 1 or 0 to 255')
