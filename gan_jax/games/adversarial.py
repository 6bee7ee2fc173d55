"""The standard game of one generator and one discriminator (Goodfellow et al. 2014), and its extension points for others."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement
from gan_jax.objectives import Objective
from gan_jax.regularizers import mover
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


class Reading(NamedTuple):
    """How to read the batch and D's output. By default the batch consists of the examples, and the output of their logits."""

    examples: Callable[[Batch], Array] = lambda batch: batch
    """`batch -> real examples [n, ...]`"""
    generator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """The generator's inputs after the latents, each `[n, ...]`."""
    discriminator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """The discriminator's inputs after both real and generated examples, each `[n, ...]`."""
    logit: Callable[[Any], Array] = lambda output: output
    """`discriminator output -> logits of being real [n, ...]`"""


class Auxiliary(NamedTuple):
    """Additional losses on D's output. Each is `(real output, fake output, batch) -> (loss, metrics)` and returns a mean."""

    discriminator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]
    generator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]


class WithNeighbours(NamedTuple):
    """A play in training with a regularizer that moves latents."""

    examples: Array
    """`[n, ...]`"""
    neighbours: Array
    """The examples generated from the moved latents, `[n, ...]`."""


_PLAIN = Reading()


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    reading: Reading = _PLAIN,
    auxiliary: Auxiliary | None = None,
    **options: Unpack[JudgementOptions],
) -> Game:
    """The standard game: a generator of examples from latents against a discriminator of real from generated examples.

    The batch is an array of real examples. Real and generated examples pass through the discriminator separately, each with
    their own batch statistics. The discriminator's state after the generator's loss is discarded.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        discriminator: `discriminator(examples, train=) -> logits [batch, ...]`; for feature losses also
            `features_too=True -> (logits, [features, ...])`. In training it may draw from the Flax random stream 'noise'.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the generator's loss; 0 leaves only the feature losses (Salimans et al.
            2016, section 3.1).
        reading: how to read the batch and the discriminator's output, for games built on this one.
        auxiliary: added to both players' losses.
        **options: of the judgement: `games.judgement.JudgementOptions`. If a regularizer moves latents, the play in training is
            `WithNeighbours`.

    Raises `ValueError` for an unknown `penalty_at`, for two regularizers that move latents, and for an augmentation that follows
    logits if the objective has no logit at which the discriminator is undecided.
    """
    judge = judgement(
        discriminator,
        objective.undecided,
        options,
        moves_latents=True,
        logit=reading.logit,
    )
    move = mover(judge.regularizers)

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        d_variables = judge.init(reading.examples(batch), d_key, given=reading.discriminator(batch))
        return init_generator(generator, latent, reading.generator(batch), z_key, g_key), d_variables

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array | WithNeighbours, Variables]:
        size = len(jax.tree.leaves(batch)[0])
        z = jax.vmap(latent)(parallel.example_keys(size, key))
        examples, state = apply_network(generator, variables, z, *reading.generator(batch), train=train)
        if move is None or not train:
            return examples, state
        moved = jax.vmap(move)(z, parallel.example_keys(size, jax.random.fold_in(key, 0)))
        others, state = apply_network(generator, {**variables, **state}, moved, *reading.generator(batch))
        return WithNeighbours(examples, others), state

    def discriminator_loss(
        variables: Variables, play: Array | WithNeighbours, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        examples, given = reading.examples(batch), reading.discriminator(batch)
        generated, others = play if isinstance(play, WithNeighbours) else (play, None)
        loss, (state, metrics), real, fake = judge.discriminator_loss(
            objective, variables, examples, generated, key, given=given, neighbours=others
        )
        if auxiliary is not None:
            value, found = auxiliary.discriminator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array | WithNeighbours, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        examples, given = reading.examples(batch), reading.discriminator(batch)
        generated, others = play if isinstance(play, WithNeighbours) else (play, None)
        loss, metrics, real, fake = judge.generator_loss(
            objective, variables, examples, generated, key, given=given, neighbours=others, weight=objective_weight
        )
        if auxiliary is not None:
            value, found = auxiliary.generator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        return loss, metrics

    return Game(init, play, discriminator_loss, generator_loss)


def init_generator(
    generator: nn.Module, latent: Callable[[Key], Array], conditions: Sequence[Array], latent_key: Key, key: Key
) -> Variables:
    """The variables of a generator. The reference batch of virtual batch norm, if any, is drawn from the game's latents.

    Args:
        generator: `generator(z, *conditions, train=)`.
        latent: draws one example's latent from one key.
        conditions: the inputs after the latents, each `[n, ...]`; the reference batch cycles through their rows.
        latent_key: for the latents.
        key: for the parameters.
    """

    def init(n: int) -> Variables:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(latent_key, jnp.arange(n))
        z = latent(latent_key)[None] if n == 1 else jax.vmap(latent)(keys)
        return generator.init(key, z, *(x[jnp.arange(n) % len(x)] for x in conditions), train=False)

    reference = jax.tree.leaves(jax.eval_shape(lambda: init(1)).get('reference', {}))
    return init(max([1, *(len(leaf) for leaf in reference)]))
