"""The standard game: one generator, one discriminator (Goodfellow et al. 2014), and what games built on it can ask of it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.augmentations import Augmentation
from gan_jax.features import FeatureLoss
from gan_jax.games.judgement import PenaltyAt, apply_network, judgement
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty, Scheduled
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


class Reading(NamedTuple):
    """What the batch and the discriminator's output mean. By default the batch is the examples, and the output their logits."""

    examples: Callable[[Batch], Array] = lambda batch: batch
    """`batch -> real examples [n, ...]`"""
    generator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """What the generator is called with after the latents, `[n, ...]` each."""
    discriminator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """What the discriminator is called with after real and after generated examples, `[n, ...]` each."""
    logit: Callable[[Any], Array] = lambda output: output
    """`the discriminator's output -> logits of being real [n, ...]`"""


class Auxiliary(NamedTuple):
    """Further losses on the discriminator's output. Each is `(real output, fake output, batch) -> (loss, metrics)`, a mean."""

    discriminator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]
    generator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]


_PLAIN = Reading()


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    penalties: Sequence[Penalty | Scheduled] = (),
    penalty_at: PenaltyAt = 'seen',
    augmentation: Augmentation | None = None,
    feature_losses: Sequence[FeatureLoss] = (),
    feature_layer: int = -1,
    objective_weight: float = 1.0,
    reading: Reading = _PLAIN,
    auxiliary: Auxiliary | None = None,
) -> Game:
    """A generator of examples from latents against a discriminator of real from generated examples.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        discriminator: `discriminator(examples, train=) -> logits [batch, ...]`; for feature losses also `features_too=True ->
            (logits, [features, ...])`. Calls in training may draw from the Flax random stream 'noise'.
        objective: what each minimises, from `gan_jax.objectives`.
        latent: one example's latent from one key, from `gan_jax.latents`.
        penalties: added to the discriminator's loss, from `gan_jax.penalties`.
        penalty_at: what the penalties' gradients are in: what the discriminator sees, or the examples before the augmentation,
            through which they are differentiated (as in the code of ADA and R3GAN).
        augmentation: of what the discriminator sees, from `gan_jax.augmentations`.
        feature_losses: added to the generator's loss, from `gan_jax.features`, on the features `feature_layer`.
        objective_weight: of the objective in the generator's loss; 0 leaves it the feature losses alone (Salimans et al. 2016,
            section 3.1).
        reading: how other games use this one: the batch and the discriminator's output are what it says.
        auxiliary: added to both players' losses.

    The batch is an array of real examples. Real and generated examples pass through the discriminator apart, each with its
    own batch statistics. The discriminator's state after a generator's loss is thrown away.
    """
    judge = judgement(
        discriminator,
        objective.undecided,
        penalties=penalties,
        penalty_at=penalty_at,
        augmentation=augmentation,
        feature_losses=feature_losses,
        feature_layer=feature_layer,
        logit=reading.logit,
    )

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        d_variables = judge.init(reading.examples(batch), d_key, given=reading.discriminator(batch))
        return init_generator(generator, latent, reading.generator(batch), z_key, g_key), d_variables

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        size = len(jax.tree.leaves(batch)[0])
        z = jax.vmap(latent)(parallel.example_keys(size, key))
        return apply_network(generator, variables, z, *reading.generator(batch), train=train)

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        examples, given = reading.examples(batch), reading.discriminator(batch)
        loss, (state, metrics), real, fake = judge.discriminator_loss(objective, variables, examples, play, key, given=given)
        if auxiliary is not None:
            value, found = auxiliary.discriminator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        examples, given = reading.examples(batch), reading.discriminator(batch)
        loss, metrics, real, fake = judge.generator_loss(
            objective, variables, examples, play, key, given=given, weight=objective_weight
        )
        if auxiliary is not None:
            value, found = auxiliary.generator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        return loss, metrics

    return Game(init, play, discriminator_loss, generator_loss)


def init_generator(
    generator: nn.Module, latent: Callable[[Key], Array], conditions: Sequence[Array], latent_key: Key, key: Key
) -> Variables:
    """The variables of a generator; the reference batch of virtual batch norm, if it has one, is of the game's own latents.

    `conditions` are what it is called with after the latents, `[n, ...]` each: the reference batch has theirs in turn.
    """

    def init(n: int) -> Variables:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(latent_key, jnp.arange(n))
        z = latent(latent_key)[None] if n == 1 else jax.vmap(latent)(keys)
        return generator.init(key, z, *(x[jnp.arange(n) % len(x)] for x in conditions), train=False)

    reference = jax.tree.leaves(jax.eval_shape(lambda: init(1)).get('reference', {}))
    return init(max([1, *(len(leaf) for leaf in reference)]))
