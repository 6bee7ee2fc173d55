"""DCGAN (Radford, Metz and Chintala 2016, section 3), for images of size 4 * 2^n, or 28.

The paper's rules: strided and fractionally strided convolutions in place of pooling; no hidden fully connected layers; ReLU in
the generator with tanh at its output, LeakyReLU(0.2) in the discriminator; batch norm everywhere but at the generator's output
and the discriminator's input. Weights are N(0, .02), batch norm scales N(1, .02), as in the authors' code. Another member of
`layers.NORMALIZATIONS` can stand in batch norm's place; the weights it normalises are those of every layer.

Each halving of the image doubles the channels, from `width` at half the image's size. At 64 pixels and `width=128` this is
the paper's network.
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
    """`(side of the smallest feature map, number of halvings)`. Raises `InputError` for a size that DCGAN does not have."""
    if size == 28:
        return 7, 2
    halvings = size.bit_length() - 3
    if size < 8 or size != 4 << halvings:
        raise InputError(f'image size {size} is not supported: DCGAN has 28 and 4 * 2^n (8, 16, 32, 64, 128, ...)')
    return 4, halvings


def smallest_map(size: int | tuple[int, int]) -> tuple[int, int, int]:
    """Height and width of the smallest feature map, and the number of halvings, of squares or of `(height, width)`.

    The shorter side decides, and is one that squares have; the other has to be a multiple of 2^halvings. Raises `InputError`.
    """
    height, width = (size, size) if isinstance(size, int) else size
    _, halvings = stages(min(height, width))
    if max(height, width) % (1 << halvings):
        raise InputError(
            f'image size {height} x {width} is not supported: beside a side of {min(height, width)} the other is a multiple '
            f'of {1 << halvings}'
        )
    return height >> halvings, width >> halvings, halvings


class DCGANGenerator(nn.Module):
    """`[batch, latent] -> [batch, height, width, channels]` in [-1, 1]; `size` is the side of squares, or height and width.

    With `classes` a call is `(z, labels [batch])`, and batch norm has a scale and a bias for each class.
    """

    size: int | tuple[int, int]
    channels: int = 3
    width: int = 128
    kernel_size: int = 5
    dtype: Any = jnp.float32
    norm: str = 'batch'
    """From `layers.NORMALIZATIONS`."""
    reference_size: int = 64
    """With norm 'virtual': the number of latents in the reference batch."""
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
    """`[batch, height, width, channels] -> logits [batch]`; with `features_too=True` also the activations, finest first.

    With `outputs=n` the logits are those of n classes, `[batch, n]`. `minibatch` is a member of `layers.MINIBATCH_LAYERS`, with
    its settings as in 'discrimination:features=50', put before the last layer. Raises `InputError` for norm 'virtual'.
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
