"""WGAN-GP (Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville 2017) with residual networks, on CIFAR-10.

    python -m experiments.wgan_gp
    python -m experiments.wgan_gp --dataset fashion_mnist --dtype bfloat16
    python -m experiments.wgan_gp --dataset fashion_mnist --g-width 16 --d-width 16 --steps 1500 --seeds 3

The defaults are the paper's best run without labels (appendix C and F, and the authors' code): five steps of the critic on 64
images each per step of G on 128, learning rates that decay linearly from 2e-4 to 0 over 100,000 steps, dequantised real pixels,
and samples of the present generator with the statistics of their batch.

Expected: the paper's Inception score is 7.86 +- .07, after hours on a GPU;
`python -m experiments.evaluate runs/wgan_gp --protocol is50k fid50k_full` measures it. The last command takes 37 min on one core
of an AMD EPYC with AVX-512; .253 +- .015 of the samples are recognised with probability >= .9 (.789 of held-out images).
"""

import dataclasses
from typing import Any, Literal

from experiments.shared import image_gan, resnets
from gan_jax import runs
from gan_jax.ranges import Count


@dataclasses.dataclass(frozen=True)
class Config(resnets.ResNetOptions):
    """WGAN-GP with residual networks."""

    name: str = 'wgan_gp'
    steps: Count = 100_000
    objective: str = 'wasserstein'
    """The objective; by default E D(fake) - E D(real) for the critic and - E D(fake) for G."""
    penalties: tuple[str, ...] = ('wgan_gp:weight=10',)
    """Penalties; by default 10 (|grad D| - 1)^2 at random points between a real and a generated image."""
    statistics: Literal['running', 'batch'] = 'batch'
    """Statistics of G's batch norm when drawing: those of the batch that is drawn, as in the authors' code, or running
    averages."""
    d_norm: str = 'none'
    """Normalization in D. The penalty treats each image separately, which batch norm would break; 'layer' is the paper's
    alternative."""
    optimizers: str = 'wgan_gp:learning_rate=2e-4'
    """Optimizers of both players; Adam with beta1 = 0 and beta2 = .9."""


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the figures of the end table. Raises `InputError`."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
