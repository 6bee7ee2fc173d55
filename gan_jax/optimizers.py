"""Stabilisers that act on parameters, as optax transforms, and the papers' optimizers for both players.

Everything the transforms remember is part of their optax state, so it is checkpointed and carried through an unroll.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan_jax.averages import moving_average
from gan_jax.numerics import safe_sqrt
from gan_jax.ranges import Positive, Rate, Share, ShareBelow1, Weight, checked
from gan_jax.registry import Table
from gan_jax.schedules import Schedule as Decay
from gan_jax.typing import Array


@checked
def clip_weights(limit: Positive = 0.01) -> optax.GradientTransformation:
    """Keeps every parameter in [-limit, limit] after the update (Arjovsky et al. 2017, algorithm 1).

    It must come last in a chain. Raises `ValueError` unless the limit is above 0.
    """
    return _stateless(lambda update, param: jnp.clip(param + update, -limit, limit) - param)


@checked
def clip_gradients(limit: Positive = 1.0) -> optax.GradientTransformation:
    """Scales a player's gradient down to the norm `limit` if its norm over all parameters is larger (Pascanu et al. 2013).

    It must come before the optimizer in a chain. It is `optax.clip_by_global_norm`, but differentiable where the gradient is 0,
    so that it can be unrolled. Raises `ValueError` unless the limit is above 0.
    """

    def update(updates: Any, params: Any = None) -> Any:
        del params
        norm = safe_sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(updates)) + jnp.zeros(()))
        scale = limit / jnp.maximum(norm, limit)
        return jax.tree.map(lambda x: (scale * x).astype(x.dtype), updates)

    return optax.stateless(update)


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

    It must come first in a chain. The mean includes the current parameters and is treated as a constant. Raises `ValueError` if
    the weight is outside [0, 1e6].
    """

    def update(gradient: Any, state: Average, params: Any = None) -> tuple[Any, Average]:
        steps = state.steps + 1
        average = jax.tree.map(lambda mean, p: mean + (p - mean) / steps, state.average, params)
        gradient = jax.tree.map(lambda g, p, mean: g + 2 * weight * (p - mean), gradient, params, average)
        return gradient, Average(steps, average)

    return optax.GradientTransformation(lambda params: Average(jnp.int32(0), jax.tree.map(jnp.zeros_like, params)), update)


@checked
def orthogonal_regularization(weight: Weight = 1e-4) -> optax.GradientTransformation:
    """Adds the gradient of weight * |W^T W (1 - I)|^2, summed over kernels W, to the gradient (Brock et al. 2019, eq. 3).

    (1 - I) is elementwise, so that filters are made orthogonal to each other, but not of unit length. It must come first in a
    chain. Kernels are the parameters named 'kernel', as matrices with the last axis as columns, one for each filter. The gradient
    is 4 weight W (W^T W (1 - I)); the author's PyTorch code has half of that, so that its 1e-4 is a weight of 5e-5. Raises
    `ValueError` if the weight is outside [0, 1e6].
    """

    def pulled(path: Any, gradient: Array, param: Array) -> Array:
        if getattr(path[-1], 'key', None) != 'kernel':
            return gradient
        W = param.reshape(-1, param.shape[-1])
        if W.shape[0] < W.shape[1]:  # the smaller of the two products: W W^T W = W (W^T W)
            pull = (W @ W.T) @ W - W * jnp.square(W).sum(0)
        else:
            products = W.T @ W
            pull = W @ (products - jnp.diag(jnp.diag(products)))
        return gradient + (4 * weight * pull).reshape(param.shape)

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(pulled, updates, params))


@checked
def average_parameters(decay: Share = 0.999) -> optax.GradientTransformation:
    """Keeps the `moving_average` of the parameters in `state.average` and leaves the updates unchanged.

    It must come last in a chain; `averaged` finds the average in an optimizer's state. Intended for discriminators and for
    custom training loops: `make_train_step` already keeps the generator's average, including batch statistics. It must not be
    used with extragradient updates, whose updates ahead it would include. Raises `ValueError` if the decay is outside [0, 1].
    """

    def update(updates: Any, state: ParameterAverage, params: Any = None) -> tuple[Any, ParameterAverage]:
        average = moving_average(state.average, optax.apply_updates(params, updates), decay, state.steps)
        return updates, ParameterAverage(state.steps + 1, average)

    return optax.GradientTransformation(lambda params: ParameterAverage(jnp.int32(0), jax.tree.map(jnp.copy, params)), update)


def averaged(opt_state: Any) -> Any:
    """The average kept by `average_parameters` in an `optax.OptState`, wherever it is in a chain.

    Raises `ValueError` unless there is exactly one.
    """
    is_average = lambda x: isinstance(x, ParameterAverage)
    found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(x)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} averages in the optimizer's state: chain one `average_parameters` after the optimizer")
    return found[0].average


Schedule = Callable[[int], optax.Schedule]
"""Maps the number of steps to an optax schedule, which gives the factor of a learning rate after each number of steps."""


def constant() -> Schedule:
    """Constant learning rates."""
    return lambda steps: optax.constant_schedule(1.0)


@checked
def cosine(end: Share = 0.0) -> Schedule:
    """Half a cosine from 1 to `end` (Loshchilov and Hutter 2017). Raises `ValueError` if `end` is outside [0, 1]."""
    return lambda steps: optax.cosine_decay_schedule(1.0, max(1, steps), end)


@checked
def linear(start: ShareBelow1 = 0.0, end: Share = 0.0) -> Schedule:
    """1 for the share `start` of the steps, then a straight line to `end` (Zhu et al. 2017: 100 epochs each).

    The factor reaches `end` only after the last step, which therefore still updates. Raises `ValueError` unless `start` is in
    [0, 1) and `end` in [0, 1].
    """

    def factor(steps: int) -> optax.Schedule:
        begin = int(start * steps)
        return optax.linear_schedule(1.0, end, max(1, steps - begin), begin)

    return factor


SCHEDULES: Table[Callable[..., Schedule]] = Table('schedule', {'constant': constant, 'cosine': cosine, 'linear': linear})
"""Name -> factory."""


# Adam and RMSProp divide by sqrt(v) + 1e-8. If all gradients of a parameter have been zero (a dead unit, the bias of a
# relativistic critic), sqrt(v) is not differentiable and an unroll would produce NaN; sqrt(v + 1e-16) is differentiable.
_ROOT = 1e-16


class Optimizers(NamedTuple):
    """The optimizers of both players, and the number of discriminator updates per generator update."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    discriminator_steps: int = 1


@checked
def adam(
    learning_rate: Rate = 2e-4,
    beta1: ShareBelow1 = 0.5,
    beta2: ShareBelow1 | Decay = 0.999,
    discriminator_rate: Rate | None = None,
) -> Optimizers:
    """Adam for both players, with the settings of DCGAN (Radford et al. 2016, section 4).

    Args:
        learning_rate: of both players, or of the generator if `discriminator_rate` is given.
        beta1: decay of the first moment.
        beta2: decay of the second moment, or a function of the number of a player's updates so far, whose present value also
            corrects the bias (as in R3GAN's code).
        discriminator_rate: the discriminator's learning rate, if it differs.

    Raises `ValueError` for settings out of range.
    """
    rates = learning_rate, learning_rate if discriminator_rate is None else discriminator_rate
    return Optimizers(*(optax.chain(_scaled(beta1, beta2), optax.scale_by_learning_rate(rate)) for rate in rates))


def _scaled(beta1: float, beta2: float | Decay) -> optax.GradientTransformation:
    by = lambda decay: optax.scale_by_adam(beta1, decay, eps_root=_ROOT)
    if not callable(beta2):
        return by(beta2)
    update = lambda updates, state, params=None: by(beta2(state.count)).update(updates, state, params)
    return optax.GradientTransformation(by(0.0).init, update)


@checked
def optimistic_adam(
    learning_rate: Rate = 1e-4,
    beta1: ShareBelow1 = 0.5,
    beta2: ShareBelow1 | Decay = 0.9,
    discriminator_rate: Rate | None = None,
) -> Optimizers:
    """Optimistic Adam: twice the step of Adam less its previous step (Daskalakis et al. 2018, algorithm 1).

    Each player thereby anticipates the other's next step, so that simultaneous steps of a bilinear game converge rather than
    spiral outwards. The first step is Adam's.

    Args:
        learning_rate: this and the others are as in `adam`.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        discriminator_rate: the discriminator's learning rate, if it differs.

    Raises `ValueError` for settings out of range.
    """
    rates = learning_rate, learning_rate if discriminator_rate is None else discriminator_rate
    made = (optax.chain(_scaled(beta1, beta2), optimism(), optax.scale_by_learning_rate(rate)) for rate in rates)
    return Optimizers(*made)


def optimism() -> optax.GradientTransformation:
    """2 u_t - u_(t - 1) for the updates u_t; of gradients, optimistic mirror descent (Daskalakis et al. 2018).

    The first update is unchanged. In a chain it comes after what scales gradients, and before the learning rate.
    """
    return optax.scale_by_optimistic_gradient()


@checked
def sgd(
    learning_rate: Rate = 0.01, momentum: ShareBelow1 = 0.0, optimistic: bool = False, discriminator_rate: Rate | None = None
) -> Optimizers:
    """Gradient descent for both players.

    Args:
        learning_rate: of both players, or of the generator if `discriminator_rate` is given.
        momentum: decay of the accumulated gradients, as in `optax.trace`; Goodfellow et al. 2014 used momentum.
        optimistic: whether a step is twice the present one less the previous one; see `optimism`.
        discriminator_rate: the discriminator's learning rate, if it differs.

    Raises `ValueError` for settings out of range.
    """
    rates = learning_rate, learning_rate if discriminator_rate is None else discriminator_rate
    parts = [*([optax.trace(momentum)] if momentum else []), *([optimism()] if optimistic else [])]
    return Optimizers(*(optax.chain(*parts, optax.scale_by_learning_rate(rate)) for rate in rates))


@checked
def unrolled(learning_rate: Rate = 1e-4, beta1: ShareBelow1 = 0.5) -> Optimizers:
    """The Adam of unrolled GANs for the ring of Gaussians (Metz et al. 2017, appendix A).

    Raises `ValueError` for settings out of range.
    """
    return adam(learning_rate, beta1)


@checked
def wgan(learning_rate: Rate = 5e-5, clip: Positive = 0.01) -> Optimizers:
    """WGAN's RMSProp with 5 critic steps and clipped critic weights (Arjovsky et al. 2017, algorithm 1).

    RMSProp's decay of .99 is from the authors' code. Raises `ValueError` for settings out of range.
    """
    rmsprop = optax.rmsprop(learning_rate, decay=0.99, eps=_ROOT)
    return Optimizers(rmsprop, optax.chain(rmsprop, clip_weights(clip)), 5)


@checked
def wgan_gp(learning_rate: Rate = 1e-4, beta1: ShareBelow1 = 0.0, beta2: ShareBelow1 | Decay = 0.9) -> Optimizers:
    """WGAN-GP's Adam with 5 critic steps (Gulrajani et al. 2017, algorithm 1).

    Raises `ValueError` for settings out of range.
    """
    return adam(learning_rate, beta1, beta2)._replace(discriminator_steps=5)


@checked
def ttur(
    learning_rate: Rate = 1e-4, discriminator_rate: Rate = 3e-4, beta1: ShareBelow1 = 0.0, beta2: ShareBelow1 | Decay = 0.9
) -> Optimizers:
    """Two time scales: the discriminator has the higher learning rate (Heusel et al. 2017; the authors' code for WGAN-GP).

    Each player takes one step.

    Args:
        learning_rate: of the generator.
        discriminator_rate: of the discriminator.
        beta1: decay of the first moment.
        beta2: decay of the second moment, as in `adam`.

    Raises `ValueError` for settings out of range.
    """
    return adam(learning_rate, beta1, beta2, discriminator_rate)


@checked
def improved_gan(learning_rate: Rate = 3e-3, beta1: ShareBelow1 = 0.5) -> Optimizers:
    """The Adam of Improved GAN, which divides by the root of v + 1e-8 (Salimans et al. 2016).

    The learning rate is that of the authors' code for MNIST. Raises `ValueError` for settings out of range.
    """
    return Optimizers(*(optax.adam(learning_rate, beta1, eps=0.0, eps_root=1e-8) for _ in range(2)))


OPTIMIZERS: Table[Callable[..., Optimizers]] = Table(
    'optimizers',
    {
        'adam': adam,
        'optimistic_adam': optimistic_adam,
        'sgd': sgd,
        'unrolled': unrolled,
        'wgan': wgan,
        'wgan_gp': wgan_gp,
        'ttur': ttur,
        'improved_gan': improved_gan,
    },
)
"""Name -> factory."""
