"""Mixtures of Gaussians: data with known modes, on which mode collapse can be measured.

Four different "rings of 8 Gaussians" are in circulation, and a `linspace` that includes its end point has turned several
published ones into seven modes, one of them counted twice. Here each has a name, and all modes of a ring are distinct.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.ranges import Range, Seed, checked
from gan_jax.registry import Table, build
from gan_jax.typing import Array, Key


class Mixture(NamedTuple):
    """An equal-weight mixture of isotropic Gaussians."""

    centres: np.ndarray
    """`[modes, dimension]`"""
    stds: np.ndarray
    """`[modes]`"""

    def sample(self, key: Key) -> Array:
        """Draws one point, `[dimension]`; use `jax.vmap` over keys for more."""
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.randint(mode_key, (), 0, len(self.centres))
        noise = jax.random.normal(noise_key, self.centres.shape[1:])
        return jnp.asarray(self.centres, jnp.float32)[mode] + jnp.asarray(self.stds, jnp.float32)[mode] * noise


def ring(radius: float, std: float, modes: int = 8) -> Mixture:
    """Centres at angles 2 pi k / modes for k = 0, ..., modes - 1."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return Mixture(radius * np.stack([np.cos(angles), np.sin(angles)], 1), np.full(modes, std))


def grid(spacing: float, std: float, side: int = 5) -> Mixture:
    """Centres on a square grid of `side * side` points around the origin."""
    ticks = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(np.stack(np.meshgrid(ticks, ticks, indexing='ij'), -1).reshape(-1, 2), np.full(side * side, std))


def madgan_1d() -> Mixture:
    """MAD-GAN's five Gaussians on a line (Ghosh et al. 2018): means 10, 20, 60, 80, 110 and standard deviations 3, 3, 2, 2, 1."""
    return Mixture(np.array([[10.0], [20.0], [60.0], [80.0], [110.0]]), np.array([3.0, 3.0, 2.0, 2.0, 1.0]))


@checked
def gmm(modes: Annotated[int, Range(1, 10_000)] = 3, seed: Seed = 0) -> Mixture:
    """AdaGAN's random mixture in the plane (Tolstikhin et al. 2017, section 4.1; the authors' code).

    Means are uniform on [-15, 15]^2 and come from the authors' random generator, so that a seed gives the same means as theirs.
    All modes have the same variance 15 / f, where f is 3 for one or two modes, 8, 20 and 10 for three, four and five, and 3
    modes^2 for more. Modes may overlap. Raises `ValueError` for fewer than one mode.
    """
    factor = {1: 3, 2: 3, 3: 8, 4: 20, 5: 10}.get(modes, 3 * modes**2)
    centres = np.random.RandomState(seed).uniform(-15, 15, (modes, 2))
    return Mixture(centres, np.full(modes, np.sqrt(15 / factor)))


MIXTURES: dict[str, Mixture] = {
    'ring_unrolled': ring(2.0, 0.02),  # Metz et al. 2017, appendix A
    'ring_veegan': ring(1.0, 0.01),  # Srivastava et al. 2017 and PacGAN; the notebook of unrolled GAN has this scale
    'ring_wgan_gp': ring(2 / 1.414, 0.02 / 1.414),  # Gulrajani et al. 2017, toy script
    'grid_veegan': grid(2.0, 0.05),  # Srivastava et al. 2017 and PacGAN: {-4, -2, 0, 2, 4}^2
    'grid_wgan_gp': grid(2 / 2.828, 0.05 / 2.828),  # Gulrajani et al. 2017, toy script
    'madgan_1d': madgan_1d(),
    'flow_1d': Mixture(np.array([[-1.5], [-0.5], [0.5], [1.5]]), np.full(4, 0.05)),  # Lin et al. 2025 (2511.22475), notebook
}
"""Name -> mixture. To add a preset, add one line here."""


FACTORIES: Table[Callable[..., Mixture]] = Table('mixture', {'gmm': gmm})
"""Name -> factory of mixtures with settings, written as in 'gmm:modes=5,seed=1'."""


def mixture(name: str) -> Mixture:
    """Returns a mixture of `MIXTURES` by its name, or of `FACTORIES` by its name and settings.

    Raises `InputError` for an unknown name or setting.
    """
    if name in MIXTURES:
        return MIXTURES[name]
    if name.partition(':')[0] in FACTORIES:
        return build(FACTORIES, name)
    raise InputError(f'unknown mixture {name!r}; known: {", ".join(MIXTURES)}, and with settings gmm:modes=3,seed=0')
