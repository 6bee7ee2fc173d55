"""Scores of generated samples, computed from features. They require neither a game nor a train step."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan_jax.metrics.distances import pair_distances
    from gan_jax.metrics.extractors import EXTRACTORS, Extractor, extract
    from gan_jax.metrics.frechet import frechet_distance, frechet_distance_from_features, frechet_infinity
    from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets
    from gan_jax.metrics.manifolds import prdc
    from gan_jax.metrics.modes import coverage_floor, density_coverage, label_coverage, mode_coverage, stacked_labels
    from gan_jax.metrics.moments import FeatureMoments, Gaussian, feature_moments
    from gan_jax.metrics.neighbours import memorisation_test, nearest_distance, nearest_neighbours
    from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_density, parzen_log_likelihood
    from gan_jax.metrics.paths import smoothness
    from gan_jax.metrics.probe import linear_probe, pooled_features
    from gan_jax.metrics.protocols import MEASURES, PROTOCOLS, evaluate
    from gan_jax.metrics.scores import inception_score

_NAMES = {
    'distances': ['pair_distances'],
    'extractors': ['EXTRACTORS', 'Extractor', 'extract'],
    'frechet': ['frechet_distance', 'frechet_distance_from_features', 'frechet_infinity'],
    'kernel': ['kernel_distance', 'kernel_distance_subsets'],
    'manifolds': ['prdc'],
    'modes': ['coverage_floor', 'density_coverage', 'label_coverage', 'mode_coverage', 'stacked_labels'],
    'moments': ['FeatureMoments', 'Gaussian', 'feature_moments'],
    'neighbours': ['memorisation_test', 'nearest_distance', 'nearest_neighbours'],
    'parzen': ['parzen_bandwidth', 'parzen_log_density', 'parzen_log_likelihood'],
    'paths': ['smoothness'],
    'probe': ['linear_probe', 'pooled_features'],
    'protocols': ['MEASURES', 'PROTOCOLS', 'evaluate'],
    'scores': ['inception_score'],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    'EXTRACTORS', 'MEASURES', 'PROTOCOLS', 'Extractor', 'FeatureMoments', 'Gaussian', 'coverage_floor', 'density_coverage',
    'evaluate', 'extract', 'feature_moments', 'frechet_distance', 'frechet_distance_from_features', 'frechet_infinity',
    'inception_score', 'kernel_distance', 'kernel_distance_subsets', 'label_coverage', 'linear_probe', 'memorisation_test',
    'mode_coverage', 'nearest_distance', 'nearest_neighbours', 'pair_distances', 'parzen_bandwidth', 'parzen_log_density',
    'parzen_log_likelihood', 'pooled_features', 'prdc', 'smoothness', 'stacked_labels',
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
