"""A restricted Boltzmann machine trained by persistent contrastive divergence (Tieleman 2008): an unnormalised density."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from experiments.taxonomy.common import Model, Sample, State, bernoulli, coin_tosses, every_vector, learner, run_chain, walk_chain
from gan_jax.metrics.estimates import Estimate
from gan_jax.typing import AnyArray, Array, Key

ENUMERABLE = 16
"""Largest number of hidden units whose states are enumerated for the partition function."""


class Parameters(NamedTuple):
    """The parameters of p(v, h), which is proportional to exp(v'Wh + b'v + c'h)."""

    weights: Array
    """W, `[d, hidden]`"""
    visible: Array
    """b, `[d]`"""
    hidden: Array
    """c, `[hidden]`"""


def free_energy(params: Parameters, v: Array) -> Array:
    """F(v), `[n, d] -> [n]`: minus the log of the sum over h of exp(v'Wh + b'v + c'h), so that p(v) = exp(-F(v)) / Z."""
    return -(v @ params.visible + jax.nn.softplus(v @ params.weights + params.hidden).sum(-1))


def gibbs(params: Parameters, v: Array, key: Key) -> Sample:
    """One step of block Gibbs sampling: all hidden units given v `[n, d]`, then all visible units."""
    h_key, v_key = jax.random.split(key)
    h = bernoulli(h_key, jax.nn.sigmoid(v @ params.weights + params.hidden))
    probabilities = jax.nn.sigmoid(h @ params.weights.T + params.visible)
    return Sample(bernoulli(v_key, probabilities), probabilities)


def log_partition(params: Parameters) -> Array:
    """The exact log Z: a sum over all states of the hidden units, with the visible units summed out analytically."""
    h = every_vector(len(params.hidden))
    terms = lambda h: h @ params.hidden + jax.nn.softplus(params.weights @ h + params.visible).sum()
    return jax.nn.logsumexp(lax.map(terms, h, batch_size=1024))


def annealed_log_partition(
    params: Parameters, base: AnyArray, key: Key, *, temperatures: int = 5000, chains: int = 64
) -> tuple[Array, Array]:
    """log Z by annealed importance sampling (Salakhutdinov and Murray 2008, eqs. 10 to 18), and its standard error.

    Starts from independent pixels with logits `base [d]` and anneals through machines with visible biases (1 - t) base + t b,
    weights t W and hidden biases t c. The mean weight is an unbiased estimate of Z. Its logarithm is too small on average, and by
    more than the standard error suggests if few chains carry the weight.

    Args:
        params: The machine.
        base: Logits of the pixels at the start, `[d]`.
        key: Random key.
        temperatures: Number of annealing steps.
        chains: Number of independent chains.
    """
    start_key, key = jax.random.split(key)
    ladder = jnp.linspace(0, 1, temperatures + 1)
    between = lambda t: Parameters(t * params.weights, (1 - t) * base + t * params.visible, t * params.hidden)

    def climb(carry: tuple[Array, Array], rung: tuple[Array, Array, Key]) -> tuple[tuple[Array, Array], None]:
        v, log_weights = carry
        low, high = between(rung[0]), between(rung[1])
        return (gibbs(high, v, rung[2]).pixels, log_weights + free_energy(low, v) - free_energy(high, v)), None

    start = bernoulli(start_key, jnp.broadcast_to(jax.nn.sigmoid(base), (chains, len(base))))
    rungs = ladder[:-1], ladder[1:], jax.random.split(key, temperatures)
    log_weights = lax.scan(climb, (start, jnp.zeros(chains)), rungs)[0][1]
    log_mean = jax.nn.logsumexp(log_weights) - jnp.log(chains)
    log_base = jax.nn.softplus(base).sum() + len(params.hidden) * jnp.log(2)
    return log_base + log_mean, jnp.exp(log_weights - log_mean).std(ddof=1) / chains**0.5


def model(
    marginals: AnyArray,
    *,
    hidden: int,
    optimizer: optax.GradientTransformation,
    chains: int = 100,
    sampling_steps: int = 1000,
    temperatures: int = 5000,
) -> Model:
    """A machine whose visible biases start from the pixels' frequencies.

    Args:
        marginals: Frequencies of the pixels, `[d]`, each between 0 and 1.
        hidden: Number of hidden units.
        optimizer: Optimizer of the parameters.
        chains: Number of persistent chains, which take one Gibbs step per update.
        sampling_steps: Number of Gibbs steps from noise to a sample.
        temperatures: Number of annealing steps for the partition function.
    """
    d, base = len(marginals), jnp.log(marginals) - jnp.log1p(-marginals)

    def init(key: Key) -> tuple[Parameters, Array]:
        weights_key, chains_key = jax.random.split(key)
        weights = 0.01 * jax.random.normal(weights_key, (d, hidden))
        return Parameters(weights, base, jnp.zeros(hidden)), coin_tosses(chains_key, chains, d).pixels

    def loss(params: Parameters, memory: Array, x: Array, key: Key) -> tuple[Array, Array]:
        """A surrogate whose gradient is that of -log p(x), with the chains in place of the model's expectation."""
        memory = gibbs(lax.stop_gradient(params), memory, key).pixels
        return free_energy(params, x).mean() - free_energy(params, memory).mean(), memory

    def evaluate(state: State, x: Array, key: Key) -> Estimate:
        if hidden <= ENUMERABLE:
            log_z, error = log_partition(state.params), jnp.zeros(())
        else:
            log_z, error = annealed_log_partition(state.params, base, key, temperatures=temperatures)
        values = -free_energy(state.params, x)
        return Estimate(values.mean() - log_z, jnp.hypot(values.std(ddof=1) / len(x) ** 0.5, error))

    step = lambda state: lambda v, key: gibbs(state.params, v, key)
    kind = 'exact' if hidden <= ENUMERABLE else 'estimate, annealed'
    return Model(
        *learner(init, loss, optimizer),
        parameters=lambda state: state.params,
        sample=lambda state, key, n: run_chain(step(state), key, n, d, sampling_steps),
        passes=sampling_steps,
        evaluate={kind: evaluate},
        distribution=lambda state: jax.nn.log_softmax(-free_energy(state.params, jnp.asarray(every_vector(d)))),
        walk=lambda state, key: walk_chain(step(state), key, d, sampling_steps),
    )
