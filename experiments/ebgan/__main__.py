"""EBGAN (Zhao, Mathieu and LeCun 2017), whose discriminator is an autoencoder with its reconstruction error as energy.

    python -m experiments.ebgan
    python -m experiments.ebgan --margins 5 10 20
    python -m experiments.ebgan --network convolutional --width 32

Reports the energies of real and generated images, and how a classifier of the same data judges the samples.

Expected on MNIST with --seeds 3: 3 min 55 s on one core of an AMD EPYC with AVX-512; mean energy 9.6 +- .3 of generated and
7.6 +- .2 of held-out images; .751 +- .009 of the samples recognised with probability >= .9 (.982 of held-out images).
"""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from experiments.ebgan import report
from experiments.shared import image_gan
from gan_jax import data, hosts, networks, runs
from gan_jax.errors import InputError
from gan_jax.objectives import OBJECTIVES
from gan_jax.ranges import Compared, Count, Margin, Range, Several, Text, Width, refuse_given
from gan_jax.registry import build
from gan_jax.runs import pictures
from gan_jax.runs.training import check


@dataclasses.dataclass(frozen=True)
class Config(image_gan.ImageOptions):
    """EBGAN on labelled images."""

    name: str = 'ebgan'
    dataset: Text = 'mnist'
    """A TFDS name of labelled images, 'digits' (offline), or a folder with folders train and test, each with one folder of images
    per class."""
    steps: Count = 6_000
    network: Literal['mlp', 'convolutional'] = 'mlp'
    """Networks of both players: fully connected, as in the paper's search on MNIST, or convolutional, as its networks for
    faces."""
    width: Width = 512
    """Width of the fully connected layers, or channels of the convolutional ones at half the image's size, doubled at each
    halving."""
    layers: Annotated[int, Range(1, 100)] = 2
    """Hidden layers of G and of the encoder, if they are fully connected. The decoder has one layer."""
    latent_size: Width = 64
    """Size of the latents, which are standard normal."""
    objective: str = 'energy_margin:margin=10'
    """energy_margin, with its margin. Energies are Euclidean distances between images in [-1, 1]; the table gives the energy of
    the mean image for scale."""
    margins: Annotated[tuple[Margin, ...], Several()] = ()
    """Train one run with each of these margins instead, and compare them."""
    features: tuple[str, ...] = ('pulling_away:weight=0.1',)
    """Losses added to G's, on D's code: pulling_away:weight=0.1, feature_matching, feature_matching_l1."""
    g_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=1e-3'
    """Optimizers of both players, by paper: adam (EBGAN's search has 1e-3), wgan, wgan_gp, ttur, improved_gan."""
    schedule: str = 'cosine:end=0.1'
    samples: Compared = 10_000
    """Samples in the end table, and maximal number of real images of each split."""
    sample_every: Count = 500

    energies: ClassVar[bool] = True

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        options: Any = {'dtype': jnp.dtype(self.dtype)}
        generator: nn.Module
        autoencoder: nn.Module
        if self.network == 'mlp':
            widths = (self.width,) * self.layers
            generator = networks.MLPGenerator((*data.sides(size), channels), widths, norm=self.g_norm, **options)
            autoencoder = networks.MLPAutoencoder(widths, norm=self.d_norm, **options)
        else:
            generator = networks.DCGANGenerator(size, channels, self.width, 4, norm=self.g_norm, **options)
            autoencoder = networks.ConvAutoencoder(self.width, norm=self.d_norm, **options)
        return generator, networks.EnergyDiscriminator(autoencoder)

    def check_size(self, size: data.Size) -> None:
        """Raises `InputError` for sizes that the networks do not support. Fully connected ones support all."""
        if self.network == 'convolutional':
            super().check_size(size)

    def check(self) -> None:
        super().check()
        if self.minibatch != 'none':
            raise InputError('an autoencoder judges each example alone: it has no --minibatch layer')
        if self.margins:
            refuse_given(self, 'objective', because='cannot be combined with --margins, which set its margin')
        for margin in self.margins:
            self.with_margin(margin).check()

    @property
    def margin(self) -> float:
        """D's loss on a generated image of energy 0."""
        return float(build(OBJECTIVES, self.objective).discriminator(jnp.zeros(1), jnp.zeros(1))[0])

    def with_margin(self, margin: float) -> 'Config':
        """One run of a comparison of margins, in a directory below this one."""
        return runs.part(self, f'margin_{margin:g}', objective=f'energy_margin:margin={margin:g}', margins=())


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    made = image_gan.study(config)
    if made.data.train.labels is None:
        raise InputError(f'{config.dataset} has no labels to train a classifier on, which is needed to judge the samples')
    if made.data.held_out is None:
        raise InputError(f'{config.dataset} has no folders train and test; samples are compared with held-out images')
    return made


def main(config: Config) -> dict[Any, Any]:
    """Trains, draws and evaluates; returns the figures of the end table, by margin if there are several. Raises `InputError`."""
    made = study(config)
    if not config.margins:
        return runs.conclude(config, made, report.evaluate)
    check(config, made)
    run = runs.RunDirectory(config)  # only after all options have been checked
    results: dict[float, Any] = {}
    panels: dict[float, report.Energies] = {}
    for margin in config.margins:
        part = config.with_margin(margin)
        game = part.make_game(made.data.source.size, made.data.source.channels)
        own = made._replace(game=game, trainer=part.trainer(game))
        results[margin] = runs.conclude(part, own, functools.partial(report.evaluate, panels=panels))
    hosts.agreed(lambda: pictures.save_figure(run.path / 'energies.png', report.histograms(panels)))
    print(report.sweep_table(config, {margin: runs.means(found) for margin, found in results.items()}))
    runs.write_json(run.path / 'results.json', results)
    print(f'pictures in {run.path}; numbers {run.path}/results.json')
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
