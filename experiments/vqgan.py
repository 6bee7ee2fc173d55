"""VQGAN's first stage (Esser, Rombach and Ommer 2021): a quantised autoencoder with and without a discriminator, on MNIST.

    python -m experiments.vqgan
    python -m experiments.vqgan --dataset cifar10 --codebook-size 1024 --perceptual squeezenet:path=FILE
    python -m experiments.vqgan --dataset digits --steps 1000 --start 200

The autoencoder's loss is the mean absolute difference, an optional perceptual term, the codebook's loss, and the adversarial term
with VQGAN's adaptive weight, which begins after --start updates of D. The end table compares reconstructions of held-out images
by the model and by the same autoencoder without D. `python -m experiments.translate runs/vqgan IN OUT` reconstructs other images.

The networks have neither attention nor the paper's size, and the second stage, a prior of the codes, is not part of this.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

import gan_jax
from experiments.shared import autoencoders
from gan_jax import data, games, networks, runs
from gan_jax.errors import InputError
from gan_jax.games.differences import Difference, absolute_difference, perceptual
from gan_jax.games.judgement import apply_network
from gan_jax.networks.quantized import check_halvings
from gan_jax.networks.translation import patch_outputs
from gan_jax.ranges import Count, Positive, Range, Weight, Whole, Width, refuse_given


@dataclasses.dataclass(frozen=True)
class Config(autoencoders.AutoencoderOptions):
    """VQGAN's first stage on small images."""

    name: str = 'vqgan'
    codebook_size: Width = 256
    """Number of vectors in the codebook."""
    code_size: Width = 32
    """Number of entries of each vector."""
    halvings: Annotated[int, Range(1, 10)] = 2
    """Times that the autoencoder halves the image's sides before the codes."""
    objective: str = 'hinge'
    objective_weight: Weight = 0.8
    """Weight of the adversarial term, beside the adaptive weight; 0 is a quantised autoencoder without D."""
    adaptive: bool = True
    """Multiply the adversarial term by |grad of the reconstruction loss| / |grad of the adversarial loss| at the last layer."""
    largest_weight: Positive = 1e4
    """Upper limit of the adaptive weight."""
    start: Whole = 1000
    """Updates of D after which the adversarial term begins."""
    discriminator_waits: bool = False
    """Let D, too, learn nothing before --start, as in the authors' code."""
    code_weight: Weight = 1.0
    """Weight of the codebook's loss."""
    commitment: Weight = 0.25
    """Weight, within the codebook's loss, of the term that moves the encoder."""
    perceptual: str | None = None
    """Extractor of a perceptual term, as in squeezenet:path=FILE (colour, at least 31 pixels) or classifier:dataset=mnist."""
    perceptual_weight: Weight = 1.0
    """Weight of the perceptual term."""
    receptive_field: Count = 34
    """Side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286."""
    d_norm: str = 'batch'
    optimizers: str = 'adam:learning_rate=4e-4,beta1=0.5,beta2=0.9'
    """Optimizers of both players; VQGAN has Adam with beta1 = .5 and beta2 = .9."""

    title: ClassVar[str] = 'VQGAN'
    of_discriminator: ClassVar[tuple[str, ...]] = (
        *autoencoders.AutoencoderOptions.of_discriminator,
        *('adaptive', 'largest_weight', 'start', 'discriminator_waits', 'receptive_field'),
    )

    def check(self) -> None:
        super().check()
        refuse_given(self, 'latent_size', because='has no effect: the codes are of --code-size')
        if not self.objective_weight:
            why = 'has no effect with --objective-weight 0, which leaves no adversarial term to weigh'
            refuse_given(self, 'adaptive', 'largest_weight', because=why)
        if not self.adaptive:
            refuse_given(self, 'largest_weight', because='limits the adaptive weight, which --no-adaptive omits')
        if not self.start:
            refuse_given(self, 'discriminator_waits', because='requires a --start above 0 to wait for')
        updates = self.steps * self.players().discriminator_steps
        if self.start >= updates and not self.plain:
            raise InputError(f'the adversarial term would never begin: D has {updates:,} updates, and --start is {self.start:,}')
        if not self.code_weight:
            refuse_given(self, 'commitment', because='has no effect with --code-weight 0')
        if self.perceptual is None:
            refuse_given(self, 'perceptual_weight', because='requires --perceptual')
        if self.minibatch != 'none':
            raise InputError('--minibatch requires a D that judges whole images; here D judges patches')
        if self.score_every:
            raise InputError('--score-every requires a generator that draws; the end table scores reconstructions')

    def check_size(self, size: data.Size) -> None:
        """Raises `InputError` for sizes that the networks do not support: squares whose sides can be halved often enough."""
        if not isinstance(size, int):
            raise InputError('vqgan takes square images: --size SIDE')
        check_halvings((size, size), self.halvings)
        if not self.plain:
            patch_outputs(size, self.receptive_field)

    def autoencoder(self, channels: int) -> networks.QuantizedAutoencoder:
        """The autoencoder of images with this number of channels."""
        sizes = (channels, self.codebook_size, self.code_size, self.commitment, self.width, self.halvings)
        return networks.QuantizedAutoencoder(*sizes, norm=self.g_norm, dtype=jnp.dtype(self.dtype))

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        field, width, norm = (1, 1, 'none') if self.plain else (self.receptive_field, self.d_width, self.d_norm)
        discriminator = networks.PatchDiscriminator(field, width, norm, jnp.dtype(self.dtype))
        differences: list[Difference] = [absolute_difference]
        if self.perceptual is not None:
            extractor = autoencoders.extractor_of(self.perceptual, (*data.sides(size), channels), self.data_dir)
            differences.append(perceptual(extractor, self.perceptual_weight))
        return self.play(
            games.vqgan,
            self.autoencoder(channels),
            discriminator,
            differences=differences,
            code_weight=self.code_weight,
            last_layer=('decoder', 'last') if self.adaptive and not self.plain else None,
            start=self.start,
            discriminator_waits=self.discriminator_waits,
            largest_weight=self.largest_weight,
        )

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """Raises `InputError`: there is no prior of the codes to draw from."""
        raise InputError('a VQGAN has no prior of codes to draw from; python -m experiments.translate RUN IN OUT reconstructs')

    def translator(self, direction: str | None, size: int, channels: int) -> runs.Translator:
        """How the trained autoencoder reconstructs images. Raises `InputError` if there is a direction."""
        if direction is not None:
            raise InputError(f'a VQGAN reconstructs images and has no --direction {direction}')
        reconstruct = lambda weights, x, key: apply_network(self.autoencoder(channels), weights, x, train=False)[0][0]
        return runs.Translator(reconstruct, size, channels)

    def drawer(self, size: data.Size, channels: int) -> runs.Translator:
        assert isinstance(size, int)
        return self.translator(None, size, channels)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return autoencoders.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, with and without D, and returns the figures of the end table by model. Raises `InputError`."""
    return autoencoders.main(config)


if __name__ == '__main__':
    runs.run_main(main, Config)
