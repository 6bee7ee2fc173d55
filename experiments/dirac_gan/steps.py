"""Gradient steps of four kinds on a field: their growth at the equilibrium, their trajectories, and where these end."""

import cmath
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dirac_gan.fields import Case
from gan_jax import compilation
from gan_jax.typing import Array

MODES = ('simultaneous', 'alternating', 'optimistic', 'extragradient')
"""Optimistic and extragradient steps are simultaneous ones that anticipate the opponent's."""


def analyse(case: Case, config: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row of the table, with complex numbers as pairs, and the trajectory `[steps + 1, 2]` of each mode."""
    h, v = config.step_size, jax.vmap(case.field)
    # A step consists of two half-steps along the unmasked entries of v. Alternating steps begin with the discriminator, as in
    # the library; simultaneous ones do nothing in the second half.
    masks = np.array([[[1, 1], [0, 0]], [[0, 1], [1, 0]]])

    @compilation.jit
    def compute(z: Array) -> tuple[Array, Array, Array]:
        origin = jnp.zeros(2)
        above, below = v(jnp.array([[0, 1e-9], [0, -1e-9]]))

        def half(z: Array, mask: Array) -> tuple[Array, Array]:
            return z + h * mask * v(z), z

        def ahead(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            z, before = carry  # of each mode; `before` is the direction of the optimistic step before
            optimistic, extra = z
            now = case.field(optimistic)
            steps = 2 * now - before, case.field(extra + h * case.field(extra))
            return (z + h * jnp.stack(steps), now), z

        path = jax.lax.scan(half, jnp.stack([z, z]), jnp.tile(masks.swapaxes(0, 1), (config.steps + 1, 1, 1)))[1]
        others = jax.lax.scan(ahead, (jnp.stack([z, z]), case.field(z)), None, config.steps + 1)[1]
        paths = jnp.concatenate([path[::2], others], 1).swapaxes(0, 1)
        return jnp.abs(above - below).max(), jax.jacfwd(case.field)(origin), paths

    jump, jacobian, paths = (np.asarray(value) for value in compute(jnp.array(config.start)))
    smooth = bool(jump < 1e-6)
    row: dict[str, Any] = {'objective': case.objective, 'regulariser': case.regulariser, 'strength': case.strength}
    row |= {'jump': float(jump), 'eigenvalues': pairs(np.linalg.eigvals(jacobian)) if smooth else None}
    row |= {'theory': case.linear and pairs(theory(*case.linear))}
    row |= {f'{name}_theory': case.linear and growth(name, theory(*case.linear), h) for name in MODES if name != 'alternating'}
    for name, path in zip(MODES, paths, strict=True):
        row[f'{name}_factor'] = float(np.abs(np.linalg.eigvals(map_of(name, jacobian, h))).max()) if smooth else None
        distance = np.linalg.norm(path, axis=1)
        row |= {f'{name}_distance': float(distance[-1]), f'{name}_outcome': outcome(distance)}
    return row, dict(zip(MODES, paths, strict=True))


def theory(a: float, b: float) -> tuple[complex, complex]:
    """The eigenvalues of [[0, a], [-a, -b]]; for a = 1/2, they are real from b = 1 on."""
    root = cmath.sqrt(b**2 / 4 - a**2)
    return -b / 2 + root, -b / 2 - root


def growth(mode: str, eigenvalues: Sequence[complex], h: float) -> float:
    """The largest factor, in one step of size h, of a mode near an equilibrium whose field has these eigenvalues w.

    1 + h w for simultaneous steps, 1 + h w + (h w)^2 for extragradient ones, and the roots of m^2 - (1 + 2 h w) m + h w for
    optimistic ones. For w = +-i a, the last two are smaller than 1 in modulus if h a is small: both are 1 - (h a)^2 / 2 + O(h^4).
    """
    if mode == 'optimistic':
        return max(abs(root) for w in eigenvalues for root in np.roots([1, -1 - 2 * h * w, h * w]))
    return max(abs(1 + h * w + ((h * w) ** 2 if mode == 'extragradient' else 0)) for w in eigenvalues)


def map_of(mode: str, jacobian: np.ndarray, h: float) -> np.ndarray:
    """The linear part of a step at the equilibrium: of z, and of (z, the z before) for optimistic steps."""
    identity, J = np.eye(2), h * jacobian
    if mode == 'alternating':  # the discriminator first, as in the library
        return (identity + np.diag([1, 0]) @ J) @ (identity + np.diag([0, 1]) @ J)
    if mode == 'optimistic':
        return np.block([[identity + 2 * J, -J], [identity, 0 * identity]])
    return identity + J + (J @ J if mode == 'extragradient' else 0)


def pairs(values: Any) -> list[tuple[float, float]]:
    """Complex numbers as (real, imaginary), sorted by decreasing imaginary part, then by decreasing real part."""
    return sorted(((float(value.real), float(value.imag)) for value in values), key=lambda z: (-z[1], -z[0]))


def outcome(distance: np.ndarray) -> str:
    """Whether a trajectory, given by its distances from the equilibrium, 'converges', 'diverges' or 'cycles'.

    It converges if the whole last quarter is within 1 % of the initial distance. It diverges if the last quarter reaches more
    than 1 % further out than the third, where a quarter spans several turns. Otherwise it cycles, or stays elsewhere.
    """
    third, last = distance[len(distance) // 2 :][: len(distance) // 4].max(), distance[-(len(distance) // 4) :].max()
    if last <= 0.01 * distance[0]:
        return 'converges'
    return 'cycles' if last <= 1.01 * third and last < np.inf else 'diverges'
