"""Caches the moments of real images' features on disk and reuses them only for identical pixels and an identical program."""

import collections
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import as_bytes, cache_directory
from gan_jax.metrics.moments import FeatureMoments, load, save


def cached_moments(
    program: str, images: Callable[[], Iterable[np.ndarray]], compute: Callable[[Iterable[np.ndarray]], FeatureMoments]
) -> FeatureMoments:
    """Returns the cached moments of these exact pixels under a program, or else computes and caches them.

    Args:
        program: identifies what extracts the features (`extraction.identity`), and anything else that may avoid a comparison,
            such as the name of the images.
        images: reads the images, uint8 `[n, h, w, c]`, in blocks. They must be read to identify their pixels, because those may
            change without any change of name: twice if the cached moments belong to other pixels, and otherwise once.
        compute: computes the moments of the images.
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
    """The moments in a cache file, or None if the file is missing or damaged."""
    try:
        moments = load(file)
    except InputError:
        return None
    return moments if isinstance(moments, FeatureMoments) else None


def _hashed(batches: Iterable[np.ndarray], digest: Any) -> Iterator[np.ndarray]:
    """Yields the same batches and adds each of them to the digest."""
    for batch in batches:
        digest.update(f'{batch.dtype}{batch.shape}'.encode())
        digest.update(as_bytes(batch))
        yield batch
