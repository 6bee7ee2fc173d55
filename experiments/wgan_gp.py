"""WGAN-GP (Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville 2017) with residual networks, on CIFAR-10.

    python -m experiments.wgan_gp
    python -m experiments.wgan_gp --dataset fashion_mnist --dtype bfloat16
    python -m experiments.wgan_gp --dataset digits --g-width 16 --d-width 16 --steps 500

The defaults are the paper's record run without labels (appendix C and F, and the authors' code): five steps of the critic on 64
images each for one of G on 128, learning rates that fall from 2e-4 to 0 in a straight line over 100,000 steps, real pixels
spread over their grey level, samples of the present generator by the statistics of their batch. The paper's inception score is
7.86 +- .07; `python -m experiments.evaluate runs/wgan_gp --protocol is50k fid50k_full` measures it. That takes hours of a GPU;
narrower networks show something on a CPU.
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
    """E D(fake) - E D(real) for the critic, - E D(fake) for G; or any other objective."""
    penalties: tuple[str, ...] = ('wgan_gp:weight=10',)
    """10 (|grad D| - 1)^2 at random points between a real and a generated image."""
    statistics: Literal['running', 'batch'] = 'batch'
    """By which G's batch norm draws: the batch's that is drawn, as in the authors' code, or running averages."""
    d_norm: str = 'none'
    """The penalty is one image's own: batch norm would tie images together. 'layer' is the paper's alternative."""
    optimizers: str = 'wgan_gp:learning_rate=2e-4'
    """Adam with beta1 = 0 and beta2 = .9."""


def study(config: Config) -> runs.Study:
    """The run of the options. Refuses what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
