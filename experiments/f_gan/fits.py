"""A mixture of Gaussians on a line, and the Gaussian with the least f-divergence from it by quadrature."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from gan_jax import compilation
from gan_jax.divergences import Divergence, quadrature
from gan_jax.errors import InputError
from gan_jax.typing import Array, Key


class WeightedMixture(NamedTuple):
    """P, a mixture of Gaussians on a line; each field is `[modes]`."""

    weights: Any
    means: Any
    stds: Any

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        w, m, s = map(np.asarray, self)
        mean = w @ m
        return float(mean), float(np.sqrt(w @ (s**2 + (m - mean) ** 2)))

    def log_density(self, x: Array) -> Array:
        """log p at points `[n]`, `[n]`."""
        w, m, s = map(jnp.asarray, self)
        return jax.nn.logsumexp(jnp.log(w) + norm.logpdf(x[:, None], m, s), 1)

    def sample(self, key: Key, n: int) -> Array:
        """Draws `[n, 1]`."""
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.categorical(mode_key, jnp.log(jnp.asarray(self.weights)), shape=(n,))
        return (jnp.asarray(self.means)[mode] + jnp.asarray(self.stds)[mode] * jax.random.normal(noise_key, (n,)))[:, None]


def on_grid(divergence: Divergence, mixture: WeightedMixture) -> Any:
    """`(mu, log sigma) -> D_f(P||Q)` by quadrature; call it in float64."""
    mean, std = mixture.moments()
    x = jnp.linspace(mean - 10 * std, mean + 10 * std, round(1000 * std / min(mixture.stds)) + 1)
    log_p = mixture.log_density(x)

    return lambda theta: quadrature(divergence, log_p, norm.logpdf(x, theta[0], jnp.exp(theta[1])), x)


_WALL = 1e3
"""Larger than log(1 + the largest float)."""


def exact(divergence: Divergence, mixture: WeightedMixture, starts: Sequence[tuple[float, float]] = ()) -> dict[str, float]:
    """The least D_f(P||Q) and its mu and sigma: the best result of L-BFGS from several starts (mu, sigma).

    By default it starts from every mode and from the moments of the mixture. Raises `InputError` if the divergence is infinite,
    or exceeds float64, for every Gaussian that it tries.
    """
    from scipy.optimize import minimize

    mean, std = mixture.moments()
    starts = starts or [*zip(mixture.means, mixture.stds, strict=True), (mean, std), (mean, std / 2)]
    bounds = [(mean - 5 * std, mean + 5 * std), (math.log(min(mixture.stds) / 5), math.log(5 * std))]
    with jax.enable_x64(True):
        value, zero = on_grid(divergence, mixture), divergence.f(jnp.ones(()))
        # log(1 + D_f) has the same minima; far from them, chi-squared exceeds all bounds.
        loss = compilation.jit(jax.value_and_grad(lambda theta: jnp.log1p(value(theta) - zero)))

        def pair(theta: np.ndarray) -> tuple[float, np.ndarray]:
            f, gradient = map(np.asarray, loss(jnp.asarray(theta)))
            # L-BFGS stops at an infinity; a finite wall makes its line search step back.
            return (float(f), gradient) if np.isfinite(f) and np.isfinite(gradient).all() else (_WALL, np.zeros(2))

        options = {'ftol': 1e-15, 'gtol': 1e-9}
        found = [
            minimize(pair, (m, math.log(s)), jac=True, method='L-BFGS-B', bounds=bounds, options=options).x for m, s in starts
        ]
        best = min(found, key=lambda theta: pair(theta)[0])
        if pair(best)[0] == _WALL:
            raise InputError(
                'a divergence is infinite or exceeds float64 for every Gaussian near the mixture; choose another setting'
            )
        least = math.expm1(pair(best)[0]) + float(zero)
    return {'value': least, 'mu': float(best[0]), 'sigma': math.exp(best[1])}
