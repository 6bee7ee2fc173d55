"""The adversarial autoencoder (Makhzani, Shlens, Jaitly and Goodfellow 2016) beside a plain autoencoder, on MNIST.

    python -m experiments.adversarial_autoencoder
    python -m experiments.adversarial_autoencoder --prior ring_unrolled
    python -m experiments.adversarial_autoencoder --dataset digits --steps 1000

D compares codes with draws of a prior, normal or a mixture of Gaussians, so that the decoder turns such draws into images. The
end table compares reconstructions of held-out images by the model and by the same autoencoder without D, whose codes have no
prior, and then samples with held-out images.

The networks are convolutional; the paper's have two layers of 1,000 units for MNIST.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax.numpy as jnp

import gan_jax
from experiments.shared import autoencoders
from gan_jax import data, games, latents, networks, runs
from gan_jax.ranges import Text, Weight, Width, refuse_given
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(autoencoders.AutoencoderOptions):
    """An adversarial autoencoder on small images."""

    name: str = 'adversarial_autoencoder'
    latent_size: Width = 8
    """Size of the codes, if the prior is normal."""
    prior: Text = 'normal'
    """The prior: normal, or a mixture of Gaussians such as ring_unrolled, grid_veegan or gmm:modes=10."""
    d_width: Width = 256
    """Units of each of D's two hidden layers."""
    reconstruction_weight: Weight = 100.0
    """Weight of the mean squared difference of images in [-1, 1]."""
    objective_weight: Weight = 1.0
    """Weight of the adversarial term in the encoder's loss; 0 is an autoencoder without a prior."""
    optimizers: str = 'adam:learning_rate=3e-4'

    title: ClassVar[str] = 'adversarial autoencoder'

    @property
    def has_losses(self) -> bool:
        return bool(self.objective_weight or self.reconstruction_weight)

    def check(self) -> None:
        super().check()
        if self.prior != 'normal':
            refuse_given(self, 'latent_size', because=f'cannot be combined with --prior {self.prior}, which has its own size')
        self.latent()

    def latent(self) -> tuple[Callable[[Key], Array], int]:
        """The prior and its size. Raises `InputError` for an unknown one."""
        if self.prior == 'normal':
            return latents.normal(self.latent_size), self.latent_size
        mixture = data.mixture(self.prior)
        return mixture.sample, mixture.centres.shape[1]

    def modules(self, size: data.Size, channels: int) -> tuple[Any, Any, Any]:
        """The encoder, the decoder and the discriminator."""
        options: dict[str, Any] = {'dtype': jnp.dtype(self.dtype)}
        encoder = networks.DCGANDiscriminator(self.width, norm=self.g_norm, outputs=self.latent()[1], **options)
        decoder = networks.DCGANGenerator(size, channels, self.width, norm=self.g_norm, **options)
        width = 1 if self.plain else self.d_width
        discriminator = networks.MLP(
            (width, width, 1), squeeze=True, norm=self.d_norm, minibatch='none' if self.plain else self.minibatch, **options
        )
        return encoder, decoder, discriminator

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        settings: dict[str, Any] = {'latent': self.latent()[0], 'reconstruction_weight': self.reconstruction_weight}
        return self.play(games.adversarial_autoencoder, *self.modules(size, channels), **settings)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        size = data.size_of(*size) if isinstance(size, list) else size
        prior: Literal['normal', 'mixture'] = 'normal' if self.prior == 'normal' else 'mixture'
        return autoencoders.decoded(self.modules(size, channels)[1], self.latent()[0], prior)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return autoencoders.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, with and without D, and returns the figures of the end table by model. Raises `InputError`."""
    return autoencoders.main(config, autoencoders.of_samples)


if __name__ == '__main__':
    runs.run_main(main, Config)
