"""A denoising chain (Bengio et al. 2013, 2014): it learns to undo noise and samples by adding and undoing it; no density."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from experiments.taxonomy.common import (
    Model,
    Sample,
    State,
    bernoulli,
    bernoulli_log_prob,
    every_vector,
    learner,
    run_chain,
    walk_chain,
)
from gan_jax import networks
from gan_jax.typing import AnyArray, Array, Key


def corrupt(x: Array, key: Key, noise: float) -> Array:
    """Salt-and-pepper noise: with probability `noise`, each pixel is replaced by the toss of a fair coin."""
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < noise / 2, 0.0, jnp.where(u < noise, 1.0, x))


def model(
    d: int,
    *,
    hidden: int,
    optimizer: optax.GradientTransformation,
    noise: float = 0.4,
    walkback: int = 3,
    sampling_steps: int = 200,
) -> Model:
    """The Markov chain x -> corrupt -> network -> x'. Samples come from chains of `sampling_steps` steps that start from noise.

    The noise acts on the pixels alone (a generalised denoising auto-encoder). With walkback, the network also learns to return to
    x from the states that `walkback` steps of its own chain lead to (Bengio et al. 2013, algorithm 1, with a fixed number of
    steps).

    Args:
        d: Number of pixels.
        hidden: Units in the hidden layer.
        optimizer: Optimizer of the network.
        noise: Probability that a pixel is corrupted.
        walkback: Number of steps of the chain in the loss.
        sampling_steps: Number of steps from noise to a sample.
    """
    network = networks.MLP((hidden, d), activation=nn.tanh)

    def logits(params: dict, x: AnyArray) -> Array:
        return network.apply(params, x)  # type: ignore[return-value]

    def transition(params: dict, x: Array, key: Key) -> Sample:
        noise_key, key = jax.random.split(key)
        probabilities = jax.nn.sigmoid(logits(params, corrupt(x, noise_key, noise)))
        return Sample(bernoulli(key, probabilities), probabilities)

    def init(key: Key) -> tuple[dict, tuple]:
        return network.init(key, jnp.zeros((1, d))), ()  # type: ignore[return-value]

    def loss(params: dict, memory: tuple, x: Array, key: Key) -> tuple[Array, tuple]:
        """-log p(x | corrupted), averaged along the walk."""

        def step(here: Array, key: Key) -> tuple[Array, Array]:
            noise_key, key = jax.random.split(key)
            out = logits(params, corrupt(here, noise_key, noise))
            there = bernoulli(key, jax.nn.sigmoid(lax.stop_gradient(out)))
            return there, -bernoulli_log_prob(x, out).mean()

        return lax.scan(step, x, jax.random.split(key, walkback))[1].mean(), memory

    def distribution(state: State) -> Array:
        """log p after `sampling_steps` steps from coin tosses, by the chain's 2^d x 2^d transition matrix."""
        x = every_vector(d)
        out = logits(state.params, x)
        undo = jnp.exp(out @ x.T - jax.nn.softplus(out).sum(-1, keepdims=True))  # [corrupted, next]

        def step(_: int, p: Array) -> Array:
            p = p.reshape((2,) * d)
            for axis in range(d):  # corruption acts on each pixel alone
                p = (1 - noise) * p + noise / 2 * p.sum(axis, keepdims=True)
            return p.reshape(-1) @ undo

        return jnp.log(lax.fori_loop(0, sampling_steps, step, jnp.full(2**d, 2.0**-d)))

    chain = lambda state: lambda x, key: transition(state.params, x, key)
    return Model(
        *learner(init, loss, optimizer),
        parameters=lambda state: state.params,
        sample=lambda state, key, n: run_chain(chain(state), key, n, d, sampling_steps),
        passes=sampling_steps,
        distribution=distribution,
        walk=lambda state, key: walk_chain(chain(state), key, d, sampling_steps),
    )
