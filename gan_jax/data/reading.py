"""Image files: how they are found in a folder, and how they are decoded."""

import os
import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gan_jax.errors import InputError

if TYPE_CHECKING:
    from PIL import Image


class BrokenImage(InputError):
    """An image file that cannot be read."""


Size: TypeAlias = int | tuple[int, int]
"""Size of images: the side of squares, or height and width."""

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')
"""Suffixes of image files."""
_GREY = ('1', 'L', 'LA', 'La', 'F')
_SYSTEM_FOLDER = '__MACOSX'
"""Folder in macOS archives that contains a second, unreadable file for every image."""


def files_below(path: pathlib.Path, suffixes: Collection[str]) -> list[pathlib.Path]:
    """Returns the files below a folder that have one of the suffixes, sorted.

    Linked folders are followed, but each folder is entered only once. Hidden files and folders, whose names begin with a dot,
    and `__MACOSX` are skipped. Raises `InputError` for a folder that cannot be opened.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f'cannot open folder {error.filename}: {error.strerror}') from error

    found, entered = [], set()
    for top, folders, names in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(top)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.') and name != _SYSTEM_FOLDER)
        found += [pathlib.Path(top, name) for name in names if not name.startswith('.')]
    return sorted(file for file in found if file.suffix.lower() in suffixes)


def image_files(path: str | pathlib.Path) -> list[pathlib.Path]:
    """Returns the image files below a folder, as `files_below` does.

    Raises `InputError` if there is no such folder, or if it has no images.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise InputError(f'no folder {path}')
    files = files_below(path, SUFFIXES)
    if not files:
        raise InputError(f'no images in {path} (looked for {" ".join(SUFFIXES)})')
    return files


def sides(size: Size) -> tuple[int, int]:
    """Returns height and width."""
    return (size, size) if isinstance(size, int) else size


def size_of(height: int, width: int) -> Size:
    """Returns the size of images: a single number if they are square."""
    return height if height == width else (height, width)


def read_image(file: pathlib.Path, size: Size | None, channels: int) -> np.ndarray:
    """Reads an image as uint8 `[h, w, channels]`, and crops it around its centre and resizes it if a size is given.

    The image is rotated according to its EXIF orientation and placed on white where it is transparent. 16-bit grey levels are
    divided by 257, and floats must be between 0 and 1. Raises `BrokenImage`, with the file's name, for an image that cannot be
    read.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = decode(image, channels)
            return cropped(pixels, size) if size else to_array(pixels)
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise BrokenImage(f'cannot read image {file}: {_reason(file, error)}') from error


def is_grey(file: pathlib.Path) -> bool:
    """Returns whether an image file is grey by its mode or its palette. Raises `BrokenImage` if it cannot be opened."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if image.mode in ('P', 'PA'):
                palette = np.array(image.getpalette()).reshape(-1, 3)
                return bool((palette == palette[:, :1]).all())
            return image.mode in _GREY or image.mode.startswith('I')
    except Exception as error:  # as in `read_image`
        raise BrokenImage(f'cannot read image {file}: {_reason(file, error)}') from error


def decode(image: 'Image.Image', channels: int) -> 'Image.Image':
    """Converts an open image to 8-bit grey levels for 1 channel or to RGB for 3; see `read_image`.

    Raises `ValueError` for grey levels out of range.
    """
    from PIL import ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    return _eight_bit(image).convert('RGB' if channels == 3 else 'L')


def _eight_bit(image: 'Image.Image') -> 'Image.Image':
    """Converts an image of any mode to mode L or RGB."""
    from PIL import Image, ImageCms

    if image.mode.startswith('I'):
        return Image.fromarray(_scaled(np.asarray(image), 65535))
    if image.mode == 'F':
        return Image.fromarray(_scaled(np.asarray(image), 1))
    if image.mode == 'LAB':
        lab, srgb = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, 'LAB', 'RGB'))  # type: ignore[return-value]
    if image.has_transparency_data:
        colours = image.convert('LA').convert('RGBA') if image.mode == 'La' else image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), colours).convert('RGB')
    return image.convert('L' if image.mode in _GREY else 'RGB')


def _scaled(levels: np.ndarray, white: int) -> np.ndarray:
    """Scales grey levels from 0 to `white` to uint8. Raises `ValueError` for levels out of this range."""
    if not ((levels >= 0) & (levels <= white)).all():
        raise ValueError(f'its pixels range from {levels.min():g} to {levels.max():g}, but must be from 0 to {white}')
    return np.round(levels * (255 / white)).astype(np.uint8)


def cropped(image: 'Image.Image', size: Size) -> np.ndarray:
    """Crops an image to the largest central part in the shape of `size` and resizes it, antialiased: uint8 `[h, w, channels]`."""
    from PIL import Image

    height, width = sides(size)
    box_width = min(image.width, max(1, round(image.height * width / height)))
    box_height = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - box_width) // 2, (image.height - box_height) // 2
    box = (left, top, left + box_width, top + box_height)
    return to_array(image.resize((width, height), Image.Resampling.BICUBIC, box=box))


def to_array(image: 'Image.Image') -> np.ndarray:
    """Converts an image with 8-bit channels to `[h, w, channels]`."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def _reason(file: pathlib.Path, error: Exception) -> str:
    """Returns a one-line reason why a file cannot be read as an image."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return 'the file is empty' if file.stat().st_size == 0 else 'it is not an image in a format that Pillow supports'
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return ' '.join(str(error).split()) or type(error).__name__
