"""AdaGAN: a mixture of generators, each trained on the data that its predecessors cover least (Tolstikhin et al. 2017).

Everything here is a pure function; `runs.boost` is the loop around them.
"""

from gan_jax.boosting.ensemble import Booster, Ensemble, adagan
from gan_jax.boosting.ratios import density_ratios, fit_classifier
from gan_jax.boosting.reweighting import MIXINGS, REWEIGHTINGS, Mixing, NextComponent, Reweighting, optimal_weights

__all__ = [
    'MIXINGS', 'REWEIGHTINGS', 'Booster', 'Ensemble', 'Mixing', 'NextComponent', 'Reweighting', 'adagan', 'density_ratios',
    'fit_classifier', 'optimal_weights',
]  # fmt: skip
