"""Layers with an equalised learning rate (Karras et al. 2018, section 4.1), of which StyleGAN2's networks consist.

Weights are N(0, 1) as stored and are multiplied by 1 / sqrt(fan in) as used. Adam's step, whose size does not depend on the scale
of the gradient, is then as large relative to the weights in every layer. A multiplier m of the learning rate stores N(0, 1 / m^2)
and multiplies by m as well, so that a step changes the layer m times as much.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks import convolution
from gan_jax.networks.channels import channel_broadcast
from gan_jax.networks.layers import with_bias
from gan_jax.networks.resampling import filtered
from gan_jax.typing import Array

FILTER = (1, 3, 3, 1)
"""The resampling filter of StyleGAN2."""


def scaled_leaky_relu(x: Array) -> Array:
    """LeakyReLU(0.2) times sqrt(2), elementwise, which about preserves the mean square of a normal input."""
    return math.sqrt(2) * nn.leaky_relu(x, 0.2)


class EqualizedDense(nn.Module):
    """A linear map of the last axis, `[n, ..., c] -> [n, ..., features]`.

    Args:
        features: number of output features.
        multiplier: that of the learning rate of the weights and the bias.
        use_bias: whether to add a bias.
        bias_init: the value of the bias at initialisation.
        dtype: dtype of the computation.
    """

    features: int
    multiplier: float = 1.0
    use_bias: bool = True
    bias_init: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        fan_in = x.shape[-1]
        kernel = self.param('kernel', nn.initializers.normal(1 / self.multiplier), (fan_in, self.features))
        y = x.astype(self.dtype) @ (self.multiplier / math.sqrt(fan_in) * kernel).astype(self.dtype)
        if not self.use_bias:
            return y
        bias = self.param('bias', nn.initializers.constant(self.bias_init / self.multiplier), (self.features,))
        return y + channel_broadcast((self.multiplier * bias).astype(y.dtype), y.shape)


class EqualizedConv(nn.Module):
    """A 3 x 3 convolution with a bias, `[n, h, w, c] -> [n, h, w, features]`.

    Args:
        features: number of output channels.
        down: whether to shrink the result to `[n, h / 2, w / 2, features]`, through FILTER; h and w must then be even.
        dtype: dtype of the computation.
    """

    features: int
    down: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.astype(self.dtype)
        kernel = equalized_kernel(self, (3, 3, x.shape[-1], self.features)).astype(self.dtype)
        if self.down:
            x = filtered(x, FILTER, padding=(2, 2))
        strides, padding = ((2, 2), 'VALID') if self.down else ((1, 1), 'SAME')
        y = convolution.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        return with_bias(self, y)


def equalized_kernel(layer: nn.Module, shape: tuple[int, int, int, int]) -> Array:
    """The kernel of a layer, a parameter of this shape `[a, b, c, o]`, divided by sqrt(a b c)."""
    return layer.param('kernel', nn.initializers.normal(1.0), shape) / math.sqrt(math.prod(shape[:3]))
