"""Class-conditional GANs on labelled images: label concatenation, AC-GAN, and projection with conditional batch norm.

    python -m experiments.conditional_gan
    python -m experiments.conditional_gan --condition concatenation
    python -m experiments.conditional_gan --condition projection --size 32 --d-norm spectral
    python -m experiments.conditional_gan --dataset digits --steps 2000

Mirza and Osindero 2014, Odena et al. 2017 and Miyato and Koyama 2018, on DCGAN's networks. Draws one class per row, with the same
latents in every row, and reports how many samples a classifier of the same data reads as their label.

Expected on MNIST with --steps 6000 --seeds 3 (four to five minutes on one core of an AMD EPYC with AVX-512): share of samples
read as their label .988 +- .006 for AC-GAN, .990 +- .008 for projection and .968 +- .001 for concatenation, .994 for held-out
digits. The least recognisable samples are the most varied: their Fréchet distances are 38 +- 2, 24 +- 2 and 17 +- 4.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

import gan_jax
from experiments.shared import conditional, recognition
from gan_jax import data, games, latents, networks, runs
from gan_jax.games.conditional import auxiliary_classifier
from gan_jax.ranges import BatchSize, Count, KernelSize, Weight, Width, refuse_given
from gan_jax.registry import Table


class Condition(NamedTuple):
    """How a label enters the players."""

    generator: Callable[[Callable[..., nn.Module], int], nn.Module]
    """`(factory of DCGAN's generator without its classes, number of classes) -> generator`"""
    discriminator: Callable[[nn.Module, int], nn.Module]
    """`(DCGAN's discriminator, number of classes) -> discriminator`"""
    auxiliary: bool = False
    """Whether the discriminator predicts the label instead of being conditioned on it."""


def _concatenated(network: Callable[..., nn.Module], classes: int) -> nn.Module:
    return networks.ConcatenatedGenerator(network(), classes)


def _normalised(network: Callable[..., nn.Module], classes: int) -> nn.Module:
    """The label enters the input as well as the batch norm.

    Conditional batch norm alone only scales and shifts whole channels, and a DCGAN for 28 pixels has too few of them to form a
    class.
    """
    return networks.ConcatenatedGenerator(network(classes=classes), classes, labels_too=True)


def _projected(network: nn.Module, classes: int) -> nn.Module:
    return networks.ProjectionDiscriminator(network, classes, pooled=False)  # like DCGAN's logit, which depends on every position


CONDITIONS: Table[Condition] = Table(
    'condition',
    {
        'concatenation': Condition(_concatenated, networks.ConcatenatedDiscriminator),
        'auxiliary_classifier': Condition(_concatenated, networks.AuxiliaryDiscriminator, auxiliary=True),
        'projection': Condition(_normalised, _projected),
    },
)
"""Name -> how the label enters the players."""


@dataclasses.dataclass(frozen=True)
class Config(conditional.ConditionalOptions):
    """A class-conditional generator on labelled images."""

    name: str = 'conditional_gan'
    condition: str = 'auxiliary_classifier'
    """How the players are conditioned on the label: concatenation, auxiliary_classifier (AC-GAN) or projection."""
    steps: Count = 3000
    batch_size: BatchSize = 64
    width: Width = 16
    """Channels at half the image's size, doubled at each halving."""
    kernel_size: KernelSize = 4
    """Side of the convolution kernels."""
    d_norm: str = 'batch'
    g_norm: str = 'batch'
    """Normalization in G. Projection requires batch, with a scale and a bias for each class."""
    class_weight: Weight = 1.0
    """Weight of AC-GAN's class loss in D."""
    generator_class_weight: Weight = 1.0
    """Weight of AC-GAN's class loss in G."""
    generated_classes: bool = False
    """Whether AC-GAN's D also learns the classes of generated images, as in the paper, and not only those of real images."""
    optimizers: str = 'adam:learning_rate=1e-3'
    schedule: str = 'cosine:end=0.1'

    @property
    def title(self) -> str:
        return self.condition

    @property
    def has_losses(self) -> bool:
        return super().has_losses or bool(CONDITIONS[self.condition].auxiliary and self.generator_class_weight)

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        if not CONDITIONS[self.condition].auxiliary:
            names = ('class_weight', 'generator_class_weight', 'generated_classes')
            refuse_given(self, *names, because=f'applies to --condition auxiliary_classifier, not to {self.condition}')

    def networks(self, size: data.Size, channels: int, classes: int) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator for images of this size, number of channels and number of classes."""
        condition, shape = CONDITIONS[self.condition], (self.width, self.kernel_size, jnp.dtype(self.dtype))
        make = functools.partial(networks.DCGANGenerator, size, channels, *shape, norm=self.g_norm)
        judge = networks.DCGANDiscriminator(*shape, norm=self.d_norm, minibatch=self.minibatch)
        return condition.generator(make, classes), condition.discriminator(judge, classes)

    def make_game(self, size: data.Size, channels: int, classes: int) -> gan_jax.Game:
        """The game on such images. Raises `InputError`."""
        rules = games.conditional
        if CONDITIONS[self.condition].auxiliary:
            auxiliary = auxiliary_classifier(self.class_weight, self.generator_class_weight, self.generated_classes)
            rules = functools.partial(games.conditional, auxiliary=auxiliary)
        return self.game(*self.networks(size, channels, classes), latents.normal(self.latent_size), rules)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return conditional.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), recognition.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
