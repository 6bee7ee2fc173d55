"""A fully visible belief network: MADE (Germain et al. 2015), whose likelihood is exact and whose sampling is sequential."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.taxonomy.common import Model, Sample, State, bernoulli, bernoulli_log_prob, each, every_vector, learner
from gan_jax.typing import AnyArray, Array, Key


def masks(d: int, hidden: Sequence[int]) -> list[np.ndarray]:
    """Masks of zeros and ones for the weights of each layer, `[inputs, outputs]` (Germain et al. 2015, eqs. 8 and 9).

    Pixel i has degree i, from 1 to d; hidden units have degrees 1 to d - 1 in turn. A hidden unit sees units of degree up to its
    own, an output only those of a lower degree, so output i is a function of pixels 1 to i - 1.
    """
    pixels = np.arange(d) + 1
    degrees = [pixels, *(np.arange(width) % max(1, d - 1) + 1 for width in hidden)]
    seen = [degrees[i][:, None] <= degrees[i + 1] for i in range(len(hidden))]
    return [mask.astype(np.float32) for mask in (*seen, degrees[-1][:, None] < pixels)]


class MADE(nn.Module):
    """`x [..., d] -> logits [..., d]` of each pixel, conditioned on those before it.

    Without hidden layers, this is one logistic regression per pixel (Frey et al. 1996).
    """

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i, mask in enumerate(masks(x.shape[-1], self.hidden)):
            weights = self.param(f'weights_{i}', nn.initializers.lecun_normal(), mask.shape)
            x = (nn.relu(x) if i else x) @ (weights * mask) + self.param(f'bias_{i}', nn.initializers.zeros, mask.shape[1:])
        return x


def model(d: int, *, hidden: Sequence[int], optimizer: optax.GradientTransformation) -> Model:
    """p(x) = prod_i p(x_i | x_1 ... x_{i-1}), with pixels in row-major order from the top left."""
    network = MADE(tuple(hidden))

    def logits(params: dict, x: AnyArray) -> Array:
        return network.apply(params, x)  # type: ignore[return-value]

    def log_likelihood(params: dict, x: AnyArray) -> Array:
        return bernoulli_log_prob(x, logits(params, x))

    def init(key: Key) -> tuple[dict, tuple]:
        return network.init(key, jnp.zeros(d)), ()  # type: ignore[return-value]

    def loss(params: dict, memory: tuple, x: Array, key: Key) -> tuple[Array, tuple]:
        return -log_likelihood(params, x).mean(), memory

    def sample(state: State, key: Key, n: int) -> Sample:
        """One pass per pixel, because each pixel depends on all pixels before it."""

        def draw(sample: Sample, step: tuple[Array, Key]) -> tuple[Sample, None]:
            i, key = step
            p = jax.nn.sigmoid(logits(state.params, sample.pixels)[:, i])
            return Sample(sample.pixels.at[:, i].set(bernoulli(key, p)), sample.probabilities.at[:, i].set(p)), None

        blank = jnp.zeros((n, d))
        return lax.scan(draw, Sample(blank, blank), (jnp.arange(d), jax.random.split(key, d)))[0]

    return Model(
        *learner(init, loss, optimizer),
        parameters=lambda state: state.params,
        sample=sample,
        passes=d,
        evaluate={'exact': each(lambda params, x, key: log_likelihood(params, x))},
        distribution=lambda state: log_likelihood(state.params, every_vector(d)),
    )
