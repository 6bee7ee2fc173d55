"""Precision, recall, density and coverage, from balls around examples that extend to the k-th neighbour."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.pairwise import feature_sets, near_origin, scan_blocks, smallest, squared_distances
from gan_jax.typing import AnyArray, Array


class PRDC(NamedTuple):
    """Scores of samples against data, each a scalar."""

    precision: Array
    """Share of the generated examples that lie in the ball of some real example, a measure of fidelity."""
    recall: Array
    """Share of the real examples that lie in the ball of some generated example, a measure of diversity."""
    density: Array
    """The mean number of real balls that contain a generated example, divided by k. It may exceed 1."""
    coverage: Array
    """Share of the real examples whose ball contains a generated example."""


def prdc(real: AnyArray, fake: AnyArray, k: int = 5, *, strict: bool = True, block: int = 1024) -> PRDC:
    """Precision and recall (Kynkäänniemi et al. 2019) and density and coverage (Naeem et al. 2020) of features.

    The ball of an example extends to its k-th neighbour in its own set, not counting the example itself. The computation takes
    O(block * (n + m)) memory. For integers whose squared distances are below 2^24 in float32 the scores are exact, including
    ties. For other features a comparison may be wrong if its two sides agree to rounding.

    For n real and m generated examples of the same distribution, the expected density is 1 and the expected coverage is 1 -
    prod_{i=1..k} (n - i) / (n + m - i).

    Raises `ValueError` for a k that is not between 1 and the size of the smaller set minus 1, unequal dimensions, non-finite
    features, or a block below 1.

    Args:
        real: features `[n, d]`.
        fake: features `[m, d]`.
        k: the neighbour that determines the radius; Kynkäänniemi et al. use 3.
        strict: excludes the surface of a ball, as Naeem et al. do; Kynkäänniemi et al. include it.
        block: number of rows that are compared with all others at a time.
    """
    real, fake = feature_sets(real=real, fake=fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f'neighbour k = {k} requires k >= 1 and sets of more than k examples, got {len(real)} and {len(fake)}')
    return _prdc(real, fake, k, strict, block)


@partial(compilation.jit, static_argnames=('k', 'strict', 'block'))
def _prdc(real: Array, fake: Array, k: int, strict: bool, block: int) -> PRDC:
    real, fake = near_origin(real, fake)
    within = jnp.less if strict else jnp.less_equal
    real_radii, fake_radii = squared_radii(real, k, block), squared_radii(fake, k, block)

    def sweep(balls: Array, part: tuple[tuple[Array, Array], Array]) -> tuple[Array, tuple[Array, Array]]:
        (rows, radii), index = part
        distance = squared_distances(rows, fake)
        holds = within(distance, radii[:, None]) & (index < len(real))[:, None]
        return balls + holds.sum(0, dtype=jnp.int32), (holds.any(1), within(distance, fake_radii).any(1))

    start = jnp.zeros(len(fake), jnp.int32)
    balls, (covered, recalled) = scan_blocks(sweep, start, (real, real_radii), block)
    finite = jnp.isfinite(real).all() & jnp.isfinite(fake).all()  # comparisons with NaN are false

    def share(hits: Array, of: int) -> Array:
        """The quotient rounded once: without the barrier, XLA multiplies by the rounded inverse."""
        total = lax.optimization_barrier(jnp.asarray(of, real.dtype))
        return jnp.where(finite, hits.astype(real.dtype).sum() / total, jnp.nan)

    n, m = len(real), len(fake)
    return PRDC(share(balls > 0, m), share(recalled, n), share(balls, k * m), share(covered, n))


def squared_radii(x: Array, k: int, block: int) -> Array:
    """The squared distance of each of `x [n, d]` to its k-th neighbour in the set, `[n]`; subtract `rounded_mean` first."""

    def radii(_: None, part: tuple[Array, Array]) -> tuple[None, Array]:
        rows, index = part
        itself = index[:, None] == jnp.arange(len(x))
        return None, smallest(jnp.where(itself, jnp.inf, squared_distances(rows, x)), k)[0][:, -1]

    return scan_blocks(radii, None, x, block)[1]
