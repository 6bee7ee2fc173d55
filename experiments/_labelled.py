"""Labelled images, for experiments that learn from the labels."""

from typing import NamedTuple

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


def load(name: str, split: str, *, data_dir: str | None, size: int | None = None) -> Labelled:
    """`data.load`. Raises `InputError` unless every class has examples, and every example a class."""
    found = data.load(name, split=split, size=size, data_dir=data_dir)
    if found.labels is None:
        raise InputError(f'{name} has no labels to learn from')
    return Labelled(found.images, data.check_labels(found.labels, len(found.classes)), found.classes)
