"""The vector fields of the Dirac-GAN under objectives, penalties and noise, and their linear parts by theory."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.penalties import PENALTIES, Penalty
from gan_jax.typing import Array

Field = Callable[[Array], Array]
"""v of z = (theta, psi), both `[2]`: the direction in which each player's gradient descent moves."""


class Case(NamedTuple):
    """A regularised game. Near (0, 0), its field is theta' = a psi, psi' = -a theta - b psi, where (a, b) is `linear`."""

    objective: str
    regulariser: str
    strength: str
    field: Field
    linear: tuple[float, float] | None
    """None if the field is discontinuous at psi = 0."""


def field(objective: Objective, penalty: Penalty | None = None, noise: float = 0.0) -> Field:
    """`v(z) = (-dL_G / dtheta, -dL_D / dpsi)` at z = (theta, psi), with Gaussian noise on D's inputs.

    `noise` is its standard deviation. The expectation over the noise is computed by Gauss-Hermite quadrature, over the noise of
    the real and of the generated point.
    """
    nodes, weights = np.polynomial.hermite.hermgauss(21 if noise else 1)
    shifts, weights = math.sqrt(2) * noise * nodes, weights / weights.sum()
    shift_real, shift_fake = (shift.ravel() for shift in np.meshgrid(shifts, shifts))
    weights = np.outer(weights, weights).ravel()
    key = jax.random.key(0)  # any key: a linear critic has the same gradient at all random points

    def losses(theta: Array, psi: Array) -> tuple[Array, Array]:
        critic = lambda x: psi * x
        real, fake = 0 * theta + shift_real, theta + shift_fake
        discriminator = objective.discriminator(critic(real), critic(fake))
        if penalty is not None:
            discriminator += penalty(critic, real, fake, key)
        return objective.generator(critic(real), critic(fake)) @ weights, discriminator @ weights

    def v(z: Array) -> Array:
        theta, psi = z
        return -jnp.stack([jax.grad(lambda t: losses(t, psi)[0])(theta), jax.grad(lambda p: losses(theta, p)[1])(psi)])

    return v


def cases(config: Any) -> list[Case]:
    """The cases to compare. The linear part of both logistic objectives has a = f'(0) = 1/2, that of Wasserstein has a = 1."""

    def each(label: str, name: str, b: Callable[[float], float]) -> list[tuple[str, str, float | None, dict[str, Any]]]:
        return [(label, f'gamma = {gamma:g}', b(gamma), {'penalty': PENALTIES[name](gamma)}) for gamma in config.gammas]

    def jumping(label: str, name: str) -> tuple[str, str, float | None, dict[str, Any]]:
        return label, f'weight = {config.weight:g}', None, {'penalty': PENALTIES[name](config.weight)}

    some = [('none', '', 0.0, {}), *each('R1', 'r1', lambda gamma: gamma), jumping('WGAN-GP', 'wgan_gp')]
    every = [
        *some,
        *each('R2', 'r2', lambda gamma: gamma),
        *each('Roth', 'roth', lambda gamma: gamma / 2),  # D = 1/2 at psi = 0: two terms of psi^2 / 4 each
        # E[softplus(psi e)] = log 2 + sigma^2 psi^2 / 8 + ..., once for the real and once for the generated point.
        *(('noise', f'sigma = {sigma:g}', sigma**2 / 2, {'noise': sigma}) for sigma in config.noises),
        jumping('DRAGAN', 'dragan'),
    ]
    return [
        Case(name, regulariser, strength, field(OBJECTIVES[name](), **options), None if b is None else (a, b))
        for name, a, regularisers in (('minimax', 0.5, every), ('non_saturating', 0.5, every), ('wasserstein', 1.0, some))
        for regulariser, strength, b, options in regularisers
    ]
