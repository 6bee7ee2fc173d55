"""The networks of GAN-CLS (Reed et al., ICML 2016, section 4; the authors' code): DCGANs conditioned on a text.

Images have size 4 * 2^n, at least 8; the paper's have 64. Each player reduces the text to a small vector by a dense layer. The
generator starts from this vector and the latent. The discriminator reduces the image alone to a 4 x 4 map, appends the vector at
each of the 16 positions, and mixes the two by a 1 x 1 convolution. Both have a residual block at 4 x 4, and the generator has
another one at 8 x 8. Strided kernels are 4 x 4.

Weights are N(0, .02) and batch norm scales N(1, .02), as in the authors' code, except for weights whose scale no normalization
determines: the dense layers that read a text, and networks without norms, are initialised as in He et al. With the authors'
initialisation, a text would at first have hardly any effect beside a latent, and images hardly any on a discriminator without
norms.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.dcgan import stages
from gan_jax.networks.layers import NORMALIZATIONS, Conv, ConvTranspose, at_least_float32
from gan_jax.networks.normalization import Layer, discriminator_normalization, with_reference
from gan_jax.typing import Array, Key

_normal, _he = nn.initializers.normal(0.02), nn.initializers.he_normal()
_leaky = functools.partial(nn.leaky_relu, negative_slope=0.2)


def _scale_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def _options(norm: str, dtype: Any) -> dict[str, Any]:
    """Returns what the layers of a network with this norm have in common."""
    kernel_init = _he if norm == 'none' else _normal
    return {'dtype': dtype, 'kernel_init': kernel_init, 'use_bias': NORMALIZATIONS[norm].use_bias}


def halvings(size: int) -> int:
    """Returns the number of times that an image is halved down to 4 x 4. Raises `InputError` for an unsupported size."""
    base, count = stages(size)
    if base != 4:
        raise InputError(f'image size {size} is not supported: networks conditioned on texts take 4 * 2^n (8, 16, 32, 64, ...)')
    return count


class TextGenerator(nn.Module):
    """GAN-CLS's generator, `(z [n, latent], text [n, any]) -> images [n, size, size, channels]` in [-1, 1] (Reed et al. 2016).

    Args:
        size: side of the images.
        channels: number of channels of the images.
        width: number of channels at half the image's size, which doubles at each further halving; 128 in the paper.
        text_features: size of the text vector that is concatenated with the latent.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        reference_size: number of inputs in the reference batch of norm 'virtual'.

    Raises `InputError` for a size that is not 4 * 2^n, at least 8.
    """

    size: int
    channels: int = 3
    width: int = 128
    text_features: int = 128
    dtype: Any = jnp.float32
    norm: str = 'batch'
    reference_size: int = 64

    @nn.compact
    def __call__(self, z: Array, text: Array, *, train: bool = True) -> Array:
        normalization = NORMALIZATIONS[self.norm]
        reference = self.reference_size if normalization.needs_reference else 0
        wrap, norm = normalization.parts(train, self.dtype, _scale_init, reference)
        options = _options(self.norm, self.dtype)
        levels = halvings(self.size)

        told = _leaky(nn.Dense(self.text_features, dtype=self.dtype, kernel_init=_he)(text))
        x = with_reference(self, jnp.concatenate([z, told], -1), reference)
        width = self.width << (levels - 1)
        x = norm()(wrap(nn.Dense(4 * 4 * width, **options))(x).reshape(-1, 4, 4, width))
        for level in range(1, levels):
            if level <= 2:
                x = x + _three_convolutions(x, max(1, width // 4), wrap, norm, nn.relu, options)
            width //= 2
            x = norm()(wrap(ConvTranspose(width, (4, 4), (2, 2), **options))(nn.relu(x)))
        options['use_bias'] = True
        x = wrap(ConvTranspose(self.channels, (4, 4), (2, 2), **options))(nn.relu(x))
        return jnp.tanh(at_least_float32(x[reference:]))


class TextDiscriminator(nn.Module):
    """GAN-CLS's discriminator, `(images [n, size, size, channels], *texts [n, any]) -> logits [n, texts]` (Reed et al. 2016).

    Each image is processed once and compared with each of its texts. The texts share their batch statistics: with separate
    statistics, the discriminator could recognise a batch of false texts by these alone, without reading any text. With
    `features_too=True`, a call returns `(logits, activations)`, those of the image alone, finest first.

    Args:
        width: number of channels at half the image's size, which doubles at each further halving.
        text_features: size of the text vector.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.

    Raises `InputError` for images whose size is not 4 * 2^n, at least 8, and for norm 'virtual'.
    """

    width: int = 64
    text_features: int = 128
    dtype: Any = jnp.float32
    norm: str = 'batch'

    @nn.compact
    def __call__(self, x: Array, *texts: Array, train: bool = True, features_too: bool = False) -> Any:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init)
        options = _options(self.norm, self.dtype)
        features = []
        for level in range(halvings(x.shape[1])):
            options['use_bias'] = level == 0 or normalization.use_bias
            width = self.width << level
            x = wrap(Conv(features=width, kernel_size=(4, 4), strides=(2, 2), **options))(x)
            x = x if level == 0 else norm()(x)
            if x.shape[1] == 4:
                x = x + _three_convolutions(x, max(1, width // 4), wrap, norm, _leaky, options)
            x = _leaky(x)
            features.append(x)
        judge = _Judge(width, self.text_features, self.dtype, self.norm)
        logits = judge(jnp.tile(x, (len(texts), 1, 1, 1)), jnp.concatenate(texts), train=train)
        logits = logits.reshape(len(texts), -1).T
        return (logits, features) if features_too else logits


class _Judge(nn.Module):
    """Maps `(map of an image [n, 4, 4, c], text [n, any])` to logits `[n]`."""

    width: int
    text_features: int
    dtype: Any
    norm: str

    @nn.compact
    def __call__(self, x: Array, text: Array, *, train: bool) -> Array:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init)
        options = _options(self.norm, self.dtype)
        # The text is a map with one position, so that norms over channels and positions act as they do elsewhere.
        told = wrap(nn.Dense(self.text_features, **{**options, 'kernel_init': _he}))(text)[:, None, None]
        told = _leaky(told if self.norm == 'instance' else norm()(told))
        told = jnp.broadcast_to(told, (*x.shape[:3], self.text_features))
        x = _leaky(norm()(wrap(Conv(features=self.width, kernel_size=(1, 1), **options))(jnp.concatenate([x, told], -1))))
        logits = wrap(nn.Dense(1, **{**options, 'use_bias': True}))(x.reshape(len(x), -1))
        return at_least_float32(logits.squeeze(-1))


def _three_convolutions(
    x: Array,
    width: int,
    wrap: Callable[[nn.Module], Layer],
    norm: Callable[[], Layer],
    activation: Layer,
    options: dict[str, Any],
) -> Array:
    """Returns what a residual block adds: 1 x 1 to `width` channels, 3 x 3, and 3 x 3 back."""
    channels = x.shape[-1]
    x = activation(norm()(wrap(Conv(features=width, kernel_size=(1, 1), **options))(x)))
    x = activation(norm()(wrap(Conv(features=width, kernel_size=(3, 3), **options))(x)))
    return norm()(wrap(Conv(features=channels, kernel_size=(3, 3), **options))(x))
