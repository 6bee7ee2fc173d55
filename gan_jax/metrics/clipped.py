"""Clipped density and clipped coverage, which fall linearly with the share of bad samples (Salvy et al. 2026).

Density and coverage (`manifolds.prdc`) have no fixed scale: density exceeds 1 where real outliers have large balls, and coverage
of a perfect generator depends on k and on the sizes of the sets. Here each example contributes at most 1, and both scores are
calibrated, so that a score of .8 is that of a set of which 80 % are as good as new data, and 20 % lie nowhere near the data.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.metrics.manifolds import squared_radii
from gan_jax.metrics.pairwise import feature_sets, near_origin, scan_blocks, squared_distances
from gan_jax.typing import AnyArray, Array


class ClippedScores(NamedTuple):
    """Scores of samples against data, each a scalar from 0 to 1."""

    density: Array
    """A measure of fidelity: the equivalent share of generated examples that are realistic."""
    coverage: Array
    """A measure of diversity: the equivalent share of the generated examples that are distributed like the data."""


def clipped_density_coverage(real: AnyArray, fake: AnyArray, k: int = 5, *, block: int = 1024) -> ClippedScores:
    """Clipped density and clipped coverage of features (Salvy, Talbot and Thirion 2026, arXiv 2507.01761).

    The ball of a real example extends to its k-th real neighbour, surface included. For density, radii are clipped at their
    median. Each generated example counts the balls that contain it, divided by k and at most 1; their mean is divided by that of
    the real examples, each of which counts the balls of the others, and the result is at most 1. For coverage, each real example
    counts the generated examples in its ball, divided by k and at most 1; their mean is replaced by the share of independent new
    data among m examples at which it is expected, by `expected_coverage`.

    The computation takes O(block * (n + m)) memory. Ties are exact where those of `prdc` are. If m is several times n, the balls
    of real examples are full long before all examples are good, and coverage is inaccurate; use sets of similar sizes.

    Raises `ValueError` for a k that is not between 1 and n - 1, unequal dimensions, non-finite features, or a block below 1.

    Args:
        real: features `[n, d]`.
        fake: features `[m, d]`.
        k: the neighbour that determines the radius; the paper uses 5.
        block: number of rows that are compared with all others at a time.
    """
    real, fake = feature_sets(real=real, fake=fake)
    if not 1 <= k < len(real):
        raise ValueError(f'neighbour k = {k} requires k >= 1 and more than k real examples, got {len(real)}')
    return _clipped(real, fake, k, block)


def expected_coverage(n: int, m: int, k: int) -> np.ndarray:
    """The mean of min(count / k, 1) expected of 0, 1, ..., m independent new examples and n real ones, `[m + 1]`, in float64.

    The probability that a new example lies in the ball of a real one has the distribution Beta(k, n - k) of the k-th of n - 1
    uniform numbers, whatever the continuous distribution of the data. The count is therefore beta-binomial. Raises `ValueError`
    for a k that is not between 1 and n - 1, or a negative m.
    """
    from scipy.special import betaln, gammaln

    if not 1 <= k < n or m < 0:
        raise ValueError(f'need 1 <= k < n and m >= 0, got n = {n}, m = {m} and k = {k}')
    count, new = np.arange(k), np.arange(m + 1)[:, None]
    missing = np.maximum(new - count, 0)
    log_chance = (
        gammaln(new + 1) - gammaln(count + 1) - gammaln(missing + 1) + betaln(count + k, missing + n - k) - betaln(k, n - k)
    )
    return 1 - np.where(count <= new, np.exp(log_chance) * (1 - count / k), 0).sum(1)


@partial(compilation.jit, static_argnames=('k', 'block'))
def _clipped(real: Array, fake: Array, k: int, block: int) -> ClippedScores:
    n, m = len(real), len(fake)
    real, fake = near_origin(real, fake)
    radii = squared_radii(real, k, block)
    clipped = jnp.minimum(radii, _squared_median(radii))

    def sweep(balls: tuple[Array, Array], part: tuple[tuple[Array, ...], Array]) -> tuple[tuple[Array, Array], Array]:
        (rows, radius, small), index = part
        within = lambda distance, limit: (distance <= limit[:, None]) & (index < n)[:, None]
        to_fake, to_real = squared_distances(rows, fake), squared_distances(rows, real)
        own = within(to_real, small) & (index[:, None] != jnp.arange(n))
        of_fake, of_real = balls
        count = lambda held, axis: held.sum(axis, dtype=jnp.int32)
        balls = of_fake + count(within(to_fake, small), 0), of_real + count(own, 0)
        return balls, count(within(to_fake, radius), 1)

    start = jnp.zeros(m, jnp.int32), jnp.zeros(n, jnp.int32)
    (of_fake, of_real), covering = scan_blocks(sweep, start, (real, radii, clipped), block)
    share = lambda counts: jnp.minimum(counts, k).astype(real.dtype).sum() / (k * len(counts))
    expected = jnp.asarray(expected_coverage(n, m, k), real.dtype)
    density = jnp.minimum(share(of_fake) / share(of_real), 1)
    coverage = jnp.interp(share(covering), expected, jnp.arange(m + 1) / jnp.asarray(m, real.dtype))
    finite = jnp.isfinite(real).all() & jnp.isfinite(fake).all()  # comparisons with NaN are false
    return ClippedScores(jnp.where(finite, density, jnp.nan), jnp.where(finite, coverage, jnp.nan))


def _squared_median(squares: Array) -> Array:
    """The square of the median of the roots: exactly one of the squares where the two in the middle are equal."""
    middle = jnp.sort(squares)
    low, high = middle[(len(squares) - 1) // 2], middle[len(squares) // 2]
    return jnp.where(low == high, low, jnp.square(jnp.sqrt(low) + jnp.sqrt(high)) / 4)
