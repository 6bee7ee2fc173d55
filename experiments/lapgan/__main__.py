"""LAPGAN (Denton et al. 2015): a GAN for every level of a Laplacian pyramid, sampled from coarse to fine.

    python -m experiments.lapgan
    python -m experiments.lapgan --dataset fashion_mnist
    python -m experiments.lapgan --width 64 --kernel-sizes 7 7 5 --coarse-width 1600 --coarse-generator-width 8000 \\
        --latent-size 100 --batch-size 64 --dropout 0.5 --penalties --steps 100000

The last command has the networks of the authors' CIFAR-10 code and requires an accelerator. All levels train at once, in one
program. The end table has the losses of every level (for one seed; the log has means over several) and the Fréchet distance of
every stage.

Expected on CIFAR-10 with the defaults (seed 0): 8 min 23 s on one core, of which 5 min 37 s are training. The samples are far
from converged: .083 are recognised with probability >= .9 (.446 of held-out images), and the Fréchet distance in pixels is 2.80
at 8 pixels, 9.24 at 16 and 59.4 at 32. With `--dataset fashion_mnist --steps 45000 --seeds 3`: 42 min on one core of an AMD
EPYC with AVX-512, .541 +- .018 recognised (.793 of held-out images).
"""

import dataclasses
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.lapgan import report
from experiments.shared import image_gan
from gan_jax import data, games, latents, networks, pyramids, runs
from gan_jax.errors import InputError
from gan_jax.games.laplacian_pyramid import cascade
from gan_jax.ranges import BatchSize, Count, KernelSize, Range, ShareBelow1, Text, Width


@dataclasses.dataclass(frozen=True)
class Config(image_gan.ImageOptions):
    """LAPGAN on images."""

    name: str = 'lapgan'
    dataset: Text = 'cifar10'
    """A TFDS name such as cifar10, fashion_mnist or mnist, 'digits' (offline), or a folder of images."""
    halvings: Annotated[int, Range(0, 10)] = 2
    """Number of times the images are halved. There is one game per halving and one for the coarsest images: by default, 32, 16
    and 8 pixels for images of 32."""
    steps: Count = 2_500
    batch_size: BatchSize = 16
    """Real examples in a minibatch. Small batches learn faster on a CPU; the authors have 64 real and 64 generated images."""
    width: Width = 16
    """Channels of a level's networks; the authors have 64."""
    kernel_sizes: tuple[KernelSize, KernelSize, KernelSize] = (5, 5, 3)
    """Kernel sizes of a level's generator; the authors have 7 7 5."""
    coarse_width: Width = 512
    """Units in each of the two hidden layers of the coarsest discriminator; the authors have 1,600."""
    coarse_generator_width: Width = 512
    """The same for the coarsest generator; the authors have 8,000."""
    dropout: ShareBelow1 = 0.0
    """Dropout rate in the discriminators; the authors have .5, and no penalty."""
    penalties: tuple[str, ...] = ('r1:gamma=3',)
    """Penalties of every level: any of r1, r2, roth, wgan_gp, dragan. Within a few thousand steps, R1 achieves more than
    dropout."""
    latent_size: Width = 64
    """Latent size of the coarsest level, uniform on [-1, 1); the noise of the other levels is one such number per pixel."""
    optimizers: str = 'adam:learning_rate=1e-3'
    """Optimizers of both players, by paper: adam, wgan, wgan_gp, ttur. (The authors have SGD with rate .02 and momentum .5.)"""
    schedule: str = 'cosine:end=0.1'
    sample_every: Count = 250
    checkpoint_every: Count = 1000

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        for name in ('d_norm', 'g_norm', 'minibatch', 'features'):
            if getattr(self, name) not in ('none', ()):
                raise InputError(f"LAPGAN's networks have no --{name.replace('_', '-')}")
        self.make_game(side_of(self.shape or 1 << self.halvings), 1)

    def check_size(self, size: data.Size) -> None:
        """Raises `InputError` for images that are not square or cannot be halved that often."""
        pyramids.check_size(side_of(size), self.halvings)

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        """The game of all levels. Raises `InputError` for images that are not square or cannot be halved that often."""
        self.check_size(size)
        judge: Any = {'dtype': jnp.dtype(self.dtype), 'dropout': self.dropout}
        discriminators: Any = [networks.LevelDiscriminator(self.width, **judge) for _ in range(self.halvings)]
        discriminators.append(networks.CoarsestDiscriminator((self.coarse_width,) * 2, **judge))
        latent: Any = [latents.uniform(n) for n in self.latent_sizes(side_of(size))]
        return self.game(self.generators(side_of(size), channels), discriminators, latent, games.laplacian_pyramid)

    def generators(self, size: int, channels: int) -> Any:
        """The generators of all levels, finest first."""
        options: Any = {'dtype': jnp.dtype(self.dtype)}
        side = size >> self.halvings
        fine = [networks.LevelGenerator(self.width, self.kernel_sizes, **options) for _ in range(self.halvings)]
        return [*fine, networks.MLPGenerator((side, side, channels), (self.coarse_generator_width,) * 2, **options)]

    def latent_sizes(self, size: int) -> list[int]:
        """The latent sizes of all levels, finest first."""
        return [*((size >> k) ** 2 for k in range(self.halvings)), self.latent_size]

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        """How to draw from the whole cascade. The latents of all levels are concatenated into one vector, finest first."""
        generators, sizes = self.generators(side_of(size), channels), self.latent_sizes(side_of(size))
        ends = np.cumsum(sizes)[:-1].tolist()
        generate = lambda weights, z, _: cascade(generators, weights, jnp.split(z, ends, 1))[0]
        return runs.Generator(latents.uniform(sum(sizes)), generate, prior='uniform')


def side_of(size: data.Size | list[int] | str) -> int:
    """The side of square images. Raises `InputError` for other images."""
    if not isinstance(size, int):
        shown = size if isinstance(size, str) else 'x'.join(map(str, size))
        raise InputError(f'LAPGAN requires square images: --size must be their side, not {shown}')
    return size


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    made = image_gan.study(config)
    if len(made.data.train.images) < 2:
        raise InputError(f'{config.dataset} has 1 image; the Fréchet distance requires at least 2')
    return made


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), report.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
