"""A generative adversarial network (Goodfellow et al. 2014): samples in one pass, without a density."""

import flax.linen as nn
import jax.numpy as jnp
import optax

import gan_jax
from experiments.taxonomy.common import Model, Sample
from gan_jax import games, latents, networks
from gan_jax.objectives import non_saturating
from gan_jax.optimizers import Optimizers
from gan_jax.penalties import r1
from gan_jax.training import TrainState
from gan_jax.typing import Array, Key, Metrics


def model(d: int, *, hidden: int, latent: int, optimizer: optax.GradientTransformation, gamma: float = 1.0) -> Model:
    """The library's non-saturating game with R1 on the discriminator and two hidden layers in each player.

    A sample is the averaged generator's tanh output, thresholded at 0.
    """
    generator = networks.MLPGenerator((d,), (hidden, hidden))
    discriminator = networks.MLP((hidden, hidden, 1), squeeze=True, activation=lambda x: nn.leaky_relu(x, 0.2))
    game = games.adversarial(generator, discriminator, non_saturating(), latent=latents.normal(latent), penalties=[r1(gamma)])
    trainer = gan_jax.trainer(game, Optimizers(optimizer, optimizer))

    def step(state: TrainState, x: Array) -> tuple[TrainState, Metrics]:
        return trainer.step(state, 2 * x - 1)

    def sample(state: TrainState, key: Key, n: int) -> Sample:
        out = gan_jax.sample(game, state, n, key)
        return Sample((out > 0).astype(out.dtype), (out + 1) / 2)

    return Model(
        init=lambda key: trainer.init(jnp.zeros((1, d)), key),
        step=step,
        parameters=lambda state: (state.generator.params, state.discriminator.params),
        sample=sample,
        passes=1,
    )
