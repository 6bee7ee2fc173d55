"""Protocols: what a number's name promises.

"FID" alone says too little to compare two numbers: how many images, which split, whose features, what resize. A protocol
fixes all of it under one name, and its result carries that name.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import cache_directory, fingerprint
from gan_jax.metrics.extractors import EXTRACTORS, Extractor, extract
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets
from gan_jax.metrics.moments import BLOCK, FeatureMoments, Gaussian, load, save, update
from gan_jax.metrics.prdc import prdc
from gan_jax.metrics.scores import inception_score
from gan_jax.ranges import Compared, Count, Seed
from gan_jax.registry import Table, build


class Found(NamedTuple):
    """What an extractor found in a set of images, as far as it is needed."""

    moments: FeatureMoments | Gaussian
    features: np.ndarray = np.empty((0, 0))
    """`[n, d]`; empty if they were not needed."""
    logits: np.ndarray = np.empty((0, 0))
    """`[n, classes]`; empty if they were not needed."""


class Score(NamedTuple):
    """One number, and how it came about."""

    name: str
    value: float
    spread: float | None
    """How far it may be off; None where the estimator has nothing to say of that."""
    spread_is: str
    """'standard error', or what else `spread` is; empty without one."""
    protocol: str
    """What was asked for: the protocol's name, or the measure's."""
    extractor: str
    reals: int | None
    """How many real images went in; None if none did, or if statistics came from a file that does not say."""
    fakes: int | None


Row = tuple[str, float, float | None, str]
"""The first four fields of a `Score`."""


class Measure(NamedTuple):
    """A function of what was found in real and in generated images."""

    call: Callable[..., list[Row]]
    """`(real: Found, fake: Found) -> rows`; real is None where nothing real is needed."""
    real: str | None
    """The field of the real collection that it needs: 'moments', 'features', or None."""
    fake: str
    """The field of the generated collection that it needs: 'moments', 'features' or 'logits'."""


class Protocol(NamedTuple):
    """A measure with everything fixed that moves its value."""

    measure: Measure
    fakes: int | None
    """How many generated images: no fewer, and of more this many are drawn; None for all."""
    reals: int | None = None
    """How many real ones; None for all."""
    split: str = 'train'
    """The data set's split."""
    extractor: str = 'inception'
    """A member of `EXTRACTORS` with its settings."""


def frechet() -> Measure:
    """Fréchet distance (Heusel et al. 2017, eq. 6): FID, if the features are Inception's."""

    def call(real: Found, fake: Found) -> list[Row]:
        return [('frechet_distance', float(frechet_distance(real.moments, fake.moments)), None, '')]

    return Measure(call, 'moments', 'moments')


def score(splits: Count = 10, name: str = 'classifier_score') -> Measure:
    """exp of the mean KL(p(y|x) || p(y)) (Salimans et al. 2016, eq. 5): the Inception score, if Inception classifies."""

    def call(real: None, fake: Found) -> list[Row]:
        found = inception_score(fake.logits, splits)
        return [(name, float(found.mean), float(found.std), f'sd over {splits} splits')]

    return Measure(call, None, 'logits')


def kernel() -> Measure:
    """Kernel distance, the unbiased squared MMD of all the features (Bińkowski et al. 2018, eq. 4)."""

    def call(real: Found, fake: Found) -> list[Row]:
        found = kernel_distance(real.features, fake.features)
        return [('kernel_distance', float(found.value), float(np.asarray(found.standard_error)), 'standard error')]

    return Measure(call, 'features', 'features')


def kernel_subsets(subsets: Count = 100, size: Compared = 1000, seed: Seed = 2020) -> Measure:
    """Kernel distance as a mean over random subsets, which is how KID is mostly reported."""

    def call(real: Found, fake: Found) -> list[Row]:
        found = kernel_distance_subsets(jax.random.key(seed), real.features, fake.features, subsets=subsets, size=size)
        return [('kernel_distance', float(found.mean), float(found.std), f'sd over {subsets} subsets of {size}')]

    return Measure(call, 'features', 'features')


def manifold(k: Count = 5, strict: bool = True, names: Sequence[str] = ('precision', 'recall', 'density', 'coverage')) -> Measure:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), with k neighbours."""

    def call(real: Found, fake: Found) -> list[Row]:
        found = prdc(real.features, fake.features, k, strict=strict)
        return [(name, float(getattr(found, name)), None, '') for name in names]

    return Measure(call, 'features', 'features')


MEASURES: Table[Callable[..., Measure]] = Table(
    'measure',
    {'frechet': frechet, 'score': score, 'kernel': kernel, 'kernel_subsets': kernel_subsets, 'prdc': manifold},
)
"""Name -> factory: what can be asked of any extractor and any number of images."""

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
"""Name -> protocol. The two of k-NN manifolds are taken on Inception's features, where Kynkäänniemi et al. have VGG-16's."""


def collect(extractor: Extractor, batches: Iterable[np.ndarray], needs: Collection[str], *, batch_size: int = 64) -> Found:
    """Runs the extractor over images. Without 'features' among `needs`, memory does not grow with their number.

    Raises `InputError` for fewer than two images, and for logits of an extractor that has none.
    """
    moments: FeatureMoments | None = None
    features, logits, waiting = [], [], []
    for outputs in extract(extractor, batches, batch_size=batch_size):
        waiting.append(outputs.features)
        if sum(map(len, waiting)) >= BLOCK:
            moments, waiting = _taken_in(moments, waiting), []
        if 'features' in needs:
            features.append(outputs.features)
        if 'logits' in needs:
            if outputs.logits is None:
                raise InputError(f'{extractor.name} has no classes, of which the Inception score is made')
            logits.append(outputs.logits)
    if waiting:
        moments = _taken_in(moments, waiting)
    if moments is None or moments.size < 2:
        raise InputError(f'a metric needs at least two images, not {0 if moments is None else int(moments.size)}')
    join = lambda parts: np.concatenate(parts) if parts else np.empty((0, 0))
    return Found(moments, join(features), join(logits))


def _taken_in(moments: FeatureMoments | None, parts: list[np.ndarray]) -> FeatureMoments:
    """With these rows too; on the host, in float64."""
    d = parts[0].shape[1]
    moments = FeatureMoments(np.zeros((), np.int64), np.zeros(d), np.zeros((d, d))) if moments is None else moments
    return update(moments, np.concatenate(parts))


class Images(NamedTuple):
    """A set of images to be scored."""

    name: str
    batches: Callable[[int | None], Iterable[np.ndarray]]
    """`count -> batches` of that many of them, uint8 `[n, h, w, c]`; all for None."""
    identity: str
    """Says which images these are: their statistics are cached under it."""


def evaluate(
    protocols: Mapping[str, Protocol],
    real: Callable[[str], Images | FeatureMoments | Gaussian],
    fake: Images,
    *,
    extractors: Callable[[str], Extractor] = lambda text: build(EXTRACTORS, text),
    batch_size: int = 64,
) -> list[Score]:
    """The scores of protocols by name. What several of them need is computed once; statistics of real images are cached.

    `real` is asked for a split: images, or statistics from a file. Raises `InputError` for what a protocol cannot be given.
    """
    groups: dict[tuple, dict[str, Protocol]] = {}
    for name, protocol in protocols.items():
        key = (protocol.extractor, protocol.split, protocol.reals, protocol.fakes)
        groups.setdefault(key, {})[name] = protocol
    scores = []
    for (text, split, reals, fakes), members in groups.items():
        extractor, measures = extractors(text), [p.measure for p in members.values()]
        needs = {m.real for m in measures if m.real}
        found_real = _real(extractor, real(split), reals, needs, batch_size) if needs else None
        found_fake = collect(extractor, fake.batches(fakes), {m.fake for m in measures}, batch_size=batch_size)
        counts = (found_real and _count(found_real.moments), _count(found_fake.moments))
        for name, protocol in members.items():
            used = (counts[0] if protocol.measure.real else None, counts[1])
            try:
                rows = protocol.measure.call(found_real, found_fake)
            except ValueError as error:
                raise InputError(f'{name}: {error}') from error
            scores += [Score(*row, name, extractor.name, *used) for row in rows]
    return scores


def _count(moments: FeatureMoments | Gaussian) -> int | None:
    return int(moments.size) if isinstance(moments, FeatureMoments) else None


def _real(
    extractor: Extractor, images: Images | FeatureMoments | Gaussian, count: int | None, needs: Collection[str], batch_size: int
) -> Found:
    if isinstance(images, FeatureMoments | Gaussian):
        if 'features' in needs:
            raise InputError('statistics hold no single features; this metric needs the real images')
        return Found(images)
    file = cache_directory() / 'statistics' / f'{fingerprint(images.identity, f"{count}", extractor.name)}.npz'
    if 'features' not in needs and file.exists():
        return Found(load(file))
    found = collect(extractor, images.batches(count), needs, batch_size=batch_size)
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file, found.moments)
    return found
