"""What a generative model of binary vectors is, here: pure functions that one loop trains and one table compares.

Vectors x are `[n, d]`, of zeros and ones in float32; log-likelihoods are in nats.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax

from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.parzen import mean_estimate
from gan_jax.typing import AnyArray, Array, Key, Metrics

Update = Callable[[Any, Array], tuple[Any, Metrics]]
"""`(state, x) -> (state, metrics)`"""


class Sample(NamedTuple):
    """What a model draws, `[n, d]` each."""

    pixels: Array
    """0 or 1"""
    probabilities: Array
    """Of a 1 in the draw that made the pixel, given all that was drawn before it."""


class Model(NamedTuple):
    """A generative model. Its state is arrays only, and has a `step`."""

    init: Callable[[Key], Any]
    step: Update
    parameters: Callable[[Any], Any]
    """`state -> what was learned`"""
    sample: Callable[[Any, Key, int], Sample]
    """`(state, key, n) -> sample`"""
    passes: int
    """How often a sample passes through the network, one pass after the other."""
    evaluate: Mapping[str, Callable[[Any, Array, Key], Estimate]] = {}
    """What is known of log p(x): its kind -> `(state, x, key) -> mean over x`. The best kind comes first."""
    distribution: Callable[[Any], Array] | None = None
    """`state -> log p` of every vector, in the order of `every_vector`, `[2^d]`. Only for few units."""
    walk: Callable[[Any, Key], Array] | None = None
    """`(state, key) -> probabilities [1 + passes, d]` along one sample's chain, from where it starts."""


@struct.dataclass
class State:
    """Of a model that descends one loss. The random numbers of step n come from `fold_in(key, n)`."""

    step: Array
    key: Key
    params: Any
    memory: Any
    """What the loss keeps from step to step."""
    opt_state: optax.OptState


Loss = Callable[[Any, Any, Array, Key], tuple[Array, Any]]
"""`(params, memory, x, key) -> (loss, memory)`"""


def learner(
    init: Callable[[Key], tuple[Any, Any]], loss: Loss, optimizer: optax.GradientTransformation
) -> tuple[Callable[[Key], State], Update]:
    """`init` and `step` of a model that descends one loss; `init(key) -> (params, memory)`."""

    def initial(key: Key) -> State:
        init_key, key = jax.random.split(key)
        params, memory = init(init_key)
        return State(jnp.int32(0), key, params, memory, optimizer.init(params))

    def step(state: State, x: Array) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        (value, memory), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, state.memory, x, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return State(state.step + 1, state.key, optax.apply_updates(state.params, updates), memory, opt_state), {'loss': value}

    return initial, step


def bernoulli_log_prob(x: AnyArray, logits: Array) -> Array:
    """log p(x) of independent units, `[..., d] -> [...]`: the sum of x l - softplus(l)."""
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def bernoulli(key: Key, probabilities: Array) -> Array:
    """Zeros and ones in float, of the shape of the probabilities."""
    return jax.random.bernoulli(key, probabilities).astype(probabilities.dtype)


def each(log_likelihood: Callable[[Any, Array, Key], Array]) -> Callable[[Any, Array, Key], Estimate]:
    """The mean over x `[n, d]` of `(params, x [d], key) -> nats`, a hundred vectors at a time, each with its own key."""

    def evaluate(state: Any, x: Array, key: Key) -> Estimate:
        keys = jax.random.split(key, len(x))
        return mean_estimate(lax.map(lambda pair: log_likelihood(state.params, *pair), (x, keys), batch_size=100))

    return evaluate


def every_vector(d: int) -> np.ndarray:
    """All 2^d vectors as rows, counting in binary: the first unit is the most significant."""
    return ((np.arange(2**d)[:, None] >> np.arange(d)[::-1]) & 1).astype(np.float32)


Transition = Callable[[Array, Key], Sample]
"""`(pixels, key) -> the chain's next sample`"""


def coin_tosses(key: Key, n: int, d: int) -> Sample:
    """Where chains start."""
    probabilities = jnp.full((n, d), 0.5)
    return Sample(bernoulli(key, probabilities), probabilities)


def run_chain(transition: Transition, key: Key, n: int, d: int, steps: int) -> Sample:
    """The last samples of n chains."""
    start_key, key = jax.random.split(key)
    step = lambda sample, key: (transition(sample.pixels, key), None)
    return lax.scan(step, coin_tosses(start_key, n, d), jax.random.split(key, steps))[0]


def walk_chain(transition: Transition, key: Key, d: int, steps: int) -> Array:
    """Probabilities along one chain, `[1 + steps, d]`: what `run_chain` passes through, by the same key."""
    start_key, key = jax.random.split(key)
    start = coin_tosses(start_key, 1, d)

    def step(pixels: Array, key: Key) -> tuple[Array, Array]:
        sample = transition(pixels, key)
        return sample.pixels, sample.probabilities[0]

    return jnp.concatenate([start.probabilities, lax.scan(step, start.pixels, jax.random.split(key, steps))[1]])
