"""Networks of BiGAN and ALI (Donahue et al. 2017, Dumoulin et al. 2017): discriminators of pairs, and random codes."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.networks.mlp import MLP
from gan_jax.typing import Array


class PairDiscriminator(nn.Module):
    """A discriminator of examples and codes, `(examples [n, ...], codes [n, size]) -> logits [n]`, as in ALI (section 2.6).

    The output of the network on the examples, joined to the codes, passes through dense layers. With `features_too=True`, a call
    returns `(logits, features)`: those of the network, then those of the dense layers.

    Args:
        network: maps examples to `[n, d]`.
        widths: number of units of the hidden dense layers.
        norm: member of `layers.NORMALIZATIONS`, for the dense layers.
        minibatch: member of `layers.MINIBATCH_LAYERS` that precedes the last layer.
        dtype: dtype of the dense layers' computation.
    """

    network: nn.Module
    widths: Sequence[int]
    norm: str = 'none'
    minibatch: str = 'none'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, codes: Array, *, train: bool = True, features_too: bool = False) -> Any:
        seen, maps = self.network(x, train=train, features_too=True)
        joined = jnp.concatenate([nn.leaky_relu(seen, 0.2), codes], -1)
        how: dict[str, Any] = {'norm': self.norm, 'minibatch': self.minibatch, 'dtype': self.dtype}
        dense = MLP((*self.widths, 1), lambda x: nn.leaky_relu(x, 0.2), squeeze=True, **how)
        logits, hidden = dense(joined, train=train, features_too=True)
        return (logits, [*maps, *hidden]) if features_too else logits


class StochasticEncoder(nn.Module):
    """An encoder that draws its codes, `examples [n, ...] -> [n, size]`, as ALI's does (Dumoulin et al. 2017, section 2).

    The network maps examples to `[n, 2 size]`, the means and then the logarithms of the variances of independent normal
    distributions. Codes are drawn whenever it is called, by the random stream 'noise' with a key for each example.
    """

    network: nn.Module

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        mean, log_variance = jnp.split(self.network(x, train=train), 2, -1)
        keys = parallel.example_keys(len(x), self.make_rng('noise'))
        return mean + jnp.exp(log_variance / 2) * jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
