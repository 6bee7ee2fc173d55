"""The interface of the generative models of binary vectors: pure functions, which one loop trains and one table compares.

Vectors x are `[n, d]`, zeros and ones in float32; log-likelihoods are in nats.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax

from gan_jax import parallel
from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.parzen import mean_estimate
from gan_jax.typing import AnyArray, Array, Key, Metrics

Update = Callable[[Any, Array], tuple[Any, Metrics]]
"""`(state, x) -> (state, metrics)`"""


class Sample(NamedTuple):
    """Samples of a model, each array `[n, d]`."""

    pixels: Array
    """0 or 1"""
    probabilities: Array
    """Probability of a 1 in the draw that produced the pixel, conditioned on everything drawn before it."""


class Model(NamedTuple):
    """A generative model. Its state holds arrays only, one of which is `step`."""

    init: Callable[[Key], Any]
    step: Update
    parameters: Callable[[Any], Any]
    """`state -> learned parameters`"""
    sample: Callable[[Any, Key, int], Sample]
    """`(state, key, n) -> sample`"""
    passes: int
    """Number of sequential network passes that a sample requires."""
    evaluate: Mapping[str, Callable[[Any, Array, Key], Estimate]] = {}
    """What can be computed of log p(x), the best first: kind -> `(state, x, key) -> mean over x`."""
    distribution: Callable[[Any], Array] | None = None
    """`state -> log p` of every vector, `[2^d]`, in the order of `every_vector`. Feasible only for a few units."""
    walk: Callable[[Any, Key], Array] | None = None
    """`(state, key) -> probabilities [1 + passes, d]` along the chain of one sample, including its start."""


@struct.dataclass
class State:
    """State of a model that descends a single loss. The random numbers of step n come from `fold_in(key, n)`."""

    step: Array
    key: Key
    params: Any
    memory: Any
    """What the loss carries from step to step."""
    opt_state: optax.OptState


Loss = Callable[[Any, Any, Array, Key], tuple[Array, Any]]
"""`(params, memory, x, key) -> (loss, memory)`"""


def learner(
    init: Callable[[Key], tuple[Any, Any]], loss: Loss, optimizer: optax.GradientTransformation
) -> tuple[Callable[[Key], State], Update]:
    """`init` and `step` of a model that descends a single loss, given `init(key) -> (params, memory)`."""

    def initial(key: Key) -> State:
        init_key, key = jax.random.split(key)
        params, memory = init(init_key)
        return State(jnp.int32(0), key, params, memory, optimizer.init(params))

    def step(state: State, x: Array) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (value, memory), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, state.memory, x, key)
        value, gradient = parallel.pmean((value, gradient))  # every device has a share of x; chains, of one key, stay alike
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return State(state.step + 1, state.key, optax.apply_updates(state.params, updates), memory, opt_state), {'loss': value}

    return initial, step


def bernoulli_log_prob(x: AnyArray, logits: Array) -> Array:
    """log p(x) of independent units, `[..., d] -> [...]`: the sum of x l - softplus(l) over the logits l, in nats."""
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def bernoulli(key: Key, probabilities: Array) -> Array:
    """Independent zeros and ones with the given probabilities, of their shape and dtype."""
    return jax.random.bernoulli(key, probabilities).astype(probabilities.dtype)


def each(log_likelihood: Callable[[Any, Array, Key], Array]) -> Callable[[Any, Array, Key], Estimate]:
    """The mean over x `[n, d]` of `(params, x [d], key) -> nats`, computed for 100 vectors at a time, each with its own key."""

    def evaluate(state: Any, x: Array, key: Key) -> Estimate:
        keys = jax.random.split(key, len(x))
        return mean_estimate(lax.map(lambda pair: log_likelihood(state.params, *pair), (x, keys), batch_size=100))

    return evaluate


def every_vector(d: int) -> np.ndarray:
    """All 2^d vectors as rows, `[2^d, d]`, counting in binary with the first unit as the most significant."""
    return ((np.arange(2**d)[:, None] >> np.arange(d)[::-1]) & 1).astype(np.float32)


Transition = Callable[[Array, Key], Sample]
"""`(pixels, key) -> next sample of the chain`"""


def coin_tosses(key: Key, n: int, d: int) -> Sample:
    """Independent fair coin tosses, `[n, d]`, from which chains start."""
    probabilities = jnp.full((n, d), 0.5)
    return Sample(bernoulli(key, probabilities), probabilities)


def run_chain(transition: Transition, key: Key, n: int, d: int, steps: int) -> Sample:
    """The last samples of n chains of the given number of steps."""
    start_key, key = jax.random.split(key)
    step = lambda sample, key: (transition(sample.pixels, key), None)
    return lax.scan(step, coin_tosses(start_key, n, d), jax.random.split(key, steps))[0]


def walk_chain(transition: Transition, key: Key, d: int, steps: int) -> Array:
    """Probabilities along one chain, `[1 + steps, d]`: those that `run_chain` passes through with the same key."""
    start_key, key = jax.random.split(key)
    start = coin_tosses(start_key, 1, d)

    def step(pixels: Array, key: Key) -> tuple[Array, Array]:
        sample = transition(pixels, key)
        return sample.pixels, sample.probabilities[0]

    return jnp.concatenate([start.probabilities, lax.scan(step, start.pixels, jax.random.split(key, steps))[1]])
