"""All images of a data set, divided anew by each seed, and the figures of new images and of every planted failure."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.planted.failures import Failure, Parts
from experiments.planted.report import NEW
from gan_jax import data
from gan_jax.errors import InputError, told_to_user
from gan_jax.metrics.extractors import EXTRACTORS, Extractor
from gan_jax.metrics.imagesets import collect
from gan_jax.metrics.measure import Found, Measure
from gan_jax.metrics.measures import TRAIN
from gan_jax.metrics.moments import feature_moments
from gan_jax.metrics.neighbours import compare_distances, nearest_distance
from gan_jax.registry import build

_BLOCK = 8192
"""Training images that are compared with all samples at a time."""


class Pool(NamedTuple):
    """The whole data set, and how it is compared."""

    images: np.ndarray
    """uint8 `[n, h, w, c]`"""
    labels: np.ndarray | None
    samples: int
    """Number of samples."""
    extractor: Extractor
    outputs: Callable[[np.ndarray], Found]
    """images -> what the measures require of them."""


def pool_of(config: Any, needs: set[str]) -> Pool:
    """Reads the data set. Raises `InputError` for one that is too small, and for an unknown one or an unknown extractor."""
    where: dict[str, Any] = {'size': config.size, 'data_dir': config.data_dir}
    parts = [data.load(config.dataset, **where)]
    if data.has_test_set(config.dataset, config.data_dir):
        parts.append(data.load(config.dataset, split='test', **where))
    images = np.concatenate([part.images for part in parts])
    labels = None if any(part.labels is None for part in parts) else np.concatenate([part.labels for part in parts])
    count = min(5000, len(images) // 6) if config.samples is None else config.samples
    if not 2 <= count <= len(images) // 6:
        raise InputError(f'{config.dataset} has {len(images)} images, a sixth of which is the most that --samples can be')
    extractor = build(EXTRACTORS, config.extractor, dataset=config.dataset, **where)
    outputs = lambda images: collect(extractor, [images], needs, batch_size=config.batch_size)
    return Pool(images, labels, count, extractor, outputs)


def division(pool: Pool, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], Parts]:
    """The numbers of a seed's training and held-out images, and what failures are planted in."""
    order = np.random.default_rng(seed).permutation(len(pool.images))
    held_out, new, train = np.split(order, [pool.samples, 3 * pool.samples])
    labels = None if pool.labels is None else pool.labels[new]
    return (train, held_out), Parts(pool.samples, pool.images[train], pool.images[new], labels)


def figures_of_kinds(
    pool: Pool,
    found: Found,
    measures: Sequence[Measure],
    failures: Mapping[str, Failure],
    seed: int,
    kept: Mapping[str, Any],
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the figures of new images and of every failure that is not in `kept`. `found` are the outputs for all images."""
    if not {NEW, *failures} - set(kept):
        return
    (train, held_out), parts = division(pool, seed)
    blocks = lambda: (_floats(parts.train[i : i + _BLOCK]) for i in range(0, len(train), _BLOCK))
    of_held_out = nearest_distance(_floats(pool.images[held_out]), blocks())
    whole, some, other = (outputs_of(found, rows) for rows in (train, train[: pool.samples], held_out))
    for kind in (NEW, *failures):
        if kind in kept:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
        images = parts.new[: pool.samples] if kind == NEW else failures[kind].plant(parts, rng)
        fake = pool.outputs(images)
        figures: dict[str, float] = {}
        for measure in measures:
            of_all = measure.split == TRAIN or measure.real == 'moments'
            given = [whole if of_all else some, fake, *([other] if measure.held_out else [])]
            with told_to_user():
                figures |= {name: value for name, value, *_ in measure.call(*given)}
        test = compare_distances(nearest_distance(_floats(images), blocks()), of_held_out)
        figures |= {name: float(getattr(test, name)) for name in ('ratio', 'p_value', 'nearer', 'nearer_p_value')}
        yield kind, figures


def outputs_of(found: Found, rows: np.ndarray) -> Found:
    features = found.features[rows]
    return Found(len(rows), feature_moments(features), features)


def _floats(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / np.float32(127.5)
