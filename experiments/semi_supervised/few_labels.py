"""The labelled images of a run, and the baseline: a classifier trained on them alone."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments.shared import labelled
from gan_jax import data
from gan_jax.games.judgement import apply_network
from gan_jax.keys import named
from gan_jax.numerics import Descent, descend
from gan_jax.typing import Array, Batch, Key


def few_labels(config: Any, train: labelled.Labelled, minibatches: int | None = None) -> data.Feed:
    """Minibatches of labelled images, which each seed draws with its own key."""

    def subset(key: Key) -> Batch:
        seed = int(jax.random.bits(named(key, 'subset')))
        rows = data.labelled_subset(train.labels, config.labels, classes=len(train.classes), seed=seed)
        rows = np.tile(rows, -(-config.batch_size // len(rows)))  # labels are repeated if there are fewer than a batch
        return {'image': jnp.asarray(train.images[rows]), 'label': jnp.asarray(train.labels[rows])}

    minibatches = config.minibatches if minibatches is None else minibatches
    draw = data.resident(subset(jax.random.key(0)), config.batch_size, minibatches=minibatches).draw
    own = lambda number, key: {'key': key, 'examples': subset(key)}
    return data.Feed((), lambda _, own, step: draw(own['examples'], own['key'], step), own)


def supervised(
    classifier: nn.Module,
    optimizer: optax.GradientTransformation,
    draw: Callable[[Array], Batch],
    steps: int,
    key: Key,
) -> gan_jax.Player:
    """The classifier after training on the cross-entropy of labelled images alone.

    It has the noise, the norm and the optimizer of the game.

    Args:
        classifier: The classifier.
        optimizer: Its optimizer.
        draw: `step -> batch` with 'image' and 'label'.
        steps: Number of steps.
        key: Random key.
    """
    init_key, noise_key, key = jax.random.split(key, 3)
    state = dict(classifier.init({'params': init_key, 'noise': noise_key}, draw(jnp.int32(0))['image']))
    params = state.pop('params')

    def loss(params: Any, state: Any, number: Array) -> tuple[Array, Any]:
        batch, noise = draw(number), jax.random.fold_in(key, number)
        logits, _ = apply_network(classifier, {**state, 'params': params}, batch['image'], noise=noise)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch['label']).mean(), state

    return gan_jax.Player(*descend(loss, optimizer, Descent(params, state, optimizer.init(params)), steps))
