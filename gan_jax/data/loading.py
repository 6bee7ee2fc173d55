"""Image data sets by name: `digits`, the path of a folder or of a file of arrays, or a TFDS name.

The name of the digits or of a TFDS data set can include a split, as in `mnist:test`, which then replaces 'train'.
"""

import math
import os
import pathlib
from collections.abc import Callable
from typing import Literal, TypeAlias

from gan_jax.data.arrays import SUFFIXES, array_file
from gan_jax.data.decoding import left_out
from gan_jax.data.folders import FolderSource, folder_splits
from gan_jax.data.images import Images, digits, recoloured, resize
from gan_jax.data.reading import Size, sides
from gan_jax.data.tfds import TfdsSource, has_held_out, held_out, is_known
from gan_jax.errors import InputError

DIGITS_SIZE = 16
"""Default size of the digits, which are 8 x 8 originally."""
FOLDER_SIZE = 64
"""Default size of the images of a folder."""

_OF_RUNS = ('checkpoints', 'metrics.jsonl', 'generator.json', 'sampler.bin', 'results.json', 'tensorboard')
"""What lies beside the `config.json` of a run."""

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
    check: Callable[[Size], object] = lambda size: None,
) -> Images:
    """Loads an image data set into memory, uint8 `[n, height, width, channels]`.

    Args:
        name: 'digits', the path of a folder of images (see `FolderSource`) or of a `.npz` or `.npy` file (see
            `arrays.array_file`), or a TFDS name (see `tfds.parse`).
        split: name of the split; 'test' is the validation split of a data set that has no other.
        size: side of squares, or height and width, to which images are cropped and resized; None for the size of the data
            set, which must then be square: 16 for the digits, 64 for a folder.
        data_dir: folder of prepared TFDS data sets.
        channels: 1 or 3; None for those of the data set.
        skip_broken: whether to leave out images of a folder that cannot be read.
        check: called with the size of the images before they are decoded; it may raise. Only a file of arrays is read first.

    Raises `InputError` for an unknown name or split, and for images that cannot be read.
    """
    if is_digits(name):
        check(size or DIGITS_SIZE)
        data = digits(_digits_split(name, split))
        return data._replace(images=recoloured(resize(data.images, size or DIGITS_SIZE), channels))
    if is_array_file(name):
        if split != 'train':
            raise InputError(f'{name} has no split {split!r}: a file of arrays has no splits')
        return _array_file(name, size, channels, check)
    source = _open(name, split, size, data_dir, channels, skip_broken)
    check(source.size)
    return source.load()


def open_source(
    name: str,
    *,
    split: str = 'train',
    size: Size | None = None,
    data_dir: str | os.PathLike | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
) -> ImageSource:
    """Opens a folder or a TFDS data set that is read from disk on demand, as required by `data.feeds.stream`.

    Args:
        name: as in `load`, but not that of the digits or of a file of arrays.
        split: as in `load`.
        size: as in `load`.
        data_dir: as in `load`.
        channels: as in `load`.
        skip_broken: as in `load`.

    Raises `InputError` as `load` does.
    """
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
    check: Callable[[Size], object] = lambda size: None,
) -> Images | ImageSource:
    """Loads an image data set, or opens it if it has more than `memory_limit` bytes of pixels.

    Args:
        name: as in `load`.
        split: as in `load`.
        size: as in `load`, or 'native' for the common size of all images, which need not be square.
        data_dir: as in `load`.
        memory_limit: maximum size of the pixels in memory, in bytes; the digits and files of arrays are always loaded.
        channels: as in `load`.
        skip_broken: as in `load`.
        check: as in `load`.

    Raises `InputError` as `load` does.
    """
    if is_array_file(name) and size == 'native':
        return _array_file(name, size, channels, check)
    if is_digits(name) or is_array_file(name):
        return load(name, split=split, size=None if size == 'native' else size, channels=channels, check=check)
    source = _open(name, split, size, data_dir, channels, skip_broken)
    check(source.size)
    return _on_disk(source) if len(source) * math.prod(sides(source.size)) * source.channels > memory_limit else source.load()


def _open(
    name: str,
    split: str,
    size: Size | Literal['native'] | None,
    data_dir: str | os.PathLike | None,
    channels: int | None,
    skip_broken: bool,
) -> ImageSource:
    """Returns a source that still includes broken images."""
    if is_folder(name, data_dir):
        if is_run(pathlib.Path(name)):
            raise InputError(f'{name} is the directory of a run; python -m experiments.generate {name} --out FOLDER draws images')
        return FolderSource(name, size or FOLDER_SIZE, split=split, channels=channels, skip_broken=skip_broken)
    source = TfdsSource(name, split, size=size, data_dir=data_dir)
    source.channels = channels or source.channels
    return source


def _on_disk(source: ImageSource) -> ImageSource:
    return source.readable() if isinstance(source, FolderSource) else source


def _array_file(
    name: str, size: Size | Literal['native'] | None, channels: int | None, check: Callable[[Size], object]
) -> Images:
    images = array_file(name, size=None if size == 'native' else size, channels=channels)
    height, width = images.images.shape[1:3]
    if size is None and height != width:
        raise InputError(f'the images of {name} are {height} x {width}, not square: give a size')
    check(images.size)
    return images


def describe(name: str, images: Images | ImageSource) -> str:
    """Describes a data set in one line: number and size of its images, colours, classes, and how many files were left out."""
    count = len(images.images) if isinstance(images, Images) else len(images)
    height, width = sides(images.size)
    parts = [f'{name}: {count:,} images of {height} x {width} pixels', 'grey' if images.channels == 1 else 'colour']
    if images.classes:
        parts.append(f'{len(images.classes)} classes')
    return ', '.join(parts) + ('' if isinstance(images, TfdsSource) else left_out(images.broken))


def is_folder(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Returns whether a name is the path of a folder: one that exists, or one that no other data set could have as its name."""
    if not name or is_digits(name):
        return False
    path = pathlib.Path(name)
    if os.sep not in name and path.is_dir() and (is_run(path) or _is_prepared(path)) and is_known(name, data_dir):
        return False  # where runs or prepared data sets are
    return path.is_dir() or name.startswith(('.', '~', os.sep)) or (os.sep in name and not is_known(name, data_dir))


def is_run(path: pathlib.Path) -> bool:
    """Returns whether a folder is the directory of a run, whose pictures are not a data set."""
    return (path / 'config.json').is_file() and any((path / name).exists() for name in _OF_RUNS)


def _is_prepared(path: pathlib.Path) -> bool:
    """Returns whether a folder holds a data set that TFDS has prepared: `VERSION/` or `CONFIG/VERSION/`."""
    version = '[0-9]*.[0-9]*.[0-9]*/dataset_info.json'
    return any(next(path.glob(pattern), None) is not None for pattern in (version, f'*/{version}'))


def is_named(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Returns whether a name is that of the digits or of a data set in TFDS, whatever folders there are."""
    return is_digits(name) or is_known(name, data_dir)


def is_array_file(name: str) -> bool:
    """Returns whether a name is that of a file of arrays."""
    return pathlib.Path(name).suffix in SUFFIXES


def is_digits(name: str) -> bool:
    """Returns whether a name is that of the digits, with or without a split."""
    return name.partition(':')[0] == 'digits'


def _digits_split(name: str, split: str) -> str:
    _, colon, named = name.partition(':')
    if colon and not named:
        raise InputError(f'{name!r} does not name a split: the digits have train and test')
    if split == 'test' and named == 'test':
        raise InputError('digits:test leaves no images to evaluate on')
    return named or split if split == 'train' else split


def held_out_name(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """Returns the name of the images that `load` uses for the split 'test', without any other split in it.

    Raises `InputError` if a TFDS data set has no such split.
    """
    if is_digits(name):
        return 'digits:test'
    if is_folder(name, data_dir) or is_array_file(name):
        return name
    return held_out(name, data_dir)


def has_test_set(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Returns whether a data set has held-out images apart from those that its name denotes.

    Files of arrays, folders without splits and TFDS data sets with only a training split have none.
    """
    if is_array_file(name) or name == 'digits:test':
        return False
    if is_folder(name, data_dir):
        return bool({'val', 'test'} & set(folder_splits(name)))
    return is_digits(name) or has_held_out(name, data_dir)
