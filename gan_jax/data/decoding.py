"""Decoding many images in threads, skipping broken ones, with a cache that is valid until a file changes."""

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
"""The files of one example."""

_READER = 'read_image 2'
"""Part of the identity of cached pixels; change it whenever `read_image` decodes files differently."""
_BLOCK = 512


class Decoded(NamedTuple):
    """Examples in memory, decoded from files."""

    images: np.ndarray
    """uint8 `[m, ...]`, of the examples that can be read."""
    readable: np.ndarray
    """bool `[n]`, whether each example can be read."""


def in_threads(function: Callable[[T], R], items: Sequence[T], *, title: str = '') -> Iterator[R]:
    """Yields the results of the function for all items, in order.

    A progress bar with the title, if there is one, appears after a second.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=title, unit='image', delay=1, disable=not title)
    with ThreadPoolExecutor() as pool, bar:
        for start in range(0, len(items), _BLOCK):
            for made in pool.map(function, items[start : start + _BLOCK]):
                bar.update()
                yield made


def unless_broken(read: Callable[[T], R], skip_broken: bool) -> Callable[[T], R | None]:
    """Returns the function, which with `skip_broken` returns None instead of raising `BrokenImage`."""

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
    """Decodes all examples, or loads them from the cache if their files have not changed.

    Args:
        examples: the files of each example.
        read: decodes the files of one example to a uint8 array; all arrays must have the same shape.
        folder: folder that contains the files.
        form: identifies what `read` returns: a folder has one entry in the cache for each form.
        skip_broken: whether to leave out examples that cannot be read.

    Raises `InputError` if no example can be read and, unless `skip_broken`, for any that cannot.
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
    """Returns whether each example can be read, bool `[n]`, by decoding all of them once.

    The result is cached until a file changes. Raises `InputError` if no example can be read.
    """
    entry, state = _entry('readable', str(folder.resolve())), _state_of(examples, folder)
    kept = _kept(entry, state)
    if kept is not None:
        return kept['readable']
    images = in_threads(unless_broken(read, True), examples, title=f'checking {folder} for broken images')
    found = np.array([image is not None for image in images])
    if not found.any():
        raise InputError(f'none of the {len(examples)} images in {folder} can be read')
    _keep(entry, state, readable=found)
    return found


def common_channels(files: Sequence[pathlib.Path], skip_broken: bool = False) -> int:
    """Returns 1 if every image is grey, and 3 otherwise.

    Files are opened up to the first that is not grey; the result is cached until one of them changes. Raises `InputError` for an
    image that cannot be opened, unless `skip_broken`.
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
    channels = 1 if all(in_threads(fits, files, title='checking images for colour')) else 3
    _keep(entry, state, channels=np.array(channels))
    return channels


def kept_or_made(kind: str, name: str, state: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns arrays from the cache if they were made in this state; otherwise makes them and stores them there.

    Args:
        kind: folder of the cache.
        name: identifies the arrays among those of the kind.
        state: identifies the state of what they are made from.
        make: makes the arrays.
    """
    entry = _entry(kind, name)
    kept = _kept(entry, state)
    if kept is None:
        kept = make()
        _keep(entry, state, **kept)
    return kept


def state_of(folder: pathlib.Path) -> str:
    """Returns a fingerprint of the files in a folder and their state, as used for decoded examples."""
    from PIL import __version__ as pillow

    return fingerprint(_READER, pillow, *(f'{file.name} {_state(file)}' for file in sorted(folder.iterdir())))


def left_out(broken: Sequence[str]) -> str:
    """Returns the end of a line on a data set that says how many files were left out; empty if none were."""
    return f'; unreadable files left out: {len(broken):,} (first: {broken[0]})' if broken else ''


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
    """Returns a fingerprint of these files, their grouping into examples, and their state.

    It changes if a file is written, replaced or renamed.
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
    """Returns the arrays that were cached in this state; None if there are none, or if they are damaged."""
    try:
        kept = load_arrays(entry)
    except InputError:
        return None
    return kept if kept.pop('identity', None) == state else None


def _keep(entry: pathlib.Path, state: str, **arrays: np.ndarray) -> None:
    """Writes arrays to the cache, in place of earlier ones. A cache that cannot be written is ignored."""
    part = entry.with_name(f'.{entry.stem}.{os.getpid()}.npz')
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(part, identity=np.array(state), **arrays)  # type: ignore[arg-type]
            os.replace(part, entry)
        finally:
            part.unlink(missing_ok=True)
