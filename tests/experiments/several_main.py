"""`python several_main.py EXPERIMENT FLAGS`: an experiment in one of several processes, with a judge that takes little time."""

import functools
import sys
from unittest import mock

import optax

from experiments.shared import image_gan
from gan_jax import runs
from gan_jax.commandline import module_of
from gan_jax.optimizers import OPTIMIZERS, Optimizers


def sgd(learning_rate: float = 0.05) -> Optimizers:
    """With Adam, round-off over a zero gradient alone differs by 1e-3."""
    return Optimizers(optax.sgd(learning_rate), optax.sgd(learning_rate))


def run(name, *flags):
    """Runs an experiment in this process."""
    module, judge = module_of(f'experiments.{name}'), functools.partial(image_gan.train_classifier, steps=100)
    patches = mock.patch.dict(OPTIMIZERS, sgd=sgd), mock.patch.object(image_gan, 'train_classifier', judge)
    with patches[0], patches[1], mock.patch('sys.argv', [name, *flags]):
        runs.run_main(module.main, module.Config)


if __name__ == '__main__':
    run(*sys.argv[1:])
