"""DCGAN (Radford, Metz and Chintala 2016, section 3), for images of size 28 or 4 * 2^n.

The paper's rules are: strided and fractionally strided convolutions instead of pooling; no hidden fully connected layers; ReLU
in the generator with tanh at its output, and LeakyReLU(0.2) in the discriminator; batch norm everywhere except at the
generator's output and the discriminator's input. Weights are N(0, .02) and batch norm scales N(1, .02), as in the authors' code.
Another member of `layers.NORMALIZATIONS` can replace batch norm; if it normalises weights, it applies to every layer.

The number of channels is `width` at half the image's size and doubles at each further halving. At 64 pixels and `width=128`,
this is the paper's network.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, ConvTranspose, at_least_float32
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization, with_labels, with_reference
from gan_jax.typing import Array, Key

_normal = nn.initializers.normal(0.02)


def _scale_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def stages(size: int) -> tuple[int, int]:
    """Returns `(side of the smallest feature map, number of halvings)` for images of a size.

    Raises `InputError` for a size that DCGAN does not support.
    """
    if size == 28:
        return 7, 2
    halvings = size.bit_length() - 3
    if size < 8 or size != 4 << halvings:
        raise InputError(f'image size {size} is not supported: these networks take 28 and 4 * 2^n (8, 16, 32, 64, 128, ...)')
    return 4, halvings


def smallest_map(size: int | tuple[int, int]) -> tuple[int, int, int]:
    """Returns the height and width of the smallest feature map and the number of halvings, for squares or `(height, width)`.

    The shorter side determines the number n of halvings and must be a size that squares can have. Raises `InputError` if it is
    not, or if the longer side is not a multiple of 2^n.
    """
    height, width = (size, size) if isinstance(size, int) else size
    _, halvings = stages(min(height, width))
    if max(height, width) % (1 << halvings):
        raise InputError(
            f'image size {height} x {width} is not supported: if one side is {min(height, width)}, the other must be a multiple '
            f'of {1 << halvings}'
        )
    return height >> halvings, width >> halvings, halvings


class DCGANGenerator(nn.Module):
    """DCGAN's generator, `z [n, latent] -> [n, height, width, channels]` in [-1, 1] (Radford et al. 2016, section 3).

    With `classes`, a call takes `(z, labels [n])`, and batch norm has a scale and a bias for each class.

    Args:
        size: side of square images, or height and width.
        channels: number of channels of the images.
        width: number of channels at half the image's size.
        kernel_size: side of the kernels.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        reference_size: number of latents in the reference batch of norm 'virtual'.
        classes: number of classes; 0 for an unconditional generator.

    Raises `InputError` for sizes that `smallest_map` rejects and for classes with a norm other than 'batch', and `ValueError` if
    labels are given without classes or are missing with them.
    """

    size: int | tuple[int, int]
    channels: int = 3
    width: int = 128
    kernel_size: int = 5
    dtype: Any = jnp.float32
    norm: str = 'batch'
    reference_size: int = 64
    classes: int = 0

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = True) -> Array:
        normalization = NORMALIZATIONS[self.norm]
        reference = self.reference_size if normalization.needs_reference else 0
        wrap, norm = normalization.parts(train, self.dtype, _scale_init, reference)
        norm = with_labels(norm, self.norm, self.classes, labels, train=train, dtype=self.dtype)
        *base, halvings = smallest_map(self.size)
        width = self.width << (halvings - 1)
        dense = nn.Dense(math.prod(base) * width, use_bias=normalization.use_bias, dtype=self.dtype, kernel_init=_normal)
        x = wrap(dense)(with_reference(self, z, reference))
        x = nn.relu(norm()(x.reshape(-1, *base, width)))
        kernel = (self.kernel_size, self.kernel_size)
        upsample = functools.partial(ConvTranspose, kernel_size=kernel, strides=(2, 2), dtype=self.dtype, kernel_init=_normal)
        for i in range(halvings - 1):
            x = nn.relu(norm()(wrap(upsample(width >> (i + 1), use_bias=normalization.use_bias))(x)))
        return jnp.tanh(at_least_float32(wrap(upsample(self.channels))(x[reference:])))


class DCGANDiscriminator(nn.Module):
    """DCGAN's discriminator, `[n, height, width, channels] -> logits [n]` (Radford et al. 2016, section 3).

    With `features_too=True`, a call returns `(logits, activations)`, the finest activations first.

    Args:
        width: number of channels at half the image's size.
        kernel_size: side of the kernels.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        minibatch: member of `layers.MINIBATCH_LAYERS` that precedes the last layer, with settings as in
            'discrimination:features=50'.
        outputs: number of classes, for logits `[n, outputs]`; None for a single logit.

    Raises `InputError` for image sizes that `smallest_map` rejects, and for norm 'virtual'.
    """

    width: int = 128
    kernel_size: int = 5
    dtype: Any = jnp.float32
    norm: str = 'batch'
    minibatch: str = 'none'
    outputs: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init)
        *_, halvings = smallest_map((x.shape[1], x.shape[2]))
        kernel = (self.kernel_size, self.kernel_size)
        downsample = functools.partial(Conv, kernel_size=kernel, strides=(2, 2), dtype=self.dtype, kernel_init=_normal)
        features = []
        for i in range(halvings):
            x = wrap(downsample(features=self.width << i, use_bias=i == 0 or normalization.use_bias))(x)
            x = nn.leaky_relu(x if i == 0 else norm()(x), 0.2)
            features.append(x)
        x = minibatch_layer(self.minibatch)(x)
        logits = wrap(nn.Dense(self.outputs or 1, dtype=self.dtype, kernel_init=_normal))(x.reshape(x.shape[0], -1))
        logits = at_least_float32(logits if self.outputs else logits.squeeze(-1))
        return (logits, features) if features_too else logits
