"""Where images come from: a folder, an npz file, a data set, or a trained run; read in blocks, never all at once."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from gan_jax import compilation, data
from gan_jax.data import arrays
from gan_jax.data.decoding import common_channels
from gan_jax.data.images import resize
from gan_jax.data.reading import image_files, read_image
from gan_jax.errors import InputError
from gan_jax.files import fingerprint

_BLOCK = 256
SAMPLER = 'sampler.bin'
"""The file of a run directory that draws its samples: what `gan_jax.runs.save_sampler` writes."""


class Source(NamedTuple):
    """Images that can be read by number."""

    name: str
    size: int | None
    """How many there are; None if there is no end of them."""
    read: Callable[[Sequence[int]], np.ndarray]
    """Numbers to uint8 `[n, h, w, c]`, of which broken images are missing if those are skipped."""
    identity: str
    """Says which images these are: reference statistics are cached under it."""
    broken: list[str]
    """Files that were skipped so far."""


def open_source(
    text: str,
    *,
    split: str = 'train',
    size: int | None = None,
    data_dir: str | None = None,
    skip_broken: bool = False,
    seed: int = 0,
) -> Source:
    """The images that a text names: a folder of them, an `.npz` or `.npy` file, a run directory, `digits`, or a TFDS name.

    A data set's split may follow a colon, `mnist:test`, and is `split` otherwise. `size` crops images to their central square
    and resizes it; without it they stay as they are, and a folder of several sizes is refused. `skip_broken` leaves unreadable
    files out and notes them. `seed` is of a run's samples. Raises `InputError` for what cannot be read.
    """
    path = pathlib.Path(text)
    if path.suffix in arrays.SUFFIXES:
        images = arrays.array_file(path, size=size).images
        return Source(text, len(images), lambda numbers: images[list(numbers)], fingerprint(images), [])
    if (path / SAMPLER).is_file():
        return _from_run(path, size, seed)
    if (path / 'config.json').is_file():
        raise InputError(f'{path} is a run without {SAMPLER}, which its experiment writes when it has trained to the end')
    if data.is_folder(text):
        return _from_folder(path, size, skip_broken)
    name, _, asked = text.partition(':')
    return _from_data_set(name, asked or split, size, data_dir)


def batches(source: Source, count: int | None, *, seed: int = 0) -> Iterator[np.ndarray]:
    """`count` of the images in blocks, drawn by `seed` without replacement if there are more; all of them for None.

    Raises `InputError` if there are fewer.
    """
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
        block = source.read(numbers[start : start + _BLOCK].tolist())[:missing]
        if len(block):
            yield block
        missing -= len(block)
    if count is not None and missing > 0:
        raise InputError(f'{source.name} has {count - missing} images that can be read, and {count} are asked for')


def _from_folder(path: pathlib.Path, size: int | None, skip_broken: bool) -> Source:
    files = image_files(path)
    channels = common_channels(files, skip_broken)
    broken: list[str] = []
    found: list[tuple[pathlib.Path, tuple[int, ...]]] = []  # the first image that could be read, and its shape
    pool = ThreadPoolExecutor(8)

    def one(file: pathlib.Path) -> np.ndarray | None:
        try:
            return read_image(file, size, channels)
        except InputError:
            if not skip_broken:
                raise
            broken.append(str(file))
            return None

    def read(numbers: Sequence[int]) -> np.ndarray:
        chosen = [files[i] for i in numbers]
        images = [(file, image) for file, image in zip(chosen, pool.map(one, chosen), strict=True) if image is not None]
        if not images:
            return np.empty((0, 1, 1, channels), np.uint8)
        found.extend((file, image.shape) for file, image in images[: 1 - len(found)])
        for file, image in images:
            if image.shape != found[0][1]:
                sizes = [f'{name} is {shape[0]} x {shape[1]}' for name, shape in (found[0], (file, image.shape))]
                raise InputError(f'the images have several sizes ({", ".join(sizes)}); --resize N makes them one')
        return np.stack([image for _, image in images])

    stats = [file.stat() for file in files]
    identity = fingerprint(*(f'{f.name} {s.st_size} {s.st_mtime_ns}' for f, s in zip(files, stats, strict=True)), f'{size}')
    return Source(str(path), len(files), read, identity, broken)


def _from_data_set(name: str, split: str, size: int | None, data_dir: str | None) -> Source:
    if name == 'digits':
        images = data.load(name, split=split, size=size).images
        return Source(f'digits:{split}', len(images), lambda numbers: images[list(numbers)], fingerprint(images), [])
    source = data.open_source(name, split=split, size=size, data_dir=data_dir)
    return Source(
        f'{name}:{split}',
        len(source),
        lambda numbers: source.read(list(numbers))['image'],
        fingerprint(name, split, f'{source.size} {len(source)}'),
        [],
    )


def _from_run(path: pathlib.Path, size: int | None, seed: int) -> Source:
    import jax

    content = (path / SAMPLER).read_bytes()
    sampler = jax.export.deserialize(bytearray(content))
    call, block = compilation.jit(sampler.call), sampler.out_avals[0].shape[0]
    kept: dict[int, np.ndarray] = {}  # the newest block: images are asked for in order

    def read(numbers: Sequence[int]) -> np.ndarray:
        images = []
        for number in numbers:
            if number // block not in kept:
                kept.clear()
                kept[number // block] = np.asarray(call(np.uint32(seed), np.uint32(number // block)))
            images.append(kept[number // block][number % block])
        stack = np.stack(images)
        return stack if size is None else resize(stack, size)

    return Source(str(path), None, read, fingerprint(np.frombuffer(content, np.uint8), f'{seed} {size}'), [])
