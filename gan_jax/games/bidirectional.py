"""A generator and its inverse: BiGAN (Donahue et al. 2017) and ALI (Dumoulin et al. 2017)."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.games.adversarial import init_generator
from gan_jax.games.judgement import Judgement, JudgementOptions, apply_network, judgement, refuse_packing
from gan_jax.games.parts import by_collection, part_of
from gan_jax.objectives import Objective
from gan_jax.regularizers import Change
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


class Inference(NamedTuple):
    """Generated examples with their latents, and the codes that the encoder infers from real examples."""

    examples: Array
    """G(z), `[n, ...]`."""
    latents: Array
    """z, `[n, size]`."""
    codes: Array | None
    """E(x) of the examples x of the batch, `[n, size]`; None for a batch that is only counted."""


def bidirectional(
    generator: nn.Module,
    encoder: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A generator G and an encoder E against a discriminator of pairs, real (x, E(x)) from generated (G(z), z).

    With `objectives.minimax()` the value is that of BiGAN and ALI,

        V = E_x[log D(x, E(x))] + E_z[log(1 - D(G(z), z))],    max_D V = 2 JSD(P_(x,E(x)) || P_(G(z),z)) - log 4,

    which is least, at -log 4, where both joint distributions agree; deterministic G and E are then inverse to each other (Donahue
    et al. 2017, theorems 1 and 2). Zero-sum objectives train G and E on minus the discriminator's loss. Under all others they
    minimise the discriminator's loss with real and generated pairs exchanged, because a loss of the generated pairs alone would
    not train E; for `non_saturating` this is algorithm 1 of ALI. Settings that only an objective's generator loss has, like c
    of `least_squares`, have no effect.

    G and E are one player, whose variables are `{collection: {'generator': ..., 'encoder': ...}}`. The batch is an array of real
    examples, and the play an `Inference`. For `gan_jax.sample`, the batch may be a number of examples, which have no codes.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        encoder: `encoder(examples, train=) -> codes [batch, size]`. As in ALI, it may draw from the Flax random stream 'noise',
            and so may the generator.
        discriminator: `discriminator(examples, codes, train=) -> logits [batch, ...]`; for feature losses also
            `features_too=True`.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the loss of G and E.
        **options: of the judgement: `games.judgement.JudgementOptions`. Penalties take gradients with respect to the example and
            the code together; augmentations and the changes of regularizers apply to the examples of the pairs, real and
            generated, but not to the codes. No regularizer may move latents or weigh generated examples.

    Raises `ValueError` for packing, for a regularizer that weighs generated examples, as `games.adversarial` does and, from
    `init`, if codes differ from latents in shape.
    """
    refuse_packing(options.get('augmentation'), 'joins examples whose codes differ, but each pair has a single code')
    if any(regularizer.weights is not None for regularizer in options.get('regularizers', ())):
        raise ValueError(
            'a regularizer that weighs generated examples, such as top_k, would also weigh the real pairs, from which the '
            'encoder learns, though no generated pair belongs to them'
        )
    both = objective
    if not objective.zero_sum:
        both = objective._replace(generator=lambda real, fake: objective.discriminator(fake, real))
    base = judgement(discriminator, objective.undecided, options)

    def judge_of(batch: Batch) -> Judgement:
        """The judgement of pairs as `pair` makes them, for examples shaped like those of the batch."""
        size, augment = math.prod(batch.shape[1:]), base.augmentation
        split = lambda pairs: (pairs[:, :size].reshape(-1, *batch.shape[1:]), pairs[:, size:])

        def around(change: Change) -> Change:
            def changed(pairs: Array, keys: Key) -> Array:
                examples, codes = split(pairs)
                return pair(change(examples, keys), codes)

            return changed

        def apply(state: Variables, pairs: Array, keys: Key) -> Array:
            return around(functools.partial(augment.apply, state))(pairs, keys)

        return base._replace(augmentation=augment._replace(apply=apply), join=split, around=around)

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, e_key, d_key, z_key = jax.random.split(key, 4)
        codes, e_variables = encoder.init_with_output(e_key, batch[:1], train=False)
        z = latent(z_key)[None]
        if codes.shape != z.shape:
            raise ValueError(f'codes must have the shape of latents, got {codes.shape[1:]} and {z.shape[1:]}')
        g_variables = init_generator(generator, latent, (), z_key, g_key)
        together = by_collection({'generator': g_variables, 'encoder': e_variables})
        return together, judge_of(batch).init(pair(batch[:1], z), d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Inference, Variables]:
        z_key, g_key, e_key = jax.random.split(key, 3)
        z = jax.vmap(latent)(parallel.example_keys(len(batch), z_key))
        own, codes = part_of(variables, 'encoder'), None
        state: Variables = {name: value for name, value in own.items() if name != 'params'}
        examples, g_state = apply_network(generator, part_of(variables, 'generator'), z, train=train, noise=g_key)
        if batch.ndim > 1:
            codes, state = apply_network(encoder, own, batch, train=train, noise=e_key)
        return Inference(examples, z, codes), by_collection({'generator': g_state, 'encoder': state})

    def discriminator_loss(
        variables: Variables, play: Inference, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        real, fake = pair(batch, play.codes), pair(play.examples, play.latents)
        return judge_of(batch).discriminator_loss(both, variables, real, fake, key)[:2]

    def generator_loss(variables: Variables, play: Inference, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        real, fake = pair(batch, play.codes), pair(play.examples, play.latents)
        return judge_of(batch).generator_loss(both, variables, real, fake, key, weight=objective_weight)[:2]

    return Game(init, play, discriminator_loss, generator_loss)


def pair(examples: Array, codes: Array | None) -> Array:
    """Examples `[n, ...]` and codes `[n, size]` as rows of numbers, `[n, entries + size]`."""
    assert codes is not None
    return jnp.concatenate([examples.reshape(len(examples), -1), codes], -1)
