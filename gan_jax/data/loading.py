"""One name for every image data set: `digits`, the path of a folder or of a file of arrays, or a TFDS name.

Of the digits and of TFDS a name may have a split, `mnist:test`, which then takes the place of 'train'.
"""

import math
import os
import pathlib
from typing import Literal, TypeAlias

from gan_jax.data.arrays import SUFFIXES, array_file
from gan_jax.data.decoding import left_out
from gan_jax.data.folders import FolderSource, folder_splits
from gan_jax.data.images import Images, digits, recoloured, resize
from gan_jax.data.reading import Size, sides
from gan_jax.data.tfds import TfdsSource, has_held_out, held_out, is_known
from gan_jax.errors import InputError

DIGITS_SIZE = 16
"""The digits are 8 x 8; by default they are enlarged to this."""
FOLDER_SIZE = 64

ImageSource: TypeAlias = TfdsSource | FolderSource
"""An image data set on disk, read by index."""


def load(
    name: str,
    *,
    split: str = 'train',
    size: Size | None = None,
    data_dir: str | os.PathLike | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
) -> Images:
    """An image data set in memory, uint8 `[n, height, width, channels]`.

    Args:
        name: 'digits', the path of a folder of images (see `FolderSource`) or of a `.npz` or `.npy` file (see
            `arrays.array_file`), or a TFDS name (see `tfds.parse`).
        split: which of its splits; 'test' is the validation split of a set without another.
        size: the side of squares, or height and width, to which images are cropped and resized; the data set's own if it is not
            given, which has to be square: 16 for the digits, 64 for a folder.
        data_dir: where TFDS data sets are prepared.
        channels: 1 or 3; the data set's own if it is not given.
        skip_broken: leave out the images of a folder that cannot be read.

    Raises `InputError` for a name that is not a data set's, and for a split that it does not have.
    """
    if is_digits(name):
        data = digits(_digits_split(name, split))
        return data._replace(images=recoloured(resize(data.images, size or DIGITS_SIZE), channels))
    if is_array_file(name):
        if split != 'train':
            raise InputError(f'{name} has no splits, not {split!r}')
        images = array_file(name, size=size, channels=channels)
        return _squares(name, images) if size is None else images
    return _open(name, split, size, data_dir, channels, skip_broken).load()


def open_source(
    name: str,
    *,
    split: str = 'train',
    size: Size | None = None,
    data_dir: str | os.PathLike | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
) -> ImageSource:
    """A folder or a TFDS data set, read from disk as it is needed, for `data.stream`; the arguments are those of `load`."""
    return _on_disk(_open(name, split, size, data_dir, channels, skip_broken))


def load_or_open(
    name: str,
    *,
    split: str,
    size: Size | Literal['native'] | None,
    data_dir: str | os.PathLike | None,
    memory_limit: float,
    channels: int | None = None,
    skip_broken: bool = False,
) -> Images | ImageSource:
    """`load`, or `open_source` for a data set of more than `memory_limit` bytes of pixels.

    The size may be 'native': that which all images have, of whatever shape.
    """
    if is_array_file(name) and size == 'native':
        return array_file(name, channels=channels)
    if is_digits(name) or is_array_file(name):
        return load(name, split=split, size=None if size == 'native' else size, channels=channels)
    source = _open(name, split, size, data_dir, channels, skip_broken)
    return _on_disk(source) if len(source) * math.prod(sides(source.size)) * source.channels > memory_limit else source.load()


def _open(
    name: str,
    split: str,
    size: Size | Literal['native'] | None,
    data_dir: str | os.PathLike | None,
    channels: int | None,
    skip_broken: bool,
) -> ImageSource:
    """A source whose broken images are still in it."""
    if is_folder(name, data_dir):
        return FolderSource(name, size or FOLDER_SIZE, split=split, channels=channels, skip_broken=skip_broken)
    source = TfdsSource(name, split, size=size, data_dir=data_dir)
    source.channels = channels or source.channels
    return source


def _on_disk(source: ImageSource) -> ImageSource:
    return source.readable() if isinstance(source, FolderSource) else source


def _squares(name: str, images: Images) -> Images:
    height, width = images.images.shape[1:3]
    if height != width:
        raise InputError(f'the images of {name} are {height} x {width}, not square: give a size')
    return images


def describe(name: str, images: Images | ImageSource) -> str:
    """One line on a data set: how many images there are, of which size, and how many were left out."""
    count = len(images.images) if isinstance(images, Images) else len(images)
    height, width = sides(images.size)
    parts = [f'{name}: {count:,} images of {height} x {width} pixels', 'grey' if images.channels == 1 else 'colour']
    if images.classes:
        parts.append(f'{len(images.classes)} classes')
    return ', '.join(parts) + ('' if isinstance(images, TfdsSource) else left_out(images.broken))


def is_folder(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether a data set's name is the path of a folder: one that exists, or that is spelled as no other data set is."""
    if not name:
        return False
    return pathlib.Path(name).is_dir() or name.startswith(('.', '~', os.sep)) or (os.sep in name and not is_known(name, data_dir))


def is_array_file(name: str) -> bool:
    """Whether a data set's name is that of a file of arrays."""
    return pathlib.Path(name).suffix in SUFFIXES


def is_digits(name: str) -> bool:
    """Whether a data set's name is that of the digits, with or without a split."""
    return name.partition(':')[0] == 'digits'


def _digits_split(name: str, split: str) -> str:
    _, colon, named = name.partition(':')
    if colon and not named:
        raise InputError(f'{name!r} names no split: the digits have train and test')
    if split == 'test' and named == 'test':
        raise InputError('digits:test leaves no images to judge on')
    return named or split if split == 'train' else split


def held_out_name(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The name of the images that `load` takes for the split 'test', with no other split in it."""
    if is_digits(name):
        return 'digits:test'
    if is_folder(name, data_dir) or is_array_file(name):
        return name
    return held_out(name, data_dir)


def has_test_set(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether a data set has held-out images beside those that its name stands for.

    Files of arrays have none, nor have folders without splits and TFDS data sets of a training split alone.
    """
    if is_array_file(name) or name == 'digits:test':
        return False
    if is_folder(name, data_dir):
        return bool({'val', 'test'} & set(folder_splits(name)))
    return is_digits(name) or has_held_out(name, data_dir)
