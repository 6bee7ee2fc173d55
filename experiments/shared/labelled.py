"""Labelled images, for experiments that learn from the labels."""

from typing import Any, NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.errors import InputError


class Labelled(NamedTuple):
    """One split of a data set; every class has examples."""

    images: np.ndarray
    """uint8, `[n, size, size, channels]`"""
    labels: np.ndarray
    """int32, `[n]`"""
    classes: tuple[str, ...]
    """A name for each label."""


def load(name: str, **options: Any) -> tuple[Labelled, Labelled]:
    """The training and the test set of `data.load`, whose options it takes; what they are is printed.

    Of a data set without a test set every tenth image of each class is held out. Raises `InputError` unless every class has
    examples, and every example a class.
    """
    found = data.load(name, split='train', **options)
    if found.labels is None:
        folder = '; each class is a folder of its images' if data.is_folder(name, options.get('data_dir')) else ''
        raise InputError(f'{name} has no labels to learn from{folder}')
    print(data.describe(name, found))
    if data.has_test_set(name, options.get('data_dir')):
        options['channels'] = found.channels
        held_out = data.load(name, split='test', **options)
        return _labelled(found.images, found.labels, found.classes), _labelled(held_out.images, held_out.labels, found.classes)
    rows = data.held_out_examples(found.labels)
    print(f'of which {rows.sum():,} are held out: every tenth of each class')
    train, test = (_labelled(found.images[x], found.labels[x], found.classes) for x in (~rows, rows))
    return train, test


def _labelled(images: np.ndarray, labels: np.ndarray | None, classes: tuple[str, ...]) -> Labelled:
    return Labelled(images, data.check_labels(labels, len(classes)), classes)
