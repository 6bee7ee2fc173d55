"""Scores of generated samples, computed from features. They require neither a game nor a train step.

In a training loop of JAX or PyTorch, with any loader of images (`loader`), generator (`generate`) and `train`:

    from gan_jax.metrics import EXTRACTORS, frechet_distance, image_moments

    extractor = EXTRACTORS['pixels']()  # or EXTRACTORS['inception'](), ...
    reference = image_moments(extractor, (images for images, labels in loader), span=(0, 1))  # once
    for step in range(3000):
        train(step)
        if step % 1000 == 0:  # 1,000 samples, of which no more than 100 exist at a time
            samples = (generate(100) for _ in range(10))
            print(step, frechet_distance(reference, image_moments(extractor, samples, span=(-1, 1))))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_jax.metrics.accuracy import classification_accuracy_score
    from gan_jax.metrics.classes import intra_class_frechet
    from gan_jax.metrics.clipped import clipped_density_coverage
    from gan_jax.metrics.copying import authenticity, copying_test
    from gan_jax.metrics.distances import pair_distances
    from gan_jax.metrics.extractors import EXTRACTORS, Extractor, extract
    from gan_jax.metrics.frechet import frechet_distance, frechet_distance_from_features, frechet_infinity
    from gan_jax.metrics.imagesets import ImageSet, reference_statistics
    from gan_jax.metrics.kernel import cmmd, kernel_distance, kernel_distance_subsets
    from gan_jax.metrics.likelihood import feature_likelihood_divergence
    from gan_jax.metrics.manifolds import prdc
    from gan_jax.metrics.measures import MEASURES
    from gan_jax.metrics.modes import coverage_floor, density_coverage, label_coverage, mode_coverage, stacked_labels
    from gan_jax.metrics.moments import FeatureMoments, Gaussian, feature_moments
    from gan_jax.metrics.monge import monge_distance
    from gan_jax.metrics.neighbours import memorisation_test, nearest_distance, nearest_neighbours
    from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_density, parzen_log_likelihood
    from gan_jax.metrics.paths import perceptual_path_length, smoothness
    from gan_jax.metrics.probe import linear_probe, pooled_features
    from gan_jax.metrics.protocols import PROTOCOLS, evaluate, evaluate_each
    from gan_jax.metrics.scores import inception_score, inception_score_infinity
    from gan_jax.metrics.statistics import Statistics, load_statistics, save_statistics
    from gan_jax.metrics.streams import as_levels, image_features, image_moments, over_processes
    from gan_jax.metrics.vendi import vendi_score

_NAMES = {
    'accuracy': ['classification_accuracy_score'],
    'classes': ['intra_class_frechet'],
    'clipped': ['clipped_density_coverage'],
    'copying': ['authenticity', 'copying_test'],
    'distances': ['pair_distances'],
    'extractors': ['EXTRACTORS', 'Extractor', 'extract'],
    'frechet': ['frechet_distance', 'frechet_distance_from_features', 'frechet_infinity'],
    'imagesets': ['ImageSet', 'reference_statistics'],
    'kernel': ['cmmd', 'kernel_distance', 'kernel_distance_subsets'],
    'likelihood': ['feature_likelihood_divergence'],
    'manifolds': ['prdc'],
    'measures': ['MEASURES'],
    'modes': ['coverage_floor', 'density_coverage', 'label_coverage', 'mode_coverage', 'stacked_labels'],
    'moments': ['FeatureMoments', 'Gaussian', 'feature_moments'],
    'monge': ['monge_distance'],
    'neighbours': ['memorisation_test', 'nearest_distance', 'nearest_neighbours'],
    'parzen': ['parzen_bandwidth', 'parzen_log_density', 'parzen_log_likelihood'],
    'paths': ['perceptual_path_length', 'smoothness'],
    'probe': ['linear_probe', 'pooled_features'],
    'protocols': ['PROTOCOLS', 'evaluate', 'evaluate_each'],
    'scores': ['inception_score', 'inception_score_infinity'],
    'statistics': ['Statistics', 'load_statistics', 'save_statistics'],
    'streams': ['as_levels', 'image_features', 'image_moments', 'over_processes'],
    'vendi': ['vendi_score'],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    'EXTRACTORS', 'MEASURES', 'PROTOCOLS', 'Extractor', 'FeatureMoments', 'Gaussian', 'ImageSet', 'Statistics', 'as_levels',
    'authenticity', 'classification_accuracy_score', 'clipped_density_coverage', 'cmmd', 'copying_test', 'coverage_floor',
    'density_coverage', 'evaluate', 'evaluate_each', 'extract', 'feature_likelihood_divergence', 'feature_moments',
    'frechet_distance', 'frechet_distance_from_features', 'frechet_infinity', 'image_features', 'image_moments',
    'inception_score', 'inception_score_infinity', 'intra_class_frechet', 'kernel_distance', 'kernel_distance_subsets',
    'label_coverage', 'linear_probe', 'load_statistics', 'memorisation_test', 'mode_coverage', 'monge_distance',
    'nearest_distance', 'nearest_neighbours', 'over_processes', 'pair_distances', 'parzen_bandwidth', 'parzen_log_density',
    'parzen_log_likelihood', 'perceptual_path_length', 'pooled_features', 'prdc', 'reference_statistics', 'save_statistics',
    'smoothness', 'stacked_labels', 'vendi_score',
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imports a module when one of its names is first accessed, so estimators load neither extractors nor Flax."""
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f'gan_jax.metrics.{_MODULE_OF[name]}'), name)
    if name in _NAMES:
        return importlib.import_module(f'gan_jax.metrics.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NAMES})
