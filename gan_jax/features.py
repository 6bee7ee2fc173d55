"""Generator losses on the discriminator's features of a whole batch.

A feature loss is a function `loss(real, fake) -> scalar` of features `[batch, units]`. In a data-parallel run it is computed
over the global batch.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from gan_jax import parallel
from gan_jax.ranges import Weight, checked
from gan_jax.registry import Table
from gan_jax.typing import Array

FeatureLoss = Callable[[Array, Array], Array]


def _check(real: Array, fake: Array) -> None:
    if real.shape[1:] != fake.shape[1:] or real.ndim != 2:
        raise ValueError(f'features must be [batch, units] with the same number of units, got {real.shape} and {fake.shape}')


def _mean_difference(real: Array, fake: Array) -> Array:
    _check(real, fake)
    return parallel.pmean(real.mean(0) - fake.mean(0))


@checked
def feature_matching(weight: Weight = 1.0) -> FeatureLoss:
    """The squared distance between the mean features, summed over units (Salimans et al. 2016, section 3.1).

    Features must be `[batch, units]`; otherwise the loss raises `ValueError`. A weight outside [0, 1e6] raises it too.
    """
    return lambda real, fake: weight * jnp.square(_mean_difference(real, fake)).sum()


@checked
def feature_matching_l1(weight: Weight = 1.0) -> FeatureLoss:
    """The absolute difference of the mean features, averaged over units (code of Salimans et al. 2016 for CIFAR-10).

    Features must be `[batch, units]`; otherwise the loss raises `ValueError`. A weight outside [0, 1e6] raises it too.
    """
    return lambda real, fake: weight * jnp.abs(_mean_difference(real, fake)).mean()


@checked
def feature_reconstruction(weight: Weight = 1.0) -> FeatureLoss:
    """Half the squared distance of each example's features from those of its reconstruction, summed over units; the mean.

    It is -log p of the features under N(reconstruction's features, I), up to a constant (Larsen et al. 2016, eqs. 6 and 7).
    Example i must be reconstructed by generated example i. Features must be `[batch, units]`; otherwise the loss raises
    `ValueError`. A weight outside [0, 1e6] raises it too.
    """

    def loss(real: Array, fake: Array) -> Array:
        _check(real, fake)
        return weight / 2 * parallel.pmean(jnp.square(real - fake).sum(-1).mean())

    return loss


@checked
def pulling_away(weight: Weight = 0.1) -> FeatureLoss:
    """The mean squared cosine between the features of two different generated examples (Zhao et al. 2017, eq. 4).

    Features are `[batch, units]`. Raises `ValueError` for a weight outside [0, 1e6].
    """

    def loss(real: Array, fake: Array) -> Array:
        fake = parallel.all_gather(fake)
        largest = lax.stop_gradient(
            jnp.abs(fake).max(-1, keepdims=True)
        )  # cosines do not depend on lengths, but squares overflow
        fake = fake / jnp.where(largest > 0, largest, 1)
        squares = jnp.square(fake @ fake.T)
        lengths = jnp.square(fake).sum(-1)
        positive = lengths > 0
        inverse = jnp.where(positive, 1 / jnp.where(positive, lengths, 1), 0)  # a row of zeros is orthogonal to every other
        cosines = jnp.where(jnp.eye(len(fake), dtype=bool), 0, squares * inverse[:, None] * inverse)
        return weight * cosines.sum() / max(1, len(fake) * (len(fake) - 1))

    return loss


FEATURES: Table[Callable[..., FeatureLoss]] = Table(
    'feature loss',
    {
        'feature_matching': feature_matching,
        'feature_matching_l1': feature_matching_l1,
        'feature_reconstruction': feature_reconstruction,
        'pulling_away': pulling_away,
    },
)
"""Name -> factory."""
