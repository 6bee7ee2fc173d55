"""Losses of the generator on the discriminator's features of a whole batch.

A feature loss is `loss(real, fake) -> scalar` of features `[batch, units]`; in a data-parallel run the batch is the whole one.
"""

from collections.abc import Callable

import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.ranges import Weight, checked
from gan_jax.registry import Table
from gan_jax.typing import Array

FeatureLoss = Callable[[Array, Array], Array]


def _mean_difference(real: Array, fake: Array) -> Array:
    if real.shape[1:] != fake.shape[1:] or real.ndim != 2:
        raise ValueError(f'features are [batch, units] with the same units, got {real.shape} and {fake.shape}')
    return parallel.pmean(real.mean(0) - fake.mean(0))


@checked
def feature_matching(weight: Weight = 1.0) -> FeatureLoss:
    """The squared distance of the mean features (Salimans et al. 2016, section 3.1): a sum over the units."""
    return lambda real, fake: weight * jnp.square(_mean_difference(real, fake)).sum()


@checked
def feature_matching_l1(weight: Weight = 1.0) -> FeatureLoss:
    """The absolute difference of the mean features, averaged over the units (Salimans et al. 2016, the code for CIFAR-10)."""
    return lambda real, fake: weight * jnp.abs(_mean_difference(real, fake)).mean()


@checked
def pulling_away(weight: Weight = 0.1) -> FeatureLoss:
    """The mean squared cosine between the features of two different generated examples (Zhao et al. 2017, eq. 4)."""

    def loss(real: Array, fake: Array) -> Array:
        fake = parallel.all_gather(fake)
        squares = jnp.square(fake @ fake.T)
        lengths = jnp.square(fake).sum(-1)
        positive = lengths > 0
        inverse = jnp.where(positive, 1 / jnp.where(positive, lengths, 1), 0)  # a row of zeros is at right angles to all
        cosines = jnp.where(jnp.eye(len(fake), dtype=bool), 0, squares * inverse[:, None] * inverse)
        return weight * cosines.sum() / (len(fake) * (len(fake) - 1))

    return loss


FEATURES: Table[Callable[..., FeatureLoss]] = Table(
    'feature loss',
    {'feature_matching': feature_matching, 'feature_matching_l1': feature_matching_l1, 'pulling_away': pulling_away},
)
"""Name -> factory."""
