"""Layers that the networks share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.networks import convolution
from gan_jax.networks.channels import channel_broadcast
from gan_jax.networks.geometry import same_geometry
from gan_jax.networks.minibatch import MINIBATCH_LAYERS, MinibatchDiscrimination, MinibatchStddev
from gan_jax.networks.normalization import (
    NORMALIZATIONS,
    ConditionalBatchNorm,
    Normalization,
    VirtualBatchNorm,
)
from gan_jax.networks.weight_normalization import spectral_norm, weight_norm
from gan_jax.typing import Array

__all__ = [
    'MINIBATCH_LAYERS',
    'NORMALIZATIONS',
    'ConditionalBatchNorm',
    'Conv',
    'ConvTranspose',
    'Dropout',
    'MinibatchDiscrimination',
    'MinibatchStddev',
    'Normalization',
    'VirtualBatchNorm',
    'at_least_float32',
    'spectral_norm',
    'weight_norm',
    'with_bias',
]


def at_least_float32(x: Array) -> Array:
    """Outputs of networks that compute in half precision, for losses and metrics."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Conv(nn.Module):
    """Convolution, `[n, h, w, c] -> [n, h', w', features]`: `flax.linen.Conv` and its parameters, by this library's maps.

    Its convolutions are those of `networks.convolution`, and the sums in its bias' gradient those of `networks.channels`.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[convolution.Pair, convolution.Pair] = 'SAME'
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    feature_group_count: int = 1
    kernel_dilation: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.kernel_size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param('kernel', self.kernel_init, shape).astype(self.dtype)
        y = convolution.conv_general_dilated(
            x.astype(self.dtype),
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.kernel_dilation,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=self.feature_group_count,
        )
        return with_bias(self, y) if self.use_bias else y


def with_bias(layer: nn.Module, y: Array) -> Array:
    """`[n, ..., c]` plus a bias `[c]` that is a parameter of the layer, at 0 when it is initialised."""
    bias = layer.param('bias', nn.initializers.zeros, y.shape[-1:]).astype(y.dtype)
    return y + channel_broadcast(bias, y.shape)


class ConvTranspose(nn.Module):
    """Transposed ("fractionally strided") convolution, `[n, h, w, c] -> [n, h * strides, w * strides, features]`.

    The exact transpose of a `Conv` with the same kernel size, strides and padding; the kernel is that convolution's, so its
    shape is `[*kernel_size, features, c]`.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    padding: tuple[convolution.Pair, convolution.Pair] | None = None
    """SAME if it is not given."""

    feature_axis = -2  # of the kernel: where `weight_norm` finds the output features

    @nn.compact
    def __call__(self, y: Array) -> Array:
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, self.features, y.shape[-1]))
        height, width = (n * s for n, s in zip(y.shape[1:3], self.strides, strict=True))
        geometry = same_geometry((height, width), self.kernel_size, self.strides)
        if self.padding is not None:
            geometry = dataclasses.replace(geometry, padding=self.padding)
            if geometry.output_size != y.shape[1:3]:
                raise ValueError(f'no convolution with padding {self.padding} takes {(height, width)} to {y.shape[1:3]}')
        x = convolution.conv_input(y.astype(self.dtype), kernel.astype(self.dtype), geometry)
        return with_bias(self, x) if self.use_bias else x


class Dropout(nn.Module):
    """Dropout whose mask is each example's own: the same on one device and on many, as that of `flax.linen.Dropout` is not.

    `[n, ...] -> [n, ...]`, entries 0 with probability `rate` and otherwise divided by `1 - rate`. It drops whenever it is
    called, by the random stream 'noise', and needs none at a rate of 0. The stream's key is the same on every
    device.
    """

    rate: float = 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.rate == 0:
            return x
        keys = parallel.example_keys(len(x), self.make_rng('noise'))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(kept, x / (1 - self.rate), 0)
