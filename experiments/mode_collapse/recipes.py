"""The methods that are compared by default, and the recipe of each kind of data."""

from typing import Any

EVERY_METHOD = (
    'gan',
    'unrolled:steps=5',
    'packing:size=2',
    'packing:size=3',
    'packing:size=4',
    'minibatch_discrimination',
    'feature_matching',
    'historical_averaging',
    'wasserstein',
    'wasserstein_gp',
    'madgan',
    'adagan',
    'rpgan_r1_r2',
    'rpgan_r1',
    'gan_r1_r2',
    'gan_r1',
)


RECIPES: dict[bool, dict[str, Any]] = {
    False: {
        'steps': 5000,
        'batch_size': 60,
        'optimizers': 'adam:learning_rate=1e-3,beta1=0.8',
        'schedule': 'cosine:end=0.01',
        'learning_rate': 1e-3,
        'samples': 2500,
    },
    True: {
        'steps': 20_000,
        'batch_size': 120,
        'optimizers': 'adam:learning_rate=1e-4,beta1=0.5,beta2=0.99,discriminator_rate=2e-4',
        'schedule': 'constant',
        'learning_rate': 2e-4,
        'samples': 25_600,
    },
}
"""Whether the data are stacked digits -> values of the options that are not given on the command line."""
