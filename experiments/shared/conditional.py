"""Options, study and pictures shared by the experiments with class-conditional generators of images."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan, labelled
from gan_jax import data, games, latents, runs
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.ranges import Compared, Count, Width
from gan_jax.runs import samples
from gan_jax.runs.generators import draw_latents
from gan_jax.typing import Array, Key

COLUMNS = 10
"""Columns of the picture that has one class per row."""


@dataclasses.dataclass(frozen=True)
class ConditionalOptions(labelled.LabelledOptions, image_gan.SizedOptions):
    """A class-conditional generator on labelled images."""

    label_sampling: Literal['data', 'uniform'] = 'data'
    """How often classes are trained on and drawn: as often as in the data, or equally often. In either case G and D learn images
    given their labels, and a minibatch has the same labels for real and generated images."""
    latent_size: Width = 64
    """Size of the latents, which are standard normal."""
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """Dtype of the layers' computations; parameters, logits and losses are float32."""
    samples: Compared = 10_000
    """Samples in the end table, equally many of each class; for the Fréchet distance, as many with the shares of the data."""
    sample_every: Count = 500
    checkpoint_every: Count = 1000

    @property
    def title(self) -> str:
        """What the end table calls the method."""
        return self.name

    def networks(self, size: data.Size, channels: int, classes: int) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator for images of this size, number of channels and number of classes."""
        raise NotImplementedError

    def make_game(self, size: data.Size, channels: int, classes: int) -> gan_jax.Game:
        """The game on such images. Raises `InputError`."""
        return self.game(*self.networks(size, channels, classes), latents.normal(self.latent_size), games.conditional)

    def generator(self, size: data.Size | list[int], channels: int, classes: list[str], shares: list[float]) -> runs.Generator:
        """How to draw from the trained generator."""
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels, len(classes))
        return generator_of(network, self.latent_size, classes, shares)


def generator_of(network: nn.Module, latent_size: int, classes: Sequence[str], shares: Sequence[float]) -> runs.Generator:
    """How to draw from a generator of standard normal latents and labels, or of latents alone if there are no classes."""

    def generate(weights: Any, z: Array, labels: Array) -> Array:
        return apply_network(network, weights, z, *([labels] if classes else []), train=False)[0]

    return runs.Generator(latents.normal(latent_size), generate, tuple(classes), tuple(shares))


def known(size: data.Size, channels: int, classes: Sequence[str], labels: np.ndarray) -> dict[str, Any]:
    """What a generator must know of its data, as JSON. The shares of the classes are those among the labels int `[n]`."""
    shares = np.bincount(labels, minlength=len(classes)) / len(labels)
    return {'size': size, 'channels': channels, 'classes': list(classes), 'shares': shares.tolist()}


def study_of(config: Any, batches: Any, of_data: dict[str, Any], labels: np.ndarray, **observed: Any) -> runs.Study:
    """A study of the game, feed and generator of these options; `observed` are its other fields.

    Args:
        config: options with `make_game(size, channels, classes)` and `generator(**of_data)`.
        batches: `{'image': [n, h, w, c], 'label': [n]}`, or a source of such batches.
        of_data: the result of `known`.
        labels: some labels, for the initialisation.
        **observed: further fields of the study.
    """
    size, channels = of_data['size'], of_data['channels']
    game = config.make_game(size, channels, len(of_data['classes']))
    limit = config.memory_limit * 1e9
    return runs.Study(
        game,
        config.trainer(game),
        data.feed(batches, config.batch_size, minibatches=config.minibatches, memory_limit=limit),
        {'image': jnp.zeros((1, *data.sides(size), channels)), 'label': jnp.asarray(labels[:64])},
        generator=config.generator(**of_data),
        known=of_data,
        **observed,
    )


def study(config: ConditionalOptions) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    config.check()
    found = labelled.load(config, config.check_size)
    images, labels, names = found.train
    size, channels = data.size_of(*images.shape[1:3]), images.shape[3]
    if config.samples < len(names):
        raise InputError(f'--samples must be at least one sample of each of the {len(names)} classes, not {config.samples}')
    uniform = config.label_sampling == 'uniform'
    batches = labelled.balanced(found.source) if uniform else found.source
    of_data = known(size, channels, names, np.arange(len(names)) if uniform else labels)
    made = study_of(config, batches, of_data, labels, judge=lambda: found.judge(config.dataset), data=found)
    generator = config.generator(**of_data)
    show = lambda state, key: class_rows(generator, state, key)
    return made._replace(show=show, picture=functools.partial(samples.grid, columns=COLUMNS))


def class_rows(generator: runs.Generator, state: gan_jax.TrainState, key: Key) -> Array:
    """Samples of one class after another, `[classes * COLUMNS, h, w, c]`, from the same COLUMNS latents for each class."""
    return image_gan.condition_rows(generator, state, draw_latents(generator, COLUMNS, key)[0])
