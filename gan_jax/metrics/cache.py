"""Moments of real images' features, kept on disk, and found again only for the very same pixels and program."""

import collections
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import cache_directory
from gan_jax.metrics.moments import FeatureMoments, load, save


def cached_moments(
    program: str, images: Callable[[], Iterable[np.ndarray]], compute: Callable[[Iterable[np.ndarray]], FeatureMoments]
) -> FeatureMoments:
    """The moments of images that were kept for a program, if they are of these very pixels; else `compute`'s, which are kept.

    Args:
        program: names what extracts the features (`extraction.identity`), and whatever may spare a comparison, such as the
            images' name.
        images: reads the images, uint8 `[n, h, w, c]` in blocks. They are read to know their pixels, which may have changed in
            any way that no name says: twice if what was kept is of others, and else once.
        compute: makes moments of them.
    """
    folder = cache_directory() / 'statistics'
    kept = list(folder.glob(f'{program}-*.npz'))
    if kept:
        digest = hashlib.sha256()
        collections.deque(_hashed(images(), digest), maxlen=0)
        found = _kept(folder / f'{program}-{digest.hexdigest()}.npz')
        if found:
            return found
    digest = hashlib.sha256()
    moments = compute(_hashed(images(), digest))
    for file in kept:
        file.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / f'{program}-{digest.hexdigest()}.npz', moments)
    return moments


def _kept(file: Any) -> FeatureMoments | None:
    """What a file of the cache holds; None if there is none, or a damaged one."""
    try:
        moments = load(file)
    except InputError:
        return None
    return moments if isinstance(moments, FeatureMoments) else None


def _hashed(batches: Iterable[np.ndarray], digest: Any) -> Iterator[np.ndarray]:
    """The same batches, which the digest takes in."""
    for batch in batches:
        digest.update(f'{batch.dtype}{batch.shape}'.encode())
        digest.update(np.ascontiguousarray(batch).data)
        yield batch
