"""Image-to-image networks: pix2pix's U-Net and PatchGAN (Isola et al. 2017), CycleGAN's ResNet generator (Zhu et al. 2017).

Weights are N(0, .02) and batch norm scales N(1, .02). The norm can be any member of `layers.NORMALIZATIONS` except 'virtual';
with 'batch' and 'instance', the networks have the parameters of the authors' PyTorch code, one for one. As in that code,
convolutions keep a bias with 'instance', which has no learned parameters, although this norm cancels the bias. At the papers'
batch size of 1, 'batch' in training is 'instance' with a learned scale and bias.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, ConvTranspose, Dropout, at_least_float32
from gan_jax.networks.normalization import NORMALIZATIONS, Normalization, discriminator_normalization
from gan_jax.typing import Array, Key

_normal = nn.initializers.normal(0.02)
_ONE = ((1, 1), (1, 1))  # Torch's padding 1


def _scale_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def _generator_normalization(name: str) -> Normalization:
    normalization = NORMALIZATIONS[name]
    if normalization.needs_reference:
        known = ', '.join(other for other, member in NORMALIZATIONS.items() if not member.needs_reference)
        raise InputError(f'normalization {name!r} requires a reference batch of latents; image-to-image networks take {known}')
    return normalization


def unet_halvings(size: tuple[int, int], halvings: int | None = None) -> int:
    """Returns how often a U-Net halves images of `(height, width)`: `halvings` times, or down to a side of 1 if it is None.

    Raises `InputError` for a size that cannot be halved this often, and for fewer than 2 halvings.
    """
    n = min(size).bit_length() - 1 if halvings is None else halvings
    if n < 2 or any(side < 2**n or side % 2**n for side in size):
        multiple = f'multiples of {2**n}' if halvings is not None and n >= 2 else 'powers of two (4, 8, 16, ..., 256)'
        count = f' with {halvings} halvings' if halvings is not None else ''
        raise InputError(f'image size {size[0]} x {size[1]} is not supported: a U-Net{count} takes {multiple}')
    return n


class UNet(nn.Module):
    """pix2pix's U-Net generator, `[n, h, w, c] -> [n, h, w, channels]` in [-1, 1] (Isola et al. 2017, appendix 6.1.1).

    4x4 convolutions of stride 2 reduce the image to one position, and transposed ones enlarge it again; each map on the way up
    is concatenated with its mirror image on the way down. At 256 pixels and `width=64`, this is the paper's network, with 64,
    128, 256 and then 512 channels. There is no norm after the first and the innermost convolution. Dropout in the first layers
    on the way up is the noise of the generator and remains active in inference: a call requires `rngs={'noise': key}`.

    Args:
        channels: number of channels of the result.
        width: number of channels of the first convolution.
        halvings: number of halvings; None for as many as reduce the shorter side to 1.
        dropout: dropout rate.
        dropout_layers: number of layers with dropout.
        norm: member of `layers.NORMALIZATIONS`.
        statistics: moments of batch norm in inference: 'running' averages, or those of the translated 'batch', as in the paper.
        dtype: dtype of the computation.

    Raises `InputError` for sizes that `unet_halvings` rejects, and for norm 'virtual'.
    """

    channels: int = 3
    width: int = 64
    halvings: int | None = None
    dropout: float = 0.5
    dropout_layers: int = 3
    norm: str = 'batch'
    statistics: str = 'running'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        normalization = _generator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init, statistics=self.statistics)
        n = unet_halvings(x.shape[1:3], self.halvings)  # type: ignore[arg-type]
        widths = [self.width * min(2**i, 8) for i in range(n)]
        options: dict[str, Any] = {
            'kernel_size': (4, 4),
            'strides': (2, 2),
            'padding': _ONE,
            'dtype': self.dtype,
            'kernel_init': _normal,
        }
        halve = functools.partial(Conv, use_bias=normalization.use_bias, **options)
        double = functools.partial(ConvTranspose, use_bias=normalization.use_bias, **options)

        maps = []
        for i, width in enumerate(widths):
            x = wrap(halve(features=width))(x if i == 0 else nn.leaky_relu(x, 0.2))
            x = norm()(x) if 0 < i < n - 1 else x
            maps.append(x)
        x = maps.pop()
        for i, width in enumerate(reversed(widths[:-1])):
            x = norm()(wrap(double(features=width))(nn.relu(x)))
            if i < self.dropout_layers:
                x = Dropout(self.dropout)(x)
            x = jnp.concatenate([x, maps.pop()], axis=-1)
        return jnp.tanh(at_least_float32(wrap(double(features=self.channels, use_bias=True))(nn.relu(x))))


Layers = Sequence[tuple[int, int]]
"""`(kernel size, stride)` of each convolution, starting at the input."""


def receptive_field(layers: Layers) -> int:
    """Returns the side of the square of input pixels on which one output of a stack of convolutions depends."""
    return functools.reduce(lambda field, layer: (field - 1) * layer[1] + layer[0], reversed(layers), 1)


PATCHES: dict[int, Layers] = {
    receptive_field(layers): layers for layers in (((1, 1),) * 3, *(((4, 2),) * n + ((4, 1),) * 2 for n in range(1, 6)))
}
"""Receptive field -> layers: 1, 16, 34, 70, 142, 286."""


def patch_outputs(size: int, field: int) -> int:
    """Returns the side of a PatchGAN's map of logits for images of side `size`.

    Raises `InputError` for an unsupported receptive field, and for images that are too small for it.
    """
    if field not in PATCHES:
        raise InputError(f'receptive field {field} is not supported: PatchGAN takes {", ".join(map(str, PATCHES))}')
    side = _outputs(size, PATCHES[field])
    if side < 1:
        fits = ', '.join(str(other) for other, layers in PATCHES.items() if _outputs(size, layers) > 0)
        raise InputError(f'image size {size} is too small for a PatchGAN of receptive field {field}; fields that fit: {fits}')
    return side


def _outputs(size: int, layers: Layers) -> int:
    for kernel, stride in layers:
        size = (size + 2 * _padding(kernel) - kernel) // stride + 1
    return size


def _padding(kernel: int) -> int:
    return min(kernel - 1, 1)


class PatchDiscriminator(nn.Module):
    """PatchGAN, each logit of which judges a square of the image: `[n, h, w, c] -> [n, h', w']` (Isola et al. 2017).

    The network is that of appendix 6.1.2. The papers' receptive field is 70: 4x4 convolutions with 64, 128 and 256 channels and
    stride 2, then with 512 and 1 channels and stride 1, all with padding 1, which give 30 x 30 logits at 256 pixels. A field of
    1 judges pixels by 1x1 convolutions. The first and the last layer have no norm. With `features_too=True`, a call returns
    `(logits, activations)`, the finest first.

    Args:
        receptive_field: side of the squares; a key of `PATCHES`.
        width: number of channels of the first convolution.
        norm: member of `layers.NORMALIZATIONS`.
        dtype: dtype of the computation.

    Raises `InputError` for sizes and fields that `patch_outputs` rejects, and for norm 'virtual'.
    """

    receptive_field: int = 70
    width: int = 64
    norm: str = 'batch'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init)
        for side in x.shape[1:3]:
            patch_outputs(side, self.receptive_field)
        *hidden, last = PATCHES[self.receptive_field]

        def conv(layer: tuple[int, int], features: int, use_bias: bool) -> Callable[[Array], Array]:
            (k, stride), pad = layer, (_padding(layer[0]),) * 2
            options = {'padding': (pad, pad), 'use_bias': use_bias, 'dtype': self.dtype, 'kernel_init': _normal}
            return wrap(Conv(features, (k, k), (stride, stride), **options))

        features = []
        for i, layer in enumerate(hidden):
            x = conv(layer, self.width * min(2**i, 8), i == 0 or normalization.use_bias)(x)
            x = nn.leaky_relu(x if i == 0 else norm()(x), 0.2)
            features.append(x)
        logits = at_least_float32(conv(last, 1, True)(x).squeeze(-1))
        return (logits, features) if features_too else logits


def check_resnet_size(size: int) -> None:
    """Raises `InputError` for a side of images that the ResNet generator does not support."""
    if size < 8 or size % 4:
        raise InputError(f'image size {size} is not supported: the ResNet generator takes multiples of 4, at least 8')


class ResNetGenerator(nn.Module):
    """CycleGAN's generator, `[n, h, w, c] -> [n, h, w, channels]` in [-1, 1] (Zhu et al. 2017, appendix 7.2).

    As in Johnson et al. 2016, it consists of a 7x7 convolution, two convolutions of stride 2, residual blocks of two 3x3
    convolutions each, two transposed convolutions of stride 2, a 7x7 convolution and tanh, with reflection padding at stride 1.
    The paper has 9 blocks from 256 pixels upwards, and 6 at 128.

    Args:
        channels: number of channels of the result.
        width: number of channels of the first convolution.
        blocks: number of residual blocks.
        norm: member of `layers.NORMALIZATIONS`.
        dtype: dtype of the computation.

    Raises `InputError` for sides that are below 8 or not multiples of 4, and for norm 'virtual'.
    """

    channels: int = 3
    width: int = 64
    blocks: int = 9
    norm: str = 'instance'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        for side in x.shape[1:3]:
            check_resnet_size(side)
        normalization = _generator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype, _scale_init)
        options = {'use_bias': normalization.use_bias, 'dtype': self.dtype, 'kernel_init': _normal}

        def reflected(x: Array, features: int, k: int, **other: Any) -> Array:
            x = jnp.pad(x, [(0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)], 'reflect')
            return wrap(Conv(features, (k, k), padding='VALID', **{**options, **other}))(x)

        x = nn.relu(norm()(reflected(x, self.width, 7)))
        for width in (2 * self.width, 4 * self.width):
            x = nn.relu(norm()(wrap(Conv(width, (3, 3), (2, 2), padding=_ONE, **options))(x)))
        for _ in range(self.blocks):
            y = nn.relu(norm()(reflected(x, 4 * self.width, 3)))
            x = x + norm()(reflected(y, 4 * self.width, 3))
        for width in (2 * self.width, self.width):
            x = nn.relu(norm()(wrap(ConvTranspose(width, (3, 3), (2, 2), padding=_ONE, **options))(x)))
        return jnp.tanh(at_least_float32(reflected(x, self.channels, 7, use_bias=True)))
