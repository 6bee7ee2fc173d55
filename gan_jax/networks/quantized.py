"""Vector-quantised autoencoders (van den Oord et al. 2017; Esser et al. 2021), small ones without attention."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, ConvTranspose, at_least_float32
from gan_jax.networks.normalization import discriminator_normalization
from gan_jax.typing import Array, Key


def _codebook_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    return jax.random.uniform(key, shape, dtype, -1 / shape[0], 1 / shape[0])


class VectorQuantizer(nn.Module):
    """Replaces vectors by the nearest ones of a codebook: `z [n, ..., d] -> (e [n, ..., d], codes int [n, ...], loss [n])`.

    The loss is |sg(z) - e|^2 + commitment |z - sg(e)|^2, averaged over an example's entries (van den Oord et al. 2017, eq. 3):
    the first term moves the codebook, the second the encoder. The gradient of e with respect to z is the identity
    (straight-through), and e passes no gradient to the codebook. The codebook is initially uniform on [-1 / size, 1 / size].

    Args:
        size: number of vectors in the codebook.
        commitment: beta. The papers have 0.25; VQGAN's code puts it on the first term by default.
    """

    size: int = 256
    commitment: float = 0.25

    @nn.compact
    def __call__(self, z: Array) -> tuple[Array, Array, Array]:
        codebook = self.param('codebook', _codebook_init, (self.size, z.shape[-1]))
        # |z - e|^2 without |z|^2, which is the same for all e
        centre = codebook.mean(0)  # far from the origin nothing cancels
        points = codebook - centre
        products = jnp.matmul(z - centre, points.T, precision=lax.Precision.HIGHEST)
        distances = jnp.square(points).sum(-1) - 2 * products
        codes = distances.argmin(-1)
        nearest = codebook[codes]
        mean = lambda x: jnp.square(x).reshape(len(x), -1).mean(-1)
        loss = mean(lax.stop_gradient(z) - nearest) + self.commitment * mean(z - lax.stop_gradient(nearest))
        return z + lax.stop_gradient(nearest - z), codes, loss


class QuantizedEncoder(nn.Module):
    """Strided 4x4 convolutions and a residual block: `[n, h, w, c] -> [n, h / 2^halvings, w / 2^halvings, code_size]`.

    Args:
        code_size: number of channels of the result.
        width: number of channels at half the image's size; it doubles at each further halving.
        halvings: number of halvings.
        norm: member of `layers.NORMALIZATIONS`.
        dtype: dtype of the computation.

    Raises `InputError` for norm 'virtual' and for sides that are not multiples of 2^halvings.
    """

    code_size: int
    width: int
    halvings: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        check_halvings(x.shape[1:3], self.halvings)
        wrap, norm, conv, use_bias = _parts(self.norm, train, self.dtype)
        for i in range(self.halvings):
            x = wrap(conv(self.width << i, (4, 4), (2, 2), use_bias=i == 0 or use_bias))(x)
            x = nn.relu(norm()(x) if i else x)
        x = _residual(x, wrap, norm, conv, use_bias)
        return at_least_float32(wrap(conv(self.code_size, (1, 1)))(x))


class QuantizedDecoder(nn.Module):
    """A residual block and transposed convolutions: `[n, h, w, d] -> [n, h 2^halvings, w 2^halvings, channels]`.

    The output is linear. The last layer, a 3x3 convolution, is named 'last', and its weights are never normalised, so that its
    parameters are those of `games.vqgan`'s adaptive weight.

    Args:
        channels: number of channels of the images.
        width: number of channels at half the image's size, and of the last layer's input.
        halvings: number of doublings.
        norm: member of `layers.NORMALIZATIONS`.
        dtype: dtype of the computation.

    Raises `InputError` for norm 'virtual'.
    """

    channels: int
    width: int
    halvings: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        wrap, norm, conv, use_bias = _parts(self.norm, train, self.dtype)
        x = wrap(conv(self.width << max(self.halvings - 1, 0), (3, 3)))(z)
        x = _residual(x, wrap, norm, conv, use_bias)
        for i in reversed(range(self.halvings)):
            up = ConvTranspose(self.width << max(i - 1, 0), (4, 4), (2, 2), use_bias=use_bias, dtype=self.dtype)
            x = nn.relu(norm()(wrap(up)(x)))
        return at_least_float32(conv(self.channels, (3, 3), name='last')(x))


class QuantizedAutoencoder(nn.Module):
    """A vector-quantised autoencoder, `[n, h, w, c] -> (reconstruction [n, h, w, c], codes int [n, h', w'], loss [n])`.

    h' and w' are h and w over 2^halvings. The loss is the `VectorQuantizer`'s. The parameters of the last layer are
    `params['decoder']['last']`, and its output is linear, in [-1, 1] only as far as it has learned to be.

    Args:
        channels: number of channels of the images.
        size: number of vectors in the codebook.
        code_size: number of entries of each.
        commitment: beta of the `VectorQuantizer`.
        width: number of channels at half the image's size; it doubles at each further halving.
        halvings: number of halvings.
        norm: member of `layers.NORMALIZATIONS`.
        dtype: dtype of the computation; codes are found in float32.

    Raises `InputError` for norm 'virtual' and for sides that are not multiples of 2^halvings.
    """

    channels: int = 3
    size: int = 256
    code_size: int = 32
    commitment: float = 0.25
    width: int = 32
    halvings: int = 2
    norm: str = 'batch'
    dtype: Any = jnp.float32

    def setup(self) -> None:
        options: dict[str, Any] = {'width': self.width, 'halvings': self.halvings, 'norm': self.norm, 'dtype': self.dtype}
        self.encoder = QuantizedEncoder(self.code_size, **options)
        self.quantizer = VectorQuantizer(self.size, self.commitment)
        self.decoder = QuantizedDecoder(self.channels, **options)

    def __call__(self, x: Array, *, train: bool = True) -> tuple[Array, Array, Array]:
        quantised, codes, loss = self.quantizer(self.encoder(x, train=train))
        return self.decoder(quantised, train=train), codes, loss

    def decode(self, codes: Array) -> Array:
        """Returns the images of codes int `[n, h', w']`, in inference mode. Call it by `network.apply(..., method='decode')`."""
        return self.decoder(self.quantizer.variables['params']['codebook'][codes], train=False)


def check_halvings(shape: tuple[int, ...], halvings: int) -> None:
    """Raises `InputError` for images `(height, width)` that cannot be halved this often."""
    if any(side % (1 << halvings) for side in shape):
        sides = f'both sides must be multiples of {1 << halvings}'
        raise InputError(f'image size {shape[0]} x {shape[1]} cannot be halved {halvings} times; {sides}')


def _parts(name: str, train: bool, dtype: Any) -> tuple[Callable, Callable, Callable, bool]:
    normalization = discriminator_normalization(name)
    wrap, norm = normalization.parts(train, dtype)
    return wrap, norm, functools.partial(Conv, dtype=dtype), normalization.use_bias


def _residual(x: Array, wrap: Callable, norm: Callable, conv: Callable, use_bias: bool) -> Array:
    y = nn.relu(norm()(wrap(conv(x.shape[-1], (3, 3), use_bias=use_bias))(x)))
    return x + norm()(wrap(conv(x.shape[-1], (1, 1), use_bias=use_bias))(y))
