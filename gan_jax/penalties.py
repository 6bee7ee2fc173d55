"""Penalties on the discriminator's gradient in its input.

A penalty is `penalty(critic, real, fake, key) -> [batch]`, unreduced, added to the discriminator's loss. `critic` maps examples
to logits, parameters and state held fixed. Norms are per example, over all axes but the first.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.typing import Array, Key

Critic = Callable[[Array], Array]
Penalty = Callable[[Critic, Array, Array, Key], Array]


def r1(gamma: float) -> Penalty:
    """gamma / 2 times the squared gradient norm at the real examples (Mescheder et al. 2018, eq. 9).

    The half is the paper's; the authors' code has none, so that its `reg_param` of 10 is a gamma of 20.
    Raises `ValueError` for a negative gamma.
    """
    if gamma < 0:
        raise ValueError(f'gamma is a weight, at least 0, got {gamma}')
    return lambda critic, real, fake, key: gamma / 2 * squared_gradient_norm(critic, real)


def squared_gradient_norm(critic: Critic, x: Array) -> Array:
    """The squared norm of each logit's gradient in its own example, `[batch]`."""
    gradient = jax.grad(lambda x: critic(x).sum())(x)
    return jnp.square(gradient).sum(tuple(range(1, gradient.ndim)))


PENALTIES: dict[str, Callable[..., Penalty]] = {'r1': r1}
"""Name -> factory of a penalty of the given weight."""
