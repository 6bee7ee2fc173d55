"""Fully connected networks, for points in the plane and proofs."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.layers import at_least_float32
from gan_jax.typing import Array


class MLP(nn.Module):
    """Dense layers of the given widths, with the activation between them: `[batch, ...] -> [batch, features[-1]]`.

    `squeeze=True` drops the last axis, which must then be 1: a discriminator's logits, `[batch]`. Inputs are flattened and
    multiplied by `input_scale`. With `features_too=True` the call returns `(output, [hidden activations])`.
    """

    features: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: Callable = nn.initializers.lecun_normal()
    input_scale: float = 1.0
    squeeze: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        x = x.reshape(x.shape[0], -1) * self.input_scale
        hidden = []
        for width in self.features[:-1]:
            x = self.activation(nn.Dense(width, dtype=self.dtype, kernel_init=self.kernel_init)(x))
            hidden.append(x)
        x = at_least_float32(nn.Dense(self.features[-1], dtype=self.dtype, kernel_init=self.kernel_init)(x))
        if self.squeeze:
            x = x.squeeze(-1)
        return (x, hidden) if features_too else x
