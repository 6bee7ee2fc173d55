"""The Fréchet distance within classes: a closed form, each class on its own, and what labels are refused."""

import numpy as np
import pytest

from gan_jax.metrics.classes import intra_class_frechet
from gan_jax.metrics.frechet import frechet_distance_from_features


def test_each_class_on_its_own():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(90, 4)) + 100, rng.normal(size=(80, 4)) + 100
    real_labels, fake_labels = rng.permutation(np.arange(90) % 3), rng.permutation(np.arange(80) % 3)
    found = intra_class_frechet(real, real_labels * 5, fake, fake_labels * 5)
    expected = [frechet_distance_from_features(real[real_labels == c], fake[fake_labels == c]) for c in range(3)]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-9)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-9)
    np.testing.assert_array_equal(found.classes, [0, 5, 10])


def test_a_generator_that_ignores_its_condition():
    """Two classes at +1 and -1: samples with the right labels have distance 0, and with the wrong ones |2|^2 = 4; the distance of
    the whole sets is 0 either way."""
    points = np.array([[1.0], [1.5], [0.5], [-1.0], [-1.5], [-0.5]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert intra_class_frechet(points, labels, points, labels).mean == pytest.approx(0, abs=1e-12)
    assert intra_class_frechet(points, labels, points, 1 - labels).mean == pytest.approx(4, rel=1e-12)
    assert frechet_distance_from_features(points, points) == pytest.approx(0, abs=1e-12)


def test_bad_labels():
    x, labels = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 0, 0, 1, 1, 1])
    for call, message in (
        (lambda: intra_class_frechet(x, labels[:5], x, labels), r'labels of real must be 6 integers, got int64\[5\]'),
        (lambda: intra_class_frechet(x, labels, x, labels / 2), r'labels of fake must be 6 integers, got float64'),
        (lambda: intra_class_frechet(x, labels, x, 0 * labels), 'fake has fewer than two examples of classes: 1'),
        (
            lambda: intra_class_frechet(x, np.array([0, 0, 0, 0, 0, 2]), x, labels),
            'real has fewer than two examples of classes: 1, 2',
        ),
        (lambda: intra_class_frechet(x, labels, x[:, :1], labels), 'same dimension'),
    ):
        with pytest.raises(ValueError, match=message):
            call()
