"""Precision, recall, density and coverage, from balls around examples that reach to the k-th neighbour."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.pairwise import feature_sets, rounded_mean, scan_blocks, smallest, squared_distances
from gan_jax.typing import AnyArray, Array


class PRDC(NamedTuple):
    """Scores of samples against data, scalars."""

    precision: Array
    """Share of the generated examples that lie in the ball of some real example: fidelity."""
    recall: Array
    """Share of the real examples that lie in the ball of some generated example: variety."""
    density: Array
    """In how many real balls a generated example lies, in the mean, over k. It may exceed 1."""
    coverage: Array
    """Share of the real examples whose ball holds a generated example."""


def prdc(real: AnyArray, fake: AnyArray, k: int = 5, *, strict: bool = True, block: int = 1024) -> PRDC:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), of features `real [n, d]` and
    `fake [m, d]`.

    An example's ball reaches to its k-th neighbour in its own set, itself not counted. `strict` leaves the ball's surface out, as
    Naeem et al. do; with `strict=False` the surface belongs to the ball, as for Kynkäänniemi et al., whose k is 3. In blocks of
    rows, O(block * (n + m)) memory. Of integers (if their squared distances are below 2^24 in float32) the scores are exact, ties
    and all; of other features a comparison can go wrong where its sides agree to rounding.

    Of n and m examples of one distribution, density is 1 and coverage 1 - prod_{i=1..k} (n - i) / (n + m - i) in the mean.

    Raises `ValueError` for a k that is not from 1 to the smaller set's size less one, unequal dimensions, or features that are
    not finite.
    """
    real, fake = feature_sets(real=real, fake=fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f'a {k}-th neighbour needs k >= 1 and sets of at least k + 1 examples, got {len(real)} and {len(fake)}')
    return _prdc(real, fake, k, strict, block)


@partial(compilation.jit, static_argnames=('k', 'strict', 'block'))
def _prdc(real: Array, fake: Array, k: int, strict: bool, block: int) -> PRDC:
    centre = rounded_mean(real)
    real, fake = real - centre, fake - centre
    within = jnp.less if strict else jnp.less_equal
    real_radii, fake_radii = _squared_radii(real, k, block), _squared_radii(fake, k, block)

    def sweep(balls: Array, part: tuple[tuple[Array, Array], Array]) -> tuple[Array, tuple[Array, Array]]:
        (rows, radii), index = part
        distance = squared_distances(rows, fake)
        holds = within(distance, radii[:, None]) & (index < len(real))[:, None]
        return balls + holds.sum(0), (holds.any(1), within(distance, fake_radii).any(1))

    start = jnp.zeros(len(fake), jnp.int32)
    balls, (covered, recalled) = scan_blocks(sweep, start, (real, real_radii), block)
    finite = jnp.isfinite(real).all() & jnp.isfinite(fake).all()  # comparisons with what is not a number are just false

    def share(hits: Array, of: int) -> Array:
        """Rounded once: without the barrier, XLA multiplies by the rounded inverse."""
        total = lax.optimization_barrier(jnp.asarray(of, real.dtype))
        return jnp.where(finite, hits.astype(real.dtype).sum() / total, jnp.nan)

    n, m = len(real), len(fake)
    return PRDC(share(balls > 0, m), share(recalled, n), share(balls, k * m), share(covered, n))


def _squared_radii(x: Array, k: int, block: int) -> Array:
    """Squared distance from each of `x [n, d]` to its k-th neighbour, `[n]`."""

    def radii(_: None, part: tuple[Array, Array]) -> tuple[None, Array]:
        rows, index = part
        itself = index[:, None] == jnp.arange(len(x))
        return None, smallest(jnp.where(itself, jnp.inf, squared_distances(rows, x)), k)[0][:, -1]

    return scan_blocks(radii, None, x, block)[1]
