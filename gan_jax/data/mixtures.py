"""Mixtures of Gaussians: data whose modes are known, so that mode collapse can be counted.

Four different "rings of 8 Gaussians" are in circulation, and a closed `linspace` has turned several published ones into seven
modes with one counted twice. Here they have names, and every ring has as many distinct modes as it says.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import InputError
from gan_jax.typing import Array, Key


class Mixture(NamedTuple):
    """An equal-weight mixture of isotropic Gaussians."""

    centres: np.ndarray
    """`[modes, dimension]`"""
    stds: np.ndarray
    """`[modes]`"""

    def sample(self, key: Key) -> Array:
        """One point, `[dimension]`; `jax.vmap` it over keys."""
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.randint(mode_key, (), 0, len(self.centres))
        noise = jax.random.normal(noise_key, self.centres.shape[1:])
        return jnp.asarray(self.centres, jnp.float32)[mode] + jnp.asarray(self.stds, jnp.float32)[mode] * noise


def ring(radius: float, std: float, modes: int = 8) -> Mixture:
    """Centres at angles 2 pi k / modes, the end point left out."""
    angles = 2 * np.pi * np.arange(modes) / modes
    return Mixture(radius * np.stack([np.cos(angles), np.sin(angles)], 1), np.full(modes, std))


def grid(spacing: float, std: float, side: int = 5) -> Mixture:
    """`side * side` centres on a square grid about the origin."""
    ticks = spacing * (np.arange(side) - (side - 1) / 2)
    return Mixture(np.stack(np.meshgrid(ticks, ticks, indexing='ij'), -1).reshape(-1, 2), np.full(side * side, std))


def madgan_1d() -> Mixture:
    """The five Gaussians on a line of MAD-GAN (Ghosh et al. 2018): means 10, 20, 60, 80, 110; stds 3, 3, 2, 2, 1."""
    return Mixture(np.array([[10.0], [20.0], [60.0], [80.0], [110.0]]), np.array([3.0, 3.0, 2.0, 2.0, 1.0]))


MIXTURES: dict[str, Mixture] = {
    'ring_unrolled': ring(2.0, 0.02),  # Metz et al. 2017, appendix A
    'ring_veegan': ring(1.0, 0.01),  # Srivastava et al. 2017 and PacGAN; the notebook of unrolled GAN has this scale
    'ring_wgan_gp': ring(2 / 1.414, 0.02 / 1.414),  # Gulrajani et al. 2017, toy script
    'grid_veegan': grid(2.0, 0.05),  # Srivastava et al. 2017 and PacGAN: {-4, -2, 0, 2, 4}^2
    'grid_wgan_gp': grid(2 / 2.828, 0.05 / 2.828),  # Gulrajani et al. 2017, toy script
    'madgan_1d': madgan_1d(),
}
"""Name -> mixture. A new preset is one line here."""


def mixture(name: str) -> Mixture:
    """The named mixture. Raises `InputError` for an unknown name."""
    if name not in MIXTURES:
        raise InputError(f'unknown mixture {name!r}; known: {", ".join(MIXTURES)}')
    return MIXTURES[name]
