"""Fully connected networks, for points in the plane and for checks of theory."""

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
    """Dense layers with an activation between them: `[n, ...] -> [n, features[-1]]`.

    Inputs are flattened. With `features_too=True`, a call returns `(output, hidden activations)`. With `classes`, a call takes
    `(x, labels [n])`, and batch norm has a scale and a bias for each class. A network with `squeeze` or a minibatch layer is
    treated as a discriminator.

    Args:
        features: widths of the layers.
        activation: nonlinearity of the hidden layers.
        kernel_init: initialiser of the kernels.
        input_scale: factor of the inputs.
        squeeze: whether to drop the last axis, which must be 1, as for the logits `[n]` of a discriminator.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`, for the weights of every layer or the outputs of the hidden ones.
        minibatch: member of `layers.MINIBATCH_LAYERS` that precedes the last layer, with settings as in
            'discrimination:features=50'.
        reference_size: number of inputs in the reference batch of norm 'virtual', as in a generator.
        classes: number of classes; 0 for an unconditional network.

    Raises `InputError` for norm 'virtual' in a discriminator and for classes with a norm other than 'batch', and `ValueError` if
    labels are given without classes or are missing with them.
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
    """An `MLP` that generates images: `[n, latent] -> [n, *shape]` in [-1, 1], by tanh.

    Args:
        shape: shape of an image.
        features: widths of the hidden layers.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`, as in `MLP`.
    """

    shape: Sequence[int]
    features: Sequence[int]
    dtype: Any = jnp.float32
    norm: str = 'none'

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        widths = (*self.features, math.prod(self.shape))
        x = MLP(widths, dtype=self.dtype, norm=self.norm)(z, train=train)
        return jnp.tanh(x).reshape(-1, *self.shape)
