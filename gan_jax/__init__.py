"""GANs in JAX: a game is four pure functions, and one train step plays them all."""

from gan_jax.errors import InputError
from gan_jax.training import Game, Player, TrainState, init, make_train_step, many_steps, sample, unroll

__all__ = ['Game', 'InputError', 'Player', 'TrainState', 'init', 'make_train_step', 'many_steps', 'sample', 'unroll']
__version__ = '0.1.0'
