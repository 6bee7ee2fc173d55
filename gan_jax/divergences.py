"""f-divergences and their variational form, D_f(P||Q) >= E_P[T] - E_Q[f*(T)] (Nowozin, Cseke and Tomioka 2016).

The bound is tight at T* = f'(p/q). A critic with unbounded outputs V is turned into such a T by an output activation,
T = g_f(V), whose range is the domain of the conjugate f*. Every g_f increases, so a large V means "looks like data".

Terms that grow exponentially in V are continued linearly, by their tangent, from exponent 30 on (`_exp`). Beyond that point
g_f(V) and f*(g_f(V)) are not exact, but they stay finite and their gradients keep the right sign.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.ranges import Coordinate, Range, checked
from gan_jax.registry import Table
from gan_jax.typing import Array

Function = Callable[[Array], Array]


class Divergence(NamedTuple):
    """D_f(P||Q) = E_Q[f(p/q)], with f convex (Nowozin et al. 2016, eq. 2), as elementwise functions."""

    f: Function
    """u -> f(u), where u = p/q >= 0 is the density ratio."""
    derivative: Function
    """u -> f'(u), the optimal T* where the ratio is u (eq. 5)."""
    conjugate: Function
    """t -> f*(t) = sup_u ut - f(u), on `domain` (eq. 3)."""
    domain: tuple[float, float]
    """The ends of the domain of f*. The upper end is f'(infinity), the cost of a unit of mass of P where Q has no mass."""
    activation: Function
    """v -> g_f(v), an increasing map from the reals onto or into the domain (eq. 7, table 6)."""
    conjugate_activation: Function
    """v -> f*(g_f(v)), rearranged so that value and derivatives are finite for any output of a critic."""
    threshold: float
    """f'(1): T above this value means "real" (table 2)."""
    undecided: float = 0.0
    """The v with g_f(v) = f'(1)."""


def quadrature(divergence: Divergence, log_p: Array, log_q: Array, x: Array) -> Array:
    """D_f(P||Q) by the trapezoid rule (Nowozin et al. 2016, eq. 2).

    A log density may be -inf. The integrand q f(p/q) is p f'(infinity) where q = 0, and q f(0) where p = 0. The same limits are
    used where the ratio exceeds the range of the floating-point type.

    Args:
        divergence: the divergence to integrate.
        log_p: log densities of P at the points of the grid, `[n]`.
        log_q: log densities of Q, `[n]`.
        x: the points of the grid, `[n]`.

    Raises `ValueError` if the shapes differ.
    """
    if not (log_p.shape == log_q.shape == x.shape):
        raise ValueError(f'log densities and grid must have the same shape, got {log_p.shape}, {log_q.shape} and {x.shape}')
    some = jnp.exp(jnp.maximum(log_p, log_q)) > 0
    log_u = jnp.where(some, log_p, 0) - jnp.where(some, log_q, 0)
    more_p, beyond = log_u > 0, jnp.abs(log_u) > 0.98 * math.log(jnp.finfo(log_u.dtype).max)
    u = jnp.exp(jnp.where(beyond, 0, log_u))
    # q f(u) = p f(u) / u: factor out the larger of the two densities, because the smaller one may underflow.
    large, small = jnp.where(more_p, u, 1), jnp.where(more_p, 1, u)
    at_large = jnp.where(beyond, divergence.domain[1], divergence.f(large) / large)
    at_small = jnp.where(beyond, divergence.f(jnp.zeros_like(u)), divergence.f(small))
    return jnp.trapezoid(jnp.exp(jnp.where(more_p, log_p, log_q)) * jnp.where(more_p, at_large, at_small), x)


def total_variation() -> Divergence:
    """f(u) = |u - 1| / 2. T* is a sign, which the activation reaches only in the limit."""
    return Divergence(
        f=lambda u: jnp.abs(u - 1) / 2,
        derivative=lambda u: jnp.sign(u - 1) / 2,
        conjugate=lambda t: t,
        domain=(-0.5, 0.5),
        activation=lambda v: jnp.tanh(v) / 2,
        conjugate_activation=lambda v: jnp.tanh(v) / 2,
        threshold=0.0,
    )


def kl() -> Divergence:
    """f(u) = u log u: KL(P||Q), which is infinite if the model misses part of the data."""
    return Divergence(
        f=lambda u: u * jnp.log(_or_one(u)),
        derivative=lambda u: 1 + jnp.log(u),
        conjugate=lambda t: jnp.exp(t - 1),
        domain=(-math.inf, math.inf),
        activation=lambda v: v,
        conjugate_activation=lambda v: _exp(v - 1),
        threshold=1.0,
        undecided=1.0,
    )


def reverse_kl() -> Divergence:
    """f(u) = -log u: KL(Q||P), which is infinite if the model leaves the support of the data."""
    return Divergence(
        f=lambda u: -jnp.log(u),
        derivative=lambda u: -1 / u,
        conjugate=lambda t: -1 - jnp.log(-t),
        domain=(-math.inf, 0.0),
        activation=lambda v: -_exp(-v),
        conjugate_activation=lambda v: v - 1,
        threshold=-1.0,
    )


def pearson() -> Divergence:
    """f(u) = (u - 1)^2: Pearson's chi-squared. As in the paper, f* = t^2 / 4 + t is that of f on all reals, even below t = -2."""
    return Divergence(
        f=lambda u: (u - 1) ** 2,
        derivative=lambda u: 2 * (u - 1),
        conjugate=lambda t: t**2 / 4 + t,
        domain=(-math.inf, math.inf),
        activation=lambda v: v,
        conjugate_activation=lambda v: v**2 / 4 + v,
        threshold=0.0,
    )


def neyman() -> Divergence:
    """f(u) = (1 - u)^2 / u: Neyman's chi-squared, which is Pearson's with P and Q exchanged."""
    return Divergence(
        f=lambda u: (u - 1) * (1 - 1 / u),  # avoids a square that overflows
        derivative=lambda u: 1 - 1 / u**2,
        conjugate=lambda t: 2 - 2 * jnp.sqrt(1 - t),
        domain=(-math.inf, 1.0),
        activation=lambda v: 1 - _exp(-v),
        conjugate_activation=lambda v: 2 - 2 * _exp(-v / 2),
        threshold=0.0,
    )


def squared_hellinger() -> Divergence:
    """f(u) = (sqrt u - 1)^2, without the factor 1/2 that some authors include."""
    return Divergence(
        f=lambda u: (jnp.sqrt(u) - 1) ** 2,
        derivative=lambda u: 1 - 1 / jnp.sqrt(u),
        conjugate=lambda t: t / (1 - t),
        domain=(-math.inf, 1.0),
        activation=lambda v: 1 - _exp(-v),
        conjugate_activation=lambda v: _exp(v) - 1,
        threshold=0.0,
    )


def jeffrey() -> Divergence:
    """f(u) = (u - 1) log u: KL(P||Q) + KL(Q||P).

    f*(t) = W + 1/W + t - 2 with W = W(e^(1-t)), Lambert's function. Since W + log W = 1 - t, this equals 1/W - log W - 1.
    """

    def conjugate(t: Array, exp: Function = jnp.exp) -> Array:
        log_w = log_lambert_w(1 - t)
        return exp(-log_w) - log_w - 1

    return Divergence(
        f=lambda u: (u - 1) * jnp.log(u),
        derivative=lambda u: jnp.log(u) + 1 - 1 / u,
        conjugate=conjugate,
        domain=(-math.inf, math.inf),
        activation=lambda v: v,
        conjugate_activation=lambda v: conjugate(v, _exp),
        threshold=0.0,
    )


def jensen_shannon() -> Divergence:
    """f(u) = u log u - (u + 1) log((u + 1) / 2): twice the Jensen-Shannon divergence, between 0 and 2 log 2."""
    game, log2 = gan(), math.log(2)
    return Divergence(
        f=lambda u: game.f(u) + (u + 1) * log2,
        derivative=lambda u: log2 + game.derivative(u),
        conjugate=lambda t: game.conjugate(t - log2) - log2,  # -log(2 - e^t)
        domain=(-math.inf, log2),
        activation=lambda v: log2 + game.activation(v),
        conjugate_activation=lambda v: game.conjugate_activation(v) - log2,
        threshold=0.0,
    )


@checked
def jensen_shannon_weighted(pi: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5) -> Divergence:
    """f(u) = pi u log u - m log m, m = 1 - pi + pi u: pi KL(P||M) + (1 - pi) KL(Q||M) for the mixture M = pi P + (1 - pi) Q.

    At pi = 1/2 it is the Jensen-Shannon divergence, half the value of `jensen_shannon`. Raises `ValueError` unless 0 < pi < 1.
    """
    log_pi, rest = math.log(pi), 1 - pi

    def f(u: Array) -> Array:
        return -pi * u * jnp.log(pi + rest / _or_one(u)) - rest * jnp.log(rest + pi * u)

    def conjugate_activation(v: Array) -> Array:
        # pi e^(t / pi) = exp(-softplus(-v) / pi), which rounds to 1 for a large v, while log softplus(-v) stays accurate.
        return rest * (math.log(rest) - _log1mexp(_log_softplus(-v) - log_pi))

    return Divergence(
        f=f,
        derivative=lambda u: -pi * jnp.log(pi + rest / u),
        conjugate=lambda t: rest * (math.log(rest) - jnp.log(-jnp.expm1(t / pi + log_pi))),
        domain=(-math.inf, -pi * log_pi),
        activation=lambda v: -pi * log_pi - jax.nn.softplus(-v),
        conjugate_activation=conjugate_activation,
        threshold=0.0,
        undecided=_softplus_crossing(-pi * log_pi),
    )


def gan() -> Divergence:
    """f(u) = u log u - (u + 1) log(u + 1): the value of the minimax game, `jensen_shannon` minus log 4. Here f(1) is not 0.

    V is the logit of the discriminator: T = log D and f*(T) = -log(1 - D) (Nowozin et al. 2016, eq. 8).
    """
    return Divergence(
        f=lambda u: -u * jnp.log1p(1 / _or_one(u)) - jnp.log1p(u),  # u log(u / (u + 1)) avoids a difference of large numbers
        derivative=lambda u: -jnp.log1p(1 / u),
        conjugate=lambda t: -jnp.log(-jnp.expm1(t)),
        domain=(-math.inf, 0.0),
        activation=lambda v: -jax.nn.softplus(-v),
        conjugate_activation=jax.nn.softplus,
        threshold=-math.log(2),
    )


@checked
def alpha(a: Coordinate = 1.5) -> Divergence:
    """f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1)): reverse KL as a -> 0, KL as a -> 1, half of Pearson's at a = 2.

    Raises `ValueError` for a = 0 and a = 1, where the formula is undefined, and for a outside [-1000, 1000].
    """
    if a in (0, 1):
        raise ValueError(f'a must be neither 0 nor 1 (use reverse_kl and kl for these limits), got {a}')
    power = a / (a - 1)

    def conjugate(t: Array, exp: Function = jnp.exp) -> Array:
        base = 1 + (a - 1) * t
        positive = base > 0  # for a > 1, below t = f'(0) the supremum is at u = 0
        log_base = jnp.log(jnp.where(positive, base, 1))
        return (jnp.where(positive, exp(power * log_base), 0) - 1) / a

    def conjugate_activation(v: Array) -> Array:
        if a > 1:
            return conjugate(v, _exp)
        return (_exp(power * (math.log(1 - a) + _log_softplus(-v))) - 1) / a

    return Divergence(
        f=lambda u: (u**a - 1 - a * (u - 1)) / (a * (a - 1)),
        derivative=lambda u: (u ** (a - 1) - 1) / (a - 1),
        conjugate=conjugate,
        domain=(-math.inf, math.inf if a > 1 else 1 / (1 - a)),
        activation=(lambda v: v) if a > 1 else (lambda v: 1 / (1 - a) - jax.nn.softplus(-v)),
        conjugate_activation=conjugate_activation,
        threshold=0.0,
        undecided=0.0 if a > 1 else _softplus_crossing(1 / (1 - a)),
    )


def _softplus_crossing(value: float) -> float:
    """The v with softplus(-v) = value."""
    return -value - math.log(-math.expm1(-value))


def _or_one(u: Array) -> Array:
    """u with 0 replaced by 1, for the logarithm in a term u log(...) that is 0 at u = 0 (`xlogy` has an intermediate NaN)."""
    return jnp.where(u == 0, 1, u)


def _exp(x: Array) -> Array:
    """exp(x) up to x = 30 and its tangent at 30 beyond: increasing, continuously differentiable, and finite in float32."""
    large = x >= 30
    return jnp.where(large, math.exp(30) * (x - 29), jnp.exp(jnp.where(large, 0, x)))


def _log_softplus(x: Array) -> Array:
    """log(log(1 + e^x)), evaluated as x - e^x / 2 where softplus(x) underflows."""
    small = x < -20
    return jnp.where(small, x - jnp.exp(jnp.where(small, x, 0)) / 2, jnp.log(jax.nn.softplus(jnp.where(small, 0, x))))


def _log1mexp(y: Array) -> Array:
    """log(1 - exp(-e^y)), evaluated as y - e^y / 2 where e^y underflows."""
    small = y < -20
    return jnp.where(small, y - jnp.exp(jnp.where(small, y, 0)) / 2, jnp.log(-jnp.expm1(-jnp.exp(jnp.where(small, 0, y)))))


@jax.custom_jvp
def log_lambert_w(s: Array) -> Array:
    """L = log W(e^s), Lambert's function in logarithms: the root of L + e^L = s, elementwise, for any finite s.

    Newton's method starts above the root, and descends because the left-hand side is convex.
    """
    log_w = jnp.where(s > 1, jnp.log(jnp.maximum(s, 1)), jnp.minimum(s, 1))
    for _ in range(5):  # to the last digit of float64
        w = jnp.exp(log_w)
        log_w = log_w - (log_w + w - s) / (1 + w)
    return log_w


log_lambert_w.defjvps(lambda tangent, log_w, s: tangent / (1 + jnp.exp(log_w)))

DIVERGENCES: Table[Callable[..., Divergence]] = Table(
    'divergence',
    {
        'total_variation': total_variation,
        'kl': kl,
        'reverse_kl': reverse_kl,
        'pearson': pearson,
        'neyman': neyman,
        'squared_hellinger': squared_hellinger,
        'jeffrey': jeffrey,
        'jensen_shannon': jensen_shannon,
        'jensen_shannon_weighted': jensen_shannon_weighted,
        'gan': gan,
        'alpha': alpha,
    },
)
"""Name -> factory. To add a divergence, add a factory above and an entry here; `tests/test_divergences.py` then covers it."""
