"""The networks of the literature on stacked MNIST (`gan_jax.data.stacked`), by name, for images of any size.

Metz et al. 2017, appendix D, as Lin et al. 2018 (PacGAN) rebuilt it: a generator of three transposed 3 x 3 convolutions and a
plain one, a discriminator of three strided ones with 8 X, 16 X and 32 X channels, batch norm in every layer but the last of
each. X = 1 makes the discriminator a match for the generator; the paper's two rows have X = 1/4 and 1/2.

Srivastava et al. 2017 (VEEGAN), and PacGAN's comparison with it: a DCGAN with 64 channels, 5 x 5 kernels and four halvings.

Weights are N(0, .02) and biases 0, as in PacGAN's code. Another member of `layers.NORMALIZATIONS` can stand in batch norm's
place.
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
    """`[batch, latent] -> [batch, size, size, channels]` in [-1, 1].

    A dense layer makes the smallest map, with `widths[0]` channels; each further width doubles the side, and an odd side is the
    one whose half, rounded up, was doubled. `output_stride=2` doubles it in the last layer too.
    """

    size: int = 28
    channels: int = 3
    widths: Sequence[int] = (64, 32, 16, 8)
    kernel_size: int = 3
    output_stride: int = 1
    dtype: Any = jnp.float32
    norm: str = 'batch'
    """From `layers.NORMALIZATIONS`."""
    reference_size: int = 64
    """With norm 'virtual': the number of latents in the reference batch."""

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
    """The transposed convolution to an odd side is that to the even one above, without the first row and column."""
    return x[:, -side:, -side:]


class StackedDiscriminator(nn.Module):
    """`[batch, size, size, channels] -> logits [batch]`; with `features_too=True` also the activations, finest first.

    With `outputs=n` the logits are those of n classes, `[batch, n]`. `minibatch` is a member of `layers.MINIBATCH_LAYERS`, with
    its settings as in 'discrimination:features=50', put before the last layer. Raises `InputError` for norm 'virtual'.
    """

    widths: Sequence[int] = (8, 16, 32)
    kernel_size: int = 3
    slope: float = 0.3
    """Of LeakyReLU below 0."""
    first_norm: bool = True
    """Whether the first layer is normalised; DCGAN's is not."""
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
    """A generator and a discriminator: factories that take the fields of their modules."""

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    latent_size: int
    """Of the generator's standard normal latents; VEEGAN's are uniform on [-1, 1)."""


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
    """The generator and the discriminator of that name; what is None is as the paper has it.

    Raises `InputError` for an unknown name, and for a choice that these networks do not have.
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
