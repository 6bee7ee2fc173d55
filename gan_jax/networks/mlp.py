"""Fully connected networks, for points in the plane and proofs."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.layers import at_least_float32
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization, with_labels, with_reference
from gan_jax.typing import Array


class MLP(nn.Module):
    """Dense layers of the given widths, with the activation between them: `[batch, ...] -> [batch, features[-1]]`.

    `squeeze=True` drops the last axis, which must then be 1: a discriminator's logits, `[batch]`. Inputs are flattened and
    multiplied by `input_scale`. With `features_too=True` the call returns `(output, [hidden activations])`.

    `norm` is a member of `layers.NORMALIZATIONS`, for the weights of every layer or the output of every hidden one. With
    'virtual' the network holds a reference batch of `reference_size` inputs, as a generator's are. `minibatch`
    is a member of `layers.MINIBATCH_LAYERS`, with its settings as in 'discrimination:features=50', put before the last layer.
    What is squeezed, or has a minibatch layer, is a discriminator: `InputError` for norm 'virtual'.

    With `classes` and norm 'batch' a call is `(x, labels [batch])`, and batch norm has a scale and a bias for each class.
    """

    features: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: Callable = nn.initializers.lecun_normal()
    input_scale: float = 1.0
    squeeze: bool = False
    dtype: Any = jnp.float32
    norm: str = 'none'
    minibatch: str = 'none'
    reference_size: int = 64
    classes: int = 0

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool = True, features_too: bool = False) -> Any:
        judges = self.squeeze or self.minibatch != 'none'
        normalization = discriminator_normalization(self.norm) if judges else NORMALIZATIONS[self.norm]
        reference = self.reference_size if normalization.needs_reference else 0
        wrap, norm = normalization.parts(train, self.dtype, reference=reference)
        norm = with_labels(norm, self.norm, self.classes, labels, train=train, dtype=self.dtype)
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        x = with_reference(self, x, reference)
        x = x.reshape(x.shape[0], -1) * self.input_scale
        hidden = []
        for width in self.features[:-1]:
            x = self.activation(norm()(wrap(dense(width, use_bias=normalization.use_bias))(x)))
            hidden.append(x[reference:])
        x = minibatch_layer(self.minibatch)(x[reference:])
        x = at_least_float32(wrap(dense(self.features[-1]))(x))
        if self.squeeze:
            x = x.squeeze(-1)
        return (x, hidden) if features_too else x


class MLPGenerator(nn.Module):
    """An `MLP` that makes images: `[n, latent] -> [n, *shape]` in [-1, 1], by tanh."""

    shape: Sequence[int]
    features: Sequence[int]
    """Widths of the hidden layers."""
    dtype: Any = jnp.float32
    norm: str = 'none'
    """As in `MLP`."""

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        widths = (*self.features, math.prod(self.shape))
        x = MLP(widths, dtype=self.dtype, norm=self.norm)(z, train=train)
        return jnp.tanh(x).reshape(-1, *self.shape)
