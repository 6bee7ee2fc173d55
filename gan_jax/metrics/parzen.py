"""Log-likelihood under a Parzen window: a Gaussian around every sample (Breuleux et al. 2011; Goodfellow et al. 2014, section 5).

It ranks models badly in many dimensions (Theis et al. 2016): for repeating published protocols, and for the plane.
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
"""The widths that Goodfellow et al. chose from, for images in [0, 1]."""


def parzen_log_density(samples: AnyArray, data: AnyArray, sigma: AnyArray | float, *, block: int = 1024) -> Array:
    """log p at each of `data [n, d]`, in nats, `[n]`, where p is the mean of N(sample, sigma^2 I) over `samples [m, d]`.

    log p(x) = logsumexp_i(-|x - sample_i|^2 / (2 sigma^2)) - log m - d log(sigma sqrt(2 pi)). In blocks of data, in O(block * m)
    memory. Raises `ValueError` for unequal dimensions, values that are not finite, or a sigma that is not a positive scalar.
    """
    return _log_densities(samples, data, sigma, (), block)[..., 0]


def parzen_log_likelihood(samples: AnyArray, data: AnyArray, sigma: AnyArray | float, *, block: int = 1024) -> Estimate:
    """The mean of `parzen_log_density` over `data [n, d]`, in nats, and its standard error for these samples.

    The error is not a number for a single data point. Raises `ValueError` as `parzen_log_density`.
    """
    return mean_estimate(parzen_log_density(samples, data, sigma, block=block))


class Bandwidth(NamedTuple):
    """The width of a Parzen window, chosen on a validation set."""

    sigma: Array
    """The one of greatest likelihood. If it is the smallest or largest on offer, offer more."""
    log_likelihoods: Array
    """Mean log-likelihood of the validation set for each width, `[sigmas]`, in nats."""


def parzen_bandwidth(samples: AnyArray, validation: AnyArray, sigmas: AnyArray = SIGMAS, *, block: int = 1024) -> Bandwidth:
    """The width among `sigmas [s]` under which `validation [n, d]` is likeliest given `samples [m, d]`, by the mean.

    Distances are computed once for all widths. Raises `ValueError` as `parzen_log_density`, and if `sigmas` is no list.
    """
    likelihoods = _log_densities(samples, validation, sigmas, (np.size(sigmas),), block).mean(0)
    return Bandwidth(jnp.asarray(sigmas)[likelihoods.argmax()], likelihoods)


def mean_estimate(values: Array) -> Estimate:
    """The mean of independent `values [n]` and its standard error, with ddof 1: not a number for one value."""
    n = len(values)
    error = jnp.std(values, ddof=1) / n**0.5 if n > 1 else jnp.full((), jnp.nan, values.dtype)
    return Estimate(values.mean(), error)


def _log_densities(samples: AnyArray, data: AnyArray, sigmas: AnyArray | float, shape: tuple[int, ...], block: int) -> Array:
    samples, data = feature_sets(samples=samples, data=data)
    sigmas = jnp.asarray(sigmas, samples.dtype)
    if sigmas.shape != shape or not sigmas.size or (concrete(sigmas) and not bool(((sigmas > 0) & jnp.isfinite(sigmas)).all())):
        raise ValueError(f'the width of a window is a positive number, got {sigmas}')
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
