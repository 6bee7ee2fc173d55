"""SNGAN (Miyato, Kataoka, Koyama and Yoshida 2018) with residual networks, on CIFAR-10.

    python -m experiments.sngan
    python -m experiments.sngan --dataset fashion_mnist --dtype bfloat16
    python -m experiments.sngan --dataset fashion_mnist --g-width 16 --d-width 16 --steps 1500 --seeds 3

The defaults are the paper's settings without labels (section 4.1, table 4, and the authors' code): every layer of D is divided by
its largest singular value, hinge loss, five steps of D on 64 images each per step of G on 128, learning rates that decay linearly
from 2e-4 to 0 over 50,000 steps, dequantised real pixels, and samples of the present generator.

Expected: the paper's Inception score is 8.22 +- .05 and its FID 21.7 +- .21 (of 5,000 samples), after hours on a GPU;
`python -m experiments.evaluate runs/sngan --protocol is50k fid50k_full` measures both. The last command takes 39 min on one core
of an AMD EPYC with AVX-512; .327 +- .172 of the samples are recognised with probability >= .9 (.789 of held-out images).
"""

import dataclasses
from typing import Any, Literal

from experiments.shared import image_gan, resnets
from gan_jax import runs
from gan_jax.ranges import Count, Width


@dataclasses.dataclass(frozen=True)
class Config(resnets.ResNetOptions):
    """SNGAN with residual networks."""

    name: str = 'sngan'
    steps: Count = 50_000
    objective: str = 'hinge'
    """The objective; by default E max(0, 1 - D(real)) + E max(0, 1 + D(fake)) for D and - E D(fake) for G."""
    d_norm: str = 'spectral'
    g_width: Width = 256
    """Channels of every layer of G."""
    pool: Literal['sum', 'mean'] = 'sum'
    """Pooling of D's last features over positions."""
    last_bias: bool = False
    optimizers: str = 'wgan_gp:learning_rate=2e-4'
    """Optimizers of both players; Adam with beta1 = 0 and beta2 = .9, as in WGAN-GP."""


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
