"""The Fréchet distance within classes, which shows a generator that ignores its condition or varies little within one."""

from typing import NamedTuple

import numpy as np

from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.moments import check_rows
from gan_jax.typing import AnyArray


class IntraClass(NamedTuple):
    """Distances within classes."""

    mean: float
    """Over the classes, each of equal weight."""
    distances: np.ndarray
    """`[classes]`"""
    classes: np.ndarray
    """`[classes]`, the label of each, in ascending order."""


def intra_class_frechet(real: AnyArray, real_labels: AnyArray, fake: AnyArray, fake_labels: AnyArray) -> IntraClass:
    """Intra-class FID: the Fréchet distance of each class, and their mean (Miyato and Koyama 2018, section 4.1).

    Classes have fewer examples than the whole set, so the bias of the distance is larger; compare values of equal numbers of
    examples of each class only. The distance is exact where examples are fewer than features. Raises `ValueError` for labels that
    are not one integer per example, classes that one of the sets lacks, fewer than two examples of a class, unequal dimensions,
    or non-finite features.

    Args:
        real: features `[n, d]`.
        real_labels: integers `[n]`.
        fake: features `[m, d]`.
        fake_labels: integers `[m]`, the classes that were requested of the generator.
    """
    check_rows(real=real, fake=fake)
    labels = {'real': np.asarray(real_labels), 'fake': np.asarray(fake_labels)}
    for (name, of_set), features in zip(labels.items(), (real, fake), strict=True):
        if of_set.shape != (len(features),) or not np.issubdtype(of_set.dtype, np.integer):
            raise ValueError(f'labels of {name} must be {len(features)} integers, got {of_set.dtype}{list(of_set.shape)}')
    numbers = {
        name: dict(zip(*map(np.ndarray.tolist, np.unique(x, return_counts=True)), strict=True)) for name, x in labels.items()
    }
    classes = sorted({*numbers['real'], *numbers['fake']})
    for name, found in numbers.items():
        if few := [c for c in classes if found.get(c, 0) < 2]:
            raise ValueError(f'{name} has fewer than two examples of classes: {", ".join(map(str, few))}')
    real, fake = np.asarray(real), np.asarray(fake)
    distances = np.array(
        [frechet_distance_from_features(real[labels['real'] == c], fake[labels['fake'] == c]) for c in classes], np.float64
    )
    return IntraClass(float(distances.mean()), distances, np.array(classes))
