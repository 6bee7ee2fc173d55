"""Sources of images: folders, npz files, data sets and trained runs, which are read in blocks and never all at once."""

import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import compilation, data
from gan_jax.data import arrays
from gan_jax.data.folders import FolderSource, folder_splits
from gan_jax.data.images import recoloured, resize
from gan_jax.errors import InputError

_BLOCK = 256
SAMPLER = 'sampler.bin'
"""The file of a run directory that draws its samples, written by `gan_jax.runs.save_sampler`."""
_STEP = 'sampler_of_step_'
"""Prefix of the name of the exported function; the step of its weights follows."""
_NAMED = re.compile(r'(.+?)(?::([A-Za-z_][^/]*))?')
"""A name and its split, which may be a part of one or of several splits: `train[:50%]+test`. Versions begin with a digit."""


class OpenedImages(NamedTuple):
    """Images that can be read by number."""

    name: str
    size: int | None
    """The number of images; None if it is unlimited."""
    read: Callable[[Sequence[int]], np.ndarray]
    """Maps numbers to uint8 `[n, h, w, c]`, without broken images if those are skipped."""
    shape: tuple[int, ...]
    """`(h, w, c)` of the first image."""
    broken: dict[str, None]
    """The files that have been skipped so far, in the order in which they were encountered."""
    step: int | None = None
    """The step of the weights that generate the images of a run; None if it is unknown."""
    note: str = ''
    """A remark to report with the scores; empty if there is none."""
    split: str = ''
    """The split that was requested; empty for images that have no splits."""
    classes: tuple[str, ...] = ()
    """A name for each label; empty without labels."""
    read_labelled: Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray]] | None = None
    """Maps numbers to what `read` returns and to its labels, integers `[n]`; None without labels."""
    by_seed: Callable[[int], 'OpenedImages'] | None = None
    """The samples of another seed; None if the images are fixed."""


def open_source(
    text: str,
    *,
    split: str = 'train',
    size: data.Size | None = None,
    channels: int | None = None,
    data_dir: str | None = None,
    skip_broken: bool = False,
    seed: int = 0,
) -> OpenedImages:
    """Opens the images that a text names: a folder, an `.npz` or `.npy` file, a run directory, `digits`, or a TFDS name.

    Raises `InputError` for anything that cannot be read.

    Args:
        text: the name, which may be followed by a colon and a split, as in `mnist:test` or `photos:test`.
        split: the split if the text does not specify one; folders without splits are used as a whole.
        size: crops images about their centres and resizes them. Without it images are left unchanged, and a folder of several
            sizes is rejected.
        channels: 1 or 3; by default those of the images.
        data_dir: directory of prepared TFDS data sets.
        skip_broken: skips unreadable files and records them.
        seed: seed of the samples of a run.
    """
    path = pathlib.Path(text)
    if path.suffix in arrays.SUFFIXES:
        return _in_memory(text, arrays.array_file(path, size=size, channels=channels).images)
    of_run = (path / SAMPLER).is_file() or (path / 'config.json').is_file()
    if of_run and os.sep not in text and data.is_named(text, data_dir):
        raise InputError(
            f'{text} is a data set, and a run in this folder: write .{os.sep}{text} for the run, or change the folder'
        )
    if (path / SAMPLER).is_file():
        return _from_run(path, size, channels, seed)
    if (path / 'config.json').is_file():
        raise InputError(
            f'{path} is a run without {SAMPLER}, which its experiment writes at the end of training: '
            f'python -m experiments.export {path} writes it from the newest checkpoint, and '
            f'python -m experiments.evaluate {path} --checkpoint STEP scores any checkpoint. '
            'Runs that translate, such as those of pix2pix and vqgan, have none: '
            f'score the images that python -m experiments.translate {path} IN OUT makes'
        )
    name, asked = (text, '') if data.is_folder(text, data_dir) and path.is_dir() else named_split(text)
    if data.is_folder(name, data_dir):
        return _from_folder(name, asked, split, size, channels, skip_broken)
    split = asked or split
    if name == 'digits':
        digits = data.load(name, split=split, size=size, channels=channels)
        return _labelled(_in_memory(f'digits:{split}', digits.images), digits.classes, digits.labels)._replace(split=split)
    source = data.open_source(name, split=split, size=size, data_dir=data_dir, channels=channels)
    assert isinstance(source, data.TfdsSource)
    read = lambda numbers: source.read(list(numbers))['image']

    def read_labelled(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        found = source.read(list(numbers))
        return found['image'], found['label']

    opened = OpenedImages(f'{name}:{source.split}', len(source), read, read([0]).shape[1:], {}, split=split)
    return opened._replace(classes=source.classes, read_labelled=read_labelled) if source.classes else opened


def named_split(text: str) -> tuple[str, str]:
    """Separates the name of a data set from its split, as in `mnist:test`; the split is '' if none is given.

    A colon may also be followed by a TFDS version, which remains part of the name.
    """
    found = _NAMED.fullmatch(text)
    return (found[1], found[2] or '') if found else (text, '')


def has_splits(text: str, data_dir: str | None = None) -> bool:
    """Whether a text that `open_source` takes names something that has splits: a data set, or a folder that contains them."""
    path = pathlib.Path(text)
    if path.is_dir():
        return not (path / 'config.json').is_file() and not (path / SAMPLER).is_file() and bool(folder_splits(path))
    name = named_split(text)[0]
    return bool(folder_splits(name)) if data.is_folder(name, data_dir) else path.suffix not in arrays.SUFFIXES


def batches(source: OpenedImages, count: int | None, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Yields `count` of the images in blocks, uint8 `[n, h, w, c]`; all of them if `count` is None.

    If there are more, they are drawn without replacement by `seed`. Raises `InputError` if there are fewer.
    """
    return (images for (images,) in _blocks(source, lambda numbers: (source.read(numbers),), count, seed))


def labelled_batches(source: OpenedImages, count: int | None, *, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the same blocks with their labels, integers `[n]`, of a source that has labels."""
    assert source.read_labelled is not None
    return _blocks(source, source.read_labelled, count, seed)


def _blocks(source: OpenedImages, read: Callable[[Sequence[int]], Any], count: int | None, seed: int) -> Iterator[Any]:
    """Yields what `read` returns, a tuple of arrays `[n, ...]`, block by block; see `batches`."""
    if source.size is None:
        numbers = np.arange(count or 0)
    elif count is None:
        numbers = np.arange(source.size)
    else:
        numbers = np.random.default_rng(seed).permutation(source.size)
    missing = len(numbers) if count is None else count
    for start in range(0, len(numbers), _BLOCK):
        if missing == 0:
            return
        block = tuple(x[:missing] for x in read(numbers[start : start + _BLOCK].tolist()))
        if len(block[0]):
            yield block
        missing -= len(block[0])
    if count is not None and missing > 0:
        raise InputError(f'{source.name} has {count - missing} readable images, but {count} were requested')


def _in_memory(name: str, images: np.ndarray) -> OpenedImages:
    return OpenedImages(name, len(images), lambda numbers: images[list(numbers)], images.shape[1:], {})


def _labelled(source: OpenedImages, classes: tuple[str, ...], labels: np.ndarray | None) -> OpenedImages:
    """Adds the labels of all images to a source of which every image can be read."""
    if labels is None:
        return source
    both = lambda numbers: (source.read(numbers), labels[list(numbers)])
    return source._replace(classes=classes, read_labelled=both)


def _from_folder(
    path: str, asked: str, split: str, size: data.Size | None, channels: int | None, skip_broken: bool
) -> OpenedImages:
    named = asked or (split if folder_splits(path) else 'train')
    folder = FolderSource(path, size or 0, split=named, channels=channels, skip_broken=skip_broken).readable()
    broken: dict[str, None] = dict.fromkeys(map(str, folder.broken))
    first: dict[str, tuple[int, ...]] = {}  # the first readable image and its shape

    def readable(numbers: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """The images, and the numbers of those that can be read."""
        found = list(zip(numbers, map(str, (folder.files[i] for i in numbers)), folder.images(numbers), strict=True))
        broken.update({file: None for _, file, image in found if image is None})
        images = [(file, image) for _, file, image in found if image is not None]
        if not images:
            return np.empty((0, 1, 1, folder.channels), np.uint8), []
        if not first:
            first[images[0][0]] = images[0][1].shape
        ((name, shape),) = first.items()
        for file, image in images:
            if image.shape != shape:
                sizes = [f'{one} is {x[0]} x {x[1]}' for one, x in ((name, shape), (file, image.shape))]
                raise InputError(f'the images have different sizes ({", ".join(sizes)}); use --resize N')
        return np.stack([image for _, image in images]), [number for number, _, image in found if image is not None]

    def read(numbers: Sequence[int]) -> np.ndarray:
        return readable(numbers)[0]

    labels = folder.every_label()

    def read_labelled(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        assert labels is not None
        images, those = readable(numbers)
        return images, labels[those]

    shape = next((found.shape[1:] for i in range(len(folder)) if len(found := read([i]))), None)
    if shape is None:
        raise InputError(f'none of the {len(folder)} images in {folder.path} can be read')
    name, of = (path, '') if str(folder.path) == path else (f'{path}:{named}', named)
    opened = OpenedImages(name, len(folder), read, shape, broken, split=of)
    return opened if labels is None else opened._replace(classes=folder.classes, read_labelled=read_labelled)


def _from_run(path: pathlib.Path, size: data.Size | None, channels: int | None, seed: int) -> OpenedImages:
    sampler = read_sampler(path / SAMPLER)
    call, shape = compilation.jit(sampler.call), sampler.out_avals[0].shape
    step = sampler_step(sampler)
    saved = [int(folder.name) for folder in (path / 'checkpoints').glob('*') if folder.name.isdigit()]
    note = ''
    if saved and step != max(saved):
        known = 'does not record its step' if step is None else f'is from step {step}'
        note = (
            f'{path / SAMPLER} {known}, and the newest checkpoint is from step {max(saved)}: python -m experiments.export {path} '
            f'updates it, and python -m experiments.evaluate {path} --checkpoint {max(saved)} scores that checkpoint'
        )

    def by_seed(seed: int) -> OpenedImages:
        source = drawn(str(path), lambda number: np.asarray(call(np.uint32(seed), np.uint32(number))), shape)
        return of_form(source, size, channels)._replace(step=step, note=note, by_seed=by_seed)

    return by_seed(seed)


def drawn(name: str, call: Callable[[int], np.ndarray], shape: Sequence[int]) -> OpenedImages:
    """An unlimited source of samples: `call` generates the block of a given number, uint8 of `shape`, `(n, h, w, c)`."""
    block = shape[0]
    kept: dict[int, np.ndarray] = {}  # the newest block only, since images are requested in order

    def read(numbers: Sequence[int]) -> np.ndarray:
        images = []
        for number in numbers:
            if number // block not in kept:
                kept.clear()
                kept[number // block] = call(number // block)
            images.append(kept[number // block][number % block])
        return np.stack(images)

    return OpenedImages(name, None, read, tuple(shape[1:]), {})


def of_form(source: OpenedImages, size: data.Size | None, channels: int | None) -> OpenedImages:
    """Crops the images of a source about their centres, resizes them to `size`, and converts their channels, unless None."""

    def read(numbers: Sequence[int]) -> np.ndarray:
        images = recoloured(source.read(numbers), channels)
        return images if size is None else resize(images, size)

    height, width, own = source.shape
    return source._replace(read=read, shape=(*data.sides(size or (height, width)), channels or own))


def read_sampler(file: pathlib.Path) -> Any:
    """Reads what `gan_jax.runs.save_sampler` wrote, a `jax.export.Exported`. Raises `InputError` for any other file."""
    try:
        sampler = jax.export.deserialize(bytearray(file.read_bytes()))
        scalars = [(x.shape, x.dtype) for x in sampler.in_avals] == [((), np.uint32)] * 2
        (images,) = sampler.out_avals
    except Exception as error:  # a damaged file, or one of another release, may raise anything
        raise InputError(
            f'cannot read {file}: it is damaged, or too old for this JAX; python -m experiments.export {file.parent} '
            f'writes it again ({type(error).__name__})'
        ) from error
    if not scalars or images.dtype != np.uint8 or len(images.shape) != 4:
        raise InputError(f'{file} is not a sampler, (seed, block) -> uint8 images [n, h, w, c]: it is {sampler.fun_name}')
    return sampler


def sampler_name(step: int) -> str:
    """The name of the function of an exported sampler, which records the step."""
    return f'{_STEP}{step}'


def sampler_step(sampler: Any) -> int | None:
    """The step of the weights of an exported sampler, or None if its name does not record it."""
    digits = sampler.fun_name.removeprefix(_STEP)
    return int(digits) if digits.isdigit() else None
