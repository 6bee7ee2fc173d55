"""Residual networks for CIFAR-10: SNGAN's (Miyato et al. 2018, table 4) and WGAN-GP's (Gulrajani et al. 2017, appendix C).

One pair of classes serves both. The defaults are SNGAN's: 256 channels in the generator, 128 in the discriminator, spectral
norm, features summed over positions, and a last layer without bias. WGAN-GP's pair, with norm 'none' or 'layer', is

    SNGANGenerator(width=128, statistics='batch')
    SNGANDiscriminator(norm='none', pool='mean', last_bias=True)

Weights are Glorot-uniform, and sqrt(2) times larger in the 3x3 convolutions of a block, as in both papers' code. Maps are
enlarged by repeating pixels and reduced by averaging neighbours.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.dcgan import smallest_map
from gan_jax.networks.layers import Conv, at_least_float32
from gan_jax.networks.normalization import NORMALIZATIONS, Layer, discriminator_normalization, with_labels, with_reference
from gan_jax.networks.resampling import conv_downsample, downsample, upsample, upsample_conv
from gan_jax.typing import Array

_glorot = nn.initializers.glorot_uniform()
_larger = nn.initializers.variance_scaling(2.0, 'fan_avg', 'uniform')


class SNGANGenerator(nn.Module):
    """The residual generator, `z [n, latent] -> [n, height, width, channels]` in [-1, 1] (Miyato et al. 2018, table 4).

    A dense layer to 4 x 4 maps (7 x 7 for size 28) is followed by one residual block for each doubling. The papers' latents are
    128 numbers from N(0, 1). With `classes`, a call takes `(z, labels [n])`, and the batch norm in the blocks has a scale and a
    bias for each class.

    Args:
        size: side of square images, or height and width.
        channels: number of channels of the images.
        width: number of channels of all hidden maps.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        reference_size: number of latents in the reference batch of norm 'virtual'.
        classes: number of classes; 0 for an unconditional generator.
        statistics: moments of batch norm in inference: 'running' averages, or those of the generated 'batch', as in WGAN-GP's
            code.

    Raises `InputError` for sizes that `dcgan.smallest_map` rejects and for classes with a norm other than 'batch', and
    `ValueError` if labels are given without classes or are missing with them.
    """

    size: int | tuple[int, int] = 32
    channels: int = 3
    width: int = 256
    dtype: Any = jnp.float32
    norm: str = 'batch'
    reference_size: int = 64
    classes: int = 0
    statistics: str = 'running'

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = True) -> Array:
        normalization = NORMALIZATIONS[self.norm]
        reference = self.reference_size if normalization.needs_reference else 0
        statistics = self.statistics
        wrap, last_norm = normalization.parts(train, self.dtype, reference=reference, statistics=statistics)
        how: dict[str, Any] = {'train': train, 'dtype': self.dtype, 'statistics': statistics}
        norm = with_labels(last_norm, self.norm, self.classes, labels, **how)
        *base, doublings = smallest_map(self.size)
        x = wrap(nn.Dense(math.prod(base) * self.width, dtype=self.dtype, kernel_init=_glorot))(
            with_reference(self, z, reference)
        )
        x = x.reshape(-1, *base, self.width)
        conv = functools.partial(_convolution, wrap, self.dtype)
        for _ in range(doublings):
            h = conv(self.width, 3, _larger, upsample_conv)(nn.relu(norm()(x)))
            h = conv(self.width, 3, _larger)(nn.relu(norm()(h)))
            x = h + upsample(conv(self.width, 1)(x))  # upsampling and 1 x 1 commute; this is 4 times cheaper
        x = nn.relu(last_norm()(x)[reference:])
        return jnp.tanh(at_least_float32(conv(self.channels, 3)(x)))


class SNGANDiscriminator(nn.Module):
    """The residual discriminator, `[n, h, w, c] -> logits [n]` (Miyato et al. 2018, table 4).

    Two blocks halve the image and two keep its size; ReLU, a pool over positions and a dense layer follow. If the norm is one of
    outputs, it precedes the activations of every block except the first. With `features_too=True`, a call returns
    `(logits, features)`: the outputs of the blocks, finest first, then the pooled features.

    Args:
        width: number of channels of all hidden maps.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        pool: 'sum' or 'mean' over positions.
        last_bias: whether the dense layer has a bias, as in WGAN-GP but not in SNGAN.

    Raises `InputError` for sides that are not multiples of 4, for norm 'virtual' and for an unknown pool.
    """

    width: int = 128
    dtype: Any = jnp.float32
    norm: str = 'spectral'
    pool: str = 'sum'
    last_bias: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        if any(side % 4 for side in x.shape[1:3]):
            raise InputError(f'image size {x.shape[1]} x {x.shape[2]} cannot be halved twice: both sides must be multiples of 4')
        if self.pool not in ('sum', 'mean'):
            raise InputError(f"unknown pool {self.pool!r}; known: 'sum', 'mean'")
        wrap, norm = discriminator_normalization(self.norm).parts(train, self.dtype)
        conv = functools.partial(_convolution, wrap, self.dtype)

        h = conv(self.width, 3, _larger)(x)
        h = conv(self.width, 3, _larger, conv_downsample)(nn.relu(h))
        x = h + conv(self.width, 1)(downsample(x))
        features = [x]
        for shrinks in (True, False, False):
            h = conv(self.width, 3, _larger)(nn.relu(norm()(x)))
            h = conv(self.width, 3, _larger, conv_downsample if shrinks else None)(nn.relu(norm()(h)))
            x = h + (conv(self.width, 1)(downsample(x)) if shrinks else x)
            features.append(x)
        x = at_least_float32(nn.relu(x))
        features.append(x.sum((1, 2)) if self.pool == 'sum' else x.mean((1, 2)))
        logits = wrap(nn.Dense(1, use_bias=self.last_bias, kernel_init=_glorot))(features[-1]).squeeze(-1)
        return (logits, features) if features_too else logits


def _convolution(
    wrap: Callable[[nn.Module], Layer],
    dtype: Any,
    features: int,
    size: int,
    kernel_init: Callable = _glorot,
    convolve: Callable[[Array, Array], Array] | None = None,
) -> Layer:
    return wrap(Conv(features=features, kernel_size=(size, size), dtype=dtype, kernel_init=kernel_init, convolve=convolve))
