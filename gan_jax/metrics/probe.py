"""The linear probe: how much of the classes can be read off features by a linear classifier (Radford et al. 2016, section 5).

A linear SVM with squared hinge, one class against the rest (scikit-learn's), whose L2 regularisation is chosen on a held-out
part of the training set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.metrics.pairwise import feature_sets
from gan_jax.typing import AnyArray, Array

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of features whose squared norm about their mean is 1 on average."""


def pooled(maps: Array, side: int = 4) -> Array:
    """Feature maps `[n, h, w, c]`, max-pooled to `[n, side, side, c]`.

    Cell i of a side of h covers floor(i h / side) to ceil((i + 1) h / side), so that cells overlap where `side` does not divide
    it. Raises `ValueError` for maps smaller than that.
    """
    if maps.ndim != 4 or min(maps.shape[1:3]) < side:
        raise ValueError(f'feature maps are [n, h >= {side}, w >= {side}, c], got {maps.shape}')
    for axis in (1, 2):
        size = maps.shape[axis]
        cells = [slice(i * size // side, -(-(i + 1) * size // side)) for i in range(side)]
        maps = jnp.stack([maps[(slice(None),) * axis + (cell,)].max(axis) for cell in cells], axis)
    return maps


def pooled_features(features: Sequence[Array], side: int = 4) -> Array:
    """All feature maps of a network, each max-pooled to `side x side`, as one vector: `[n, side^2 * (sum of the channels)]`.

    Features that are no maps, such as those after a global pooling, are left out. Raises `ValueError` if there are no maps.
    """
    maps = [pooled(f, side).reshape(len(f), -1) for f in features if f.ndim == 4]
    if not maps:
        raise ValueError(f'no feature maps [n, h, w, c] among {[f.shape for f in features]}')
    return jnp.concatenate(maps, 1)


class Probe(NamedTuple):
    """What a linear classifier makes of features."""

    accuracy: float
    """Share of the test examples read as their label."""
    cost: float
    """Chosen among `costs`."""
    held_out: tuple[float, ...]
    """The accuracy of each of the costs, in rising order, on the held-out part of the training set."""


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
    """Trains the SVM on `train [n, d]`, `labels [n]`, and tests it on `test [m, d]`.

    A share `held_out` of the training examples, drawn by the seed, chooses the cost, of equal ones the lowest; then all of them
    train. Features are centred and divided by one number, so that their squared norm is 1 on average over the training
    examples, which makes costs comparable between features and changes nothing else.

    Raises `ValueError` for sets that `feature_sets` refuses, and `InputError` for labels that do not suffice: each class wants an
    example among those that train when the cost is chosen.
    """
    from sklearn.svm import LinearSVC

    train, test = map(np.asarray, feature_sets(train=train, test=test))
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    classes = int(max(labels.max(), test_labels.max())) + 1
    order = np.random.default_rng(seed).permutation(len(train))
    chosen, rest = np.split(order, [round(held_out * len(train))])
    missing = set(range(classes)) - set(labels[rest].tolist())
    if classes < 2:
        raise InputError('a probe tells at least 2 classes apart, and all labels are 0')
    if missing or not len(chosen):
        without = ', '.join(map(str, sorted(missing))) or 'none'
        raise InputError(
            f'{len(train)} labelled examples are too few for a probe: {len(chosen)} choose its cost, and the others lack '
            f'classes: {without}'
        )
    centre = train.mean(0)
    scale = np.sqrt(np.square(train - centre).sum(1).mean())
    train, test = (train - centre) / scale, (test - centre) / scale

    def fitted(rows: np.ndarray, cost: float) -> Any:
        # liblinear regularises the bias too; at this scaling of its feature, hardly
        return LinearSVC(C=cost, dual=False, intercept_scaling=10).fit(train[rows], labels[rows])

    costs = sorted(costs)
    found = tuple(float(fitted(rest, cost).score(train[chosen], labels[chosen])) for cost in costs)
    best = costs[int(np.argmax(found))]
    return Probe(float(fitted(order, best).score(test, test_labels)), best, found)
