"""How often samples show the class they are conditioned on, and how varied they are within a class."""

from typing import Any, NamedTuple

import numpy as np

from experiments.shared.image_gan import at_random
from experiments.shared.labelled import LabelledData
from gan_jax import runs
from gan_jax.metrics.extractors.classifier import Classifier, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features


class Recognition(NamedTuple):
    """A classifier's reading of images with known labels."""

    accuracy: float
    """Share of images that are read as their label."""
    accuracies: np.ndarray
    """The same for each class, `[classes]`."""
    variance: float
    """Mean squared distance of the features from the mean of their class: near 0 for a generator of one image per class."""
    features: np.ndarray
    """`[n, d]`"""


def read(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> Recognition:
    """The classifier's reading of images `[n, h, w, c]` with labels int `[n]`."""
    right = classifier.probabilities(images).argmax(1) == labels
    features = classifier.features(images)
    classes = range(labels.max() + 1)
    accuracies = np.array([right[labels == k].mean() for k in classes])
    variance = np.mean([features[labels == k].var(0).sum() for k in classes])
    return Recognition(float(right.mean()), accuracies, float(variance), features)


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The end table: equally many samples of each class, next to held-out real images.

    The Fréchet distance is that of other samples, whose labels have the shares of the held-out images: it would count a
    difference in shares as one in images.
    """
    config: Any = trained.config
    found: LabelledData = trained.study.data
    train, test = found.train, found.test
    labels = np.arange(config.samples, dtype=np.int32) % len(train.classes)
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    ours, real = (read(classifier, x, y) for x, y in ((trained.images(labels), labels), (test.images, test.labels)))
    alike = np.resize(np.random.default_rng(0).permutation(test.labels), config.samples)
    distance, floor = (
        frechet_distance_from_features(real.features, classifier.features(images))
        for images in (trained.images(alike, 'distance'), at_random(train.images, config.samples))
    )
    worst = int(ours.accuracies.argmin())
    rows: list[tuple] = [
        ('', 'samples', 'held-out real images'),
        ('read as their label', ours.accuracy, real.accuracy),
        (f'  of class {train.classes[worst]}, the worst', float(ours.accuracies[worst]), float(real.accuracies[worst])),
        ('variance within a class, classifier features', ours.variance, real.variance),
        ('Fréchet distance, classifier features', distance, f'{floor:.4g} (train)'),
    ]
    trained.tell(f'judge: a classifier trained on {config.dataset}; not an FID')
    title = f'{config.dataset}, {config.title}, after {trained.steps} steps, {config.samples} samples'
    trained.tell(runs.table(rows, title=title))
    return {
        'accuracy': ours.accuracy,
        'accuracy_real': real.accuracy,
        'class_accuracies': ours.accuracies.tolist(),
        'class_accuracies_real': real.accuracies.tolist(),
        'class_variance': ours.variance,
        'class_variance_real': real.variance,
        'frechet_distance': distance,
        'frechet_distance_training': floor,
    }
