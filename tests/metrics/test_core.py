"""What all estimators have in common: which of them `jax.jit`, `jax.vmap` and `jax.eval_shape` accept."""

import inspect
import pathlib
import re

import jax
import numpy as np
import pytest

from gan_jax import metrics

N, M, L, D = 24, 21, 22, 3
X, Y, Z = (np.random.default_rng(0).normal(size=(n, D)).astype(np.float32) for n in (N, M, L))
KEY = jax.random.key(0)

TRACED = {
    'authenticity': lambda x, y, z: metrics.authenticity(x, y),
    'clipped_density_coverage': lambda x, y, z: metrics.clipped_density_coverage(x, y),
    'cmmd': lambda x, y, z: metrics.cmmd(x, y),
    'density_coverage': lambda x, y, z: metrics.density_coverage(x, y, 1.0),
    'feature_likelihood_divergence': lambda x, y, z: metrics.feature_likelihood_divergence(x, y, z, KEY, steps=2),
    'feature_moments': lambda x, y, z: metrics.feature_moments(x),
    'frechet_distance': lambda x, y, z: metrics.frechet_distance(*map(metrics.feature_moments, (x, y))),
    'frechet_distance_from_features': lambda x, y, z: metrics.frechet_distance_from_features(x, y),
    'frechet_infinity': lambda x, y, z: metrics.frechet_infinity(metrics.feature_moments(x), y, KEY, points=3),
    'inception_score': lambda x, y, z: metrics.inception_score(x, 2),
    'inception_score_infinity': lambda x, y, z: metrics.inception_score_infinity(x, KEY, points=3),
    'kernel_distance': lambda x, y, z: metrics.kernel_distance(x, y),
    'kernel_distance_subsets': lambda x, y, z: metrics.kernel_distance_subsets(x, y, KEY, subsets=3, size=5),
    'label_coverage': lambda x, y, z: metrics.label_coverage((x[:, 0] > 0).astype(int), 2),
    'mode_coverage': lambda x, y, z: metrics.mode_coverage(x, y[:4], np.ones(4)),
    'monge_distance': lambda x, y, z: metrics.monge_distance(x, y, KEY, directions=4),
    'nearest_neighbours': lambda x, y, z: metrics.nearest_neighbours(x, y, 2),
    'parzen_bandwidth': lambda x, y, z: metrics.parzen_bandwidth(x, y, np.array([0.5, 1.0])),
    'parzen_log_density': lambda x, y, z: metrics.parzen_log_density(x, y, 1.0),
    'parzen_log_likelihood': lambda x, y, z: metrics.parzen_log_likelihood(x, y, 1.0),
    'perceptual_path_length': lambda x, y, z: metrics.perceptual_path_length(
        lambda z: z, lambda a, b: ((a - b) ** 2).sum(1), x[:20], y[:20], lambda a, b, t: a + t * (b - a), KEY, epsilon=0.1
    ),
    'pooled_features': lambda x, y, z: metrics.pooled_features([x.reshape(2, 6, 6, 1)]),
    'prdc': lambda x, y, z: metrics.prdc(x, y),
    'smoothness': lambda x, y, z: metrics.smoothness(x),
    'stacked_labels': lambda x, y, z: metrics.stacked_labels((x > 0).astype(int)),
    'vendi_score': lambda x, y, z: metrics.vendi_score(x),
}
NOT_ESTIMATORS = {
    'as_levels', 'evaluate', 'evaluate_each', 'extract', 'image_features', 'image_moments', 'load_statistics', 'over_processes',
    'reference_statistics', 'save_statistics',
}  # fmt: skip


def on_the_host() -> set[str]:
    """The estimators that the page says compute on the host."""
    page = pathlib.Path(metrics.__file__).with_name('README.md').read_text()
    (sentence,) = re.findall(r'accept every estimator .*?which compute on the host', page, re.DOTALL)
    return set(re.findall(r'`(\w+)`', sentence))


def test_every_estimator_is_traced_or_said_to_compute_on_the_host():
    functions = {name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))}
    assert functions - NOT_ESTIMATORS == set(TRACED) | on_the_host()
    assert not set(TRACED) & on_the_host()


@pytest.mark.parametrize('name', TRACED)
def test_shapes_are_known_before_values(name):
    """Nothing of a traced estimator depends on values: `eval_shape` has none, and `vmap` of it adds an axis."""
    estimate = TRACED[name]
    shapes = jax.eval_shape(estimate, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (X, Y, Z)))
    mapped = jax.eval_shape(jax.vmap(estimate), *(jax.ShapeDtypeStruct((2, *x.shape), x.dtype) for x in (X, Y, Z)))
    assert jax.tree.map(lambda x: (2, *x.shape), shapes) == jax.tree.map(lambda x: x.shape, mapped)


@pytest.mark.parametrize('name', sorted(TRACED.keys() - {'pooled_features', 'smoothness', 'stacked_labels'}))
def test_whole_data_sets_can_be_compared(name):
    """The number of pairs of 70,000 images with 60,000 is beyond int32; a program of that size is traced, not run."""
    jax.eval_shape(TRACED[name], *(jax.ShapeDtypeStruct((n, D), np.float32) for n in (70_000, 60_000, 60_000)))


@pytest.mark.slow
def test_compiled_values_are_those_of_each_call():
    """All estimators in one program."""
    compiled = jax.jit(lambda *sets: {name: estimate(*sets) for name, estimate in TRACED.items()})(X, Y, Z)
    for name, estimate in TRACED.items():
        for found, expected in zip(jax.tree.leaves(compiled[name]), jax.tree.leaves(estimate(X, Y, Z)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_features_that_float32_cannot_tell_apart_are_refused():
    x, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    y = y + 0.3
    for estimate in (metrics.kernel_distance, lambda x, y: metrics.monge_distance(x, y, jax.random.key(0)), metrics.prdc):
        estimate(x + 100, y + 100)
        with pytest.raises(ValueError, match='float32 rounds away the differences of these features'):
            estimate(x + 1e8, y + 1e8)
    with pytest.raises(ValueError, match='float32 rounds away'):
        metrics.kernel_distance(np.arange(80).reshape(40, 2) + 2**40, np.arange(80).reshape(40, 2) + 2**40)
