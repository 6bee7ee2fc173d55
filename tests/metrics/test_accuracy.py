"""The classification accuracy score, with a classifier whose answers are known and with the real one on few images."""

import types

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.metrics.accuracy import classification_accuracy_score


def nearest_mean(images, labels):
    """Classifies by the nearest class mean."""
    rows = lambda x: np.asarray(x, np.float64).reshape(len(x), -1)
    means = np.stack([rows(images[labels == c]).mean(0) for c in range(labels.max() + 1)])
    near = lambda x: np.square(rows(x)[:, None] - means).sum(2).argmin(1)
    return types.SimpleNamespace(probabilities=lambda x: np.eye(len(means))[near(x)])


def levels(values):
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 4, 4, 1))


def test_accuracies_of_classes():
    real, real_labels = levels([0, 10, 90, 100, 200, 120]), np.array([0, 0, 1, 1, 2, 2])
    found = classification_accuracy_score(real, real_labels, levels([0, 100, 200]), np.arange(3), train=nearest_mean)
    np.testing.assert_array_equal(found.of_classes, [1, 1, 0.5])  # 120 is nearer to 100
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.standard_error == pytest.approx(np.sqrt(5 / 36 / 6))
    # A generator that ignores its condition: classes 0 and 1 are exchanged.
    found = classification_accuracy_score(real, real_labels, levels([100, 0, 200, 30]), np.arange(4), train=nearest_mean)
    np.testing.assert_array_equal(found.of_classes[:3], [0, 0, 0.5])
    assert np.isnan(found.of_classes[3])


def test_bad_labels():
    images = levels([0, 100])
    for real_labels, fake, fake_labels, message in (
        (np.array([0]), images, np.arange(2), '2 real images and 1 labels'),
        (np.array([0, 2]), images, np.arange(2), 'classes up to 2, but samples only up to 1'),
        (np.array([0, 1]), images[:, :2], np.arange(2), 'must be of one shape'),
        (np.array([0, 1]), images, np.array([1, 1]), '1 classes are empty'),
    ):
        with pytest.raises(InputError, match=message):
            classification_accuracy_score(images, real_labels, fake, fake_labels)
