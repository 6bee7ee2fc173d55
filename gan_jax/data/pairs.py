"""Paired images, and two sets of images without pairs."""

import copy
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data import decoding
from gan_jax.data.decoding import common_channels
from gan_jax.data.folders import SPLITS, FolderSource
from gan_jax.data.images import resize
from gan_jax.data.reading import SUFFIXES, files_below, image_files, read_image
from gan_jax.errors import InputError
from gan_jax.typing import AnyArray, Array, Key


class PairSource:
    """A folder of image pairs, A and B, read by index: `{'input': ..., 'target': ...}`, uint8 `[n, size, size, channels]`.

    Either every image file shows a pair side by side, A on the left and B on the right (pix2pix's format), or the folder has
    subfolders `A` and `B` with images of the same names, up to their suffixes. Folders `train`, `val` and `test`, above or below
    `A` and `B`, are splits; without them, all pairs belong to 'train'. Both images are cropped to their central square and
    resized.

    Args:
        path: the folder.
        size: side to which images are resized.
        split: name of the split.
        direction: 'a_to_b' or 'b_to_a': which image is translated into which.
        channels: 1 or 3; None for 1 if every image is grey, and 3 otherwise.
        skip_broken: whether `load` and `readable` leave out pairs with an image that cannot be read instead of raising.

    Raises `InputError` for a missing folder or split, for an image without a partner, for a pair of different shapes, and for an
    image that cannot be read.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        size: int,
        *,
        split: str = 'train',
        direction: Literal['a_to_b', 'b_to_a'] = 'a_to_b',
        channels: int | None = None,
        skip_broken: bool = False,
    ) -> None:
        if direction not in ('a_to_b', 'b_to_a'):
            raise InputError(f"direction must be 'a_to_b' or 'b_to_a', not {direction!r}")
        self.path, self.size, self.split = pathlib.Path(path), size, split
        self.direction, self.skip_broken = direction, skip_broken
        folders = _folders(pathlib.Path(path), split)
        self.files = _partners(*folders) if len(folders) == 2 else [(file,) for file in image_files(folders[0])]
        self.broken: list[str] = []
        """The first file of each pair that was left out."""
        self.channels = channels or common_channels([file for pair in self.files for file in pair], skip_broken)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns the pairs with these indices. Raises `InputError` for one that cannot be read."""
        return self._directed(np.stack([self._pair(self.files[i]) for i in indices]))

    def load(self) -> tuple[Self, dict[str, np.ndarray]]:
        """Returns the source without pairs that cannot be read, and its pairs in memory.

        Pairs are decoded once and cached, as in `FolderSource`. Raises `InputError` if none can be read and, unless
        `skip_broken`, for any that cannot.
        """
        form = f'pairs {self.split} {self.size} {self.channels}'
        found = decoding.decode(self.files, self._pair, folder=self.path, form=form, skip_broken=self.skip_broken)
        return self._only(found.readable), self._directed(found.images)

    def readable(self) -> Self:
        """Returns the source without pairs that cannot be read if `skip_broken`, and the source itself otherwise.

        Raises `InputError` if no pair can be read.
        """
        if not self.skip_broken:
            return self
        return self._only(decoding.readable(self.files, self._pair, folder=self.path))

    def _only(self, readable: np.ndarray) -> Self:
        source = copy.copy(self)
        source.broken = [str(pair[0]) for pair, fine in zip(self.files, readable, strict=True) if not fine]
        source.files = [pair for pair, fine in zip(self.files, readable, strict=True) if fine]
        return source

    def _directed(self, sides: np.ndarray) -> dict[str, np.ndarray]:
        """Maps A and B, `[n, 2, size, size, channels]`, to input and target."""
        source, target = (0, 1) if self.direction == 'a_to_b' else (1, 0)
        return {'input': sides[:, source], 'target': sides[:, target]}

    def _pair(self, files: tuple[pathlib.Path, ...]) -> np.ndarray:
        images = [read_image(file, None, self.channels) for file in files]
        if len(images) == 1:
            width = images[0].shape[1]
            if width % 2:
                raise InputError(f'{files[0]} is {width} pixels wide: a pair side by side must have an even width')
            images = np.split(images[0], 2, axis=1)
        (h, w), (h_b, w_b) = (image.shape[:2] for image in images)
        if h * w_b != h_b * w:
            raise InputError(f'{files[0]} is {w} x {h} pixels and {files[1]} {w_b} x {h_b}: a pair must have one shape')
        return np.concatenate([resize(image[None], self.size) for image in images])


def pairs(path: str | pathlib.Path, size: int, **options: Any) -> dict[str, np.ndarray]:
    """Loads all pairs of a `PairSource`, which takes the same options: `{'a': [n, size, size, c], 'b': ...}`, uint8.

    Raises `InputError` as `PairSource` does.
    """
    return PairSource(path, size, **options).load()[1]


def unpaired(
    path_a: str | pathlib.Path,
    path_b: str | pathlib.Path,
    size: int,
    channels: int | None = None,
    skip_broken: bool = False,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Loads two folders of images into memory, and lists the files that were left out because they cannot be read.

    The images are `{'a': [n, size, size, channels], 'b': [m, size, size, channels]}`, uint8; see `data.folder`.

    Args:
        path_a: folder of the set A.
        path_b: folder of the set B.
        size: side to which images are resized.
        channels: 1 or 3; None for 1 if every image of both sets is grey, and 3 otherwise.
        skip_broken: whether to leave out images that cannot be read.

    Raises `InputError` as `FolderSource` does.
    """
    channels = channels or common_channels([*image_files(path_a), *image_files(path_b)], skip_broken)
    a, b = (FolderSource(path, size, channels=channels, skip_broken=skip_broken).load() for path in (path_a, path_b))
    return {'a': a.images, 'b': b.images}, [*a.broken, *b.broken]


def without_pairs(paired: Mapping[str, AnyArray], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns the inputs of a random half of the pairs as `a`, and the targets of the other half as `b`: they share no scene."""
    order = np.random.default_rng(seed).permutation(len(paired['input']))
    half = len(order) // 2
    return {'a': np.asarray(paired['input'])[order[:half]], 'b': np.asarray(paired['target'])[order[half:]]}


def loading_size(size: int) -> int:
    """Returns the size at which to load images that `jitter` crops to `size`: 286 for 256 (Isola et al. 2017, appendix 6.2)."""
    return round(size * 286 / 256)


def jitter(example: Any, key: Key, *, size: int, mirror: bool = True) -> Any:
    """Crops an example to `size` at a random position and mirrors it with probability 1/2 (Isola et al. 2017, appendix 6.2).

    Args:
        example: an image `[h, w, c]`, or a pytree of images with the same height and width, which remain aligned.
        key: random key.
        size: side of the crop.
        mirror: whether to mirror at all.

    Raises `ValueError` for images that differ in height or width, or are smaller than `size`.
    """
    shapes = {image.shape[:2] for image in jax.tree.leaves(example)}
    (height, width), *others = shapes
    if others or min(height, width) < size:
        raise ValueError(f'images to be cropped to {size} must have one height and width, at least that, got {sorted(shapes)}')
    crop_key, mirror_key = jax.random.split(key)
    corner = jax.random.randint(crop_key, (2,), 0, jnp.array([height - size, width - size]) + 1)
    mirrored = jax.random.bernoulli(mirror_key) if mirror else False

    def one(image: Array) -> Array:
        cropped = jax.lax.dynamic_slice(image, (*corner, 0), (size, size, image.shape[2]))
        return jnp.where(mirrored, cropped[:, ::-1], cropped)

    return jax.tree.map(one, example)


def pair_splits(path: str | pathlib.Path) -> tuple[str, ...]:
    """Returns the splits of a folder of pairs; empty if all its pairs are 'train'."""
    path = pathlib.Path(path)
    return tuple(name for name in SPLITS if any((below / name).is_dir() for below in (path, path / 'A', path / 'B')))


def two_sets(path: str | pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """Returns the splits of a folder with two sets of images without pairs, and their folders A and B; empty for other folders.

    The folders are `trainA` and `trainB` (CycleGAN's format), or `A` and `B` above or below the splits, or without splits.
    Raises `InputError` for a folder with one set but not the other.
    """
    layouts = {split: (f'{split}{{0}}', f'{split}/{{0}}', f'{{0}}/{split}') for split in SPLITS}
    folders = lambda layout: tuple(pathlib.Path(path) / layout.format(side) for side in 'AB')
    found = {}
    for split, layout in [*((name, layout) for name in layouts for layout in layouts[name]), ('train', '{0}')]:
        there = [folder for folder in folders(layout) if folder.is_dir()]
        if len(there) == 1:
            raise InputError(f'there is no folder of the other set beside {there[0]}')
        if there and split not in found:
            found[split] = (there[0], there[1])
    return found


def _folders(path: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Returns the folder of a split's images side by side, or its folders A and B."""
    if not path.is_dir():
        raise InputError(f'no folder {path}')
    splits = pair_splits(path)
    if split not in (splits or ['train']):
        raise InputError(f'{path} has no split {split!r}; it has {"splits " + ", ".join(splits) if splits else "no splits"}')
    top = path / split if (path / split).is_dir() else path
    sides = [top / name for name in ('A', 'B')]
    missing = [side for side in sides if not side.is_dir()]
    if len(missing) == 2:
        _check_side_by_side(path, top)
        return [top]
    if missing:
        raise InputError(f'no folder {missing[0]}: folders A and B must both exist')
    return [side / split if (side / split).is_dir() else side for side in sides]


def _check_side_by_side(path: pathlib.Path, top: pathlib.Path) -> None:
    """Raises `InputError` for a folder that holds two sets of images, which would otherwise be cut in two as if they were pairs.

    `top` is the folder of the split.
    """
    if sets := two_sets(path):
        names = ' and '.join(str(folder.relative_to(path)) for folder in next(iter(sets.values())))
        raise InputError(
            f'{path} holds {names}, two sets without pairs: train on them by python -m experiments.cyclegan --task {path}; '
            'a pair must be two images of the same name in folders A and B, or one image side by side'
        )
    below = sorted(folder for folder in top.iterdir() if folder.is_dir() and not folder.name.startswith('.'))
    names_of = lambda folder: {file.relative_to(folder).with_suffix('') for file in files_below(folder, SUFFIXES)}
    if len(below) == 2 and names_of(below[0]) == names_of(below[1]) != set():
        raise InputError(
            f'the images of {below[0]} and {below[1].name} have the same names: if they are pairs, call the folders A and B'
        )


def _partners(a: pathlib.Path, b: pathlib.Path) -> list[tuple[pathlib.Path, ...]]:
    """Returns the images of both folders that have the same name."""
    named = []
    for side in (a, b):
        files: dict[pathlib.Path, pathlib.Path] = {}
        for file in image_files(side):
            name = file.relative_to(side).with_suffix('')
            if name in files:
                raise InputError(f'{file} and {files[name].name} share a name, so their partner is ambiguous')
            files[name] = file
        named.append(files)
    alone = [files[name] for files, others in (named, named[::-1]) for name in files if name not in others]
    if alone:
        more = f' and {len(alone) - 3} more' if len(alone) > 3 else ''
        raise InputError(f'no partner of the same name for {", ".join(map(str, alone[:3]))}{more}')
    return [(file, named[1][name]) for name, file in named[0].items()]
