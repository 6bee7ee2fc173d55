"""Stabilisers that act on parameters, as optax transforms, and both players' optimizers by paper.

Everything the transforms remember is their optax state, so that it is checkpointed and threaded through an unroll.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.ranges import Positive, Rate, Share, ShareBelow1, Weight, checked
from gan_jax.registry import Table
from gan_jax.typing import Array


@checked
def clip_weights(limit: Positive = 0.01) -> optax.GradientTransformation:
    """After the update every parameter lies in [-limit, limit] (Arjovsky et al. 2017, algorithm 1). The last of a chain.

    Raises `ValueError` for a limit that is not above 0.
    """
    return _stateless(lambda update, param: jnp.clip(param + update, -limit, limit) - param)


def _stateless(function: Callable[[Array, Array], Array]) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, params: jax.tree.map(function, updates, params))


class Average(NamedTuple):
    """The state of `historical_averaging`."""

    steps: Array
    average: Any


class ParameterAverage(NamedTuple):
    """The state of `average_parameters`."""

    steps: Array
    average: Any


@checked
def historical_averaging(weight: Weight = 1.0) -> optax.GradientTransformation:
    """Adds the gradient of weight * |theta - mean of theta so far|^2 to the gradient (Salimans et al. 2016, section 3.3).

    The first of a chain. The mean is over all parameters up to the present ones, and counts as a constant.
    """

    def update(gradient: Any, state: Average, params: Any = None) -> tuple[Any, Average]:
        steps = state.steps + 1
        average = jax.tree.map(lambda mean, p: mean + (p - mean) / steps, state.average, params)
        gradient = jax.tree.map(lambda g, p, mean: g + 2 * weight * (p - mean), gradient, params, average)
        return gradient, Average(steps, average)

    return optax.GradientTransformation(lambda params: Average(jnp.int32(0), jax.tree.map(jnp.zeros_like, params)), update)


def moving_average(old: Any, new: Any, decay: float, count: Array) -> Any:
    """The exponential moving average of a pytree, with decay `min(decay, (1 + count) / (10 + count))`: a short run forgets its
    start. Leaves that are no floats are the new ones.
    """
    now = jnp.minimum(decay, (1 + count) / (10 + count))

    def average(old: Array, new: Array) -> Array:
        return (now * old + (1 - now) * new).astype(new.dtype) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(average, old, new)


@checked
def average_parameters(decay: Share = 0.999) -> optax.GradientTransformation:
    """Keeps the `moving_average` of the parameters in `state.average`, and changes no update. The last of a chain.

    For discriminators, and for training loops of one's own: `make_train_step` keeps the generator's average, batch statistics
    included, by itself. `averaged` finds it in an optimizer's state.
    """

    def update(updates: Any, state: ParameterAverage, params: Any = None) -> tuple[Any, ParameterAverage]:
        average = moving_average(state.average, optax.apply_updates(params, updates), decay, state.steps)
        return updates, ParameterAverage(state.steps + 1, average)

    return optax.GradientTransformation(lambda params: ParameterAverage(jnp.int32(0), jax.tree.map(jnp.copy, params)), update)


def averaged(opt_state: optax.OptState) -> Any:
    """The average that `average_parameters` keeps, wherever it stands in a chain. Raises `ValueError` if it does not."""
    is_average = lambda x: isinstance(x, ParameterAverage)
    found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(x)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} averages in the optimizer's state: chain one `average_parameters` after the optimizer")
    return found[0].average


Schedule = Callable[[int], optax.Schedule]
"""From the number of steps to the factor of a learning rate after so many of them."""


def constant() -> Schedule:
    """Rates that do not change."""
    return lambda steps: optax.constant_schedule(1.0)


@checked
def cosine(end: Share = 0.0) -> Schedule:
    """Half a cosine from 1 to `end` (Loshchilov and Hutter 2017)."""
    return lambda steps: optax.cosine_decay_schedule(1.0, max(1, steps), end)


@checked
def linear(start: ShareBelow1 = 0.0, end: Share = 0.0) -> Schedule:
    """1 for the share `start` of the steps, then a straight line to `end` (Zhu et al. 2017: 100 epochs each).

    The last of the steps still moves; `end` is reached after it.
    """

    def factor(steps: int) -> optax.Schedule:
        begin = int(start * steps)
        return optax.linear_schedule(1.0, end, max(1, steps - begin), begin)

    return factor


SCHEDULES: Table[Callable[..., Schedule]] = Table('schedule', {'constant': constant, 'cosine': cosine, 'linear': linear})
"""Name -> factory."""


# Adam and RMSProp divide by the root of v plus 1e-8. Where a parameter's gradients were all zero (a dead unit, the bias of a
# relativistic critic) that root has no derivative, and an unroll would be not a number; the root of v + 1e-16 has one.
_ROOT = 1e-16


class Optimizers(NamedTuple):
    """Both players' optimizers, and how many updates the discriminator takes for one of the generator."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    discriminator_steps: int = 1


@checked
def adam(
    learning_rate: Rate = 2e-4, beta1: ShareBelow1 = 0.5, beta2: ShareBelow1 = 0.999, discriminator_rate: Rate | None = None
) -> Optimizers:
    """Adam for both players, with the settings of DCGAN (Radford et al. 2016, section 4); one rate, or one for each."""
    rates = learning_rate, learning_rate if discriminator_rate is None else discriminator_rate
    return Optimizers(*(optax.adam(rate, beta1, beta2, eps_root=_ROOT) for rate in rates))


@checked
def unrolled(learning_rate: Rate = 1e-4, beta1: ShareBelow1 = 0.5) -> Optimizers:
    """Unrolled GAN's Adam for the ring of Gaussians (Metz et al. 2017, appendix A)."""
    return adam(learning_rate, beta1)


@checked
def wgan(learning_rate: Rate = 5e-5, clip: Positive = 0.01) -> Optimizers:
    """WGAN's RMSProp (of its code: decay .99), 5 critic steps, clipped critic weights (Arjovsky et al. 2017, algorithm 1)."""
    rmsprop = optax.rmsprop(learning_rate, decay=0.99, eps=_ROOT)
    return Optimizers(rmsprop, optax.chain(rmsprop, clip_weights(clip)), 5)


@checked
def wgan_gp(learning_rate: Rate = 1e-4, beta1: ShareBelow1 = 0.0, beta2: ShareBelow1 = 0.9) -> Optimizers:
    """WGAN-GP's Adam and 5 critic steps (Gulrajani et al. 2017, algorithm 1)."""
    return adam(learning_rate, beta1, beta2)._replace(discriminator_steps=5)


@checked
def ttur(
    learning_rate: Rate = 1e-4, discriminator_rate: Rate = 3e-4, beta1: ShareBelow1 = 0.0, beta2: ShareBelow1 = 0.9
) -> Optimizers:
    """Two time scales: the discriminator learns faster, at one step each (Heusel et al. 2017; their code's for WGAN-GP)."""
    return adam(learning_rate, beta1, beta2, discriminator_rate)


@checked
def improved_gan(learning_rate: Rate = 3e-3, beta1: ShareBelow1 = 0.5) -> Optimizers:
    """Improved GAN's Adam, which divides by the root of v + 1e-8 (Salimans et al. 2016; of its code: the rate for MNIST)."""
    return Optimizers(*(optax.adam(learning_rate, beta1, eps=0.0, eps_root=1e-8) for _ in range(2)))


OPTIMIZERS: Table[Callable[..., Optimizers]] = Table(
    'optimizers',
    {'adam': adam, 'unrolled': unrolled, 'wgan': wgan, 'wgan_gp': wgan_gp, 'ttur': ttur, 'improved_gan': improved_gan},
)
"""Name -> factory."""
