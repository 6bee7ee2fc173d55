"""Penalties on the discriminator's gradient in its input.

A penalty is `penalty(critic, real, fake, key) -> [batch]`, unreduced, added to the discriminator's loss. `critic` maps examples
`[batch, ...]` to logits, parameters and state held fixed; of a map of logits the gradient is that of their sum. Norms are per
example, over all axes but the first. The key is the same on every device of a parallel run.

Weights called `gamma` are halved, as in the papers of R1, R2 and Roth et al. (GAN_stability's `reg_param` of 10 is a gamma of
20); those called `weight` are not, as in the papers of WGAN-GP and DRAGAN.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import compilation, parallel
from gan_jax.numerics import safe_sqrt
from gan_jax.ranges import Weight, checked
from gan_jax.registry import Table
from gan_jax.typing import Array, Key

Critic = Callable[[Array], Array]
Penalty = Callable[[Critic, Array, Array, Key], Array]
Schedule = Callable[[Array], Array]


def input_gradient(critic: Critic, x: Array) -> tuple[Array, Array]:
    """The critic's logits at `x`, and each example's gradient, of the shape of `x`."""
    gradient, logits = jax.grad(lambda x: ((logits := critic(x)).sum(), logits), has_aux=True)(x)
    return logits, gradient


def squared_gradient_norm(critic: Critic, x: Array) -> Array:
    """The squared norm of each logit's gradient in its own example, `[batch]`."""
    _, gradient = input_gradient(critic, x)
    return _squared_norm(gradient)


@checked
def r1(gamma: Weight = 1.0) -> Penalty:
    """gamma / 2 times the squared gradient norm at the real examples (Mescheder et al. 2018, eq. 9).

    Raises `ValueError` for a negative gamma.
    """
    return lambda critic, real, fake, key: gamma / 2 * squared_gradient_norm(critic, real)


@checked
def r2(gamma: Weight = 1.0) -> Penalty:
    """gamma / 2 times the squared gradient norm at the generated examples (Mescheder et al. 2018, eq. 10)."""
    return lambda critic, real, fake, key: gamma / 2 * squared_gradient_norm(critic, fake)


@checked
def roth(gamma: Weight = 0.1) -> Penalty:
    """gamma / 2 times (1 - D)^2 |grad logit|^2 at real plus D^2 |grad logit|^2 at generated examples: what noise of variance
    gamma on the inputs adds to the Jensen-Shannon bound (Roth et al. 2017; the authors' code).

    The discriminator has one logit per example. The paper anneals gamma: `scheduled(roth(2.0), factor=annealing(0.01, steps))`.
    """

    def half(critic: Critic, x: Array, sign: float) -> Array:
        logits, gradient = input_gradient(critic, x)
        if logits.size != len(x):
            raise ValueError(f'the roth penalty weighs an example by its logit, and wants one for each; got {logits.shape}')
        return jnp.square(jax.nn.sigmoid(sign * logits.reshape(-1))) * _squared_norm(gradient)

    return lambda critic, real, fake, key: gamma / 2 * (half(critic, real, -1) + half(critic, fake, 1))


@checked
def wgan_gp(weight: Weight = 10.0, one_sided: bool = False) -> Penalty:
    """weight times (|grad D| - 1)^2 at uniformly random points between real and generated examples (Gulrajani et al. 2017,
    eq. 3); one-sided, only where the norm is above 1 (section 4).
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

    At x + u (x' - x) with x' = x + scale * std * U[0, 1): one u per example, one uniform number per entry of x, and the standard
    deviation of all entries of the batch, which in a data-parallel run is the whole one.
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
    'penalty', {'r1': r1, 'r2': r2, 'roth': roth, 'wgan_gp': wgan_gp, 'dragan': dragan}
)
"""Name -> factory. A new penalty is one factory above and one entry here; `tests/test_penalties.py` then covers it."""


class Scheduled(NamedTuple):
    """A penalty that is not the same at every update of the discriminator."""

    penalty: Penalty
    every: int
    factor: Schedule

    def __call__(self, critic: Critic, real: Array, fake: Array, updates: Array, key: Key) -> Array:
        """The penalty after so many updates, `[batch]`; between its turns it costs nothing."""
        taken = lambda: self.every * self.factor(updates) * self.penalty(critic, real, fake, key)
        if self.every == 1:
            return taken()
        due = updates % self.every == 0
        shape = jax.eval_shape(taken)
        return jax.lax.cond(_any(due), lambda: jnp.where(due, taken(), 0), lambda: jnp.zeros(shape.shape, shape.dtype))


@jax.custom_batching.custom_vmap
def _any(due: Array) -> Array:
    """Whether the penalty is due; of several runs side by side, whether it is in any of them.

    A condition of each run's own would make `vmap` take both branches and select. Runs in step with each other share it.
    """
    return due


@_any.def_vmap
def _any_of_all(size: int, batched: list[bool], due: Array) -> tuple[Array, bool]:
    del size
    return (due.any(0) if batched[0] else due), False


def scheduled(penalty: Penalty, *, every: int = 1, factor: Schedule = lambda updates: jnp.ones(())) -> Scheduled:
    """A penalty at every n-th update of the discriminator, n times as strong (lazy regularisation: Karras et al. 2020, appendix
    B), and times `factor(updates)`. Raises `ValueError` for `every` below 1.
    """
    if every < 1:
        raise ValueError(f'a penalty is taken every 1 or more updates, got every = {every}')
    return Scheduled(penalty, every, factor)


def total(penalties: Sequence[Penalty | Scheduled], critic: Critic, real: Array, fake: Array, updates: Array, key: Key) -> Array:
    """The sum of at least one penalty after so many updates of the discriminator, `[batch]`; each has a key of its own."""
    terms = [p if isinstance(p, Scheduled) else scheduled(p) for p in penalties]
    keys = jax.random.split(key, len(terms))
    taken = [compilation.exact(term)(critic, real, fake, updates, k) for term, k in zip(terms, keys, strict=True)]
    return jnp.stack(taken).sum(0)


def annealing(share: float, updates: int) -> Schedule:
    """1 at first, `share` at the last of so many updates, a geometric sequence between (Roth et al. 2017).

    Raises `ValueError` for a share outside (0, 1] or fewer than 2 updates.
    """
    if not 0 < share <= 1 or updates < 2:
        raise ValueError(f'annealing goes to a share in (0, 1] over at least 2 updates, got {share} over {updates}')
    return lambda count: share ** jnp.minimum(count / (updates - 1), 1)


def _squared_norm(gradient: Array) -> Array:
    return jnp.square(gradient).sum(tuple(range(1, gradient.ndim)))


def _gradient_norm(critic: Critic, x: Array) -> Array:
    """Its derivative at a zero gradient is zero; that of a plain square root is not a number."""
    return safe_sqrt(squared_gradient_norm(critic, x))


def _uniform(key: Key, shape: tuple[int, ...], like: Array) -> Array:
    """Uniform numbers of which example i's depend only on its place in the global batch."""
    keys = parallel.example_keys(shape[0], key)
    return jax.vmap(lambda key: jax.random.uniform(key, shape[1:], like.dtype))(keys)
