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
    """Casts an array of any shape to float32 or wider: half-precision networks do so with outputs, for losses and metrics."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Conv(nn.Module):
    """Convolution, `[n, h, w, c] -> [n, h', w', features]`, with the parameters of `flax.linen.Conv`.

    It is computed by `networks.convolution`, and the sums in the gradient of the bias by `networks.channels`.

    Args:
        features: number of output channels.
        kernel_size: height and width of the kernel.
        strides: strides along height and width.
        padding: 'SAME', 'VALID' or `((top, bottom), (left, right))`.
        use_bias: whether to add a bias.
        dtype: dtype of the computation.
        kernel_init: initialiser of the kernel.
        feature_group_count: number of groups of channels.
        kernel_dilation: dilation of the kernel along height and width.
        convolve: `(x, kernel) -> y` in place of a convolution with these strides, padding, groups and dilation, such as
            `resampling.upsample_conv`; the kernel has the dtype of the parameters.
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
    convolve: Callable[[Array, Array], Array] | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.kernel_size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param('kernel', self.kernel_init, shape)
        y = (self.convolve or self._convolve)(x.astype(self.dtype), kernel)
        return with_bias(self, y) if self.use_bias else y

    def _convolve(self, x: Array, kernel: Array) -> Array:
        return convolution.conv_general_dilated(
            x,
            kernel.astype(self.dtype),
            self.strides,
            self.padding,
            rhs_dilation=self.kernel_dilation,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=self.feature_group_count,
        )


def with_bias(layer: nn.Module, y: Array) -> Array:
    """Adds a bias `[c]` to `[n, ..., c]`. It is a parameter of the layer and is initialised to 0."""
    bias = layer.param('bias', nn.initializers.zeros, y.shape[-1:]).astype(y.dtype)
    return y + channel_broadcast(bias, y.shape)


class ConvTranspose(nn.Module):
    """Transposed ("fractionally strided") convolution, `[n, h, w, c] -> [n, h * strides, w * strides, features]`.

    It is the exact transpose of a `Conv` with the same kernel size, strides and padding, and its kernel is the kernel of that
    convolution, of shape `[*kernel_size, features, c]`.

    Args:
        features: number of output channels.
        kernel_size: height and width of the kernel.
        strides: strides along height and width.
        use_bias: whether to add a bias.
        dtype: dtype of the computation.
        kernel_init: initialiser of the kernel, for which, as in PyTorch and unlike in Flax, `features` count as its inputs.
        padding: `((top, bottom), (left, right))` of that convolution; None for SAME.

    Raises `ValueError` for a padding that does not give the result this size.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    padding: tuple[convolution.Pair, convolution.Pair] | None = None

    feature_axis = -2  # the kernel's axis of output features, for `weight_norm`

    @nn.compact
    def __call__(self, y: Array) -> Array:
        kernel = self.param('kernel', self.kernel_init, (*self.kernel_size, self.features, y.shape[-1]))
        height, width = (n * s for n, s in zip(y.shape[1:3], self.strides, strict=True))
        geometry = same_geometry((height, width), self.kernel_size, self.strides)
        if self.padding is not None:
            geometry = dataclasses.replace(geometry, padding=self.padding)
            if geometry.output_size != y.shape[1:3]:
                raise ValueError(f'no convolution with padding {self.padding} maps size {(height, width)} to {y.shape[1:3]}')
        x = convolution.conv_input(y.astype(self.dtype), kernel.astype(self.dtype), geometry)
        return with_bias(self, x) if self.use_bias else x


class Dropout(nn.Module):
    """Dropout with a separate mask for each example, which, unlike that of `flax.linen.Dropout`, does not depend on the devices.

    Maps `[n, ...]` to the same shape: entries are 0 with probability `rate`, and are divided by `1 - rate` otherwise. It drops
    whenever it is called, by the random stream 'noise', which must have the same key on every device and is not required at a
    rate of 0.
    """

    rate: float = 0.5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.rate == 0:
            return x
        keys = parallel.example_keys(len(x), self.make_rng('noise'))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(kept, x / (1 - self.rate), 0) if self.rate < 1 else jnp.zeros_like(x)
