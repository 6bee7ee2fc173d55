"""The adversarial autoencoder: a discriminator of codes, which imposes a prior (Makhzani et al. 2016)."""

from collections.abc import Callable
from typing import NamedTuple, Unpack

import flax.linen as nn
import jax

from gan_jax import parallel
from gan_jax.games.differences import Difference, squared_difference
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement
from gan_jax.games.parts import by_collection, part_of, replaced, state_of
from gan_jax.objectives import Objective, non_saturating
from gan_jax.ranges import Weight, checked
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_CROSS_ENTROPY = non_saturating()


class Autoencoded(NamedTuple):
    """What an autoencoder with a prior makes of images."""

    reconstruction: Array
    """`[n, ...]`"""
    code: Array
    """`[n, size]`"""
    sample: Array | None = None
    """`[n, ...]`, decoded from draws of the prior; None in training."""


@checked
def adversarial_autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _CROSS_ENTROPY,
    *,
    latent: Callable[[Key], Array],
    difference: Difference = squared_difference,
    reconstruction_weight: Weight = 1.0,
    objective_weight: Weight = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """An autoencoder whose codes a discriminator compares with draws of a prior (section 2, figure 1).

    Draws of the prior are the real examples, codes the generated ones. The encoder and the decoder are one player, with
    parameters `{'encoder': ..., 'decoder': ...}`, that minimises

        reconstruction_weight * difference(x, Dec(Enc(x))) + objective_weight * L_G(Enc(x)),

    of which only the first term reaches the decoder. The paper updates the encoder once for each term, by separate optimizers;
    here both terms are of one update. The encoder is deterministic, the first of the paper's three kinds.

    The batch is an array of examples. The play is `Autoencoded`; sampling requires examples, and returns their reconstructions
    and as many samples.

    Args:
        encoder: `encoder(examples, train=) -> codes [n, size]`.
        decoder: `decoder(codes, train=) -> examples`.
        discriminator: `discriminator(codes, train=) -> logits [n]`. All three may draw from the Flax random stream 'noise'.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: the prior, which draws one code from one key: of `gan_jax.latents`, or `data.mixture(NAME).sample` for a mixture.
        difference: the loss of each reconstruction.
        reconstruction_weight: its weight.
        objective_weight: weight of the objective in the autoencoder's loss; with 0 it ignores the prior.
        **options: of the judgement of codes: `games.judgement.JudgementOptions`. No regularizer may move latents.

    Raises `ValueError` for weights out of range, as `games.judgement.judgement` does and, from `init`, if codes and draws of the
    prior differ in shape.
    """
    judge = judgement(discriminator, objective.undecided, options)

    def draws(n: int, key: Key) -> Array:
        return jax.vmap(latent)(parallel.example_keys(n, key))

    def init(batch: Array, key: Key) -> tuple[Variables, Variables]:
        e_key, g_key, d_key, z_key = jax.random.split(key, 4)
        # Inference mode creates the same variables and does not require noise.
        code, of_encoder = encoder.init_with_output(e_key, batch[:1], train=False)
        prior = latent(z_key)[None]
        if code.shape != prior.shape:
            raise ValueError(f'codes and draws of the prior must have the same shape, got {code.shape[1:]} and {prior.shape[1:]}')
        of_decoder = decoder.init(g_key, prior, train=False)
        return by_collection({'encoder': of_encoder, 'decoder': of_decoder}), judge.init(prior, d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Autoencoded, Variables]:
        e_key, g_key, s_key, z_key = jax.random.split(key, 4)
        code, state = apply_network(encoder, part_of(variables, 'encoder'), batch, train=train, noise=e_key)
        variables = replaced(variables, 'encoder', state)
        made, state = apply_network(decoder, part_of(variables, 'decoder'), code, train=train, noise=g_key)
        variables = replaced(variables, 'decoder', state)
        if train:
            return Autoencoded(made, code), state_of(variables)
        prior = draws(len(batch), z_key)
        sample, _ = apply_network(decoder, part_of(variables, 'decoder'), prior, train=False, noise=s_key)
        return Autoencoded(made, code, sample), state_of(variables)

    def discriminator_loss(
        variables: Variables, play: Autoencoded, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        z_key, key = jax.random.split(key)
        return judge.discriminator_loss(objective, variables, draws(len(batch), z_key), play.code, key)[:2]

    def generator_loss(variables: Variables, play: Autoencoded, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        z_key, key = jax.random.split(key)
        prior = draws(len(batch), z_key)
        loss, metrics, _, _ = judge.generator_loss(objective, variables, prior, play.code, key, weight=objective_weight)
        value = difference(batch, play.reconstruction).mean()
        return loss + reconstruction_weight * value, {**metrics, 'reconstruction_loss': value}

    return Game(init, play, discriminator_loss, generator_loss)
