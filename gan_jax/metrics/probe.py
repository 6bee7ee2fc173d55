"""The linear probe: how well a linear classifier recovers the classes from features (Radford et al. 2016, section 5).

The classifier is scikit-learn's linear SVM with squared hinge loss, one class against the rest. Its L2 regularisation is chosen
on a held-out part of the training set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.metrics.pairwise import feature_sets
from gan_jax.typing import AnyArray, Array

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""For features whose squared norm about their mean is 1 on average."""


def pooled(maps: Array, side: int = 4) -> Array:
    """Feature maps `[n, h, w, c]`, max-pooled to `[n, side, side, c]`.

    Cell i along an axis of length h covers floor(i h / side) to ceil((i + 1) h / side), so cells overlap if `side` does not
    divide h. Raises `ValueError` for maps smaller than `side`.
    """
    if maps.ndim != 4 or min(maps.shape[1:3]) < side:
        raise ValueError(f'feature maps must be [n, h >= {side}, w >= {side}, c], got {maps.shape}')
    for axis in (1, 2):
        size = maps.shape[axis]
        cells = [slice(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        maps = jnp.stack([maps[(slice(None),) * axis + (cell,)].max(axis) for cell in cells], axis)
    return maps


def pooled_features(features: Sequence[Array], side: int = 4) -> Array:
    """All feature maps of a network, each max-pooled to `side x side`, as one vector `[n, side^2 * (sum of the channels)]`.

    These are the features of the linear probe (Radford et al. 2016, section 5). Features that are not maps, such as those after a
    global pooling, are omitted. Raises `ValueError` if there are no maps, or maps smaller than `side`.
    """
    maps = [pooled(f, side).reshape(len(f), -1) for f in features if f.ndim == 4]
    if not maps:
        raise ValueError(f'no feature maps [n, h, w, c] among {[f.shape for f in features]}')
    return jnp.concatenate(maps, 1)


class Probe(NamedTuple):
    """The result of a linear probe."""

    accuracy: float
    """Share of the test examples that are classified correctly."""
    cost: float
    """The cost that was chosen among `costs`."""
    held_out: tuple[float, ...]
    """The accuracy for each cost, in ascending order of cost, on the held-out part of the training set."""


def linear_probe(
    train: AnyArray,
    labels: AnyArray,
    test: AnyArray,
    test_labels: AnyArray,
    *,
    costs: Sequence[float] = COSTS,
    held_out: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Trains a linear SVM on features and returns its accuracy on a test set (Radford et al. 2016, section 5).

    A share of the training examples chooses the cost, preferring the lowest of equal ones; the SVM is then trained on all of
    them. Features are centred and divided by one number such that their squared norm is 1 on average over the training examples.
    This makes costs comparable between features and changes nothing else.

    Raises `ValueError` for sets that `feature_sets` rejects, and `InputError` for labels that do not fit the examples, and for
    too few: there must be two classes, and each requires an example among those that train when the cost is chosen.

    Args:
        train: features `[n, d]`.
        labels: integers `[n]`.
        test: features `[m, d]`.
        test_labels: integers `[m]`.
        costs: candidates for the inverse strength of the regularisation.
        held_out: the share of the training examples that chooses the cost.
        seed: draws that share.
    """
    from sklearn.svm import LinearSVC

    train, test = map(np.asarray, feature_sets(train=train, test=test))
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    for name, examples, each in (('train', train, labels), ('test', test, test_labels)):
        if each.shape != (len(examples),) or not np.issubdtype(each.dtype, np.integer) or each.min() < 0:
            raise InputError(f'the labels of {name} must be {len(examples)} integers from 0 on, got {each.dtype} {each.shape}')
    classes = int(max(labels.max(), test_labels.max())) + 1
    order = np.random.default_rng(seed).permutation(len(train))
    chosen, rest = np.split(order, [round(held_out * len(train))])
    missing = set(range(classes)) - set(labels[rest].tolist())
    if classes < 2:
        raise InputError('a probe requires at least 2 classes, and all labels are 0')
    if missing or not len(chosen):
        without = ', '.join(map(str, sorted(missing))) or 'none'
        raise InputError(
            f'{len(train)} labelled examples are too few for a probe: {len(chosen)} choose its cost, and the others do not '
            f'contain classes: {without}'
        )
    centre = train.mean(0)
    scale = np.sqrt(np.square(train - centre).sum(1).mean())
    train, test = (train - centre) / scale, (test - centre) / scale

    def fitted(rows: np.ndarray, cost: float) -> Any:
        # liblinear regularises the bias too, but hardly at this scaling of its feature
        return LinearSVC(C=cost, dual=False, intercept_scaling=10).fit(train[rows], labels[rows])

    costs = sorted(costs)
    found = tuple(float(fitted(rest, cost).score(train[chosen], labels[chosen])) for cost in costs)
    best = costs[int(np.argmax(found))]
    return Probe(float(fitted(order, best).score(test, test_labels)), best, found)
