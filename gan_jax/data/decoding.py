"""Many images at once: decoded by threads, left out if they are broken, and kept until a file changes."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from gan_jax.data.reading import BrokenImage, is_grey
from gan_jax.errors import InputError
from gan_jax.files import cache_directory, fingerprint, load_arrays

T = TypeVar('T')
R = TypeVar('R')
Files: TypeAlias = tuple[pathlib.Path, ...]
"""What one example is made of."""

_READER = 'read_image 2'
"""Part of what cached pixels are known by. It changes with what `read_image` makes of a file."""
_BLOCK = 512


class Decoded(NamedTuple):
    """Examples of files in memory."""

    images: np.ndarray
    """uint8 `[m, ...]`, of those that can be read."""
    readable: np.ndarray
    """Which they are, bool `[n]`."""


def in_threads(function: Callable[[T], R], items: Sequence[T], *, title: str = '') -> Iterator[R]:
    """The function of each item, in order, with a progress bar if there is a title and it takes more than a second."""
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=title, unit='image', delay=1, disable=not title)
    with ThreadPoolExecutor() as pool, bar:
        for start in range(0, len(items), _BLOCK):
            for made in pool.map(function, items[start : start + _BLOCK]):
                bar.update()
                yield made


def unless_broken(read: Callable[[T], R], skip_broken: bool) -> Callable[[T], R | None]:
    """The function, which with `skip_broken` is None of what cannot be read."""

    def one(item: T) -> R | None:
        try:
            return read(item)
        except BrokenImage:
            if not skip_broken:
                raise
            return None

    return one


def decode(
    examples: Sequence[Files], read: Callable[[Files], np.ndarray], *, folder: pathlib.Path, form: str, skip_broken: bool
) -> Decoded:
    """All examples, of which those that cannot be read are left out, or raise. They are decoded once and kept in the cache.

    Args:
        examples: the files of each.
        read: makes uint8 arrays of one shape of them.
        folder: which they are below.
        form: says what `read` makes of files: a folder has one entry in the cache for each form.
        skip_broken: whether to leave out examples that cannot be read.

    Raises `InputError` if there is nothing that can be read.
    """
    entry, state = _entry('folders', str(folder.resolve()), form), _state_of(examples, folder)
    kept = _kept(entry, state)
    if kept is not None and (skip_broken or kept['readable'].all()):
        return Decoded(kept['images'], kept['readable'])
    found = _collected(in_threads(unless_broken(read, skip_broken), examples, title=str(folder)), len(examples))
    if not found.readable.any():
        raise InputError(f'none of the {len(examples)} images in {folder} can be read')
    _keep(entry, state, **found._asdict())
    return found


def readable(examples: Sequence[Files], read: Callable[[Files], np.ndarray], *, folder: pathlib.Path) -> np.ndarray:
    """Which examples can be read, bool `[n]`, for which each is decoded once. Raises `InputError` if none can."""
    entry, state = _entry('readable', str(folder.resolve())), _state_of(examples, folder)
    kept = _kept(entry, state)
    if kept is not None:
        return kept['readable']
    images = in_threads(unless_broken(read, True), examples, title=f'{folder}, for broken images')
    found = np.array([image is not None for image in images])
    if not found.any():
        raise InputError(f'none of the {len(examples)} images in {folder} can be read')
    _keep(entry, state, readable=found)
    return found


def common_channels(files: Sequence[pathlib.Path], skip_broken: bool = False) -> int:
    """1 if every image is grey, and 3 otherwise. Raises `InputError` for an image that cannot be opened, or passes over it.

    Each is opened, up to the first that is not grey; the answer is kept in the cache until one of them changes.
    """
    grey = unless_broken(is_grey, skip_broken)
    fits = lambda file: grey(file) is not False
    if not fits(files[0]):
        return 3
    entry = _entry('channels', f'{skip_broken}', *map(os.path.abspath, files))
    state = fingerprint(_READER, *map(_state, files))
    kept = _kept(entry, state)
    if kept is not None:
        return int(kept['channels'])
    channels = 1 if all(in_threads(fits, files, title='colours of the images')) else 3
    _keep(entry, state, channels=np.array(channels))
    return channels


def kept_or_made(kind: str, name: str, state: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that were kept in the cache under a name, if they were made in this state; else `make`'s, which are kept."""
    entry = _entry(kind, name)
    kept = _kept(entry, state)
    if kept is None:
        kept = make()
        _keep(entry, state, **kept)
    return kept


def state_of(folder: pathlib.Path) -> str:
    """Says which files are in a folder, and in which state, as that of decoded examples."""
    from PIL import __version__ as pillow

    return fingerprint(_READER, pillow, *(f'{file.name} {_state(file)}' for file in sorted(folder.iterdir())))


def left_out(broken: Sequence[str]) -> str:
    """The end of a line on a data set: how many files were left out; empty if none was."""
    return f'; {len(broken):,} unreadable ones left out, {broken[0]} the first' if broken else ''


def _collected(images: Iterable[np.ndarray | None], count: int) -> Decoded:
    stack, found, readable = np.empty(0, np.uint8), 0, np.zeros(count, bool)
    for i, image in enumerate(images):
        if image is not None:
            if not found:
                stack = np.empty((count, *image.shape), np.uint8)
            stack[found], readable[i] = image, True
            found += 1
    return Decoded(stack[:found], readable)


def _state_of(examples: Sequence[Files], folder: pathlib.Path) -> str:
    """Says which files these are, which of them make one example, and in which state they are.

    A file that is written, replaced or renamed makes another.
    """
    from PIL import __version__ as pillow

    one = lambda file: f'{str(file).removeprefix(str(folder))} {_state(file)}'
    return fingerprint(_READER, pillow, *(' and '.join(map(one, files)) for files in examples))


def _state(file: pathlib.Path) -> str:
    try:
        stat = file.stat()
    except OSError:
        return 'cannot be opened'
    return f'{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}'


def _entry(kind: str, *name: str) -> pathlib.Path:
    return cache_directory() / kind / f'{fingerprint(*name)}.npz'


def _kept(entry: pathlib.Path, state: str) -> dict[str, np.ndarray] | None:
    """What was kept in this state; None if nothing was, or if it is damaged."""
    try:
        kept = load_arrays(entry)
    except InputError:
        return None
    return kept if kept.pop('identity', None) == state else None


def _keep(entry: pathlib.Path, state: str, **arrays: np.ndarray) -> None:
    """Writes arrays to the cache, in place of what is there; a cache that cannot be written is none."""
    part = entry.with_name(f'.{entry.stem}.{os.getpid()}.npz')
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(part, identity=np.array(state), **arrays)  # type: ignore[arg-type]
            os.replace(part, entry)
        finally:
            part.unlink(missing_ok=True)
