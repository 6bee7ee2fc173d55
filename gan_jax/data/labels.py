"""Labels at the data boundary: nothing can be raised inside a compiled step, so what is wrong with them is said here."""

from typing import Any

import numpy as np

from gan_jax.errors import InputError


def check_labels(labels: Any, classes: int) -> np.ndarray:
    """The labels of a data set as int32 `[n]`, each from 0 to `classes - 1`, and each of those at least once.

    Raises `InputError` for labels that are no integers or out of range, and for a class with no example.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f'labels are one integer for each example, not {labels.dtype} of shape {labels.shape}')
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = outside[0]
        raise InputError(f'label {labels[first]} of example {first} is not from 0 to {classes - 1} ({len(outside)} such labels)')
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(missing):
        raise InputError(f'no example of class {", ".join(map(str, missing))}: each of the {classes} classes wants one')
    return labels.astype(np.int32)


def labelled_subset(labels: Any, total: int, *, classes: int, seed: int) -> np.ndarray:
    """The examples whose labels a semi-supervised run may see: `total` indices, sorted, equally many of each class.

    They are drawn by the seed, without replacement. Raises `InputError` for labels that `check_labels` refuses, for a total
    that is no multiple of the number of classes, and for more than a class has.
    """
    labels = check_labels(labels, classes)
    each, rest = divmod(total, classes)
    if each < 1 or rest:
        raise InputError(f'{total} labels are not the same number of each of {classes} classes; give a multiple of {classes}')
    counts = np.bincount(labels)
    if counts.min() < each:
        raise InputError(f'{total} labels are {each} of each class, and class {counts.argmin()} has {counts.min()} examples')
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(labels == k), each, replace=False) for k in range(classes)]))


def held_out_examples(labels: Any) -> np.ndarray:
    """Which examples to hold out of training where a data set has no test set, bool `[n]`: every tenth of each class.

    Raises `InputError` for a class of a single example.
    """
    labels = np.asarray(labels)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise InputError(f'class {label} has 1 example: at least 2 are needed, of which one is held out')
        held_out[rows[::10]] = True
    return held_out
