"""Sets of images, and what an extractor finds in them."""

import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gan_jax import memory
from gan_jax.errors import InputError
from gan_jax.files import as_bytes
from gan_jax.metrics import sources
from gan_jax.metrics.extractors.extraction import Extractor, extract
from gan_jax.metrics.measure import Found
from gan_jax.metrics.measures import HELD_OUT, TRAIN
from gan_jax.metrics.moments import BLOCK, FeatureMoments, Gaussian, update
from gan_jax.metrics.statistics import Provenance, Statistics, as_floats, describe, versions


class ImageSet(NamedTuple):
    """A set of images to score."""

    name: str
    batches: Callable[[int | None], Iterable[np.ndarray]]
    """`count -> batches` of that many images, uint8 `[n, h, w, c]`; all images if `count` is None."""
    shape: tuple[int, ...] | None = None
    """`(h, w, c)`, or None if it is unknown."""
    size: int | None = None
    """The number of images; None if it is unknown or unlimited."""
    split: str = ''
    """The split; empty for images that have no splits."""
    resize: int | None = None
    """The side to which images were cropped and resized; None if they are as they were."""
    classes: tuple[str, ...] = ()
    """A name for each label; empty without labels."""
    labelled: Callable[[int | None], Iterable[tuple[np.ndarray, np.ndarray]]] | None = None
    """`count -> (images, labels)`, the same batches with integers `[n]`; None without labels."""


References = ImageSet | Statistics | FeatureMoments | Gaussian
"""What `evaluate` compares with."""


def image_set(source: sources.OpenedImages, *, seed: int = 0, resize: int | None = None) -> ImageSet:
    """Converts a source to a set of images that shows a progress bar while it is read.

    Args:
        source: what `sources.open_source` returns.
        seed: seed of the choice of images when more are available than requested.
        resize: the side to which the images of the source were resized; None if they are as they were.
    """

    def shown(blocks: Iterable[Any], count: int | None, length: Callable[[Any], int]) -> Iterable[Any]:
        from tqdm import tqdm

        interval = 0.2 if sys.stderr.isatty() else 30
        with tqdm(total=count or source.size, unit='image', desc=source.name, mininterval=interval) as bar:
            for block in blocks:
                yield block
                bar.update(length(block))

    def batches(count: int | None) -> Iterable[np.ndarray]:
        count = 10_000 if count is None and source.size is None else count
        return shown(sources.batches(source, count, seed=seed), count, len)

    def labelled(count: int | None) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        return shown(sources.labelled_batches(source, count, seed=seed), count, lambda block: len(block[0]))

    found = ImageSet(source.name, batches, source.shape, source.size, source.split, resize, source.classes)
    return found if source.read_labelled is None else found._replace(labelled=labelled)


def collect(
    extractor: Extractor,
    batches: Iterable[np.ndarray],
    needs: Collection[str],
    *,
    batch_size: int = 64,
    count: int | None = None,
    at_least: int = 2,
) -> Found:
    """Runs an extractor over images and keeps only the requested outputs.

    Memory does not grow with the number of images unless 'features' are requested. Raises `InputError` for too few images,
    for logits of an extractor that has none, and for outputs that do not fit into memory.

    Args:
        extractor: the extractor to run.
        batches: images, uint8 `[n, h, w, c]` each.
        needs: the fields of `Found` to keep, by name.
        batch_size: number of images in a call of the extractor.
        count: the number of images, if it is known in advance.
        at_least: the number of images that are enough.
    """
    moments: FeatureMoments | None = None
    features, logits, waiting, size = [], [], [], 0
    for outputs in extract(extractor, batches, batch_size=batch_size):
        if not size:
            check_memory(count or 0, outputs.features.shape[1], needs)
        size += len(outputs.features)
        if 'moments' in needs:
            waiting.append(outputs.features)
            if sum(map(len, waiting)) >= BLOCK:
                moments, waiting = _taken_in(moments, waiting), []
        if 'features' in needs:
            features.append(outputs.features)
        if 'logits' in needs:
            if outputs.logits is None:
                raise InputError(f'{extractor.name} does not predict classes, which the Inception score requires')
            logits.append(outputs.logits)
    if waiting:
        moments = _taken_in(moments, waiting)
    if size < at_least:
        raise InputError(f'a metric requires at least {at_least} image{"s" * (at_least > 1)}, not {size}')
    join = lambda parts: np.concatenate(parts) if parts else np.empty((0, 0))
    found = Found(size, features=join(features), logits=join(logits))
    return found if moments is None else found._replace(moments=moments)


def check_memory(count: int, dimension: int, needs: Collection[str]) -> None:
    """Raises `InputError` if the requested outputs of `count` images do not fit into the machine's memory.

    Moments hold four float64 matrices at a time (`moments.merge`), and features are held twice in float32.
    """
    costs = {
        'moments': ('frechet', 4 * 8 * dimension**2),
        'features': ('measures of individual features', 2 * 4 * count * dimension),
    }
    for field, (measures, need) in costs.items():
        if field in needs:
            advice = 'use other --measures, fewer --samples and --reals, --resize N, or another --extractor'
            memory.require(need, f'{measures} of {dimension:,} features per image', advice)


def _taken_in(moments: FeatureMoments | None, parts: list[np.ndarray]) -> FeatureMoments:
    """Adds these rows to the moments, on the host and in float64."""
    d = parts[0].shape[1]
    moments = FeatureMoments(np.zeros((), np.int64), np.zeros(d), np.zeros((d, d))) if moments is None else moments
    return update(moments, np.concatenate(parts))


def gather(
    extractor: Extractor | None,
    images: ImageSet,
    needs: Collection[str],
    *,
    labelled: bool = False,
    count: int | None = None,
    batch_size: int = 64,
    digest: Any = None,
) -> Found:
    """`collect` for a set of images, of which it may keep labels and the images themselves, too.

    Raises `InputError` as `collect` does, and for images without labels if those are required.

    Args:
        extractor: the extractor; None if only 'images' are needed.
        images: the images.
        needs: the fields of `Found` to keep, by name.
        labelled: whether to keep the labels.
        count: number of images; None for all.
        batch_size: number of images in a call of the extractor.
        digest: a hash object that is updated with the pixels.
    """
    if labelled and images.labelled is None:
        raise InputError(
            f'{images.name} has no classes, which this metric requires: give a data set with labels, or a folder that has a '
            f'sub-folder for each class'
        )
    labels: list[np.ndarray] = []
    kept: list[np.ndarray] = []

    def blocks() -> Iterator[np.ndarray]:
        pairs = images.labelled(count) if labelled and images.labelled else ((block, None) for block in images.batches(count))
        for block, of_block in pairs:
            if of_block is not None:
                labels.append(of_block)
            if 'images' in needs:
                kept.append(block)
            if digest is not None:
                digest.update(as_bytes(block))
            yield block

    if extractor is None:
        size = sum(map(len, blocks()))
        found = Found(size)
    else:
        known = images.size if count is None else count
        wanted = set(needs) - {'images'}
        found = collect(extractor, blocks(), wanted, batch_size=batch_size, count=known)
    lists = {'images': kept, 'labels': labels}
    arrays: dict[str, Any] = {name: np.concatenate(parts) for name, parts in lists.items() if parts}
    return found._replace(**arrays)


def reference_statistics(
    extractor: Extractor,
    images: ImageSet,
    needs: Collection[str] = ('moments',),
    *,
    labelled: bool = False,
    count: int | None = None,
    batch_size: int = 64,
) -> Statistics:
    """Statistics of real images that `save_statistics` can write and `evaluate` takes in place of the images.

    Raises `InputError` for images of unknown shape, and as `gather` does.

    Args:
        extractor: the extractor.
        images: the images.
        needs: 'moments', 'features', or both.
        labelled: whether to keep the labels.
        count: number of images; None for all.
        batch_size: number of images in a call of the extractor.
    """
    if images.shape is None:
        raise InputError(f'statistics of {images.name} require the shape of its images')
    if not needs or set(needs) - {'moments', 'features'}:
        raise InputError(f'statistics can hold moments and features, not {", ".join(sorted(set(needs))) or "nothing"}')
    digest = hashlib.sha256(f'{images.shape}'.encode())
    options: Any = {'batch_size': batch_size}
    found = gather(extractor, images, needs, labelled=labelled, count=count, digest=digest, **options)
    probe, identity = describe(extractor, images.shape, **options)
    assert found.size is not None
    origin = Provenance(
        images.name,
        images.split,
        found.size,
        count is None or count == images.size,
        tuple(map(int, images.shape)),
        images.resize,
        digest.hexdigest(),
        extractor.name,
        identity,
        versions(),
        images.classes if labelled else (),
    )
    moments = found.moments if 'moments' in needs else None
    features = as_floats(found.features) if 'features' in needs else None
    return Statistics(moments, features, found.labels if labelled else None, probe, origin)


def check_held_out(train: References | None, held_out: References) -> None:
    """Raises `InputError` unless both are images, of which the held-out ones have a split of their own."""
    if not isinstance(train, ImageSet) or not isinstance(held_out, ImageSet):
        raise InputError('copies are found among individual images; this metric requires the real images, not statistics')
    if train.name == held_out.name:
        raise InputError(
            f'{train.name} has no held-out images: a data set must have a {HELD_OUT} split, or a folder the folders '
            f'{TRAIN} and {HELD_OUT}'
        )


def check_shapes(real: ImageSet, fake: ImageSet) -> None:
    """Raises `InputError` if the known shapes of real and generated images differ in size or channels."""
    if real.shape and fake.shape and real.shape != fake.shape:
        shapes = [f'{images.name} {" x ".join(map(str, images.shape or ()))}' for images in (real, fake)]
        flags = ['--resize N'] * (real.shape[:2] != fake.shape[:2]) + ['--channels 1 or 3'] * (real.shape[2] != fake.shape[2])
        raise InputError(f'images of different shapes cannot be compared: {" and ".join(shapes)}; use {" and ".join(flags)}')
