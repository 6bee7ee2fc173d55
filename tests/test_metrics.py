"""Metrics against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import data
from gan_jax.metrics.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features


def exact(mean, covariance, n):
    """n samples whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(0).normal(size=(n, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_closed_forms():
    mean, eye = np.array([1.0, -2.0, 0.5]), np.eye(3)
    distance = frechet_distance_from_features
    assert distance(exact(0 * mean, eye, 50), exact(mean, eye, 70)) == pytest.approx(5.25, abs=1e-9)
    assert distance(exact(0 * mean, eye, 50), exact(0 * mean, 4 * eye, 70)) == pytest.approx(3, abs=1e-9)
    x = exact(mean, eye, 50)
    assert distance(x, x) == pytest.approx(0, abs=1e-9)
    # Commuting covariances: the sum of squared differences of the roots; an offset and rank deficiency change nothing.
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 1.0])
    assert distance(exact(mean + 100, a, 50), exact(mean + 100, b, 70)) == pytest.approx(1 + 1 + 4, abs=1e-8)
    few = np.random.default_rng(1).normal(size=(4, 20))
    assert distance(few, few) == pytest.approx(0, abs=1e-8)
    for bad in ((few, few[:, :3]), (few[:1], few)):
        with pytest.raises(ValueError, match='n >= 2'):
            distance(*bad)


def test_frechet_distance_equals_scipy():
    import scipy.linalg

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(40, 8)) @ rng.normal(size=(8, 8)) + 1
    cx, cy = np.cov(x.T), np.cov(y.T)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * scipy.linalg.sqrtm(cx @ cy).real)
    assert frechet_distance_from_features(x, y) == pytest.approx(expected, rel=1e-9)


def test_classifier_scores():
    sure = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]] * 0.96 + 0.01
    scores = classifier_scores(sure)
    assert scores.confident == 1 and scores.confidence == pytest.approx(0.97)
    assert scores.class_entropy == pytest.approx(np.log(4))
    unsure = classifier_scores(np.full((5, 4), 0.25))
    assert unsure.confident == 0 and unsure.class_entropy == 0


def test_a_classifier_of_the_digits():
    train, test = data.load('digits', size=8), data.load('digits', split='test', size=8)
    classifier = train_classifier(train.images, train.labels, steps=300)
    x = np.asarray(data.to_float(jnp.asarray(test.images)))
    assert (classifier.probabilities(x).argmax(1) == test.labels).mean() > 0.95
    assert classifier.features(x).shape == (360, 128)
    again = train_classifier(train.images, train.labels, steps=300)
    np.testing.assert_array_equal(classifier.probabilities(x), again.probabilities(x))
