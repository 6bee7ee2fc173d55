"""Adversarial objectives: what each player minimises, as functions of the discriminator's logits.

Every loss takes `(real, fake)` logits of one shape `[batch, ...]` and returns one number per logit, unreduced. `real` and
`fake` are logits, never probabilities: D(x) = sigmoid(logit), log D = -softplus(-logit), log(1 - D) = -softplus(logit).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from gan_jax.typing import Array

Loss = Callable[[Array, Array], Array]


class Objective(NamedTuple):
    """The two losses of an adversarial game, each `(real, fake) -> loss`, all three of one shape."""

    discriminator: Loss
    generator: Loss


def _check_shapes(real: Array, fake: Array) -> None:
    if real.shape != fake.shape:  # [n, 1] and [n] would broadcast to [n, n] in silence
        raise ValueError(f'real and fake logits are of one shape, got {real.shape} and {fake.shape}')


def _cross_entropy(real: Array, fake: Array) -> Array:
    _check_shapes(real, fake)
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def minimax() -> Objective:
    """The zero-sum game: the generator minimises minus the discriminator's loss (Goodfellow et al. 2014, eq. 1).

    The generator's loss keeps the term of the real data. Its gradient is zero in the plain game; with unrolling it is not,
    because the future discriminator depends on the generator (Metz et al. 2017, eq. 7).
    """
    return Objective(_cross_entropy, lambda real, fake: -_cross_entropy(real, fake))


def non_saturating() -> Objective:
    """ "Modified minimax": the generator maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    def generator(real: Array, fake: Array) -> Array:
        _check_shapes(real, fake)
        return jax.nn.softplus(-fake)

    return Objective(_cross_entropy, generator)


OBJECTIVES: dict[str, Callable[..., Objective]] = {'minimax': minimax, 'non_saturating': non_saturating}
"""Name -> factory. A new objective is one factory above and one entry here; `tests/test_objectives.py` then covers it."""
