"""The mixture of components, and algorithm 1 of Tolstikhin et al. 2017 as pure functions of it."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from gan_jax.boosting.ratios import BLOCK, density_ratios, fit_classifier
from gan_jax.boosting.reweighting import Mixing, Reweighting, optimal_weights, star, uniform
from gan_jax.typing import Array, Key


@struct.dataclass
class Ensemble:
    """The state that boosting carries from one component to the next: arrays only, with room for T components."""

    size: Array
    """The number of components so far."""
    components: Any
    """`[T, ...]`, the variables of the components."""
    weights: Array
    """`[T]`, the weights of the components in the mixture; 0 for those not yet trained."""
    data_weights: Array
    """`[n]`, the weights of the data for the next component."""
    thresholds: Array
    """`[T]`, the lambda with which the data of each component were weighted; 1 for the first, which uses all data."""
    found: Array
    """`[T]`, whether a finite lambda existed; otherwise the data had equal weights."""


class Booster(NamedTuple):
    """Algorithm 1 as pure functions, independent of how a component is trained."""

    init: Callable[[Any, int], Ensemble]
    """`(a component or its shapes, number of data) -> an empty ensemble`"""
    append: Callable[[Ensemble, Any], Ensemble]
    """`(ensemble, trained component) -> ensemble`: multiplies the other weights by 1 - beta and gives the new component beta."""
    reweigh: Callable[[Ensemble, Array, Key], Ensemble]
    """`(ensemble, data [n, ...], key) -> ensemble` with the data weights of the next component, computed from n samples."""
    sample: Callable[[Ensemble, int, Key], Array]
    """`(ensemble, n, key) -> samples [n, ...]`, each from a component drawn according to the weights."""


def adagan(
    sampler: Callable[[Any, int, Key], Array],
    classifier: nn.Module,
    *,
    components: int,
    classifier_steps: int,
    batch_size: int = 64,
    optimizer: optax.GradientTransformation | None = None,
    reweighting: Reweighting | None = None,
    mixing: Mixing | None = None,
) -> Booster:
    """Implements algorithm 1 of Tolstikhin et al. 2017, except for the training of the components.

    Args:
        sampler: `(component, n, key) -> samples [n, ...]`; for a game,
            `game.play(component, jnp.zeros(n), key, train=False)[0]`.
        classifier: `classifier(examples, train=) -> logits [n]` of data against the mixture, retrained for each component.
        components: T, the capacity of the ensemble.
        classifier_steps: the number of training steps of the classifier.
        batch_size: this and `optimizer` are as in `fit_classifier`.
        reweighting: `star()` by default.
        mixing: `uniform()` by default.
    """
    reweighting, mixing = reweighting or star(), mixing or uniform()

    def init(component: Any, n: int) -> Ensemble:
        room = jax.tree.map(lambda x: jnp.zeros((components, *x.shape), x.dtype), component)
        first = jnp.arange(components) == 0
        weights, data_weights = jnp.zeros(components, jnp.float32), jnp.full(n, 1 / n, jnp.float32)
        return Ensemble(jnp.int32(0), room, weights, data_weights, first.astype(jnp.float32), first)

    def append(ensemble: Ensemble, component: Any) -> Ensemble:
        size = ensemble.size
        beta = jnp.where(size == 0, 1.0, mixing(jnp.maximum(size + 1, 2)))
        return dataclasses.replace(
            ensemble,
            size=size + 1,
            components=jax.tree.map(lambda room, x: room.at[size].set(x), ensemble.components, component),
            weights=((1 - beta) * ensemble.weights).at[size].set(beta),
        )

    def reweigh(ensemble: Ensemble, data: Array, key: Key) -> Ensemble:
        sample_key, fit_key = jax.random.split(key)
        fake = sample(ensemble, len(data), sample_key)
        classify = fit_classifier(
            classifier, data, fake, fit_key, steps=classifier_steps, batch_size=batch_size, optimizer=optimizer
        )
        size = ensemble.size
        found = optimal_weights(density_ratios(classify(data)), mixing(size + 1), reweighting)
        return dataclasses.replace(
            ensemble,
            data_weights=found.q,
            thresholds=ensemble.thresholds.at[size].set(found.threshold),
            found=ensemble.found.at[size].set(found.found),
        )

    def sample(ensemble: Ensemble, n: int, key: Key) -> Array:
        block = min(n, BLOCK)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(-(-n // block)))
        samples = lax.map(lambda key: _sample_block(sampler, ensemble, block, key), keys)
        return samples.reshape(-1, *samples.shape[2:])[:n]

    return Booster(init, append, reweigh, sample)


def _sample_block(sampler: Callable[[Any, int, Key], Array], ensemble: Ensemble, n: int, key: Key) -> Array:
    """Every component with a nonzero weight draws n samples, and each example is taken from the component chosen for it."""
    choice_key, sample_key = jax.random.split(key)
    choice = jax.random.categorical(choice_key, jnp.log(ensemble.weights), shape=(n,))
    blank = jax.eval_shape(lambda c: sampler(jax.tree.map(lambda x: x[0], c), n, sample_key), ensemble.components)

    def add(samples: Array, row: tuple[Array, Array, Any]) -> tuple[Array, None]:
        number, weight, component = row
        own = (choice == number).reshape(-1, *[1] * (samples.ndim - 1))
        take = lambda: jnp.where(own, sampler(component, n, sample_key), samples)
        return lax.cond(weight > 0, take, lambda: samples), None

    rows = (jnp.arange(len(ensemble.weights)), ensemble.weights, ensemble.components)
    return lax.scan(add, jnp.zeros(blank.shape, blank.dtype), rows)[0]
