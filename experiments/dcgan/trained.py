"""A trained run of an image experiment, loaded to be looked at."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan
from gan_jax import compilation, data
from gan_jax.errors import InputError
from gan_jax.games.adversarial import PROGRESS, apply_network
from gan_jax.runs.checkpoints import newest_state
from gan_jax.typing import Array, Variables

MOST_TRAIN, MOST_TEST = 20_000, 10_000
"""Images at most of a training set that is too large to be held in memory, and of a test set."""


class Trained(NamedTuple):
    """A run, ready to be looked at."""

    config: Any
    path: pathlib.Path
    steps: int
    generate: Callable[[Array], Array]
    """`latents [n, size] -> images [n, h, w, c]` in [-1, 1], by the averaged generator."""
    discriminator: nn.Module
    variables: Variables
    """The discriminator's."""
    train: data.Images
    held_out: data.Images | None
    """None of a data set without a test set."""

    def draw(self, number: int, *shape: int) -> Array:
        """Normal latents `[*shape, size]`, independent of those of another number and of the run's."""
        key = jax.random.fold_in(jax.random.key(self.config.seed + 3), number)
        return jax.random.normal(key, (*shape, self.config.latent_size))


def load(path: pathlib.Path, config_class: type[image_gan.ImageOptions], data_dir: str | None) -> Trained:
    """The newest checkpoint of a run, and its data. Raises `InputError` for a directory that is no such run, or has none."""
    config = dataclasses.replace(config_class.of_run(path), data_dir=data_dir)
    if not (path / 'checkpoints').is_dir():
        raise InputError(f'{path} has no checkpoint yet')
    train = image_gan.at_most(image_gan.load(config), MOST_TRAIN)
    held_out = image_gan.held_out_images(config, train, MOST_TEST)
    _, _, init = image_gan.build(config, train.size, train.channels)
    state: gan_jax.TrainState = newest_state(path, init)
    generator, discriminator = config.networks(train.size, train.channels, None)
    generate = compilation.jit(lambda z: apply_network(generator, state.ema, z, train=False)[0])
    variables = {name: value for name, value in state.discriminator.variables.items() if name != PROGRESS}
    return Trained(config, path, int(state.step), blocks_of(generate), discriminator, variables, train, held_out)


def blocks_of(function: Callable[[Any], Any], size: int = 500) -> Callable[[Any], Any]:
    """The function of `[n, ...]` by blocks, of which the last is filled up: it is compiled once."""

    def run(x: Any) -> Any:
        # Its own rows again: a generator may normalise by the block's statistics.
        filled = np.pad(x, [(0, -len(x) % size), *[(0, 0)] * (x.ndim - 1)], mode='wrap')
        return jnp.concatenate([function(filled[i : i + size]) for i in range(0, len(x), size)])[: len(x)]

    return run
