"""A small classifier of the data set itself: the "trained classifier" evaluation, and features for sets that Inception never saw.

Its numbers carry the data set's name. They compare runs on that data set, and are no FID.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.networks.layers import Conv
from gan_jax.typing import AnyArray, Array, Variables


class Network(nn.Module):
    """Two strided convolutions and a hidden layer: `images [n, h, w, c] -> (logits [n, classes], features [n, 128])`."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = nn.relu(Conv(features=32, kernel_size=(3, 3), strides=(2, 2))(x))
        x = nn.relu(Conv(features=64, kernel_size=(3, 3), strides=(2, 2))(x))
        features = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.classes)(features), features


class Classifier(NamedTuple):
    """A trained classifier; both functions take images in [-1, 1], `[n, h, w, c]`, any number of them."""

    probabilities: Callable[[AnyArray], np.ndarray]
    """`-> [n, classes]`"""
    features: Callable[[AnyArray], np.ndarray]
    """`-> [n, 128]`, the hidden layer"""


class ClassifierScores(NamedTuple):
    """What the classifier sees in a set of images."""

    confident: float
    """Share of images recognised with probability .9 or more."""
    confidence: float
    """Mean probability of the most probable class."""
    class_entropy: float
    """Entropy of the predicted classes, in nats; log(classes) if all are equally frequent."""
    class_shares: np.ndarray
    """`[classes]`: how often each class is predicted."""


def train_classifier(
    images: np.ndarray, labels: np.ndarray, *, steps: int = 1500, batch_size: int = 64, seed: int = 0
) -> Classifier:
    """Trains the network on uint8 `images [n, h, w, c]` and `labels [n]` by Adam, with shifts of up to a pixel; seeded."""
    network = Network(int(labels.max()) + 1)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-4)
    init_key, key = jax.random.split(jax.random.key(seed))

    def loss(variables: Variables, x: Array, y: Array) -> Array:
        logits, _ = network.apply(variables, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def fit(x: Array, y: Array) -> Variables:
        variables = network.init(init_key, _scaled(x[:1]))

        def step(carry: tuple, i: Array) -> tuple[tuple, None]:
            variables, state = carry
            row_key, shift_key = jax.random.split(jax.random.fold_in(key, i))
            rows = jax.random.randint(row_key, (batch_size,), 0, len(x))
            gradient = jax.grad(loss)(variables, _shifted(_scaled(x[rows]), shift_key), y[rows])
            updates, state = optimizer.update(gradient, state, variables)
            return (optax.apply_updates(variables, updates), state), None

        return lax.scan(step, (variables, optimizer.init(variables)), jnp.arange(steps))[0][0]

    variables = fit(jnp.asarray(images), jnp.asarray(labels))
    apply = jax.jit(network.apply)

    def blocks(x: AnyArray, output: int) -> np.ndarray:
        return np.concatenate([np.asarray(apply(variables, x[i : i + 500])[output]) for i in range(0, len(x), 500)])

    return Classifier(lambda x: np.asarray(jax.nn.softmax(blocks(x, 0))), lambda x: blocks(x, 1))


def classifier_scores(probabilities: np.ndarray) -> ClassifierScores:
    """Confidence and variety of predictions `[n, classes]`."""
    best = probabilities.max(1)
    shares = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]) / len(probabilities)
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)))
    return ClassifierScores(float((best >= 0.9).mean()), float(best.mean()), float(entropy), shares)


def _scaled(x: Array) -> Array:
    return x.astype(jnp.float32) / 127.5 - 1


def _shifted(x: Array, key: Array) -> Array:
    """Each image moved by up to one pixel, the edge repeated."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
    offsets = jax.random.randint(key, (len(x), 2), 0, 3)
    return jax.vmap(lambda image, o: lax.dynamic_slice(image, (o[0], o[1], 0), x.shape[1:]))(padded, offsets)
