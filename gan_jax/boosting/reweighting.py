"""The distribution that the next component should learn, and its weight (Tolstikhin et al. 2017).

Symbols are the paper's: P_d is the data, P_g the mixture so far, Q the target distribution of the next component, and beta its
weight. The new mixture is (1 - beta) P_g + beta Q.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax.numpy as jnp

from gan_jax.ranges import Range, ShareAbove0, checked
from gan_jax.registry import Table
from gan_jax.typing import Array


class NextComponent(NamedTuple):
    """The target distribution Q of the next component over the points of P_d."""

    q: Array
    """`[n]`, sums to 1; equals P_d if `found` is false."""
    threshold: Array
    """lambda; for `top_k`, the largest ratio that is kept."""
    found: Array
    """Whether the threshold is finite: no ratio is NaN, and the theorem's condition holds."""


Reweighting = Callable[[Array, Array, Array | float], NextComponent]
"""`(p_d [n], p_g [n], beta in (0, 1)) -> NextComponent`; both are measures of the points, and only p_d must sum to 1."""


def star() -> Reweighting:
    """The exact minimiser of D_f((1 - beta) P_g + beta Q || P_d) over Q, for every f (theorem 1).

    Q = (lambda P_d - (1 - beta) P_g)_+ / beta. If P_g is at most P_d / (1 - beta), then lambda is 1 and the new mixture is P_d.
    """

    def reweigh(p_d: Array, p_g: Array, beta: Array | float) -> NextComponent:
        d, g = _cumulative(p_d, p_g)
        # sum_i (lambda d_i - (1 - beta) g_i)_+ equals beta at one lambda. Over any set of points the sum without the positive
        # part is at most that, so each prefix in the order of g / d gives an upper bound, and the right one is tight.
        threshold = jnp.min((beta + (1 - beta) * g) / d)
        return _next(p_d, threshold * p_d - (1 - beta) * p_g, threshold)

    return reweigh


def dagger() -> Reweighting:
    """The exact minimiser of D_f(P_g || (P_d - beta Q) / (1 - beta)) over beta Q <= P_d, for every f (theorem 2).

    Q = (P_d - lambda (1 - beta) P_g)_+ / beta: what the next component leaves to P_g is as close to P_g as possible. Lambda
    does not exist if P_g misses more than beta of P_d. If it misses exactly beta, many values are valid and the least is used.
    """

    def reweigh(p_d: Array, p_g: Array, beta: Array | float) -> NextComponent:
        d, g = _cumulative(p_d, p_g)
        # As in `star`, with lower bounds. A prefix without mass of P_g gives no bound, unless its mass of P_d exceeds beta.
        empty = jnp.where(d > beta, jnp.inf, -jnp.inf)
        threshold = jnp.max(jnp.where(g == 0, empty, (d - beta) / ((1 - beta) * jnp.where(g == 0, 1, g))))
        return _next(p_d, p_d - threshold * (1 - beta) * p_g, threshold)

    return reweigh


@checked
def top_k(share: ShareAbove0 = 0.5) -> Reweighting:
    """P_d restricted to the given share of the points, those with the smallest ratios: a heuristic.

    Raises `ValueError` unless 0 < share <= 1.
    """

    def reweigh(p_d: Array, p_g: Array, beta: Array | float) -> NextComponent:
        del beta
        ratios = p_g / p_d
        kept = jnp.argsort(ratios)[: math.ceil(share * len(p_d))]
        return _next(p_d, jnp.zeros_like(p_d).at[kept].set(p_d[kept]), ratios[kept[-1]])

    return reweigh


def bagging() -> Reweighting:
    """Always P_d: independent components, the paper's "ensemble"."""
    return lambda p_d, p_g, beta: NextComponent(p_d, jnp.ones_like(p_d[0]), jnp.bool_(True))


REWEIGHTINGS: Table[Callable[..., Reweighting]] = Table(
    'reweighting', {'star': star, 'dagger': dagger, 'top_k': top_k, 'bagging': bagging}
)
"""Name -> factory."""


def optimal_weights(ratios: Array, beta: Array | float, reweighting: Reweighting) -> NextComponent:
    """The weights W_t of a sample of P_d, `[n]`, from the density ratios dP_g / dP_d at its points, `[n]` (algorithm 1).

    They sum to 1 for any ratios, by the choice of lambda: estimated ratios do not have to be normalised again.
    """
    n = len(ratios)
    p_g = ratios / n
    return reweighting(jnp.full_like(p_g, 1 / n), p_g, beta)


def _cumulative(p_d: Array, p_g: Array) -> tuple[Array, Array]:
    """Cumulative sums of both measures in the order of p_g / p_d."""
    order = jnp.argsort(p_g / p_d)
    return p_d[order].cumsum(), p_g[order].cumsum()


def _next(p_d: Array, q: Array, threshold: Array) -> NextComponent:
    q = jnp.maximum(q, 0)
    total = q.sum()  # beta by the choice of lambda, up to rounding; arbitrary for top_k
    found = jnp.isfinite(total) & (total > 0) & jnp.isfinite(threshold)
    return NextComponent(jnp.where(found, q / total, p_d), threshold, found)


Mixing = Callable[[Array], Array]
"""`number of the component, from 2 -> beta`; the first component forms the whole mixture."""


def uniform() -> Mixing:
    """beta_t = 1 / t, which gives all components equal weight."""
    return lambda number: 1 / number


@checked
def constant(beta: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5) -> Mixing:
    """Always beta. Raises `ValueError` unless 0 < beta < 1."""
    return lambda number: jnp.float32(beta)


MIXINGS: Table[Callable[..., Mixing]] = Table('mixing', {'uniform': uniform, 'constant': constant})
"""Name -> factory."""
