"""VAE-GAN (Larsen, Sønderby, Larochelle and Winther 2016) beside a plain variational autoencoder, on MNIST.

    python -m experiments.vae_gan
    python -m experiments.vae_gan --dataset cifar10 --latent-size 128
    python -m experiments.vae_gan --dataset digits --steps 1000

Images are reconstructed in the features of D's last hidden layer rather than in pixels, and D judges reconstructions and samples.
The end table compares reconstructions of held-out images by the model and by a variational autoencoder of the same encoder and
decoder with p(x|z) = N(Dec(z), I), and then samples with held-out images.

The networks are DCGAN's, smaller than the paper's. The paper's RMSProp is replaced by Adam.
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

import gan_jax
from experiments.shared import autoencoders
from gan_jax import data, games, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.ranges import Weight, Width, refuse_given


@dataclasses.dataclass(frozen=True)
class Config(autoencoders.AutoencoderOptions):
    """VAE-GAN on small images."""

    name: str = 'vae_gan'
    latent_size: Width = 64
    """Size of the codes, whose prior is standard normal."""
    prior_weight: Weight = 1.0
    """Weight of KL(q(z|x) || p(z)) in the encoder's loss."""
    gamma: Weight = 1e-3
    """Weight of the feature losses in the decoder's loss, beside the adversarial term."""
    pixel_weight: Weight = 0.0
    """Weight of half the squared difference from the image, summed over pixels."""
    features: tuple[str, ...] = ('feature_reconstruction',)
    """Losses between images and their reconstructions in D's last hidden layer; the paper's is feature_reconstruction."""
    d_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=3e-4'

    title: ClassVar[str] = 'VAE-GAN'
    reconstructs: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        if not self.features:
            refuse_given(self, 'gamma', because='is the weight of --features, of which there are none')
        if self.minibatch != 'none':
            raise InputError('--minibatch would compare real images with themselves: each is judged twice')

    def without(self) -> dict[str, Any]:
        return super().without() | {'pixel_weight': 1.0, 'gamma': type(self).gamma}

    def modules(self, size: data.Size, channels: int) -> tuple[Any, Any, Any]:
        """The encoder, the decoder and the discriminator."""
        options: dict[str, Any] = {'dtype': jnp.dtype(self.dtype)}
        encoder = networks.DCGANDiscriminator(self.width, norm=self.g_norm, outputs=2 * self.latent_size, **options)
        decoder = networks.DCGANGenerator(size, channels, self.width, norm=self.g_norm, **options)
        width, norm = (1, 'none') if self.plain else (self.d_width, self.d_norm)
        return encoder, decoder, networks.DCGANDiscriminator(width, norm=norm, minibatch=self.minibatch, **options)

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        weights = {'prior_weight': self.prior_weight, 'gamma': self.gamma, 'pixel_weight': self.pixel_weight}
        return self.play(games.vae_gan, *self.modules(size, channels), **weights)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        size = data.size_of(*size) if isinstance(size, list) else size
        return autoencoders.decoded(self.modules(size, channels)[1], latents.normal(self.latent_size))


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return autoencoders.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, with and without D, and returns the figures of the end table by model. Raises `InputError`."""
    return autoencoders.main(config, autoencoders.of_samples)


if __name__ == '__main__':
    runs.run_main(main, Config)
