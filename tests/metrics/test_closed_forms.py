"""Metrics against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import data
from gan_jax.metrics.extractors.classifier import classifier_scores, train_classifier


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
