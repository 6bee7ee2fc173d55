"""Checks of labels at the boundary of the data, since a compiled step cannot raise errors."""

from typing import Any

import numpy as np

from gan_jax.errors import InputError


def check_labels(labels: Any, classes: int) -> np.ndarray:
    """Returns the labels of a data set as int32 `[n]`, after checking that they cover exactly the range 0 to `classes - 1`.

    Raises `InputError` for labels that are not integers or are out of range, and for a class without examples.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f'labels must be one integer for each example, not {labels.dtype} of shape {labels.shape}')
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = outside[0]
        raise InputError(f'label {labels[first]} of example {first} is outside 0 to {classes - 1} ({len(outside)} such labels)')
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(missing):
        raise InputError(f'no example of class {", ".join(map(str, missing))}: each of the {classes} classes requires one')
    return labels.astype(np.int32)


def labelled_subset(labels: Any, total: int, *, classes: int, seed: int) -> np.ndarray:
    """Draws the examples whose labels a semi-supervised run may see: `total` sorted indices, equally many from each class.

    Args:
        labels: labels of all examples, `[n]`.
        total: number of labels to keep.
        classes: number of classes.
        seed: seed of the draw, which is without replacement.

    Raises `InputError` for labels that `check_labels` rejects, for a total that is not a multiple of the number of classes, and
    for one that requires more examples than a class has.
    """
    labels = check_labels(labels, classes)
    each, rest = divmod(total, classes)
    if each < 1 or rest:
        raise InputError(f'{total} labels cannot be split evenly among {classes} classes; give a multiple of {classes}')
    counts = np.bincount(labels)
    if counts.min() < each:
        raise InputError(f'{total} labels require {each} of each class, but class {counts.argmin()} has {counts.min()} examples')
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(labels == k), each, replace=False) for k in range(classes)]))


def held_out_examples(labels: Any) -> np.ndarray:
    """Selects examples to hold out of training if a data set has no test set, bool `[n]`: every tenth of each class.

    Raises `InputError` for a class with a single example.
    """
    labels = np.asarray(labels)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise InputError(f'class {label} has 1 example: at least 2 are needed, of which one is held out')
        held_out[rows[::10]] = True
    return held_out
