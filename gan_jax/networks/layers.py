"""Layers that the networks share."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks import convolution
from gan_jax.networks.minibatch import MINIBATCH_LAYERS, MinibatchDiscrimination, MinibatchStddev
from gan_jax.networks.normalization import (
    NORMALIZATIONS,
    ConditionalBatchNorm,
    Normalization,
    VirtualBatchNorm,
    spectral_norm,
    weight_norm,
)
from gan_jax.typing import Array

__all__ = [
    'MINIBATCH_LAYERS',
    'NORMALIZATIONS',
    'ConditionalBatchNorm',
    'Conv',
    'ConvTranspose',
    'MinibatchDiscrimination',
    'MinibatchStddev',
    'Normalization',
    'VirtualBatchNorm',
    'at_least_float32',
    'spectral_norm',
    'weight_norm',
]

Conv = functools.partial(nn.Conv, conv_general_dilated=convolution.conv_general_dilated)
"""`flax.linen.Conv` on the convolutions of `networks.convolution`."""


def at_least_float32(x: Array) -> Array:
    """Outputs of networks that compute in half precision, for losses and metrics."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class ConvTranspose(nn.Module):
    """Transposed ("fractionally strided") convolution, `[n, h, w, c] -> [n, h * strides, w * strides, features]`.

    The exact transpose of a SAME-padded `Conv` with the same kernel size and strides; the kernel is that convolution's, so its
    shape is `[*kernel_size, features, c]`.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()

    feature_axis = -2  # of the kernel: where `weight_norm` finds the output features

    @nn.compact
    def __call__(self, y: Array) -> Array:
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, self.features, y.shape[-1]))
        height, width = (n * s for n, s in zip(y.shape[1:3], self.strides, strict=True))
        geometry = convolution.same_geometry((height, width), self.kernel_size, self.strides)
        x = convolution.conv_input(y.astype(self.dtype), kernel.astype(self.dtype), geometry)
        if self.use_bias:
            x = x + self.param('bias', nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return x
