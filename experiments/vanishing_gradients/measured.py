"""The ways to train D, and what is measured of D and of the gradient that G would follow."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import gan_jax
from gan_jax import compilation, data, games, keys, latents, networks, runs
from gan_jax.augmentations import Augmentation, instance_noise
from gan_jax.keys import named
from gan_jax.objectives import Objective, minimax, non_saturating, wasserstein
from gan_jax.optimizers import Optimizers, clip_weights
from gan_jax.penalties import Penalty, wgan_gp
from gan_jax.registry import Table
from gan_jax.runs import seeds
from gan_jax.typing import Array, Key


class Variant(NamedTuple):
    """A way to train D, and the loss that G would descend."""

    objective: Objective
    penalties: Sequence[Penalty] = ()
    augmentation: Augmentation | None = None
    optimizer: optax.GradientTransformation = optax.identity()
    """Applied after D's Adam."""
    logistic: bool = True
    """Whether D's outputs are logits."""


def cases(config: Any) -> dict[str, Variant]:
    """The cases of the options. Raises `InputError` for an unknown name."""
    known = Table(
        'case',
        {
            'minimax': Variant(minimax()),
            'non_saturating': Variant(non_saturating()),
            'minimax_noise': Variant(minimax(), augmentation=instance_noise(config.sigma)),
            'wasserstein_gp': Variant(wasserstein(), [wgan_gp(config.weight)], logistic=False),
            'wasserstein_clipping': Variant(wasserstein(), optimizer=clip_weights(config.clip), logistic=False),
        },
    )
    return {name: known[name] for name in config.cases}


def moments(steps: int) -> list[int]:
    """1, 2, 5, 10, ... and the last step."""
    powers = [10**k for k in range(int(math.log10(steps)) + 1)]
    return sorted({m * power for power in powers for m in (1, 2, 5) if m * power < steps} | {steps})


LOG = 'gradients.jsonl'
"""Measurements of a case at every moment, `[seeds]` each."""


def generator_gradient(
    game: gan_jax.Game, state: gan_jax.TrainState, real: Array, play_key: Key, see_key: Key
) -> tuple[Array, Array]:
    """The gradient of L_G with respect to theta, all parameters in one vector, and the points at which it was taken.

    Args:
        game: The game.
        state: Its state.
        real: Real examples, `[n, ...]`.
        play_key: Key of the generator's play.
        see_key: Key of the augmentation of D's inputs.
    """

    def loss(params: Any) -> tuple[Array, Array]:
        play, _ = game.play({'params': params, **state.generator.state}, real, play_key)
        return game.generator_loss(state.discriminator.variables, play, real, see_key)[0], play

    gradient, play = jax.grad(loss, has_aux=True)(state.generator.params)
    return ravel_pytree(gradient)[0], play


def study(config: Any, mixture: data.Mixture, case: Variant) -> runs.Study:
    """D against a fixed generator, with measurements at every moment."""
    generator = networks.MLP((config.width, config.width, 2))
    D = networks.MLP((config.width, config.width, 1), squeeze=True)

    def game_of(objective: Objective, penalties: Sequence[Penalty] = ()) -> gan_jax.Game:
        latent = latents.uniform(config.latent_size)
        return games.adversarial(generator, D, objective, latent=latent, penalties=penalties, augmentation=case.augmentation)

    above = lambda real, fake: jnp.float32(real > fake)
    game, bare, ranks = game_of(case.objective, case.penalties), game_of(case.objective), game_of(Objective(above, above))
    players = Optimizers(optax.set_to_zero(), optax.chain(optax.adam(config.learning_rate), case.optimizer))

    def measure(state: gan_jax.TrainState, root: Key) -> dict[str, Array]:
        """The measurements of one state.

        They are the norms of the gradient's mean and of its standard deviation over batches, D's loss without penalty, and how
        often D ranks a real point above a generated one.
        """
        each = jax.random.split(named(root, 'batches'), (config.minibatches, config.batch_size))
        batches = jax.vmap(jax.vmap(mixture.sample))(each)

        def one(real: Array, key: Key) -> dict[str, Array]:
            play_key, see_key = jax.random.split(key)
            gradient, fake = generator_gradient(game, state, real, play_key, see_key)
            loss, ranked = (g.discriminator_loss(state.discriminator.variables, fake, real, see_key)[0] for g in (bare, ranks))
            return {'gradient': gradient, 'loss': loss, 'ranked': ranked}

        values = jax.vmap(one)(batches, jax.random.split(named(root, 'measured'), config.minibatches))
        gradients = values.pop('gradient')
        norms = {'gradient': jnp.linalg.norm(gradients.mean(0)), 'deviation': jnp.linalg.norm(gradients.std(0))}
        return norms | {name: value.mean() for name, value in values.items()}

    every = compilation.jit(jax.vmap(measure))

    def note(run: runs.RunDirectory) -> runs.Callback:
        own = keys.roots(config.seed, config.seeds)

        def call(step: int, state: gan_jax.TrainState) -> None:
            found = every(seeds.every(state, config.seeds), own)
            run.log(step, {name: np.asarray(value, np.float64).tolist() for name, value in found.items()}, LOG)

        return runs.Callback(tuple(moments(config.steps)), call)

    feed = data.generated(mixture.sample, config.batch_size)
    return runs.Study(game, gan_jax.trainer(game, players), feed, jnp.zeros((1, 2)), notes=(note,), side_by_side=True)
