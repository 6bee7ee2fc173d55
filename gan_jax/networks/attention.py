"""Self-attention over the positions of a map (Zhang et al. 2019)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, at_least_float32
from gan_jax.networks.normalization import NORMALIZATIONS
from gan_jax.typing import Array


class SelfAttention(nn.Module):
    """Every position attends to all others, `[n, h, w, c]` to the same shape (Zhang et al. 2019, section 3, as in BigGAN's code).

        y_i = x_i + gamma W sum_j softmax_j(q_i . k_j) v_j

    Queries q and keys k have c / 8 channels and values v have c / 2; they and W are 1 x 1 convolutions without biases. Keys and
    values are max-pooled over blocks of 2 x 2 positions (an odd last row or column is left out). gamma is a learned scalar that
    is 0 at first. Logits are not divided by the root of the number of channels.

    Args:
        norm: member of `layers.NORMALIZATIONS`, of which only the part that acts on weights applies.
        dtype: dtype of the computation; the softmax is float32.
        kernel_init: initialiser of the convolutions.

    Raises `InputError` for maps with a side below 2.
    """

    norm: str = 'spectral'
    dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        n, h, w, c = x.shape
        if min(h, w) < 2:
            raise InputError(f'self-attention requires maps of at least 2 x 2 positions, not {h} x {w}')
        wrap, _ = NORMALIZATIONS[self.norm].parts(train, self.dtype)

        def projected(x: Array, channels: int) -> Array:
            how: dict[str, Any] = {'use_bias': False, 'dtype': self.dtype, 'kernel_init': self.kernel_init}
            return wrap(Conv(features=max(1, channels), kernel_size=(1, 1), **how))(x)

        queries = projected(x, c // 8).reshape(n, h * w, -1)
        keys = _pooled(projected(x, c // 8))
        values = _pooled(projected(x, c // 2))
        weights = jax.nn.softmax(at_least_float32(queries @ keys.swapaxes(1, 2)))
        seen = (weights.astype(values.dtype) @ values).reshape(n, h, w, -1)
        gamma = self.param('gamma', nn.initializers.zeros, ())
        return x + gamma.astype(x.dtype) * projected(seen, c).astype(x.dtype)


def _pooled(x: Array) -> Array:
    """The largest entries of blocks of 2 x 2 positions, as rows: `[n, h, w, c] -> [n, (h // 2) (w // 2), c]`."""
    n, h, w, c = x.shape
    blocks = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    return blocks.max((2, 4)).reshape(n, -1, c)
