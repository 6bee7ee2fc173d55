"""InfoGAN: a generator whose codes can be read off its examples (Chen et al. 2016)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.codes import Code, information, joined
from gan_jax.games.adversarial import init_generator
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement, refuse_packing
from gan_jax.objectives import Objective
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


class Coded(NamedTuple):
    """Generated examples with the latents that they were generated from."""

    examples: Array
    """`[n, ...]`"""
    latents: Array
    """The codes followed by the rest of the latent, `[n, size]`."""


def info_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    codes: Sequence[Code],
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """The standard game with a lower bound on the information between codes and generated examples (Chen et al. 2016, eq. 6).

    With the value V of the standard game, G and Q minimise, and D maximises,

        V(D, G) - sum_k weight_k L_k,    L_k = E[log Q(c_k | G(c, z))] + H(c_k)  <=  I(c_k; G(c, z))

    Q shares its layers with the discriminator, and the bound is part of both players' losses, as in the authors' code: the
    discriminator's optimizer trains Q, and the generator's the generator. The metrics `information` and `generator_information`
    are the sum of the bounds in nats, without the weights. The batch is an array of real examples; the play is a `Coded`.

    Args:
        generator: `generator([c, z] [batch, size], train=) -> examples [batch, ...]`, with the latents of `codes.joined`.
        discriminator: `discriminator(examples, train=) -> (logits [batch], parameters of Q [batch, count])`, such as
            `networks.AuxiliaryDiscriminator`; for feature losses also `features_too=True`.
        objective: the losses of both players, from `gan_jax.objectives`.
        codes: the codes, from `gan_jax.codes`.
        latent: draws the rest z of one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the generator's loss.
        **options: of the judgement: `games.judgement.JudgementOptions`. Q sees augmented examples. No regularizer may move
            latents.

    Raises `ValueError` if there are no codes, for packing, because the examples of a pack have different codes, and as
    `games.adversarial` does.
    """
    if not codes:
        raise ValueError('InfoGAN requires at least one code; without codes it is games.adversarial')
    refuse_packing(options.get('augmentation'), 'joins examples of different codes, but Q describes the code of a single example')
    judge = judgement(
        discriminator,
        objective.undecided,
        options,
        logit=lambda output: output[0],
    )
    draw, weights = joined(codes, latent), [code.weight for code in codes]

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        return init_generator(generator, draw, (), z_key, g_key), judge.init(batch, d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Coded, Variables]:
        latents = jax.vmap(draw)(parallel.example_keys(len(batch), key))
        examples, state = apply_network(generator, variables, latents, train=train)
        return Coded(examples, latents), state

    def bound(play: Coded, output: Any) -> tuple[Array, Array]:
        """The weighted and the unweighted sum of the codes' bounds."""
        found = information(codes, play.latents, output[1]).mean(1)
        return jnp.dot(jnp.asarray(weights, found.dtype), found), found.sum()

    def discriminator_loss(variables: Variables, play: Coded, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        loss, (state, metrics), _, fake = judge.discriminator_loss(objective, variables, batch, play.examples, key)
        weighted, found = bound(play, fake.output)
        return loss - weighted, (state, {**metrics, 'information': found})

    def generator_loss(variables: Variables, play: Coded, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        loss, metrics, _, fake = judge.generator_loss(objective, variables, batch, play.examples, key, weight=objective_weight)
        weighted, found = bound(play, fake.output)
        return loss - weighted, {**metrics, 'generator_information': found}

    return Game(init, play, discriminator_loss, generator_loss)
