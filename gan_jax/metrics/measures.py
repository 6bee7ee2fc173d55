"""Measures: estimators as functions of the outputs of an extractor, by name, with the rows that they report."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import numpy as np

from gan_jax.metrics.accuracy import classification_accuracy_score
from gan_jax.metrics.classes import intra_class_frechet
from gan_jax.metrics.clipped import clipped_density_coverage
from gan_jax.metrics.copying import authenticity, copying_test
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.metrics.frechet import frechet_infinity as frechet_at_infinity
from gan_jax.metrics.kernel import cmmd, kernel_distance, kernel_distance_subsets
from gan_jax.metrics.likelihood import feature_likelihood_divergence
from gan_jax.metrics.manifolds import prdc
from gan_jax.metrics.measure import Found, Measure, Row, described
from gan_jax.metrics.monge import monge_distance
from gan_jax.metrics.scores import inception_score, inception_score_infinity
from gan_jax.metrics.vendi import vendi_score
from gan_jax.ranges import Compared, Count, Positive, Range, Seed, Several, Whole, checked
from gan_jax.registry import Table

TRAIN, HELD_OUT = 'train', 'test'
"""The splits of the measures that look for copies; the accuracy score uses the second."""


@described
def frechet(name: str = 'frechet_distance') -> Measure:
    """Fréchet distance (Heusel et al. 2017, eq. 6), which is FID if the features are Inception's."""

    def call(real: Found, fake: Found) -> list[Row]:
        return [(name, float(frechet_distance(real.moments, fake.moments)), None, '')]

    return Measure(call, 'moments', 'moments')


_Points = Annotated[int, Range(3, 1000)]


@described
@checked
def frechet_infinity(points: _Points = 15, seed: Seed = 0) -> Measure:
    """Fréchet distance extrapolated to infinitely many generated images: FID_infinity (Chong and Forsyth 2020, section 4).

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = frechet_at_infinity(real.moments, fake.features, jax.random.key(seed), points=points)
        return [_estimate('frechet_infinity', found)]

    return Measure(call, 'moments', 'features')


@described
@checked
def score(splits: Count = 10, name: str = 'classifier_score') -> Measure:
    """exp of the mean KL(p(y|x) || p(y)) (Salimans et al. 2016, eq. 5): the Inception score if Inception is the classifier.

    Images are divided into splits at random, always the same way: in the order of files, which is often that of classes, the
    score of a split would be that of one class. Raises `ValueError` for settings out of range.
    """

    def call(real: None, fake: Found) -> list[Row]:
        found = inception_score(np.random.default_rng(0).permutation(fake.logits), splits)
        return [(name, float(found.mean), float(found.std), f'sd over {splits} splits')]

    return Measure(call, None, 'logits')


@described
@checked
def score_infinity(points: _Points = 15, seed: Seed = 0, name: str = 'classifier_score') -> Measure:
    """The score extrapolated to infinitely many generated images: IS_infinity (Chong and Forsyth 2020, section 4).

    Raises `ValueError` for settings out of range.
    """

    def call(real: None, fake: Found) -> list[Row]:
        return [_estimate(f'{name}_infinity', inception_score_infinity(fake.logits, jax.random.key(seed), points=points))]

    return Measure(call, None, 'logits')


@described
@checked
def kernel(sigma: Positive | None = None) -> Measure:
    """Kernel distance: the unbiased squared MMD of all features (Bińkowski et al. 2018, eq. 4).

    The kernel is the polynomial one of KID, or Gaussian of width `sigma`. Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        return [_estimate('kernel_distance', kernel_distance(real.features, fake.features, sigma=sigma))]

    return Measure(call, 'features', 'features')


@described
@checked
def kernel_subsets(subsets: Count = 100, size: Compared = 1000, seed: Seed = 2020, sigma: Positive | None = None) -> Measure:
    """Kernel distance as the mean over random subsets, as KID is usually reported (Bińkowski et al. 2018).

    Raises `ValueError` for settings out of range.

    Args:
        subsets: number of subsets.
        size: number of examples in each of them.
        seed: draws the subsets.
        sigma: width of a Gaussian kernel, which replaces the polynomial one.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        settings: dict[str, Any] = {'subsets': subsets, 'size': size, 'sigma': sigma}
        found = kernel_distance_subsets(real.features, fake.features, jax.random.key(seed), **settings)
        return [('kernel_distance', float(found.mean), float(found.std), f'sd over {subsets} subsets of {size}')]

    return Measure(call, 'features', 'features')


@described
@checked
def clip_distance(sigma: Positive = 10.0, scale: Positive = 1000.0) -> Measure:
    """CMMD: the biased squared MMD under a Gaussian kernel, as published, and the unbiased one (Jayasumana et al. 2024).

    It is CMMD if the features are the embeddings of CLIP ViT-L/14 at 336 pixels. Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = cmmd(real.features, fake.features, sigma=sigma, scale=scale)
        error = float(np.asarray(found.standard_error))
        return [
            ('cmmd', float(found.value), None, ''),
            ('cmmd_unbiased', float(found.unbiased), error, 'standard error'),
        ]

    return Measure(call, 'features', 'features')


@described
@checked
def monge(directions: Count = 1000, seed: Seed = 0) -> Measure:
    """Monge distance, which is MIND if the features are Inception's (Berthet et al. 2026).

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = monge_distance(real.features, fake.features, jax.random.key(seed), directions=directions)
        return [_estimate('monge_distance', found)]

    return Measure(call, 'features', 'features')


_OfManifolds = Annotated[tuple[Literal['precision', 'recall', 'density', 'coverage'], ...], Several(1)]


@described
@checked
def manifold(k: Count = 5, strict: bool = True, names: _OfManifolds = ('precision', 'recall', 'density', 'coverage')) -> Measure:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), with k neighbours.

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = prdc(real.features, fake.features, k, strict=strict)
        return [(name, float(getattr(found, name)), None, '') for name in names]

    return Measure(call, 'features', 'features')


@described
@checked
def clipped(k: Count = 5) -> Measure:
    """Clipped density and clipped coverage, which fall linearly with the share of bad samples (Salvy et al. 2026).

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        found = clipped_density_coverage(real.features, fake.features, k)
        return [(f'clipped_{name}', float(getattr(found, name)), None, '') for name in found._fields]

    return Measure(call, 'features', 'features')


@described
@checked
def vendi(order: Annotated[float, Range(0)] = 1.0) -> Measure:
    """Vendi score: the effective number of different generated images (Friedman and Dieng 2023).

    Raises `ValueError` for settings out of range.
    """

    def call(real: None, fake: Found) -> list[Row]:
        return [('vendi_score', float(vendi_score(fake.features, order=order)), None, '')]

    return Measure(call, None, 'features')


@described
def authentic() -> Measure:
    """AuthPct: the percentage of generated images that are not suspiciously near to a training image (Alaa et al. 2022)."""

    def call(real: Found, fake: Found) -> list[Row]:
        name, value, error, kind = _estimate('auth_pct', authenticity(real.features, fake.features))
        return [(name, 100 * value, None if error is None else 100 * error, kind)]

    return Measure(call, 'features', 'features', TRAIN)


@described
@checked
def copying(cells: Count = 3, least: Whole = 20, seed: Seed = 0) -> Measure:
    """C_T: whether generated images are nearer to the training images than held-out ones are (Meehan et al. 2020).

    Raises `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found, held_out: Found) -> list[Row]:
        found = copying_test(real.features, held_out.features, fake.features, cells=cells, least=least, seed=seed)
        return [('c_t', found.value, None, '')]

    return Measure(call, 'features', 'features', TRAIN, 'features')


@described
@checked
def likelihood(seed: Seed = 0, most: Annotated[int, Range(4, 1_000_000)] = 10_000) -> Measure:
    """FLD: the likelihood of held-out images under Gaussians around the generated ones (Jiralerspong et al. 2023).

    Of each set, at most `most` images, drawn at random, are used, because the distances of all pairs are held in memory. Raises
    `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found, held_out: Found) -> list[Row]:
        drawn = lambda x: x if len(x) <= most else x[np.random.default_rng(seed).permutation(len(x))[:most]]
        train, new, samples = (drawn(x.features) for x in (real, held_out, fake))
        found = feature_likelihood_divergence(train, new, samples, jax.random.key(seed))
        error = float(np.asarray(found.standard_error))
        return [('fld', float(found.value), error, 'standard error'), ('fld_gap', float(found.gap), None, '')]

    return Measure(call, 'features', 'features', TRAIN, 'features')


@described
def intra_class() -> Measure:
    """Intra-class Fréchet distance: the mean over classes of each one's distance (Miyato and Koyama 2018, section 4.1)."""

    def call(real: Found, fake: Found) -> list[Row]:
        found = intra_class_frechet(real.features, real.labels, fake.features, fake.labels)
        return [('intra_class_frechet', found.mean, None, '')]

    return Measure(call, 'features', 'features', labelled=True)


@described
@checked
def accuracy(steps: Count | None = None, seed: Seed = 0) -> Measure:
    """CAS: the accuracy on real test images of a classifier trained on generated ones (Ravuri and Vinyals 2019, section 3).

    The classifier is that of `extractors.classifier`, trained for `steps` updates, or its default number of them. Raises
    `ValueError` for settings out of range.
    """

    def call(real: Found, fake: Found) -> list[Row]:
        train = functools.partial(train_classifier, steps=steps, seed=seed)
        found = classification_accuracy_score(real.images, real.labels, fake.images, fake.labels, train=train)
        return [('classification_accuracy_score', found.accuracy, found.standard_error, 'standard error')]

    return Measure(call, 'images', 'images', HELD_OUT, labelled=True)


def _estimate(name: str, found: Any) -> Row:
    return (name, float(np.asarray(found.value)), float(np.asarray(found.standard_error)), 'standard error')


MEASURES: Table[Callable[..., Measure]] = Table(
    'measure',
    {
        'frechet': frechet,
        'frechet_infinity': frechet_infinity,
        'score': score,
        'score_infinity': score_infinity,
        'kernel': kernel,
        'kernel_subsets': kernel_subsets,
        'cmmd': clip_distance,
        'monge': monge,
        'prdc': manifold,
        'clipped': clipped,
        'vendi': vendi,
        'authenticity': authentic,
        'copying': copying,
        'likelihood': likelihood,
        'intra_class': intra_class,
        'accuracy': accuracy,
    },
)
"""Name -> factory of a measure, which can be applied to any extractor and any number of images."""
