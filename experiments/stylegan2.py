"""StyleGAN2 (Karras, Laine, Aittala, Hellsten, Lehtinen and Aila 2020) on small images.

    python -m experiments.stylegan2
    python -m experiments.stylegan2 --dataset cifar10 --width 64 --augmentations adaptive
    python -m experiments.stylegan2 --dataset path/to/images --size 64
    python -m experiments.generate runs/stylegan2 --truncation 0.7 --out typical
    python -m experiments.interpolate runs/stylegan2

A mapping network makes styles w of latents z, and modulated convolutions with noise make images of styles. In training, most
images mix two styles, R1 is taken at every 16th update of D and path length regularisation at every 4th of G. `generate`
truncates in w, and `interpolate` and `path_length` follow lines in w (--way w).

The networks are narrow by default, so that a CPU trains them. Learning rates, the shallow mapping network, the minibatch layer,
the intervals, and the half-life of the averaged generator, 10,000 images or a twentieth of those shown so far, are those of the
authors' configuration `auto` (half-life for batches of 32; Karras et al. 2020, "Training generative adversarial networks with
limited data", code). Their CIFAR-10 configuration, whose weight of R1 this takes, has no path length regularisation, no mixing,
no residual D and groups of 32. A penalty is added to the loss of its update rather than taken as a separate update, so that
Adam's settings need no correction.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

import gan_jax
from experiments.shared import image_gan
from gan_jax import data, games, latents, networks, path_lengths, runs
from gan_jax.errors import InputError
from gan_jax.games.judgement import apply_network
from gan_jax.games.style_based import PATHS
from gan_jax.networks.resampling import halved_exactly
from gan_jax.networks.style_generator import mean_style
from gan_jax.ranges import BatchSize, Count, Share, Weight, Width, refuse_given
from gan_jax.runs.generators import Styles


@dataclasses.dataclass(frozen=True)
class Config(image_gan.StageOptions):
    """StyleGAN2 on images."""

    name: str = 'stylegan2'
    steps: Count = 5000
    batch_size: BatchSize = 32
    latent_size: Width = 128
    """Size of the latents z, which are standard normal, and of the styles w."""
    mapping_layers: Count = 2
    """Layers of the mapping network; the paper has 8."""
    mixing: Share = 0.9
    """Probability that a training image has two styles."""
    path_weight: Weight = 2.0
    """Weight of path length regularisation; 0 for none."""
    path_every: Count = 4
    """Apply it at every n-th update of G, multiplied by n."""
    minibatch: str = 'stddev:group_size=4'
    penalties: tuple[str, ...] = ('r1:gamma=0.01',)
    penalty_every: Count = 16
    optimizers: str = 'adam:learning_rate=2.5e-3,beta1=0,beta2=0.99'
    anneal: tuple[str, ...] = ('half_life:end=1e4,images=2e5,shape=linear',)
    sample_every: Count = 500

    def networks(self, size: data.Size, channels: int) -> tuple[nn.Module, nn.Module]:
        widths, dtype = self.stages(size), jnp.dtype(self.dtype)
        how: dict[str, Any] = {'style_size': self.latent_size, 'mapping_layers': self.mapping_layers, 'dtype': dtype}
        discriminator = networks.StyleDiscriminator(widths[::-1], self.minibatch, dtype)
        return networks.StyleGenerator(size, channels, widths, **how), discriminator

    def make_game(self, size: data.Size, channels: int) -> gan_jax.Game:
        paths = path_lengths.path_length(self.path_weight, every=self.path_every) if self.path_weight else None
        rules = functools.partial(games.style_based, mixing=self.mixing, path_regularization=paths)
        return self.game(*self.networks(size, channels), latents.normal(self.latent_size), rules)

    def generator(self, size: data.Size | list[int], channels: int) -> runs.Generator:
        network, _ = self.networks(data.size_of(*size) if isinstance(size, list) else size, channels)
        half = lambda method: lambda weights, x, *_: apply_network(network, weights, x, train=False, method=method)[0]
        without_paths = lambda average: {name: value for name, value in average.items() if name != PATHS}
        styles = Styles(half('styles'), half('synthesise'), mean_style)
        return runs.Generator(latents.normal(self.latent_size), styles.generate, weights=without_paths, styles=styles)

    def check(self) -> None:
        super().check()
        for name in ('d_norm', 'g_norm'):
            if getattr(self, name) != 'none':
                raise InputError(f'the networks of StyleGAN2 have no --{name.replace("_", "-")}')
        if not self.path_weight:
            refuse_given(self, 'path_every', because='requires a --path-weight above 0')

    def check_size(self, size: data.Size) -> None:
        halved_exactly(size, len(self.stages(size)) - 1)


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
