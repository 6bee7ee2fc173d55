"""The networks for stacked MNIST (`gan_jax.data.stacked`) from the literature, by name and for images of any size.

Metz et al. 2017, appendix D, as reimplemented by Lin et al. 2018 (PacGAN): a generator of three transposed 3 x 3 convolutions
and a plain one, and a discriminator of three strided ones with 8 X, 16 X and 32 X channels, with batch norm in every layer
except the last of each. With X = 1 the discriminator matches the generator; the two rows in the paper have X = 1/4 and 1/2.

Srivastava et al. 2017 (VEEGAN), and PacGAN's comparison with it: a DCGAN with 64 channels, 5 x 5 kernels and four halvings.

Weights are N(0, .02) and biases 0, as in PacGAN's code. Another member of `layers.NORMALIZATIONS` can replace batch norm.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, ConvTranspose, at_least_float32
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization, with_reference
from gan_jax.networks.r3gan import R3GANDiscriminator, R3GANGenerator, halved
from gan_jax.registry import Table
from gan_jax.typing import Array

_normal = nn.initializers.normal(0.02)


class StackedGenerator(nn.Module):
    """The generator for stacked MNIST, `z [n, latent] -> [n, size, size, channels]` in [-1, 1].

    A dense layer produces the smallest map. Each further width doubles the side, cropped by one where the next side is odd,
    since sides are halves of `size` rounded up.

    Args:
        size: side of the images.
        channels: number of channels of the images.
        widths: number of channels of each hidden map, from the smallest map on.
        kernel_size: side of the kernels.
        output_stride: stride of the last layer; 2 for a last layer that doubles the side too.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        reference_size: number of latents in the reference batch of norm 'virtual'.
    """

    size: int = 28
    channels: int = 3
    widths: Sequence[int] = (64, 32, 16, 8)
    kernel_size: int = 3
    output_stride: int = 1
    dtype: Any = jnp.float32
    norm: str = 'batch'
    reference_size: int = 64

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        normalization = NORMALIZATIONS[self.norm]
        reference = self.reference_size if normalization.needs_reference else 0
        wrap, norm = normalization.parts(train, self.dtype, reference=reference)
        layer = functools.partial(ConvTranspose, kernel_size=(self.kernel_size,) * 2, dtype=self.dtype, kernel_init=_normal)
        strides = [2] * (len(self.widths) - 1) + [self.output_stride]
        sides = halved(self.size, strides.count(2))
        base, bias = sides[-1], normalization.use_bias
        dense = nn.Dense(base * base * self.widths[0], use_bias=bias, dtype=self.dtype, kernel_init=_normal)
        x = wrap(dense)(with_reference(self, z, reference))
        x = nn.relu(norm()(x.reshape(-1, base, base, self.widths[0])))
        for width, side in zip(self.widths[1:], sides[-2::-1], strict=False):
            x = nn.relu(norm()(_cropped(wrap(layer(width, strides=(2, 2), use_bias=bias))(x), side)))
        x = wrap(layer(self.channels, strides=(self.output_stride,) * 2))(x[reference:])
        return jnp.tanh(at_least_float32(_cropped(x, self.size)))


def _cropped(x: Array, side: int) -> Array:
    """Drops the first row and column of the transposed convolution to the even side above, which gives that to an odd side."""
    return x[:, -side:, -side:]


class StackedDiscriminator(nn.Module):
    """The discriminator for stacked MNIST, `[n, size, size, channels] -> logits [n]`.

    With `features_too=True`, a call returns `(logits, activations)`, the finest activations first.

    Args:
        widths: number of channels of each hidden map, from the input on.
        kernel_size: side of the kernels.
        slope: slope of LeakyReLU below 0.
        first_norm: whether the first layer is normalised, which DCGAN's is not.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.
        minibatch: member of `layers.MINIBATCH_LAYERS` that precedes the last layer, with settings as in
            'discrimination:features=50'.
        outputs: number of classes, for logits `[n, outputs]`; None for a single logit.

    Raises `InputError` for norm 'virtual'.
    """

    widths: Sequence[int] = (8, 16, 32)
    kernel_size: int = 3
    slope: float = 0.3
    first_norm: bool = True
    dtype: Any = jnp.float32
    norm: str = 'batch'
    minibatch: str = 'none'
    outputs: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype)
        kernel = (self.kernel_size, self.kernel_size)
        layer = functools.partial(Conv, kernel_size=kernel, strides=(2, 2), dtype=self.dtype, kernel_init=_normal)
        features = []
        for i, width in enumerate(self.widths):
            normed = i > 0 or self.first_norm
            x = wrap(layer(features=width, use_bias=normalization.use_bias or not normed))(x)
            x = nn.leaky_relu(norm()(x) if normed else x, self.slope)
            features.append(x)
        x = minibatch_layer(self.minibatch)(x)
        logits = wrap(nn.Dense(self.outputs or 1, dtype=self.dtype, kernel_init=_normal))(x.reshape(x.shape[0], -1))
        logits = at_least_float32(logits if self.outputs else logits.squeeze(-1))
        return (logits, features) if features_too else logits


class Networks(NamedTuple):
    """A generator and a discriminator, as factories that take the fields of their modules."""

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    latent_size: int
    """Number of standard normal latents of the generator; VEEGAN's are uniform on [-1, 1)."""


def _metz(share: float) -> Networks:
    widths = tuple(int(share * width) for width in (8, 16, 32))
    return Networks(StackedGenerator, functools.partial(StackedDiscriminator, widths=widths), 256)


_veegan = Networks(
    functools.partial(StackedGenerator, widths=(512, 256, 128, 64), kernel_size=5, output_stride=2),
    functools.partial(StackedDiscriminator, widths=(64, 128, 256, 512), kernel_size=5, slope=0.2, first_norm=False),
    100,
)

STACKED_MNIST: Table[Networks] = Table(
    'networks for stacked MNIST',
    {
        'metz_quarter': _metz(1 / 4),
        'metz_half': _metz(1 / 2),
        'metz': _metz(1),
        'veegan': _veegan,
        'r3gan': Networks(R3GANGenerator, R3GANDiscriminator, 64),
    },
)
"""Name -> networks. 'r3gan' is a small residual pair without normalisation, for the loss ablation of Huang et al. 2024."""


def stacked_networks(
    name: str,
    size: int,
    channels: int = 3,
    *,
    g_norm: str | None = None,
    d_norm: str | None = None,
    minibatch: str | None = None,
    outputs: int | None = None,
    dtype: Any = jnp.float32,
) -> tuple[nn.Module, nn.Module]:
    """Returns the generator and the discriminator of a name.

    Args:
        name: member of `STACKED_MNIST`.
        size: side of the images.
        channels: number of channels of the images.
        g_norm: the generator's member of `layers.NORMALIZATIONS`; None for the paper's.
        d_norm: the discriminator's member of `layers.NORMALIZATIONS`; None for the paper's.
        minibatch: the discriminator's member of `layers.MINIBATCH_LAYERS`; None for the paper's.
        outputs: number of classes, for logits `[n, outputs]`; None for a single logit.
        dtype: dtype of the computation.

    Raises `InputError` for an unknown name, and for a setting that these networks do not have.
    """
    pair = STACKED_MNIST[name]

    def made(factory: Callable[..., nn.Module], fixed: dict[str, Any], chosen: dict[str, Any]) -> nn.Module:
        fields = inspect.signature(factory).parameters
        given = {field: value for field, value in chosen.items() if value is not None}
        for field in set(given) - set(fields):
            raise InputError(f'the networks {name!r} have no {field}')
        return factory(**{field: value for field, value in fixed.items() if field in fields}, **given)

    common = {'dtype': dtype}
    generator = made(pair.generator, {'size': size, 'channels': channels, **common}, {'norm': g_norm})
    choices = {'norm': d_norm, 'minibatch': minibatch, 'outputs': outputs}
    return generator, made(pair.discriminator, common, choices)
