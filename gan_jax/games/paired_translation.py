"""Image-to-image translation from pairs: pix2pix (Isola et al. 2017)."""

from typing import Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.games.differences import absolute_difference
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement
from gan_jax.objectives import Objective, non_saturating
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_CROSS_ENTROPY = non_saturating()


def paired_translation(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _CROSS_ENTROPY,
    *,
    l1_weight: float = 100.0,
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A generator of targets from inputs against a discriminator of real from generated targets, given the input (eqs. 1 to 4).

    The batch is `{'input': [batch, ...], 'target': [batch, ...]}`; sampling requires only the input. The discriminator's state
    after the generator's loss is discarded.

    Args:
        generator: `generator(input, train=) -> target`, with noise from the Flax random stream 'noise', even in inference.
        discriminator: `discriminator(pairs, train=) -> logits [batch, ...]`, for input and target joined along the last axis.
        objective: the losses of both players, from `gan_jax.objectives`, averaged over all logits.
        l1_weight: weight of the mean absolute difference from the target in the generator's loss (eq. 4).
        objective_weight: weight of the objective in the generator's loss; 0 is the paper's L1 baseline.
        **options: of the judgement: `games.judgement.JudgementOptions`. Penalties treat D as a function of the target at the
            given input, which is neither interpolated nor differentiated. The input and both targets, real and generated, are
            augmented, and changed by regularizers, by the same draws.

    Raises `ValueError` as `games.judgement.judgement` does and, from `init`, if the generator's output does not have the
    target's shape.
    """

    judge = judgement(
        discriminator,
        objective.undecided,
        options,
        join=lambda target, source: (jnp.concatenate([source, target], -1),),
    )

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key = jax.random.split(key)
        made, g_variables = generator.init_with_output(g_key, batch['input'][:1], train=False)
        absolute_difference(made, batch['target'][:1])
        return g_variables, judge.init(batch['target'], d_key, beside=(batch['input'],))

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        return apply_network(generator, variables, batch['input'], train=train, noise=key)

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        beside = (batch['input'],)
        return judge.discriminator_loss(objective, variables, batch['target'], play, key, beside=beside)[:2]

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        beside = (batch['input'],)
        loss, metrics, _, _ = judge.generator_loss(
            objective, variables, batch['target'], play, key, beside=beside, weight=objective_weight
        )
        l1 = absolute_difference(play, batch['target']).mean()
        return loss + l1_weight * l1, {**metrics, 'l1': l1}

    return Game(init, play, discriminator_loss, generator_loss)
