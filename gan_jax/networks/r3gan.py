"""R3GAN's residual networks (Huang et al. 2024, section 3, config D), which mirror each other and have no normalisation.

A stage is a bilinear resampling (down to a side of 4), a 1 x 1 convolution if the width changes, and residual blocks: 1 x 1,
LeakyReLU, 3 x 3, LeakyReLU, 1 x 1 without bias. The generator's smallest map is learned and modulated by the latent; the
discriminator's is summed with learned weights, channel by channel. The generator ends without tanh.

Weights are initialised by fix-up (Zhang et al. 2019): the last layer of a block is 0, and the two before it are He's times
L^(-1/4), where L is the number of blocks in the network. The defaults make small networks for stacked MNIST; the paper's have 25
million parameters each.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import Conv, at_least_float32, with_bias
from gan_jax.typing import Array

_SLOPE = 0.2


def halved(size: int, times: int) -> list[int]:
    """Returns `size` and its successive halves, rounded up: `halved(28, 3)` is `[28, 14, 7, 4]`."""
    return [-(-size // 2**i) for i in range(times + 1)]


def _sides(size: int, stages: int) -> list[int]:
    """Returns the sides of the stages' maps, from the full size down to 4, the paper's smallest, where further stages remain.

    The learned weights of the smallest map are all that the networks know about positions: from a single one, only frames grow.
    """
    return [max(side, min(4, size)) for side in halved(size, stages - 1)]


def _scaled(gain: float) -> nn.initializers.Initializer:
    """Returns an initialiser that draws normal weights of variance gain^2 / fan in."""
    return nn.initializers.variance_scaling(gain**2, 'fan_in', 'normal')


class Block(nn.Module):
    """A residual block, `[n, h, w, c]` to the same shape; at initialisation the residual is 0."""

    hidden: int
    blocks: int
    """The number of blocks in the whole network."""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = _scaled((2 / (1 + _SLOPE**2)) ** 0.5 * self.blocks**-0.25)
        y = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, kernel_init=init)(x)
        y = nn.leaky_relu(with_bias(self, y), _SLOPE)
        y = Conv(features=self.hidden, kernel_size=(3, 3), dtype=self.dtype, kernel_init=init)(y)
        y = nn.leaky_relu(y, _SLOPE)
        zeros = nn.initializers.zeros
        return x + nn.Dense(x.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=zeros)(y)


def _resized(x: Array, side: int) -> Array:
    """Resamples bilinearly, with antialiasing if the map shrinks."""
    return jax.image.resize(x, (x.shape[0], side, side, x.shape[3]), 'bilinear')


class R3GANGenerator(nn.Module):
    """R3GAN's generator, `z [n, latent] -> [n, size, size, channels]`, with unbounded values (Huang et al. 2024, section 3).

    Args:
        size: side of the images.
        channels: number of channels of the images.
        widths: number of channels of each stage, from the smallest map to the full size.
        blocks: number of blocks in each stage; 2 in the paper.
        compression: ratio of a stage's width to the inner width of its blocks; 4 in the paper, whose stages are wider.
        dtype: dtype of the computation.
    """

    size: int = 28
    channels: int = 3
    widths: Sequence[int] = (96, 96, 64, 32)
    blocks: int = 1
    compression: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        del train
        total, sides = self.blocks * len(self.widths), _sides(self.size, len(self.widths))
        width, base = self.widths[0], sides[-1]
        basis = self.param('basis', nn.initializers.normal(1.0), (base, base, width))
        modulation = nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=_scaled(1.0))(z)
        x = basis.astype(self.dtype) * modulation[:, None, None]
        for width, side in zip(self.widths, reversed(sides), strict=True):
            # 1 x 1 and resampling commute; which order is cheaper differs between the networks.
            x = x if width == x.shape[-1] else nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=_scaled(1.0))(x)
            x = x if side == x.shape[1] else _resized(x, side)
            for _ in range(self.blocks):
                x = Block(width // self.compression, total, self.dtype)(x)
        x = nn.Dense(self.channels, use_bias=False, dtype=self.dtype, kernel_init=_scaled(1.0))(x)
        return at_least_float32(x)


class R3GANDiscriminator(nn.Module):
    """R3GAN's discriminator, `[n, size, size, channels] -> logits [n]` (Huang et al. 2024, section 3).

    With `features_too=True`, a call returns `(logits, outputs of the stages)`, the finest first.

    Args:
        widths: number of channels of each stage, from the full size to the smallest map: the generator's in reverse.
        blocks: number of blocks in each stage.
        compression: ratio of a stage's width to the inner width of its blocks.
        dtype: dtype of the computation.
    """

    widths: Sequence[int] = (32, 64, 96, 96)
    blocks: int = 1
    compression: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        del train
        total, sides = self.blocks * len(self.widths), _sides(x.shape[1], len(self.widths))
        features = []
        for width, side in zip(self.widths, sides, strict=True):
            x = x if side == x.shape[1] else _resized(x, side)
            x = x if width == x.shape[-1] else nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=_scaled(1.0))(x)
            for _ in range(self.blocks):
                x = Block(width // self.compression, total, self.dtype)(x)
            features.append(x)
        weights = self.param('basis', nn.initializers.normal(x.shape[1] ** -1.0), x.shape[1:])
        x = (x * weights.astype(self.dtype)).sum((1, 2))
        logits = at_least_float32(nn.Dense(1, use_bias=False, dtype=self.dtype, kernel_init=_scaled(1.0))(x)).squeeze(-1)
        return (logits, features) if features_too else logits
