"""BigGAN (Brock, Donahue and Simonyan 2019) on labelled images: the digits, a data set of TFDS, or a folder of classes.

    python -m experiments.biggan
    python -m experiments.biggan --dataset fashion_mnist --width 32 --latent-size 120 --embedding 64
    python -m experiments.biggan --dataset path/to/classes --size 64 --label-sampling uniform
    python -m experiments.generate runs/biggan --truncation 0.5 --out typical

The class enters every block of G as an embedding that the blocks share, together with a part of the latent, and D by projection.
Both attend to a map, every layer is divided by its largest singular value, kernels are orthogonal at first and G's are drawn
towards orthogonal filters, and D takes two steps of the hinge loss to one of G. Samples are of the averaged generator with
standing statistics: its batch norms use their mean moments over --standing-batches batches of samples.

It is small by default, so that a CPU trains it. The paper's networks for 128 pixels are --size 128 --width 96 --latent-size 120
--embedding 128, with minibatches of 2048 and --optimizers ttur:learning_rate=5e-5,discriminator_rate=2e-4,beta2=0.999; they take
days of many TPUs.

Expected of --steps 1000 --seeds 3 on the digits: 3 min 47 s on one core of an AMD EPYC with AVX-512, and .982 +- .018 of samples
read as their label (.997 of held-out images).
"""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from experiments.shared import conditional, recognition
from gan_jax import data, networks, runs
from gan_jax.errors import InputError
from gan_jax.keys import named
from gan_jax.networks import biggan
from gan_jax.networks.batch_norm import standing_statistics
from gan_jax.networks.dcgan import smallest_map
from gan_jax.optimizers import Optimizers, orthogonal_regularization
from gan_jax.ranges import BatchSize, Count, PlayerSteps, Range, Share, Text, Weight, Width
from gan_jax.runs.generators import draw_latents


@dataclasses.dataclass(frozen=True)
class Config(conditional.ConditionalOptions):
    """BigGAN on labelled images."""

    name: str = 'biggan'
    dataset: Text = 'digits'
    steps: Count = 5000
    batch_size: BatchSize = 64
    width: Width = 16
    """Channels of both networks at the full size, doubled at each halving up to 16 times as many."""
    latent_size: Width = 60
    """Size of the latents, which are standard normal; every block of G and its smallest map have a part of them."""
    embedding: Width = 32
    """Size of the embedding of a class; the paper's is 128."""
    attention: Annotated[int, Range(0, 10)] = 1
    """Number of halvings from the image to the map with self-attention, in both networks; 0 for none."""
    objective: str = 'hinge'
    optimizers: str = 'ttur:learning_rate=2e-4,discriminator_rate=4e-4,beta2=0.999'
    discriminator_steps: PlayerSteps | None = 2
    """Updates of D for every --generator-steps of G; BigGAN's are 2, whatever the optimizers."""
    d_norm: str = 'spectral'
    g_norm: str = 'spectral'
    """Normalization of G's weights beside batch norm: spectral, weight or none."""
    orthogonal_weight: Weight = 1e-4
    """Weight of the squared inner products of the filters of each of G's kernels."""
    ema_decay: Share = 0.999
    """Decay of the averaged generator, which draws the samples; the paper's is .9999."""
    standing_batches: Annotated[int, Range(0, 10_000)] = 16
    """Batches of samples over which the moments of batch norm are averaged before drawing, typically 100 in the paper; 0 for the
    running averages of training. Their latents are not truncated, whatever `generate --truncation` draws."""

    @property
    def title(self) -> str:
        return 'BigGAN'

    def networks(self, size: data.Size, channels: int, classes: int) -> tuple[nn.Module, nn.Module]:
        dtype = jnp.dtype(self.dtype)
        shape = (self.width, classes, self.embedding, self.attention)
        generator = networks.BigGANGenerator(size, channels, *shape, dtype, self.g_norm)
        judge = networks.BigGANDiscriminator(self.width, self.attention, dtype, self.d_norm)
        return generator, networks.ProjectionDiscriminator(judge, classes, embedding_init=biggan.orthogonal)

    def generator(self, size: data.Size | list[int], channels: int, classes: list[str], shares: list[float]) -> runs.Generator:
        made = super().generator(size, channels, classes, shares)
        if not self.standing_batches:
            return made
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels, len(classes))
        # Not the keys of the latents that are drawn from seed 0, whose images must not set their own statistics.
        keys = lambda: jax.random.split(named(jax.random.key(0), 'standing'), self.standing_batches)
        draw = lambda key: draw_latents(made, self.batch_size, key)
        return made._replace(weights=lambda average: standing_statistics(network, average, draw, keys()))

    def players(self) -> Optimizers:
        """Both optimizers, with the orthogonal regularisation of G."""
        pair = super().players()
        if not self.orthogonal_weight:
            return pair
        return pair._replace(generator=optax.chain(orthogonal_regularization(self.orthogonal_weight), pair.generator))

    def check(self) -> None:
        super().check()
        if self.minibatch != 'none':
            raise InputError('the residual discriminator has no --minibatch layer')
        biggan.check_weights_norm(self.g_norm)

    def check_size(self, size: data.Size) -> None:
        *_, halvings = smallest_map(size)
        biggan.check_attention(self.attention, halvings)
        biggan.check_latents(self.latent_size, halvings)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return conditional.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), recognition.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
