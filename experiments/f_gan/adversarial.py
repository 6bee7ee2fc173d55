"""The adversarial fit: a Gaussian generator against the variational function V, and what both have learned."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import gan_jax
from experiments.f_gan.fits import WeightedMixture
from gan_jax import compilation, data, games, latents, networks, runs
from gan_jax.divergences import Divergence
from gan_jax.objectives import f_gan
from gan_jax.optimizers import Optimizers
from gan_jax.penalties import annealing, r1, scheduled
from gan_jax.typing import Array, Key


class GaussianGenerator(nn.Module):
    """The generator of Q: z -> mu + sigma z."""

    mu: float
    sigma: float

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        mu = self.param('mu', nn.initializers.constant(self.mu), ())
        log_sigma = self.param('log_sigma', nn.initializers.constant(math.log(self.sigma)), ())
        return mu + jnp.exp(log_sigma) * z


def study(config: Any, divergence: Divergence, mixture: WeightedMixture) -> runs.Study:
    """A Gaussian against V, under one divergence."""
    V = networks.MLP((config.width, config.width, 1), activation=nn.tanh, squeeze=True)
    # Without R1, V saturates everywhere under total variation: bound 0, no gradient. R1 fades, and its bias with it.
    penalty = scheduled(r1(config.gamma), factor=annealing(0.01, max(2, config.steps)))
    objective = f_gan(divergence)
    game = games.adversarial(GaussianGenerator(*config.start), V, objective, latent=latents.normal(1), penalties=[penalty])
    adam = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, config.steps), b1=0.5)
    players = Optimizers(adam(config.generator_rate), adam(config.learning_rate))
    feed = data.generated(lambda key: mixture.sample(key, 1)[0], config.batch_size)
    trainer = gan_jax.trainer(game, players, ema_decay=0.99)
    return runs.Study(game, trainer, feed, jnp.zeros((1, 1)), data=(objective, V, game, config.samples), side_by_side=True)


def fitted(trained: runs.Trained, mixture: WeightedMixture) -> dict[str, list[float]]:
    """mu and sigma of every seed, averaged over the last steps, and the bound that V reaches there on new samples.

    They are NaN for a seed that has diverged.
    """
    objective, V, game, count = trained.study.data

    @compilation.jit
    def bound(state: gan_jax.TrainState, key: Key) -> Array:
        real_key, fake_key = jax.random.split(key)
        real = mixture.sample(real_key, count)
        fake = gan_jax.sample(game, state, count, fake_key)
        logits = [jnp.asarray(V.apply({'params': state.discriminator.params}, x)) for x in (real, fake)]
        return -objective.discriminator(*logits).mean()

    def figures(one: runs.Trained) -> tuple[float, float, float]:
        params = one.state.ema['params']
        return float(params['mu']), float(jnp.exp(params['log_sigma'])), float(bound(one.state, one.key('end')))

    each = [figures(trained.seed(i)) if ok else (math.nan,) * 3 for i, ok in enumerate(trained.finite)]
    return dict(zip(('mu_hat', 'sigma_hat', 'bound'), map(list, zip(*each, strict=True)), strict=True))
