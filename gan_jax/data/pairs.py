"""Images in pairs, and two sets of images without pairs."""

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
    """A folder of pairs of images, A and B, read by index: `{'input': ..., 'target': ...}`, uint8 `[n, size, size, channels]`.

    Either every image file is a pair side by side, A to the left of B (pix2pix's form), or the folder holds folders `A` and `B`
    with images of the same names; suffixes may differ. Folders `train`, `val` and `test` are splits, above or below `A` and `B`.
    Without any, everything is 'train'. Both images are cropped to their central square and resized.

    Args:
        path: the folder.
        size: of the images.
        split: which of the splits.
        direction: what is made of what.
        channels: 1 or 3; by default 1 if every image is grey, and 3 otherwise.
        skip_broken: whether `load` and `readable` leave out pairs of which an image cannot be read, or raise.

    Raises `InputError` for a folder or split that is not there, for images without a partner or in two shapes, and for images
    that cannot be read, by name.
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
            raise InputError(f"direction is 'a_to_b' or 'b_to_a', not {direction!r}")
        self.path, self.size, self.split = pathlib.Path(path), size, split
        self.direction, self.skip_broken = direction, skip_broken
        folders = _folders(pathlib.Path(path), split)
        self.files = _partners(*folders) if len(folders) == 2 else [(file,) for file in image_files(folders[0])]
        self.broken: list[str] = []
        """Files of pairs that were left out, the first of each."""
        self.channels = channels or common_channels([file for pair in self.files for file in pair], skip_broken)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """The pairs of these indices."""
        return self._directed(np.stack([self._pair(self.files[i]) for i in indices]))

    def load(self) -> tuple[Self, dict[str, np.ndarray]]:
        """The pairs that can be read, and all of them in memory. They are decoded once and kept, as `FolderSource`'s are."""
        form = f'pairs {self.split} {self.size} {self.channels}'
        found = decoding.decode(self.files, self._pair, folder=self.path, form=form, skip_broken=self.skip_broken)
        return self._only(found.readable), self._directed(found.images)

    def readable(self) -> Self:
        """With `skip_broken`, the source without the pairs that cannot be read; else as it is."""
        if not self.skip_broken:
            return self
        return self._only(decoding.readable(self.files, self._pair, folder=self.path))

    def _only(self, readable: np.ndarray) -> Self:
        source = copy.copy(self)
        source.broken = [str(pair[0]) for pair, fine in zip(self.files, readable, strict=True) if not fine]
        source.files = [pair for pair, fine in zip(self.files, readable, strict=True) if fine]
        return source

    def _directed(self, sides: np.ndarray) -> dict[str, np.ndarray]:
        """A and B, `[n, 2, size, size, channels]`, as what is made of what."""
        source, target = (0, 1) if self.direction == 'a_to_b' else (1, 0)
        return {'input': sides[:, source], 'target': sides[:, target]}

    def _pair(self, files: tuple[pathlib.Path, ...]) -> np.ndarray:
        images = [read_image(file, None, self.channels) for file in files]
        if len(images) == 1:
            width = images[0].shape[1]
            if width % 2:
                raise InputError(f'{files[0]} is {width} pixels wide: a pair side by side has an even width')
            images = np.split(images[0], 2, axis=1)
        (h, w), (h_b, w_b) = (image.shape[:2] for image in images)
        if h * w_b != h_b * w:
            raise InputError(f'{files[0]} is {w} x {h} pixels and {files[1]} {w_b} x {h_b}: a pair has one shape')
        return np.concatenate([resize(image[None], self.size) for image in images])


def pairs(path: str | pathlib.Path, size: int, **options: Any) -> dict[str, np.ndarray]:
    """All of a `PairSource` (whose options it takes) in memory."""
    return PairSource(path, size, **options).load()[1]


def unpaired(
    path_a: str | pathlib.Path,
    path_b: str | pathlib.Path,
    size: int,
    channels: int | None = None,
    skip_broken: bool = False,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Two folders of images in memory, and the files that were left out of them because they cannot be read.

    The images are `{'a': [n, size, size, channels], 'b': [m, size, size, channels]}`, uint8; see `data.folder`. By default they
    have 1 channel if every image of both is grey, and 3 otherwise.
    """
    channels = channels or common_channels([*image_files(path_a), *image_files(path_b)], skip_broken)
    a, b = (FolderSource(path, size, channels=channels, skip_broken=skip_broken).load() for path in (path_a, path_b))
    return {'a': a.images, 'b': b.images}, [*a.broken, *b.broken]


def without_pairs(paired: Mapping[str, AnyArray], seed: int = 0) -> dict[str, np.ndarray]:
    """The inputs of one half of the pairs as `a`, the targets of the other half as `b`: no scene is on both sides."""
    order = np.random.default_rng(seed).permutation(len(paired['input']))
    half = len(order) // 2
    return {'a': np.asarray(paired['input'])[order[:half]], 'b': np.asarray(paired['target'])[order[half:]]}


def loading_size(size: int) -> int:
    """What images are loaded at for `jitter` to crop to `size`: 286 for 256 (Isola et al. 2017, appendix 6.2)."""
    return round(size * 286 / 256)


def jitter(example: Any, key: Key, *, size: int, mirror: bool = True) -> Any:
    """One example cropped to `size` at random and mirrored by the toss of a coin (Isola et al. 2017, appendix 6.2).

    `example` is an image `[h, w, c]` or a pytree of images of one height and width, to which the same happens, so that pairs
    stay aligned. Raises `ValueError` for images that differ in height or width, or are smaller than `size`.
    """
    shapes = {image.shape[:2] for image in jax.tree.leaves(example)}
    (height, width), *others = shapes
    if others or min(height, width) < size:
        raise ValueError(f'images to be cropped to {size} have one height and width, at least that; got {sorted(shapes)}')
    crop_key, mirror_key = jax.random.split(key)
    corner = jax.random.randint(crop_key, (2,), 0, jnp.array([height - size, width - size]) + 1)
    mirrored = jax.random.bernoulli(mirror_key) if mirror else False

    def one(image: Array) -> Array:
        cropped = jax.lax.dynamic_slice(image, (*corner, 0), (size, size, image.shape[2]))
        return jnp.where(mirrored, cropped[:, ::-1], cropped)

    return jax.tree.map(one, example)


def pair_splits(path: str | pathlib.Path) -> tuple[str, ...]:
    """The splits that a folder of pairs has; none at all means that everything is 'train'."""
    path = pathlib.Path(path)
    return tuple(name for name in SPLITS if any((below / name).is_dir() for below in (path, path / 'A', path / 'B')))


def two_sets(path: str | pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """The splits of a folder of two sets of images without pairs, and their folders of A and B; empty if it is not one.

    That is `trainA` and `trainB` (CycleGAN's form), or folders `A` and `B` above or below the splits, or without them. Raises
    `InputError` for a folder of one set without the other's.
    """
    layouts = {split: (f'{split}{{0}}', f'{split}/{{0}}', f'{{0}}/{split}') for split in SPLITS}
    folders = lambda layout: tuple(pathlib.Path(path) / layout.format(side) for side in 'AB')
    found = {}
    for split, layout in [*((name, layout) for name in layouts for layout in layouts[name]), ('train', '{0}')]:
        there = [folder for folder in folders(layout) if folder.is_dir()]
        if len(there) == 1:
            raise InputError(f'no folder of the other set beside {there[0]}')
        if there and split not in found:
            found[split] = (there[0], there[1])
    return found


def _folders(path: pathlib.Path, split: str) -> list[pathlib.Path]:
    """The split's one folder of images side by side, or its A and B."""
    if not path.is_dir():
        raise InputError(f'no folder {path}')
    splits = pair_splits(path)
    if split not in (splits or ['train']):
        raise InputError(f'{path} has {"splits " + ", ".join(splits) if splits else "no splits"}, not {split!r}')
    top = path / split if (path / split).is_dir() else path
    sides = [top / name for name in ('A', 'B')]
    missing = [side for side in sides if not side.is_dir()]
    if len(missing) == 2:
        _check_side_by_side(path, top)
        return [top]
    if missing:
        raise InputError(f'no folder {missing[0]} beside the other of its pair')
    return [side / split if (side / split).is_dir() else side for side in sides]


def _check_side_by_side(path: pathlib.Path, top: pathlib.Path) -> None:
    """Raises `InputError` for a folder whose images are two sets, which would be cut in two as if they were pairs.

    `top` is the folder of its split.
    """
    if sets := two_sets(path):
        names = ' and '.join(str(folder.relative_to(path)) for folder in next(iter(sets.values())))
        raise InputError(
            f'{path} holds {names}, two sets without pairs: python -m experiments.cyclegan --task {path} learns from those; '
            'pairs are two images of one name in folders A and B, or one image side by side'
        )
    below = sorted(folder for folder in top.iterdir() if folder.is_dir() and not folder.name.startswith('.'))
    names_of = lambda folder: {file.relative_to(folder).with_suffix('') for file in files_below(folder, SUFFIXES)}
    if len(below) == 2 and names_of(below[0]) == names_of(below[1]) != set():
        raise InputError(
            f'the images of {below[0]} and {below[1].name} have the same names: if they are pairs, call the folders A and B'
        )


def _partners(a: pathlib.Path, b: pathlib.Path) -> list[tuple[pathlib.Path, ...]]:
    """The images of both folders that share a name."""
    named = []
    for side in (a, b):
        files: dict[pathlib.Path, pathlib.Path] = {}
        for file in image_files(side):
            name = file.relative_to(side).with_suffix('')
            if name in files:
                raise InputError(f'{file} and {files[name].name} share a name, so their partner is not one')
            files[name] = file
        named.append(files)
    alone = [files[name] for files, others in (named, named[::-1]) for name in files if name not in others]
    if alone:
        more = f' and {len(alone) - 3} more' if len(alone) > 3 else ''
        raise InputError(f'no partner of the same name for {", ".join(map(str, alone[:3]))}{more}')
    return [(file, named[1][name]) for name, file in named[0].items()]
