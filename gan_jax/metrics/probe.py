"""The linear probe: how much of the classes can be read off features by a linear classifier (Radford et al. 2016, section 5).

An L2-regularised linear SVM with squared hinge, one class against the rest, whose regularisation is chosen on a held-out part
of the training set.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.errors import InputError
from gan_jax.inversion import minimise
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


class LinearSVM(NamedTuple):
    """Scores `x @ weights + bias`; the class is that of the largest."""

    weights: Array
    """`[d, classes]`"""
    bias: Array
    """`[classes]`"""

    def scores(self, features: AnyArray) -> AnyArray:
        """`[n, d] -> [n, classes]`"""
        return features @ self.weights + self.bias

    def accuracy(self, features: AnyArray, labels: AnyArray) -> float:
        """Share of examples whose class is their label."""
        return float((self.scores(features).argmax(1) == labels).mean())


def fit_svm(
    features: AnyArray,
    labels: AnyArray,
    weights: AnyArray | None = None,
    *,
    classes: int,
    cost: float | Array = 1.0,
    start: LinearSVM | None = None,
    steps: int = 300,
    tolerance: float = 1e-4,
) -> LinearSVM:
    """For each class k, with y = 1 at its examples and -1 elsewhere, the w and b that minimise

        |w|^2 / 2 + cost * sum_i weight_i max(0, 1 - y_i (w.x_i + b))^2

    on `features [n, d]`, `labels [n]`, `weights [n]` (all 1 if not given), by L-BFGS. The bias is not regularised. It ends where
    the gradient, of this over cost * (sum of the weights), is no longer than the tolerance, or after so many steps. The minimum
    is unique; `start` is where the search for it begins.
    """
    y = 2 * jax.nn.one_hot(labels, classes, dtype=features.dtype) - 1
    weights = jnp.ones(len(y), features.dtype) if weights is None else jnp.asarray(weights, features.dtype)
    share = weights / weights.sum()

    def loss(w: Array) -> Array:
        hinge = jax.nn.relu(1 - y * (features @ w[:-1] + w[-1]))
        return share @ jnp.square(hinge).sum(1) + jnp.square(w[:-1]).sum() / (2 * cost * weights.sum())

    if start is None:
        w = jnp.zeros((features.shape[1] + 1, classes), features.dtype)
    else:
        w = jnp.concatenate([start.weights, start.bias[None]])
    w, _ = minimise(loss, w, steps=steps, tolerance=tolerance)
    return LinearSVM(w[:-1], w[-1])


_fit = compilation.jit(fit_svm, static_argnames=('classes', 'steps', 'tolerance'))


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
    train, test = feature_sets(train=train, test=test)
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    classes = int(max(labels.max(), test_labels.max())) + 1
    order = np.random.default_rng(seed).permutation(len(train))
    chosen, rest = np.split(order, [round(held_out * len(train))])
    missing = set(range(classes)) - set(labels[rest].tolist())
    if missing or not len(chosen):
        without = ', '.join(map(str, sorted(missing))) or 'none'
        raise InputError(
            f'{len(train)} labelled examples are too few for a probe: {len(chosen)} choose its cost, and the others lack '
            f'classes: {without}'
        )
    centre = train.mean(0)
    scale = jnp.sqrt(jnp.square(train - centre).sum(1).mean())
    train, test = (train - centre) / scale, (test - centre) / scale
    everything = jnp.ones(len(train))
    svm = LinearSVM(jnp.zeros((train.shape[1], classes), train.dtype), jnp.zeros(classes, train.dtype))
    costs, found = sorted(costs), []
    for cost in costs:  # each search begins at the last one's minimum, which is near; all are one compiled program
        svm = _fit(train, labels, everything.at[chosen].set(0), classes=classes, cost=cost, start=svm)
        found.append(svm.accuracy(train[chosen], labels[chosen]))
    best = costs[int(np.argmax(found))]
    svm = _fit(train, labels, everything, classes=classes, cost=best, start=svm)
    return Probe(svm.accuracy(test, test_labels), best, tuple(found))
