"""Pairs of known densities on a line; the value of a discriminator of them, and the optimal one, by quadrature."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data
from gan_jax.divergences import DIVERGENCES, quadrature
from gan_jax.registry import Table


class Pair(NamedTuple):
    """The densities of data and model on a line."""

    p: data.Mixture
    q: data.Mixture


def gaussians(mu: float) -> Pair:
    """N(0, 1) and N(mu, 1), for which the optimal logit is linear: mu^2 / 2 - mu x."""
    return Pair(normal(0, 1), normal(mu, 1))


def scales(mu: float) -> Pair:
    """N(0, 1) and N(0, 2^2), for which the optimal logit is a parabola."""
    return Pair(normal(0, 1), normal(0, 2))


def mixture(mu: float) -> Pair:
    """Two bumps, and one Gaussian with the same mean and variance."""
    return Pair(data.Mixture(np.array([[-2.0], [2.0]]), np.array([0.7, 0.7])), normal(0, math.sqrt(4.49)))


def normal(mean: float, std: float) -> data.Mixture:
    """N(mean, std^2), as a mixture with a single component."""
    return data.Mixture(np.array([[float(mean)]]), np.array([float(std)]))


PAIRS = Table('pair', {'gaussians': gaussians, 'scales': scales, 'mixture': mixture})
"""Name -> `pair(mu)`."""


def grid(pair: Pair) -> np.ndarray:
    """Points that cover all mass of both densities in float64, `[n]`."""
    centres, stds = (np.concatenate(parts) for parts in zip(*pair, strict=True))
    reach = 10 * stds.max()
    return np.linspace(centres.min() - reach, centres.max() + reach, 8001)


def log_density(mixture: data.Mixture, x: np.ndarray) -> np.ndarray:
    """log density of a mixture on the line, at points `[n]`."""
    z = (x[:, None] - mixture.centres[:, 0]) / mixture.stds
    return np.logaddexp.reduce(-(z**2) / 2 - np.log(mixture.stds * len(mixture.stds) * math.sqrt(2 * math.pi)), axis=1)


def value(log_p: np.ndarray, log_q: np.ndarray, logit: np.ndarray, x: np.ndarray) -> float:
    """V(D) = E_p[log D] + E_q[log(1 - D)] by the trapezoidal rule (Goodfellow et al. 2014, eq. 3).

    Args:
        log_p: log p on the grid, `[n]`.
        log_q: log q on the grid, `[n]`.
        logit: D's logits on the grid, `[n]`.
        x: The grid, `[n]`.
    """
    integrand = np.exp(log_p) * np.logaddexp(0, -logit) + np.exp(log_q) * np.logaddexp(0, logit)
    return -float(np.trapezoid(integrand, x))


def optimal_value(log_p: np.ndarray, log_q: np.ndarray, x: np.ndarray) -> float:
    """V(D*) = -log 4 + 2 JSD(p, q) (Goodfellow et al. 2014, theorem 1), on a grid x."""
    with jax.enable_x64(True):
        jsd = quadrature(DIVERGENCES['jensen_shannon_weighted'](), jnp.asarray(log_p), jnp.asarray(log_q), jnp.asarray(x))
        return -math.log(4) + 2 * float(jsd)


def compare(log_p: np.ndarray, log_q: np.ndarray, logit: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """The figures of the table for a discriminator's logits on the grid. Means are under (p + q) / 2.

    Args:
        log_p: log p on the grid, `[n]`.
        log_q: log q on the grid, `[n]`.
        logit: D's logits on the grid, `[n]`.
        x: The grid, `[n]`.
    """
    best, weight = optimal_value(log_p, log_q, x), (np.exp(log_p) + np.exp(log_q)) / 2
    mean = lambda f: float(np.trapezoid(weight * f, x))
    centre = mean(x)
    slope = mean((x - centre) * logit) / mean((x - centre) ** 2)
    reached = value(log_p, log_q, logit, x)
    return {
        'value': reached,
        'optimal_value': best,
        'gap': best - reached,
        'distance': mean(np.abs(sigmoid(logit) - sigmoid(log_p - log_q))),
        'slope': slope,
        'intercept': mean(logit) - slope * centre,
    }


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-logit), without overflow."""
    return np.exp(-np.logaddexp(0, -logit))
