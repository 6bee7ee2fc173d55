"""InfoGAN (Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel 2016): categories and continuous codes without labels.

    python -m experiments.infogan
    python -m experiments.infogan --dataset mnist --width 32 --batch-size 128 --steps 5000

On DCGAN's networks, with one category and a few numbers uniform on [-1, 1) as codes. Each row of a picture has one category, and
its first continuous code grows from left to right; all else is equal. The end table also shows the bounds of the information
between codes and samples in nats, at most log 10 = 2.303 for ten categories and -.226 for a number (`codes.uniform`), and how
well the categories, matched one to one to the classes, classify held-out images (the paper: an error of 5 % on MNIST).

Expected of --width 16 --batch-size 32 --steps 5000 --seeds 3 on the digits: a minute on one core of an AMD EPYC with AVX-512,
2.302 +- .001 nats for the category, and categories that match .48 +- .05 of held-out images.
"""

import dataclasses
import functools
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

import gan_jax
from experiments.shared import image_gan
from gan_jax import codes, data, games, latents, networks, runs
from gan_jax.games.judgement import apply_network
from gan_jax.ranges import BatchSize, Count, KernelSize, Range, Weight, Width, refuse_given
from gan_jax.runs import samples
from gan_jax.runs.generators import draw_latents
from gan_jax.typing import Array, Key

COLUMNS = 10
"""Columns of the picture that has one category per row."""


@dataclasses.dataclass(frozen=True)
class Config(image_gan.ImageOptions):
    """InfoGAN on images."""

    name: str = 'infogan'
    steps: Count = 10_000
    batch_size: BatchSize = 64
    categories: Annotated[int, Range(2, 1000)] = 10
    """Number of equally likely categories."""
    continuous: Annotated[int, Range(0, 100)] = 2
    """Number of continuous codes."""
    category_weight: Weight = 1.0
    """Weight of the information about the category in both players' losses."""
    continuous_weight: Weight = 1.0
    """Weight of the information about each continuous code."""
    width: Width = 32
    """Channels at half the image's size, doubled at each halving."""
    kernel_size: KernelSize = 4
    """Side of the convolution kernels."""
    latent_size: Width = 62
    """Size of the rest of the latents, which is standard normal."""
    d_norm: str = 'batch'
    g_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=1e-3,discriminator_rate=2e-4'
    """Optimizers of both players, by paper; the default has the rates of the authors' code for MNIST."""

    def check(self) -> None:
        super().check()
        if not self.continuous:
            refuse_given(self, 'continuous_weight', because='requires --continuous codes')

    @property
    def has_losses(self) -> bool:
        return super().has_losses or any(code.weight for code in self.told)

    @property
    def told(self) -> list[codes.Code]:
        """The category, and the continuous codes after it."""
        continuous = [codes.uniform(weight=self.continuous_weight)] * self.continuous
        return [codes.categorical(self.categories, self.category_weight), *continuous]

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        shape = (self.width, self.kernel_size, jnp.dtype(self.dtype))
        judge = networks.DCGANDiscriminator(*shape, norm=self.d_norm, minibatch=self.minibatch)
        parameters = sum(code.parameters for code in self.told)
        generator = networks.DCGANGenerator(size, channels, *shape, norm=self.g_norm)
        return generator, networks.AuxiliaryDiscriminator(judge, parameters)

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        rules = functools.partial(games.info_gan, codes=self.told)
        return self.game(*self.networks(size, channels), latents.normal(self.latent_size), rules)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """How to draw from the trained generator: categories are its conditions, and the other codes begin its latents."""
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels)

        def generate(weights: Any, z: Array, category: Array) -> Array:
            z = jnp.concatenate([jax.nn.one_hot(category, self.categories, dtype=z.dtype), z], -1)
            return apply_network(network, weights, z, train=False)[0]

        latent = codes.joined(self.told[1:], latents.normal(self.latent_size))
        shares = (1 / self.categories,) * self.categories
        return runs.Generator(latent, generate, tuple(map(str, range(self.categories))), shares, codes=self.continuous)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    made = image_gan.study(config)
    show = functools.partial(rows, config, config.generator(**made.known))
    return made._replace(show=show, picture=functools.partial(samples.grid, columns=COLUMNS))


def rows(config: Config, generator: runs.Generator, state: gan_jax.TrainState, key: Key) -> Array:
    """A row of samples for each category, `[categories * COLUMNS, h, w, c]`, along which the first continuous code grows."""
    z, _ = draw_latents(generator, COLUMNS, key)
    if config.continuous:
        z = jnp.broadcast_to(z[:1], z.shape).at[:, 0].set(jnp.linspace(-1, 1, COLUMNS))
    return image_gan.condition_rows(generator, state, z)


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The figures of the end table. Without labels, the categories are not compared with classes."""
    config: Any = trained.config
    source, _, held_out = trained.study.data
    results = image_gan.evaluate(trained)
    drawn = trained.plays(config.samples, 'information')
    network = config.networks(source.size, source.channels)[1]
    q = lambda state, x, key: network.apply(state.discriminator.variables, x, train=False)[1]
    bounds = codes.information(config.told, *map(jnp.asarray, (drawn.latents, trained.mapped(q, drawn.examples, 'Q'))))
    results |= {f'information_{k}': float(bound.mean()) for k, bound in enumerate(bounds)}
    if held_out is not None and held_out.labels is not None:
        found = trained.mapped(q, held_out.images, 'Q')[:, : config.categories].argmax(1)
        results['category_accuracy'] = accuracy(found, held_out.labels)
    named = [(name, value) for name, value in results.items() if name.startswith(('information', 'category'))]
    trained.tell(runs.table([('codes', 'value'), *named], title=f'{config.dataset} after {trained.steps} steps'))
    return results


def accuracy(categories: np.ndarray, labels: np.ndarray) -> float:
    """The share of examples whose category is that of their class, by the one-to-one matching for which it is largest."""
    counts = np.zeros((categories.max() + 1, labels.max() + 1), int)
    np.add.at(counts, (categories, labels), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
