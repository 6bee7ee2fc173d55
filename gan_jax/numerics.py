"""Shared numerics: a norm that is differentiable everywhere, computations that are due now and then, and minimisers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax.typing import Array


def safe_sqrt(x: Array) -> Array:
    """The square root of `x >= 0`, of any shape, with derivative 0 at 0, where that of `jnp.sqrt` is infinite.

    The gradient of a norm `safe_sqrt(jnp.square(x).sum())` at zero is therefore 0 rather than NaN.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def euclidean_norm(x: Array) -> Array:
    """The norm of each example, `[n, ...] -> [n]`; its gradient at 0 is 0."""
    return safe_sqrt(jnp.square(x).reshape(len(x), -1).sum(-1))


def when(due: Array, function: Callable[[], Any]) -> Any:
    """`function()`, a pytree of arrays, if `due []` is true; otherwise zeros of the same shapes, which cost nothing.

    Of several runs side by side under `jax.vmap`, those that are not due pay only when another one is.
    """
    shapes = jax.eval_shape(function)
    taken = lambda: jax.tree.map(lambda x: jnp.where(due, x, jnp.zeros_like(x)), function())
    return lax.cond(_any(due), taken, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))


@jax.custom_batching.custom_vmap
def _any(due: Array) -> Array:
    """Whether a computation is due; for several runs side by side, whether it is due in any of them.

    A separate condition for each run would make `vmap` execute both branches and select. Runs that proceed in step share it.
    """
    return due


@_any.def_vmap
def _any_of_all(size: int, batched: list[bool], due: Array) -> tuple[Array, bool]:
    del size
    return (due.any(0) if batched[0] else due), False


def minimise(
    loss: Callable[[Array], Array], start: Array, *, steps: int = 100, memory: int = 10, tolerance: float = 1e-5
) -> tuple[Array, Array]:
    """The last iterate of L-BFGS, an array of any shape, and its loss, which is infinite if it is not finite.

    Args:
        loss: maps an array of the shape of `start` to a scalar.
        start: the first iterate.
        steps: the maximum number of iterations.
        memory: the number of gradients that L-BFGS remembers.
        tolerance: the search ends once the norm of the gradient is at most this.
    """
    optimizer = optax.lbfgs(memory_size=memory)
    value_and_grad = optax.value_and_grad_from_state(loss)

    def going_on(carry: tuple) -> Array:
        _, state, gradient_norm = carry
        taken = optax.tree.get(state, 'count')
        return (taken < steps) & (gradient_norm > tolerance)

    def step(carry: tuple) -> tuple:
        z, state, _ = carry
        value, gradient = value_and_grad(z, state=state)
        updates, state = optimizer.update(gradient, state, z, value=value, grad=gradient, value_fn=loss)
        z = optax.apply_updates(z, updates)
        return z, state, jnp.linalg.norm(optax.tree.get(state, 'grad'))

    z, _, _ = lax.while_loop(going_on, step, (start, optimizer.init(start), jnp.asarray(jnp.inf, start.dtype)))
    value = loss(z)
    return z, jnp.where(jnp.isfinite(value), value, jnp.inf)


class Descent(NamedTuple):
    """The state of a descent."""

    params: Any
    memory: Any
    """What the loss carries from step to step, such as batch statistics; `()` if nothing."""
    opt_state: Any
    """An `optax.OptState`."""


def descend(
    loss: Callable[[Any, Any, Array], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
    start: Descent,
    steps: int | Array,
    first: int | Array = 0,
) -> Descent:
    """Takes gradient steps `first`, `first + 1`, ... on `loss(params, memory, step) -> (loss, memory)`.

    Because the loss draws the minibatch of its step, this covers supervised learning. Pure; the caller compiles it.

    Args:
        loss: the loss of a step, and what it carries to the next.
        optimizer: updates the parameters.
        start: the state to start from.
        steps: the number of steps to take.
        first: the number of the first step.
    """

    def step(i: Array, at: Descent) -> Descent:
        gradient, memory = jax.grad(loss, has_aux=True)(at.params, at.memory, i)
        updates, opt_state = optimizer.update(gradient, at.opt_state, at.params)
        return Descent(optax.apply_updates(at.params, updates), memory, opt_state)

    return lax.fori_loop(first, first + steps, step, start)


def mean_and_interval(values: Any) -> tuple[float, float, int]:
    """The mean of figures `[seeds]`, half the width of its 95 % interval by Student's t, and the number of finite figures.

    Non-finite figures are omitted. The interval is NaN for fewer than 2 figures.
    """
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    count = len(finite)
    if count == 0:
        return float('nan'), float('nan'), 0
    error = finite.std(ddof=1) / count**0.5 if count > 1 else np.nan
    return float(finite.mean()), float(t.ppf(0.975, max(count - 1, 1)) * error), count
