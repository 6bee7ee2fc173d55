"""Log-likelihood under a Parzen window: a Gaussian around every sample (Breuleux et al. 2011; Goodfellow et al. 2014, section 5).

It ranks models badly in many dimensions (Theis et al. 2016), and is meant for reproducing published protocols and for data in the
plane.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.pairwise import concrete, feature_sets, rounded_mean, scan_blocks, squared_distances
from gan_jax.typing import AnyArray, Array

SIGMAS = np.logspace(-1, 0, 10)
"""The widths among which Goodfellow et al. choose, for images in [0, 1]."""


def parzen_log_density(samples: AnyArray, data: AnyArray, sigma: AnyArray | float, *, block: int = 1024) -> Array:
    """The log-density of each data point under a Parzen window, `[n]`, in nats (Goodfellow et al. 2014, section 5).

    log p(x) = logsumexp_i(-|x - sample_i|^2 / (2 sigma^2)) - log m - d log(sigma sqrt(2 pi)). The computation takes O(block * m)
    memory. Raises `ValueError` for unequal dimensions, non-finite values, a sigma that is not a positive scalar, or a block below
    1.

    Args:
        samples: `[m, d]`, the centres of the Gaussians.
        data: `[n, d]`, the points at which the density is evaluated.
        sigma: standard deviation of the Gaussians.
        block: number of data points that are evaluated at a time.
    """
    return _log_densities(samples, data, sigma, (), block)[..., 0]


def parzen_log_likelihood(samples: AnyArray, data: AnyArray, sigma: AnyArray | float, *, block: int = 1024) -> Estimate:
    """The mean of `parzen_log_density` over the data, in nats, and its standard error for fixed samples.

    The error is NaN for a single data point. Raises `ValueError` as `parzen_log_density` does.

    Args:
        samples: `[m, d]`, the centres of the Gaussians.
        data: `[n, d]`, the points at which the density is evaluated.
        sigma: standard deviation of the Gaussians.
        block: number of data points that are evaluated at a time.
    """
    return mean_estimate(parzen_log_density(samples, data, sigma, block=block))


class Bandwidth(NamedTuple):
    """The width of a Parzen window, chosen on a validation set."""

    sigma: Array
    """The width of greatest likelihood. If it is the smallest or largest candidate, try a wider range."""
    log_likelihoods: Array
    """Mean log-likelihood of the validation set for each width, `[s]`, in nats."""


def parzen_bandwidth(samples: AnyArray, validation: AnyArray, sigmas: AnyArray = SIGMAS, *, block: int = 1024) -> Bandwidth:
    """The width that maximises the mean log-likelihood of a validation set.

    Distances are computed once for all widths. Raises `ValueError` as `parzen_log_density` does, and if `sigmas` is not a
    non-empty vector.

    Args:
        samples: `[m, d]`, the centres of the Gaussians.
        validation: `[n, d]`, the points at which the density is evaluated.
        sigmas: `[s]`, the widths to choose from.
        block: number of validation points that are evaluated at a time.
    """
    likelihoods = _log_densities(samples, validation, sigmas, (np.size(sigmas),), block).mean(0)
    return Bandwidth(jnp.asarray(sigmas)[likelihoods.argmax()], likelihoods)


def mean_estimate(values: Array) -> Estimate:
    """The mean of independent `values [n]` and its standard error, with ddof 1; the error is NaN for a single value."""
    n = len(values)
    error = jnp.std(values, ddof=1) / n**0.5 if n > 1 else jnp.full((), jnp.nan, values.dtype)
    return Estimate(values.mean(), error)


def _log_densities(samples: AnyArray, data: AnyArray, sigmas: AnyArray | float, shape: tuple[int, ...], block: int) -> Array:
    samples, data = feature_sets(samples=samples, data=data)
    sigmas = jnp.asarray(sigmas, samples.dtype)
    if sigmas.shape != shape or not sigmas.size or (concrete(sigmas) and not bool(((sigmas > 0) & jnp.isfinite(sigmas)).all())):
        raise ValueError(f'the width of a window must be a positive number, got {sigmas}')
    return _blocked(samples, data, sigmas.reshape(-1), block)


@partial(compilation.jit, static_argnames='block')
def _blocked(samples: Array, data: Array, sigmas: Array, block: int) -> Array:
    """Log-densities `[n, sigmas]`."""
    m, d = samples.shape
    centre = rounded_mean(samples)
    samples, data = samples - centre, data - centre

    def densities(_: None, part: tuple[Array, Array]) -> tuple[None, Array]:
        distance = squared_distances(part[0], samples)
        log_sum = lambda sigma: jax.nn.logsumexp(-distance / (2 * sigma**2), axis=1)
        return None, lax.map(log_sum, sigmas).T

    log_sums = scan_blocks(densities, None, data, block)[1]
    return log_sums - jnp.log(m) - d * (jnp.log(sigmas) + jnp.log(2 * jnp.pi) / 2)
