"""Penalties on the gradient of the discriminator with respect to its input.

A penalty is a function `penalty(critic, real, fake, key) -> [batch]`, unreduced, which is added to the discriminator's loss.
`critic` maps examples `[batch, ...]` to logits with fixed parameters and state; if it returns a map of logits per example, the
gradient is that of their sum. Norms are per example, over all axes but the first. The key is the same on every device of a
parallel run.

Weights named `gamma` are halved, as in the papers of R1, R2 and Roth et al. (a `reg_param` of 10 in GAN_stability is a gamma of
20). Weights named `weight` are not, as in the papers of WGAN-GP and DRAGAN.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import compilation, parallel
from gan_jax.numerics import safe_sqrt, when
from gan_jax.ranges import DeviationAbove0, Weight, checked
from gan_jax.registry import Table
from gan_jax.schedules import Schedule
from gan_jax.typing import Array, Key

Critic = Callable[[Array], Array]
Penalty = Callable[[Critic, Array, Array, Key], Array]


def input_gradient(critic: Critic, x: Array) -> tuple[Array, Array]:
    """The critic's logits at `x [batch, ...]`, and the gradient for each example, which has the shape of `x`."""
    gradient, logits = jax.grad(lambda x: ((logits := critic(x)).sum(), logits), has_aux=True)(x)
    return logits, gradient


def squared_gradient_norm(critic: Critic, x: Array) -> Array:
    """The squared norm of the gradient of each example's logits with respect to that example, `[batch]`."""
    _, gradient = input_gradient(critic, x)
    return _squared_norm(gradient)


@checked
def r1(gamma: Weight = 1.0) -> Penalty:
    """gamma / 2 times the squared gradient norm at the real examples (Mescheder et al. 2018, eq. 9).

    Raises `ValueError` if gamma is outside [0, 1e6].
    """
    return lambda critic, real, fake, key: gamma / 2 * squared_gradient_norm(critic, real)


@checked
def r2(gamma: Weight = 1.0) -> Penalty:
    """gamma / 2 times the squared gradient norm at the generated examples (Mescheder et al. 2018, eq. 10).

    Raises `ValueError` if gamma is outside [0, 1e6].
    """
    return lambda critic, real, fake, key: gamma / 2 * squared_gradient_norm(critic, fake)


@checked
def r1_r2(gamma: Weight = 1.0) -> Penalty:
    """The sum of `r1(gamma)` and `r2(gamma)`, with both gradients from one pass; the penalty of R3GAN (Huang et al. 2024).

    The critic is mapped over the real and the generated batch, so each layer computes on twice as many examples at a time, while
    statistics and noise remain those of each batch; batches of unequal sizes take two passes. Raises `ValueError` if gamma is
    outside [0, 1e6].
    """

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        if real.shape != fake.shape:
            return r1(gamma)(critic, real, fake, key) + r2(gamma)(critic, real, fake, key).mean()
        both = jnp.stack([real, fake])
        _, gradient = input_gradient(jax.vmap(critic), both)
        return gamma / 2 * jax.vmap(_squared_norm)(gradient).sum(0)

    return penalty


@checked
def finite_r1(gamma: Weight = 1.0, epsilon: DeviationAbove0 = 0.01) -> Penalty:
    """gamma / 2 times |D(x + epsilon n) - D(x)|^2 / epsilon^2 at the real examples, with n ~ N(0, I): R1 by finite differences.

    This is the approximate R1 of Lin et al. 2025 (arXiv 2501.08316). As epsilon goes to 0, its expectation is `r1`, and its
    standard deviation sqrt(2) times that; it needs two forward passes and no gradients of gradients. The discriminator must
    compute in float32, because the difference of two logits in half precision is rounding error. Raises `ValueError` if gamma
    is outside [0, 1e6] or epsilon outside (0, 1000].
    """
    return lambda critic, real, fake, key: gamma / 2 * _squared_difference(critic, real, epsilon, key)


@checked
def finite_r2(gamma: Weight = 1.0, epsilon: DeviationAbove0 = 0.01) -> Penalty:
    """gamma / 2 times |D(x + epsilon n) - D(x)|^2 / epsilon^2 at the generated examples; see `finite_r1`.

    Raises `ValueError` if gamma is outside [0, 1e6] or epsilon outside (0, 1000].
    """
    return lambda critic, real, fake, key: gamma / 2 * _squared_difference(critic, fake, epsilon, key)


@checked
def roth(gamma: Weight = 0.1) -> Penalty:
    """gamma / 2 times (1 - D)^2 |grad logit|^2 at real plus D^2 |grad logit|^2 at generated examples (Roth et al. 2017).

    It is what noise of variance gamma on the inputs adds to the Jensen-Shannon bound, as in the authors' code. The
    discriminator must return one logit per example; otherwise the penalty raises `ValueError`, as does a gamma outside
    [0, 1e6]. To anneal gamma as in the paper, use `scheduled(roth(2.0), factor=annealing(0.01, steps))`.
    """

    def half(critic: Critic, x: Array, sign: float) -> Array:
        logits, gradient = input_gradient(critic, x)
        if logits.size != len(x):
            raise ValueError(f'the roth penalty weights examples by logit and requires one logit per example, got {logits.shape}')
        return jnp.square(jax.nn.sigmoid(sign * logits.reshape(-1))) * _squared_norm(gradient)

    return lambda critic, real, fake, key: gamma / 2 * (half(critic, real, -1) + half(critic, fake, 1))


@checked
def wgan_gp(weight: Weight = 10.0, one_sided: bool = False) -> Penalty:
    """weight times (|grad D| - 1)^2 at random points between real and generated examples (Gulrajani et al. 2017, eq. 3).

    The points are uniform on the line segments. If one-sided, only norms above 1 are penalised (section 4). Raises `ValueError`
    if the weight is outside [0, 1e6].
    """

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        real, fake = jnp.broadcast_arrays(real, fake)
        share = _uniform(key, real.shape[:1], real)
        share = share.reshape(-1, *[1] * (real.ndim - 1))
        excess = _gradient_norm(critic, share * real + (1 - share) * fake) - 1
        return weight * jnp.square(jax.nn.relu(excess) if one_sided else excess)

    return penalty


@checked
def dragan(weight: Weight = 10.0, scale: Weight = 0.5) -> Penalty:
    """weight times (|grad logit| - 1)^2 around the real examples (Kodali et al. 2017; the authors' code).

    The gradient is taken at x + u (x' - x), where x' = x + scale * std * U[0, 1) has independent noise in every entry, u is
    uniform with one draw per example, and std is the standard deviation over all entries of the global batch. Raises
    `ValueError` if `weight` or `scale` is outside [0, 1e6].
    """

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        share_key, noise_key = jax.random.split(key)
        mean = parallel.pmean(real.mean())
        std = jnp.sqrt(parallel.pmean(jnp.square(real - mean).mean()))
        share = _uniform(share_key, real.shape[:1], real).reshape(-1, *[1] * (real.ndim - 1))
        noise = scale * std * _uniform(noise_key, real.shape, real)
        return weight * jnp.square(_gradient_norm(critic, real + share * noise) - 1)

    return penalty


PENALTIES: Table[Callable[..., Penalty]] = Table(
    'penalty',
    {
        'r1': r1,
        'r2': r2,
        'r1_r2': r1_r2,
        'finite_r1': finite_r1,
        'finite_r2': finite_r2,
        'roth': roth,
        'wgan_gp': wgan_gp,
        'dragan': dragan,
    },
)
"""Name -> factory. To add a penalty, add a factory above and an entry here; `tests/test_penalties.py` then covers it."""


class Scheduled(NamedTuple):
    """A penalty that varies with the number of discriminator updates."""

    penalty: Penalty
    every: int
    factor: Schedule

    def __call__(self, critic: Critic, real: Array, fake: Array, updates: Array, key: Key) -> Array:
        """The penalty after `updates` updates, `[batch]`; updates at which it is not due cost nothing."""
        taken = lambda: self.every * self.factor(updates) * self.penalty(critic, real, fake, key)
        if self.every == 1:
            return taken()
        return when(updates % self.every == 0, taken)


def scheduled(penalty: Penalty, *, every: int = 1, factor: Schedule = lambda updates: jnp.ones(())) -> Scheduled:
    """Applies a penalty at every n-th update, n times as strong (lazy regularisation, Karras et al. 2020, appendix B).

    It is also multiplied by `factor(updates)`. Raises `ValueError` if `every` is below 1.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    return Scheduled(penalty, every, factor)


def total(penalties: Sequence[Penalty | Scheduled], critic: Critic, real: Array, fake: Array, updates: Array, key: Key) -> Array:
    """The sum of penalties, `[batch]`.

    Args:
        penalties: at least one penalty.
        critic: maps examples `[batch, ...]` to logits.
        real: real examples, `[batch, ...]`.
        fake: generated examples, `[batch, ...]`.
        updates: the number of discriminator updates so far.
        key: split so that each penalty has a separate key.
    """
    terms = [p if isinstance(p, Scheduled) else scheduled(p) for p in penalties]
    keys = jax.random.split(key, len(terms))
    taken = lambda: [term(critic, real, fake, updates, k) for term, k in zip(terms, keys, strict=True)]
    return jnp.stack(compilation.exact(taken)()).sum(0)


def annealing(share: float, updates: int) -> Schedule:
    """A geometric sequence from 1 at the first of `updates` updates to `share` at the last (Roth et al. 2017).

    Raises `ValueError` for a share outside (0, 1] or fewer than 2 updates.
    """
    if not 0 < share <= 1 or updates < 2:
        raise ValueError(f'annealing requires a share in (0, 1] and at least 2 updates, got {share} and {updates}')
    return lambda count: share ** jnp.minimum(count / (updates - 1), 1)


def _squared_norm(gradient: Array) -> Array:
    return jnp.square(gradient).sum(tuple(range(1, gradient.ndim)))


def _gradient_norm(critic: Critic, x: Array) -> Array:
    """The norm with gradient 0 where the critic's gradient is zero; there a plain square root would give NaN."""
    return safe_sqrt(squared_gradient_norm(critic, x))


def _squared_difference(critic: Critic, x: Array, epsilon: float, key: Key) -> Array:
    """The squared derivative of each example's logits in a random normal direction, `[batch]`, by a forward difference."""
    noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(parallel.example_keys(len(x), key))
    difference = (critic(x + epsilon * noise) - critic(x)) / epsilon
    squares = jnp.square(difference.reshape(len(difference), -1).sum(-1))
    group = len(x) // len(squares)  # examples that share a logit, as in packing: each counts for its share
    return jnp.repeat(squares / group, group)


def _uniform(key: Key, shape: tuple[int, ...], like: Array) -> Array:
    """Uniform random numbers; those of example i depend only on its position in the global batch."""
    keys = parallel.example_keys(shape[0], key)
    return jax.vmap(lambda key: jax.random.uniform(key, shape[1:], like.dtype))(keys)
