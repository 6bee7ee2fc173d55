"""Density ratios of mixture to data, from a classifier that tells the two apart (Tolstikhin et al. 2017, algorithm 1)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from gan_jax.data.feeds import to_float
from gan_jax.numerics import Descent, descend
from gan_jax.typing import Array, Key, Variables

BLOCK = 1000
"""The number of examples to sample or classify at a time."""


def density_ratios(logits: Array) -> Array:
    """dP_g / dP_d = (1 - D) / D = exp(-logit), `[n] -> [n]`, from the logits of "data" of a classifier trained on equal numbers.

    Computing the ratio from the logit avoids a small denominator. Where float32 overflows, the ratio is infinite, which the
    reweightings interpret correctly: the point needs no additional weight.
    """
    return jnp.exp(-logits)


def fit_classifier(
    network: nn.Module,
    real: Any,
    fake: Array,
    key: Key,
    *,
    steps: int,
    batch_size: int = 64,
    optimizer: optax.GradientTransformation | None = None,
) -> Callable[[Array], Array]:
    """Trains `network(examples, train=) -> logits [n]` to tell data from samples; returns `examples [n, ...] -> logits [n]`.

    Data and samples pass through the network in one batch, with common batch statistics, because it must later judge examples
    of unknown kind. The network must not contain a layer that compares the examples of a batch.

    Args:
        network: the classifier.
        real: the data, `[n, ...]`, uint8 pixels or floats.
        fake: samples, `[n, ...]`, uint8 pixels or floats.
        key: the key of initialisation and training.
        steps: the number of training steps.
        batch_size: how many of each a step draws, with replacement.
        optimizer: Adam(1e-3) by default.

    Raises `ValueError` if the network does not return one logit per example.
    """
    optimizer = optax.adam(1e-3) if optimizer is None else optimizer
    init_key, key = jax.random.split(key)
    variables = dict(network.init(init_key, to_float(real[:1]), train=False))
    labels = jnp.repeat(jnp.array([1.0, 0.0]), batch_size)

    def loss(params: Any, state: Variables, number: Array) -> tuple[Array, Variables]:
        keys = jax.random.split(jax.random.fold_in(key, number))
        rows = [jax.random.randint(k, (batch_size,), 0, len(x)) for k, x in zip(keys, (real, fake), strict=True)]
        examples = jnp.concatenate([to_float(real[rows[0]]), to_float(fake[rows[1]])])
        logits, state = network.apply({'params': params, **state}, examples, train=True, mutable=list(state))
        if logits.shape != labels.shape:
            raise ValueError(f'a classifier must return one logit per example, {labels.shape}, got {logits.shape}')
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), state

    params = variables.pop('params')
    params, state, _ = descend(loss, optimizer, Descent(params, variables, optimizer.init(params)), steps)
    judge = lambda example: network.apply({'params': params, **state}, to_float(example)[None], train=False)[0]
    return lambda examples: lax.map(judge, examples, batch_size=min(len(examples), BLOCK))
