"""Counting modes, where the modes are known."""

from typing import NamedTuple

import jax.numpy as jnp

from gan_jax.typing import AnyArray, Array


class ModeCoverage(NamedTuple):
    """How a sample covers a mixture of Gaussians."""

    modes: Array
    """Number of modes with at least one high-quality sample."""
    high_quality: Array
    """Share of samples within `radius` standard deviations of a centre. A perfect sampler in the plane has
    1 - exp(-radius^2 / 2), 98.889 % at 3, and not 100 %."""
    reverse_kl: Array
    """KL(histogram of the high-quality samples over modes || uniform), in nats; infinite if there are none."""


def mode_coverage(samples: AnyArray, centres: AnyArray, stds: AnyArray, *, radius: float = 3.0) -> ModeCoverage:
    """Modes, high-quality share and reverse KL of `samples [n, d]` on the mixture `centres [modes, d]`, `stds [modes]`.

    The protocol of VEEGAN and PacGAN: each sample belongs to the centre nearest in standard deviations, and is of high
    quality within `radius` of them.
    """
    if samples.ndim != 2 or samples.shape[1:] != centres.shape[1:]:
        raise ValueError(f'samples {samples.shape} and centres {centres.shape} are not points of one space')
    distance = jnp.linalg.norm(samples[:, None] - jnp.asarray(centres), axis=-1) / jnp.asarray(stds)
    good = distance.min(1) < radius
    counts = jnp.zeros(len(centres)).at[distance.argmin(1)].add(good)
    p = counts / counts.sum()
    kl = jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1) * len(centres)), 0).sum()
    return ModeCoverage((counts > 0).sum(), good.mean(), jnp.where(counts.sum() > 0, kl, jnp.inf))
