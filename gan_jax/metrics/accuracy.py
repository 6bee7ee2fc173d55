"""The classification accuracy score: how well a classifier that was trained on samples recognises real images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import Classifier, train_classifier


class AccuracyScore(NamedTuple):
    """The accuracy on real images of a classifier that has seen only samples."""

    accuracy: float
    standard_error: float
    """Over the real images, for the one classifier that was trained."""
    of_classes: np.ndarray
    """`[classes]`, the accuracy on the real images of each class, low for classes that the generator drops or draws badly. NaN
    for classes without real images."""


def classification_accuracy_score(
    real: np.ndarray,
    real_labels: np.ndarray,
    fake: np.ndarray,
    fake_labels: np.ndarray,
    *,
    train: Callable[[np.ndarray, np.ndarray], Classifier] = train_classifier,
) -> AccuracyScore:
    """The classification accuracy score, CAS (Ravuri and Vinyals 2019, section 3).

    A classifier is trained on samples of a conditional generator, labelled with the classes that were requested, and tested on
    real images that the generator has not seen. Compare with the score of the same classifier trained on real images. The paper
    trains a ResNet-50 on ImageNet; the default here is the small network of `extractors.classifier`, so report its name with the
    score.

    Raises `InputError` for labels that do not fit the images, and real classes that have no samples.

    Args:
        real: uint8 `[n, h, w, c]`, usually a test set.
        real_labels: integers `[n]`.
        fake: uint8 `[m, h, w, c]`.
        fake_labels: integers `[m]`.
        train: images and labels -> classifier.
    """
    if len(real) != len(real_labels) or not len(real):
        raise InputError(f'there are {len(real)} real images and {len(real_labels)} labels')
    if real.shape[1:] != fake.shape[1:]:
        raise InputError(f'real images {real.shape[1:]} and generated ones {fake.shape[1:]} must be of one shape')
    classes = int(np.max(fake_labels)) + 1
    if real_labels.max() >= classes or real_labels.min() < 0:
        raise InputError(f'real images have classes up to {real_labels.max()}, but samples only up to {classes - 1}')
    correct = train(fake, fake_labels).probabilities(real).argmax(1) == real_labels
    accuracy, counts = float(correct.mean()), np.bincount(real_labels, minlength=classes)
    with np.errstate(invalid='ignore'):
        of_classes = np.bincount(real_labels, weights=correct, minlength=classes) / counts
    return AccuracyScore(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(real))), of_classes)
