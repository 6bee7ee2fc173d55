"""A folder of images as a data set: its splits, its classes, and its pixels, either decoded once and cached or read on demand."""

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
"""The names of folders that are splits."""
_OTHERS = {'training': 'train', 'valid': 'val', 'validation': 'val', 'dev': 'val', 'testing': 'test'}
"""Other names of them, which are refused, because their images would be classes, or be left out."""


class FolderSource:
    """The images below a folder, read by index (a `feeds.Source`), cropped around their centres and resized.

    A folder with a subfolder `train` has the splits `train`, `val` and `test`, each of them a subfolder; if there is no `test`,
    the split 'test' is `val`. Otherwise all images belong to 'train'. If all training images are in subfolders, the topmost of
    those in which they differ are the classes, sorted by name. Images directly in the folder of another split have no labels.

    Args:
        path: the folder.
        size: side of squares, or height and width; 'native' for the common size of all images, or 0 to leave images as they
            are, of any sizes, for `images` only.
        split: name of the split.
        channels: 1 or 3; None for 1 if every image is grey, and 3 otherwise.
        skip_broken: whether `load`, `readable` and `images` skip images that cannot be read instead of raising.

    Raises `InputError` for a missing folder or split, for a folder without images, and for an image outside the classes of the
    training images; methods that read images raise it for an image that cannot be read.
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
        if self._labels is None:
            self.classes = ()

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns `image`, uint8 `[n, height, width, channels]`, and, if there are classes, `label`, int32 `[n]`.

        Raises `InputError` for an image that cannot be read.
        """
        batch = {'image': np.stack([self._read((self.files[i],)) for i in indices])}
        if self._labels is not None:
            batch['label'] = self._labels[list(indices)]
        return batch

    def every_label(self) -> np.ndarray | None:
        """Returns the labels of all images, int32 `[n]`; None without classes."""
        return self._labels

    def images(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """Reads images in threads, each uint8 `[h, w, channels]`; with `skip_broken`, those that cannot be read are None."""
        return list(
            decoding.in_threads(decoding.unless_broken(self._read, self.skip_broken), [(self.files[i],) for i in indices])
        )

    def load(self) -> Images:
        """Loads all images into memory. They are decoded once and cached until a file of the folder changes.

        Raises `InputError` if no image can be read and, unless `skip_broken`, for any that cannot.
        """
        form = f'{"native " if self._native else ""}{self.size} {self.channels}'
        found = decoding.decode(self._examples, self._read, folder=self.path, form=form, skip_broken=self.skip_broken)
        source = self._only(found.readable)
        return Images(found.images, source._labels, source.classes, tuple(source.broken))

    def readable(self) -> Self:
        """Returns the source without images that cannot be read if `skip_broken`, and the source itself otherwise.

        Raises `InputError` if no image can be read.
        """
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
            raise InputError(f'{files[0]} is {h} x {w}, but other images are {height} x {width}: give a size')
        return image

    def _first_size(self) -> Size:
        """Returns the size of the first image that can be read."""
        as_it_is: Callable[[pathlib.Path], np.ndarray] = lambda file: read_image(file, None, 3)
        read = decoding.unless_broken(as_it_is, self.skip_broken)
        for image in map(read, self.files):
            if image is not None:
                return size_of(*image.shape[:2])
        raise InputError(f'none of the {len(self.files)} images in {self.path} can be read')

    def _only(self, readable: np.ndarray) -> Self:
        """Returns the source without the images that are not readable."""
        source = copy.copy(self)
        source.broken = [str(file) for file, fine in zip(self.files, readable, strict=True) if not fine]
        source.files = [file for file, fine in zip(self.files, readable, strict=True) if fine]
        source._labels = None if self._labels is None else self._labels[readable]
        return source


def folder(path: str | pathlib.Path, size: Size, channels: int | None = None) -> Images:
    """Loads the training images below a folder into memory, and raises `InputError`, as `FolderSource` does."""
    return FolderSource(path, size, channels=channels).load()


def folder_splits(path: str | pathlib.Path) -> tuple[str, ...]:
    """Returns the splits of a folder; empty if all its images are 'train'. Raises `InputError` for splits of other names."""
    folders = {other.name for other in pathlib.Path(path).iterdir() if other.is_dir()} if pathlib.Path(path).is_dir() else set()
    there = tuple(name for name in SPLITS if name in folders)
    called = {_OTHERS.get(name.lower(), name.lower()): name for name in sorted(folders)}
    if {'train'} < set(called) & set(SPLITS) and any(called[name] != name for name in set(called) & set(SPLITS)):
        names = ', '.join(f'{called[name]} {name}' for name in SPLITS if name in called and called[name] != name)
        raise InputError(f'the splits of {path} must be the folders train, val and test: rename or link {names}')
    return there if 'train' in there else ()


def split_folder(path: str | pathlib.Path, split: str) -> pathlib.Path:
    """Returns the folder of a split. Raises `InputError` if the folder does not have this split."""
    path = pathlib.Path(path)
    splits = folder_splits(path)
    if split == 'test' and 'test' not in splits and 'val' in splits:
        split = 'val'
    if path.is_dir() and split not in (splits or ('train',)):
        raise InputError(
            f'{path} has no split {split!r}; it has {"splits " + ", ".join(splits) if splits else "no folders train and test"}'
        )
    return path / split if splits else path


def class_names(files: Sequence[pathlib.Path]) -> tuple[str, ...]:
    """Returns the folders directly below the common parent of all files if every file is in one of them, and none otherwise."""
    top = os.path.commonpath([file.parent for file in files])
    inside = [file.relative_to(top).parts for file in files]
    return () if any(len(parts) == 1 for parts in inside) else tuple(sorted({parts[0] for parts in inside}))


def class_numbers(path: pathlib.Path, files: Sequence[pathlib.Path], classes: Sequence[str]) -> np.ndarray | None:
    """Returns the class number of each file below `path`, int32 `[n]`; None without classes.

    Raises `InputError` for a file that is not in the folder of any class.
    """
    if not classes:
        return None
    numbers = {name: number for number, name in enumerate(classes)}
    if all(file.parent == path for file in files):  # such as test images without labels
        return None
    top = os.path.commonpath([file.parent for file in files])  # its own name may be that of a class
    below = pathlib.Path(top).parent if len({file.parent for file in files}) == 1 else pathlib.Path(top)
    parts = [(*file.relative_to(below).parts, *file.relative_to(path).parts) for file in files]
    found = [next((numbers[part] for part in own if part in numbers), None) for own in parts]
    if None in found:
        raise InputError(f'{files[found.index(None)]} is not in any of the {len(classes)} folders of the training images')
    return np.array(found, np.int32)
