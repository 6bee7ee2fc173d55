"""Protocols: named metrics that fix everything that affects their values.

"FID" alone does not suffice to compare two numbers: it leaves open the number of images, the split, the features and the resize.
A protocol fixes all of these under one name, and its result carries that name.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Literal, NamedTuple, cast

import jax
import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import fingerprint
from gan_jax.metrics.cache import cached_moments
from gan_jax.metrics.extractors.extraction import Extractor, extract, identity
from gan_jax.metrics.extractors.table import EXTRACTORS
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets
from gan_jax.metrics.manifolds import prdc
from gan_jax.metrics.moments import BLOCK, FeatureMoments, Gaussian, update
from gan_jax.metrics.scores import inception_score
from gan_jax.ranges import Compared, Count, Seed, Several, checked
from gan_jax.registry import Table, build


class Found(NamedTuple):
    """The requested outputs of an extractor on a set of images."""

    size: int | None
    """The number of images, or None for statistics from a file that does not specify it."""
    moments: FeatureMoments | Gaussian = FeatureMoments(np.zeros((), np.int64), np.empty(0), np.empty((0, 0)))
    """The moments of no features if they were not requested."""
    features: np.ndarray = np.empty((0, 0))
    """`[n, d]`; empty if they were not requested."""
    logits: np.ndarray = np.empty((0, 0))
    """`[n, classes]`; empty if they were not requested."""


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


Row = tuple[str, float, float | None, str]
"""The first four fields of a `Score`."""


class Measure(NamedTuple):
    """A function of the outputs of an extractor on real and on generated images."""

    call: Callable[..., list[Row]]
    """`(real: Found, fake: Found) -> rows`; `real` is None if the measure does not use real images."""
    real: str | None
    """The field of the real `Found` that the measure requires: 'moments', 'features', or None."""
    fake: str
    """The field of the generated `Found` that the measure requires: 'moments', 'features' or 'logits'."""


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


def frechet() -> Measure:
    """Fréchet distance (Heusel et al. 2017, eq. 6), which is FID if the features are Inception's."""

    def call(real: Found, fake: Found) -> list[Row]:
        return [('frechet_distance', float(frechet_distance(real.moments, fake.moments)), None, '')]

    return Measure(call, 'moments', 'moments')


@checked
def score(splits: Count = 10, name: str = 'classifier_score') -> Measure:
    """exp of the mean KL(p(y|x) || p(y)) (Salimans et al. 2016, eq. 5): the Inception score if Inception is the classifier.

    Raises `ValueError` for settings out of range.
    """

    def call(real: None, fake: Found) -> list[Row]:
        found = inception_score(fake.logits, splits)
        return [(name, float(found.mean), float(found.std), f'sd over {splits} splits')]

    return Measure(call, None, 'logits')


def kernel() -> Measure:
    """Kernel distance: the unbiased squared MMD of all features (Bińkowski et al. 2018, eq. 4)."""

    def call(real: Found, fake: Found) -> list[Row]:
        found = kernel_distance(real.features, fake.features)
        return [('kernel_distance', float(found.value), float(np.asarray(found.standard_error)), 'standard error')]

    return Measure(call, 'features', 'features')


@checked
def kernel_subsets(subsets: Count = 100, size: Compared = 1000, seed: Seed = 2020) -> Measure:
    """Kernel distance as the mean over random subsets, as KID is usually reported (Bińkowski et al. 2018).

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = kernel_distance_subsets(real.features, fake.features, jax.random.key(seed), subsets=subsets, size=size)
        return [('kernel_distance', float(found.mean), float(found.std), f'sd over {subsets} subsets of {size}')]

    return Measure(call, 'features', 'features')


_OfManifolds = Annotated[tuple[Literal['precision', 'recall', 'density', 'coverage'], ...], Several(1)]


@checked
def manifold(k: Count = 5, strict: bool = True, names: _OfManifolds = ('precision', 'recall', 'density', 'coverage')) -> Measure:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), with k neighbours.

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = prdc(real.features, fake.features, k, strict=strict)
        return [(name, float(getattr(found, name)), None, '') for name in names]

    return Measure(call, 'features', 'features')


MEASURES: Table[Callable[..., Measure]] = Table(
    'measure',
    {'frechet': frechet, 'score': score, 'kernel': kernel, 'kernel_subsets': kernel_subsets, 'prdc': manifold},
)
"""Name -> factory of a measure, which can be applied to any extractor and any number of images."""

PROTOCOLS: Table[Protocol] = Table(
    'protocol',
    {
        'fid50k_full': Protocol(frechet(), 50_000),
        'fid50k_full_clean': Protocol(frechet(), 50_000, extractor='inception:resize=clean'),
        'fid10k_test': Protocol(frechet(), 10_000, 10_000, 'test'),
        'fid5k': Protocol(frechet(), 5_000, 5_000),
        'is50k': Protocol(score(10, 'inception_score'), 50_000),
        'kid50k_full': Protocol(kernel(), 50_000),
        'kid100x1000': Protocol(kernel_subsets(100, 1000), 50_000),
        'pr50k3': Protocol(manifold(3, strict=False, names=('precision', 'recall')), 50_000, 50_000),
        'prdc10k5': Protocol(manifold(5), 10_000, 10_000),
    },
)
"""Name -> protocol. The two k-NN manifold protocols use Inception's features, where Kynkäänniemi et al. use VGG-16's."""


def collect(
    extractor: Extractor,
    batches: Iterable[np.ndarray],
    needs: Collection[str],
    *,
    batch_size: int = 64,
    count: int | None = None,
) -> Found:
    """Runs an extractor over images and keeps only the requested outputs.

    Memory does not grow with the number of images unless 'features' are requested. Raises `InputError` for fewer than two images,
    for logits of an extractor that has none, and for outputs that do not fit into memory.

    Args:
        extractor: the extractor to run.
        batches: images, uint8 `[n, h, w, c]` each.
        needs: the fields of `Found` to keep, by name.
        batch_size: number of images in a call of the extractor.
        count: the number of images, if it is known in advance.
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
    if size < 2:
        raise InputError(f'a metric requires at least two images, not {size}')
    join = lambda parts: np.concatenate(parts) if parts else np.empty((0, 0))
    found = Found(size, features=join(features), logits=join(logits))
    return found if moments is None else found._replace(moments=moments)


def check_memory(count: int, dimension: int, needs: Collection[str]) -> None:
    """Raises `InputError` if the requested outputs of `count` images do not fit into the machine's memory.

    Moments hold four float64 matrices at a time (`moments.merge`), and features are held twice in float32.
    """
    if not hasattr(os, 'sysconf'):  # Windows does not report it
        return
    have = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    costs = {
        'moments': ('frechet', 4 * 8 * dimension**2),
        'features': ('kernel, kernel_subsets and prdc', 2 * 4 * count * dimension),
    }
    for field, (measures, need) in costs.items():
        if field in needs and need > have:
            raise InputError(
                f'{measures} of {dimension:,} features per image require {need / 1e9:.0f} GB, and this machine has '
                f'{have / 1e9:.0f} GB: use other --measures, fewer --samples and --reals, --resize N, or another --extractor'
            )


def _taken_in(moments: FeatureMoments | None, parts: list[np.ndarray]) -> FeatureMoments:
    """Adds these rows to the moments, on the host and in float64."""
    d = parts[0].shape[1]
    moments = FeatureMoments(np.zeros((), np.int64), np.zeros(d), np.zeros((d, d))) if moments is None else moments
    return update(moments, np.concatenate(parts))


class ImageSet(NamedTuple):
    """A set of images to score."""

    name: str
    batches: Callable[[int | None], Iterable[np.ndarray]]
    """`count -> batches` of that many images, uint8 `[n, h, w, c]`; all images if `count` is None."""
    shape: tuple[int, ...] | None = None
    """`(h, w, c)`, or None if it is unknown."""
    size: int | None = None
    """The number of images; None if it is unknown or unlimited."""


def evaluate(
    protocols: Mapping[str, Protocol],
    real: Callable[[str], ImageSet | FeatureMoments | Gaussian],
    fake: ImageSet,
    *,
    extractors: Callable[[str], Extractor] = lambda text: build(EXTRACTORS, text),
    batch_size: int = 64,
) -> list[Score]:
    """Computes the scores of protocols by name.

    Outputs that several protocols share are computed once, and statistics of real images are cached. Raises `InputError` if a
    protocol's requirements are not met, and for real and generated images of different shapes.

    Args:
        protocols: the protocols by name.
        real: returns the real images of a split, or statistics from a file.
        fake: the generated images.
        extractors: builds an extractor from its text.
        batch_size: number of images in a call of an extractor.
    """
    groups: dict[tuple, dict[str, Protocol]] = {}
    for name, protocol in protocols.items():
        key = (protocol.extractor, protocol.split, protocol.reals, protocol.fakes)
        groups.setdefault(key, {})[name] = protocol
    scores = []
    for (text, split, reals, fakes), members in groups.items():
        extractor, measures = extractors(text), [p.measure for p in members.values()]
        needs = {m.real for m in measures if m.real}
        references = real(split) if needs else None
        if isinstance(references, ImageSet):
            check_shapes(references, fake)
        found_real = _real(extractor, references, reals, needs, batch_size) if references else None
        found_fake = collect(
            extractor,
            fake.batches(fakes),
            {m.fake for m in measures},
            batch_size=batch_size,
            count=fake.size if fakes is None else fakes,
        )
        for name, protocol in members.items():
            used = (found_real.size if found_real and protocol.measure.real else None, found_fake.size)
            try:
                rows = protocol.measure.call(found_real, found_fake)
            except ValueError as error:
                raise InputError(f'{name}: {error}') from error
            scores += [Score(*row, name, extractor.name, *used) for row in rows]
    return scores


def check_shapes(real: ImageSet, fake: ImageSet) -> None:
    """Raises `InputError` if the known shapes of real and generated images differ in size or channels."""
    if real.shape and fake.shape and real.shape != fake.shape:
        shapes = [f'{images.name} {" x ".join(map(str, images.shape or ()))}' for images in (real, fake)]
        flags = ['--resize N'] * (real.shape[:2] != fake.shape[:2]) + ['--channels 1 or 3'] * (real.shape[2] != fake.shape[2])
        raise InputError(f'images of different shapes cannot be compared: {" and ".join(shapes)}; use {" and ".join(flags)}')


def _real(
    extractor: Extractor, images: ImageSet | FeatureMoments | Gaussian, count: int | None, needs: Collection[str], batch_size: int
) -> Found:
    if isinstance(images, FeatureMoments | Gaussian):
        if 'features' in needs:
            raise InputError('statistics do not contain individual features; this metric requires the real images')
        return Found(int(images.size) if isinstance(images, FeatureMoments) else None, images)
    run = lambda batches: collect(extractor, batches, needs, batch_size=batch_size, count=images.size if count is None else count)
    program = identity(extractor, images.shape, batch_size) if images.shape and set(needs) == {'moments'} else None
    if program is None:
        return run(images.batches(count))
    key = fingerprint(images.name, f'{count}', program)
    compute = lambda batches: cast(FeatureMoments, run(batches).moments)
    moments = cached_moments(key, lambda: images.batches(count), compute)
    return Found(int(moments.size), moments)
