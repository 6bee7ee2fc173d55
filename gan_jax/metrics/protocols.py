"""Protocols: named metrics that fix everything that affects their values.

"FID" alone does not suffice to compare two numbers: it leaves open the number of images, the split, the features and the resize.
A protocol fixes all of these under one name, and its result carries that name.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from gan_jax.errors import InputError, told_to_user
from gan_jax.files import fingerprint
from gan_jax.metrics.cache import cached_moments
from gan_jax.metrics.extractors.extraction import Extractor, filled_size, identity
from gan_jax.metrics.extractors.table import EXTRACTORS
from gan_jax.metrics.imagesets import ImageSet, References, check_held_out, check_shapes, gather
from gan_jax.metrics.measure import Found, Measure
from gan_jax.metrics.measures import (
    HELD_OUT,
    clipped,
    frechet,
    frechet_infinity,
    kernel,
    kernel_subsets,
    manifold,
    monge,
    score,
    score_infinity,
)
from gan_jax.metrics.moments import FeatureMoments, Gaussian
from gan_jax.metrics.statistics import Statistics, check_extractor
from gan_jax.registry import Table, build

JUDGE = 'a classifier that was trained on the generated images'
"""What stands for the extractor of measures that have none."""


class Score(NamedTuple):
    """One number and how it was obtained."""

    name: str
    value: float
    spread: float | None
    """The uncertainty of the value, or None if the estimator does not provide it."""
    spread_is: str
    """What `spread` is, such as 'standard error'; empty if there is none."""
    protocol: str
    """The name of the requested protocol or measure."""
    extractor: str
    reals: int | None
    """The number of real images used; None if there were none, or for statistics from a file that does not specify it."""
    fakes: int | None


class Protocol(NamedTuple):
    """A measure together with everything that affects its value."""

    measure: Measure
    fakes: int | None
    """The number of generated images. Fewer are an error, and from more this many are drawn; None for all."""
    reals: int | None = None
    """The number of real images; None for all."""
    split: str = 'train'
    """The split of the data set."""
    extractor: str = 'inception'
    """A member of `EXTRACTORS` with its settings."""


PROTOCOLS: Table[Protocol] = Table(
    'protocol',
    {
        'fid50k_full': Protocol(frechet(), 50_000),
        'fid50k_full_clean': Protocol(frechet(), 50_000, extractor='inception:resize=clean'),
        'fid10k_test': Protocol(frechet(), 10_000, 10_000, 'test'),
        'fid5k': Protocol(frechet(), 5_000, 5_000),
        'fid_infinity50k': Protocol(frechet_infinity(), 50_000),
        'sfid50k_full': Protocol(frechet('spatial_frechet_distance'), 50_000, extractor='inception:features=spatial'),
        'mind5k': Protocol(monge(), 5_000, 5_000),
        'is50k': Protocol(score(10, 'inception_score'), 50_000),
        'is_infinity50k': Protocol(score_infinity(name='inception_score'), 50_000),
        'kid50k_full': Protocol(kernel(), 50_000),
        'kid100x1000': Protocol(kernel_subsets(100, 1000), 50_000),
        'pr50k3': Protocol(manifold(3, strict=False, names=('precision', 'recall')), 50_000, 50_000),
        'prdc10k5': Protocol(manifold(5), 10_000, 10_000),
        'clipped10k5': Protocol(clipped(5), 10_000, 10_000),
    },
)
"""Name -> protocol. The two k-NN manifold protocols use Inception's features, where Kynkäänniemi et al. use VGG-16's."""


def evaluate(
    protocols: Mapping[str, Protocol],
    real: Callable[[str], References],
    fake: ImageSet,
    *,
    extractors: Callable[[str], Extractor] = lambda text: build(EXTRACTORS, text),
    batch_size: int = 64,
) -> list[Score]:
    """Computes the scores of protocols by name.

    Outputs that several protocols share are computed once, and statistics of real images are cached. Raises `InputError` if a
    protocol's requirements are not met, for real and generated images of different shapes, and for statistics that do not fit.

    Args:
        protocols: the protocols by name.
        real: returns the real images of a split, or their statistics. Measures that look for copies request the splits
            'train' and 'test', whatever the protocol says.
        fake: the generated images.
        extractors: builds an extractor from its text.
        batch_size: number of images in a call of an extractor.
    """
    return evaluate_each(protocols, real, [fake], extractors=extractors, batch_size=batch_size)[0]


def evaluate_each(
    protocols: Mapping[str, Protocol],
    real: Callable[[str], References],
    fakes: Sequence[ImageSet],
    *,
    extractors: Callable[[str], Extractor] = lambda text: build(EXTRACTORS, text),
    batch_size: int = 64,
) -> list[list[Score]]:
    """The scores of several sets of generated images, for which real images are read and programs are compiled only once.

    Raises `InputError` as `evaluate` does.

    Args:
        protocols: the protocols by name.
        real: see `evaluate`.
        fakes: the sets of generated images.
        extractors: builds an extractor from its text.
        batch_size: number of images in a call of an extractor.
    """
    scores: list[list[Score]] = [[] for _ in fakes]
    for (text, split, reals, count), members in groups(protocols).items():
        extractor = extractors(text) if text else None
        measures = [p.measure for p in members.values()]
        labelled = any(m.labelled for m in measures)
        needs = {m.real for m in measures if m.real}
        references = real(split) if needs else None
        if isinstance(references, FeatureMoments | Gaussian):
            references = Statistics(references)
        held_out_needs = {m.held_out for m in measures if m.held_out}
        held_out = real(HELD_OUT) if held_out_needs else None
        if held_out:
            check_held_out(references, held_out)
        for fake in fakes:
            if isinstance(references, ImageSet):
                check_shapes(references, fake)
        if isinstance(references, Statistics):
            check_statistics(references, members, split, reals)
            for shape in dict.fromkeys(fake.shape for fake in fakes):
                if extractor:
                    check_extractor(references, extractor, shape=shape, batch_size=batch_size)
        of: Any = functools.partial(_real, extractor, batch_size=batch_size)
        found_real = of(references, reals, needs, labelled) if references else None
        found_held_out = of(held_out, None, held_out_needs) if held_out else None
        for rows, fake in zip(scores, fakes, strict=True):
            of_fake = {m.fake for m in measures}
            found_fake = gather(extractor, fake, of_fake, labelled=labelled, count=count, batch_size=batch_size)
            if labelled:
                found_fake = found_fake._replace(labels=_renumbered(found_fake.labels, fake, references))
            name = extractor.name if extractor else JUDGE
            for protocol, member in members.items():
                used = (found_real.size if found_real and member.measure.real else None, found_fake.size)
                held_out_too = [found_held_out] if member.measure.held_out else []
                with told_to_user(protocol):
                    found = member.measure.call(found_real, found_fake, *held_out_too)
                rows += [Score(*row, protocol, name, *used) for row in found]
    return scores


def groups(protocols: Mapping[str, Protocol]) -> dict[tuple[str, str, int | None, int | None], dict[str, Protocol]]:
    """The protocols that share their outputs, by extractor, split, and numbers of real and of generated images.

    The extractor is '' for measures of images.
    """
    found: dict[tuple[str, str, int | None, int | None], dict[str, Protocol]] = {}
    for name, protocol in protocols.items():
        text = '' if protocol.measure.fake == 'images' else protocol.extractor
        key = (text, protocol.measure.split or protocol.split, protocol.reals, protocol.fakes)
        found.setdefault(key, {})[name] = protocol
    return found


def check_statistics(references: Statistics, protocols: Iterable[str], split: str, count: int | None) -> None:
    """Raises `InputError` if statistics say that they are of another split, or of another number of images.

    Args:
        references: the statistics.
        protocols: the names of the protocols that compare with them.
        split: the split of the protocols.
        count: their number of real images; None for all.
    """
    origin = references.origin
    if origin is None:
        return
    of = f'{references.name} is of {origin.size:,} images of {origin.images}'
    if origin.split and origin.split != split:
        raise InputError(f'{" and ".join(protocols)} compares with the split {split!r}, and {of}')
    if (origin.size != count) if count else not origin.whole:
        raise InputError(f'{" and ".join(protocols)} compares with {f"{count:,}" if count else "all"} images, and {of}')


def _renumbered(labels: np.ndarray, fake: ImageSet, references: ImageSet | Statistics | None) -> np.ndarray:
    """The labels of generated images as the real ones number the classes of the same names."""
    classes = references.classes if isinstance(references, ImageSet) else ()
    if isinstance(references, Statistics) and references.origin:
        classes = references.origin.classes
    if others := [name for name in fake.classes if name not in classes]:
        raise InputError(f'{fake.name} has classes that the real images do not have: {", ".join(others[:5])}')
    return np.array([classes.index(name) for name in fake.classes], np.int32)[labels]


def _real(
    extractor: Extractor | None,
    images: ImageSet | Statistics,
    count: int | None,
    needs: Collection[str],
    labelled: bool = False,
    *,
    batch_size: int = 64,
) -> Found:
    if isinstance(images, Statistics):
        return images.found(needs, labelled)
    run = lambda images: gather(extractor, images, needs, labelled=labelled, count=count, batch_size=batch_size)
    cacheable = extractor and images.shape and set(needs) == {'moments'} and not labelled
    known = identity(extractor, images.shape, filled_size(batch_size)) if cacheable and extractor and images.shape else None
    if known is None:
        return run(images)
    key = fingerprint(images.name, f'{count}', known)
    compute = lambda batches: cast(FeatureMoments, run(images._replace(batches=lambda count: batches)).moments)
    moments = cached_moments(key, lambda: images.batches(count), compute)
    return Found(int(moments.size), moments)
