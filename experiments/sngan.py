"""SNGAN (Miyato, Kataoka, Koyama and Yoshida 2018) with residual networks, on CIFAR-10.

    python -m experiments.sngan
    python -m experiments.sngan --dataset fashion_mnist --dtype bfloat16
    python -m experiments.sngan --dataset digits --g-width 16 --d-width 16 --steps 500

The defaults are the paper's without labels (section 4.1, table 4, and the authors' code): every layer of D divided by its largest
singular value, hinge loss, five steps of D on 64 images each for one of G on 128, learning rates that fall from 2e-4 to 0 in a
straight line over 50,000 steps, real pixels spread over their grey level, samples of the present generator. The paper's inception
score is 8.22 +- .05, its FID 21.7 +- .21 (of 5,000 samples); `python -m experiments.evaluate runs/sngan --protocol is50k
fid50k_full` measures both. That takes hours of a GPU; narrower networks show something on a CPU.
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
    """E max(0, 1 - D(real)) + E max(0, 1 + D(fake)) for D, - E D(fake) for G; or any other objective."""
    d_norm: str = 'spectral'
    g_width: Width = 256
    """Channels of every layer of G."""
    pool: Literal['sum', 'mean'] = 'sum'
    """Of D's last features, over positions."""
    last_bias: bool = False
    optimizers: str = 'wgan_gp:learning_rate=2e-4'
    """Adam with beta1 = 0 and beta2 = .9, as WGAN-GP's."""


def study(config: Config) -> runs.Study:
    """The run of the options. Refuses what cannot work, before anything is written."""
    return image_gan.study(config)


def main(config: Config) -> dict[str, Any]:
    """Trains, draws and evaluates; returns the end table's figures."""
    return runs.conclude(config, study(config), image_gan.evaluate)


if __name__ == '__main__':
    runs.run_main(main, Config)
