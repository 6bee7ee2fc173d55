"""A variational auto-encoder (Kingma and Welling 2014): an explicit density with a tractable lower bound."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from experiments.taxonomy.common import Model, Sample, State, bernoulli, bernoulli_log_prob, each, every_vector, learner
from gan_jax import networks
from gan_jax.latents import kl_to_standard_normal
from gan_jax.typing import Array, Key

GRID = 121
"""Number of points along each latent in `distribution`, from -6 to 6."""


def model(d: int, *, hidden: int, latent: int, optimizer: optax.GradientTransformation, samples: int = 50) -> Model:
    """p(x) = integral of N(z; 0, I) prod_i Bernoulli(x_i; z) dz, with an encoder q(z|x) = N(mu, diag(sigma^2)).

    Encoder and decoder have one hidden layer each.

    Args:
        d: Number of pixels.
        hidden: Units in the hidden layers.
        latent: Latent size.
        optimizer: Optimizer of both networks.
        samples: k of the importance-weighted bound (Burda et al. 2016, eq. 8).
    """
    encoder, decoder = networks.MLP((hidden, 2 * latent)), networks.MLP((hidden, d))

    def init(key: Key) -> tuple[dict, tuple]:
        keys = jax.random.split(key)
        encoder_variables = encoder.init(keys[0], jnp.zeros((1, d)))
        return {'encoder': encoder_variables, 'decoder': decoder.init(keys[1], jnp.zeros((1, latent)))}, ()

    def decode(params: dict, z: Array) -> Array:
        return decoder.apply(params['decoder'], z)  # type: ignore[return-value]

    def encode(params: dict, x: Array) -> tuple[Array, Array]:
        """mu and log sigma^2, each `[n, latent]`."""
        return tuple(jnp.split(encoder.apply(params['encoder'], x), 2, axis=-1))  # type: ignore[arg-type, return-value]

    def elbo(params: dict, x: Array, key: Key) -> Array:
        """The bound of eq. 10 with one draw of z for each x and the KL in closed form, `[n]`."""
        mu, log_variance = encode(params, x)
        z = mu + jnp.exp(log_variance / 2) * jax.random.normal(key, mu.shape)
        return bernoulli_log_prob(x, decode(params, z)) - kl_to_standard_normal(mu, log_variance)

    def importance_weighted(params: dict, x: Array, key: Key) -> Array:
        """The bound on log p(x) of Burda et al. 2016, eq. 8, for x `[d]`: the log of the mean of k weights p(x, z) / q(z|x)."""
        mu, log_variance = (value[0] for value in encode(params, x[None]))
        noise = jax.random.normal(key, (samples, latent))
        z = mu + jnp.exp(log_variance / 2) * noise
        log_ratio = ((noise**2 - z**2).sum(-1) + log_variance.sum()) / 2  # log p(z) - log q(z|x)
        return jax.nn.logsumexp(bernoulli_log_prob(x, decode(params, z)) + log_ratio) - jnp.log(samples)

    def loss(params: dict, memory: tuple, x: Array, key: Key) -> tuple[Array, tuple]:
        return -elbo(params, x, key).mean(), memory

    def sample(state: State, key: Key, n: int) -> Sample:
        z_key, x_key = jax.random.split(key)
        probabilities = jax.nn.sigmoid(decode(state.params, jax.random.normal(z_key, (n, latent))))
        return Sample(bernoulli(x_key, probabilities), probabilities)

    def distribution(state: State) -> Array:
        """The integral over z by the trapezoidal rule. Raises `ValueError` for more than two latents."""
        if latent > 2:
            raise ValueError(f'the integral requires one or two latents, not {latent}')
        points = jnp.stack(jnp.meshgrid(*[jnp.linspace(-6, 6, GRID)] * latent), -1).reshape(-1, latent)
        log_weights = jax.nn.log_softmax(-(points**2).sum(-1) / 2)
        logits = decode(state.params, points)
        constants = log_weights - jax.nn.softplus(logits).sum(-1)
        return lax.map(lambda x: jax.nn.logsumexp(logits @ x + constants), every_vector(d), batch_size=64)

    return Model(
        *learner(init, loss, optimizer),
        parameters=lambda state: state.params,
        sample=sample,
        passes=1,
        evaluate={
            f'bound, {samples} importance samples': each(importance_weighted),
            'bound, ELBO': each(lambda params, x, key: elbo(params, x[None], key)[0]),
        },
        distribution=distribution,
    )
