"""A folder of images as a data set: its splits, its classes, and its pixels, decoded once and kept, or as they are needed."""

import copy
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np

from gan_jax.data import decoding
from gan_jax.data.images import Images
from gan_jax.data.reading import Size, image_files, read_image, sides, size_of
from gan_jax.errors import InputError

SPLITS = ('train', 'val', 'test')


class FolderSource:
    """The images below a folder, read by index (a `feeds.Source`), cropped about their centres and resized to `size`.

    A folder that holds a folder `train` has splits: the folders `train`, `val` and `test`, and 'test' is `val` where there is
    no `test`. Otherwise everything is 'train'. The topmost folders in which training images differ are the classes, sorted by
    name, if every training image is in one.

    Args:
        path: the folder.
        size: the side of squares, or height and width; 'native' is the one size that all have, and 0 leaves images as they are,
            of whatever sizes, to be read by `images`.
        split: which of the splits.
        channels: 1 or 3; by default 1 if every image is grey, and 3 otherwise.
        skip_broken: whether `load` and `readable` leave out images that cannot be read, or raise.

    Raises `InputError` for a folder or a split that is not there, for a folder without images, and for an image of another
    class than the training images'; when images are read, for one that cannot be, by name.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        size: Size | Literal['native'],
        *,
        split: str = 'train',
        channels: int | None = None,
        skip_broken: bool = False,
    ) -> None:
        self.path, self.skip_broken = split_folder(path, split), skip_broken
        self.files = image_files(self.path)
        self.broken: list[str] = []
        """Files that were left out."""
        self._native = size == 'native'
        self.size: Size = self._first_size() if size == 'native' else size
        self.channels = channels or decoding.common_channels(self.files, skip_broken)
        train = split_folder(path, 'train')
        self.classes = class_names(self.files if train == self.path else image_files(train))
        self._labels = class_numbers(self.path, self.files, self.classes)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """`image`, uint8 `[n, size, size, channels]`, and `label`, int32 `[n]`, where there are classes."""
        batch = {'image': np.stack([self._read((self.files[i],)) for i in indices])}
        if self._labels is not None:
            batch['label'] = self._labels[list(indices)]
        return batch

    def every_label(self) -> np.ndarray | None:
        """The labels of all images, int32 `[n]`; None without classes."""
        return self._labels

    def images(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """Those images, uint8 `[h, w, channels]`, read by threads; with `skip_broken` None for one that cannot be read."""
        return list(
            decoding.in_threads(decoding.unless_broken(self._read, self.skip_broken), [(self.files[i],) for i in indices])
        )

    def load(self) -> Images:
        """All images in memory. They are decoded once and kept in the cache, until a file of the folder changes."""
        form = f'{"native " if self._native else ""}{self.size} {self.channels}'
        found = decoding.decode(self._examples, self._read, folder=self.path, form=form, skip_broken=self.skip_broken)
        source = self._only(found.readable)
        return Images(found.images, source._labels, source.classes, tuple(source.broken))

    def readable(self) -> Self:
        """With `skip_broken`, the source without the images that cannot be read; else as it is."""
        if not self.skip_broken:
            return self
        return self._only(decoding.readable(self._examples, self._read, folder=self.path))

    @property
    def _examples(self) -> list[decoding.Files]:
        return [(file,) for file in self.files]

    def _read(self, files: decoding.Files) -> np.ndarray:
        if not self._native:
            return read_image(files[0], self.size, self.channels)
        image = read_image(files[0], None, self.channels)
        if size_of(*image.shape[:2]) != self.size:
            (h, w), (height, width) = image.shape[:2], sides(self.size)
            raise InputError(f'{files[0]} is {h} x {w}, and others {height} x {width}: give one size for all')
        return image

    def _first_size(self) -> Size:
        """That of the first image that can be read."""
        as_it_is: Callable[[pathlib.Path], np.ndarray] = lambda file: read_image(file, None, 3)
        read = decoding.unless_broken(as_it_is, self.skip_broken)
        for image in map(read, self.files):
            if image is not None:
                return size_of(*image.shape[:2])
        raise InputError(f'none of the {len(self.files)} images in {self.path} can be read')

    def _only(self, readable: np.ndarray) -> Self:
        """The source without the images that are not readable."""
        source = copy.copy(self)
        source.broken = [str(file) for file, fine in zip(self.files, readable, strict=True) if not fine]
        source.files = [file for file, fine in zip(self.files, readable, strict=True) if fine]
        source._labels = None if self._labels is None else self._labels[readable]
        return source


def folder(path: str | pathlib.Path, size: Size, channels: int | None = None) -> Images:
    """The training images below a folder in memory; see `FolderSource`."""
    return FolderSource(path, size, channels=channels).load()


def folder_splits(path: str | pathlib.Path) -> tuple[str, ...]:
    """The splits of a folder of images; without a folder `train` it has none, and everything is 'train'."""
    there = tuple(name for name in SPLITS if (pathlib.Path(path) / name).is_dir())
    return there if 'train' in there else ()


def split_folder(path: str | pathlib.Path, split: str) -> pathlib.Path:
    """The folder of a split. Raises `InputError` for a folder or a split that is not there."""
    path = pathlib.Path(path)
    splits = folder_splits(path)
    if split == 'test' and 'test' not in splits and 'val' in splits:
        split = 'val'
    if path.is_dir() and split not in (splits or ('train',)):
        raise InputError(f'{path} has {"splits " + ", ".join(splits) if splits else "no folders train and test"}, not {split!r}')
    return path / split if splits else path


def class_names(files: Sequence[pathlib.Path]) -> tuple[str, ...]:
    """The folders right below the one that all files are in, if every file is in one of those; otherwise there are none."""
    top = os.path.commonpath([file.parent for file in files])
    inside = [file.relative_to(top).parts for file in files]
    return () if any(len(parts) == 1 for parts in inside) else tuple(sorted({parts[0] for parts in inside}))


def class_numbers(path: pathlib.Path, files: Sequence[pathlib.Path], classes: Sequence[str]) -> np.ndarray | None:
    """The number of the class that each file below `path` is in, int32 `[n]`; None without classes. Raises `InputError`."""
    if not classes:
        return None
    numbers = {name: number for number, name in enumerate(classes)}
    found = [next((numbers[part] for part in file.relative_to(path).parts if part in numbers), None) for file in files]
    if None in found:
        raise InputError(f'{files[found.index(None)]} is in none of the {len(classes)} folders of the training images')
    return np.array(found, np.int32)
