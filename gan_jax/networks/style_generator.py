"""StyleGAN2's generator (Karras et al. 2020, section 2 and appendix B), whose layers are modulated by styles.

A mapping network turns the latent z into a style w. A synthesis network starts from a learned map and modulates each of its
convolutions by w: an affine map of w scales the input channels, and demodulation brings the output channels back to unit
deviation. Every 3 x 3 convolution adds noise with a learned strength. Each stage makes an image; the image of the network is
their sum, each enlarged to the size of the next. The learning rate is equalised (`networks.equalized`).

    w = f(z),    x_(l+1) = act(conv(x_l; K_l, A_l w) + b_l + strength_l noise),    image = sum over stages of up(to_image(x))

The styles may differ between the layers: `synthesise` takes one w for all of them, or one for each.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.networks import convolution
from gan_jax.networks.channels import channel_broadcast
from gan_jax.networks.equalized import FILTER, EqualizedDense, equalized_kernel, scaled_leaky_relu
from gan_jax.networks.geometry import Geometry
from gan_jax.networks.layers import at_least_float32, with_bias
from gan_jax.networks.resampling import filtered, filtered_upsample, halved_exactly
from gan_jax.typing import Array, Variables

STYLES = 'styles'
"""The collection of the generator's variables with the moving average of w."""


def modulated_convolution(x: Array, kernel: Array, scales: Array, *, up: bool = False, demodulate: bool = True) -> Array:
    """A convolution whose kernel is scaled for each example, `[n, h, w, c] -> [n, h', w', o]` (Karras et al. 2020, eq. 1 and 3).

        K'_abco = s_c K_abco,    K''_abco = K'_abco / sqrt(sum over a, b, c of K'^2 + 1e-8)

    Input channels of unit deviation then give output channels of unit deviation. The scales are applied to the input and the
    demodulation to the output, which is the same and does not need a kernel for each example.

    Args:
        x: images.
        kernel: 3 x 3 or 1 x 1, `[a, b, c, o]`.
        scales: the scales s of each example's input channels, `[n, c]`.
        up: whether to enlarge by two, with zeros between the pixels before the convolution and FILTER after it; 3 x 3 only.
        demodulate: whether to divide by the norm.
    """
    height, width = x.shape[1:3]
    y = x * scales.astype(x.dtype)[:, None, None]
    small = kernel.astype(x.dtype)
    if kernel.shape[:2] == (1, 1):
        y = y @ small[0, 0]
    elif up:
        geometry = Geometry((2 * height + 1, 2 * width + 1), (3, 3), (2, 2), ((0, 0), (0, 0)))
        y = convolution.conv_input(y, small[::-1, ::-1].swapaxes(2, 3), geometry)
        y = filtered(y, FILTER, padding=(1, 1), gain=2)
    else:
        y = convolution.conv(y, small, Geometry((height, width), (3, 3), (1, 1), ((1, 1), (1, 1))))
    if not demodulate:
        return y
    squares = jnp.square(scales) @ jnp.square(kernel).sum((0, 1))
    return y * jax.lax.rsqrt(squares + 1e-8).astype(y.dtype)[:, None, None]


class _Modulated(nn.Module):
    """A modulated convolution by an affine map of the style: `([n, h, w, c], [n, size]) -> [n, h', w', features]`."""

    features: int
    side: int = 3
    up: bool = False
    demodulate: bool = True

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        scales = EqualizedDense(x.shape[-1], bias_init=1.0, dtype=w.dtype)(w)
        kernel = equalized_kernel(self, (self.side, self.side, x.shape[-1], self.features))
        return modulated_convolution(x, kernel, scales, up=self.up, demodulate=self.demodulate)


class _StyledLayer(nn.Module):
    """A modulated convolution with noise, a bias and LeakyReLU."""

    features: int
    up: bool = False

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        y = _Modulated(self.features, up=self.up)(x, w)
        strength = self.param('strength', nn.initializers.zeros, ())
        shape = (*y.shape[1:3], 1)
        fixed = self.variable('constants', 'noise', lambda: jax.random.normal(self.make_rng('params'), shape)).value
        if self.has_rng('noise'):
            keys = parallel.example_keys(len(y), self.make_rng('noise'))
            noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        else:
            noise = jnp.broadcast_to(fixed, (len(y), *shape))
        return scaled_leaky_relu(with_bias(self, y + (strength * noise).astype(y.dtype)))


class _Mapping(nn.Module):
    """`z [n, latent] -> w [n, size]`, with the moving average of w."""

    size: int
    layers: int
    multiplier: float
    decay: float

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        x = at_least_float32(z)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-8)
        for _ in range(self.layers):
            x = scaled_leaky_relu(EqualizedDense(self.size, self.multiplier, dtype=x.dtype)(x))
        mean = self.variable(STYLES, 'mean', jnp.zeros, (self.size,), x.dtype)
        if train and not self.is_initializing():
            mean.value = self.decay * mean.value + (1 - self.decay) * jax.lax.stop_gradient(x.mean(0))
        return x


class _Synthesis(nn.Module):
    """`w [n, layers, size] -> images [n, height, width, channels]`."""

    size: int | tuple[int, int]
    channels: int
    widths: Sequence[int]
    dtype: Any

    @nn.compact
    def __call__(self, w: Array) -> Array:
        base = halved_exactly(self.size, len(self.widths) - 1)
        start = self.param('start', nn.initializers.normal(1.0), (*base, self.widths[0]))
        x = jnp.broadcast_to(start.astype(self.dtype), (len(w), *start.shape))
        image: Array | None = None
        for stage, width in enumerate(self.widths):
            if stage:
                x = _StyledLayer(width, up=True)(x, w[:, 2 * stage - 1])
            x = _StyledLayer(width)(x, w[:, 2 * stage])
            y = at_least_float32(_Modulated(self.channels, side=1, demodulate=False)(x, w[:, 2 * stage + 1]))
            bias = self.param(f'bias_{stage}', nn.initializers.zeros, (self.channels,))
            y = y + channel_broadcast(bias.astype(y.dtype), y.shape)
            image = y if image is None else filtered_upsample(image, FILTER) + y
        assert image is not None
        return image


class StyleGenerator(nn.Module):
    """StyleGAN2's generator, `z [n, latent] -> [n, height, width, channels]`, with unbounded values (Karras et al. 2020).

    A call is `synthesise(styles(z))`. Noise comes from the Flax random stream 'noise', different for each example; without that
    stream it is fixed, drawn at initialisation, and images are a function of their styles. The image of a stage takes the style
    of the next stage's first convolution. In training, `styles` moves the average of w in the collection STYLES.

    Args:
        size: side of square images, or height and width.
        channels: number of channels of the images.
        widths: number of channels of each stage, from the smallest map to the full size.
        style_size: size of w.
        mapping_layers: number of layers of the mapping network: 2 in the authors' configuration for small images, 8 in the paper.
        multiplier: that of the learning rate of the mapping network.
        decay: of the average of w.
        dtype: dtype of the computation; the mapping network and the images are in float32 at least.

    Raises `InputError` for a size that cannot be halved between the stages.
    """

    size: int | tuple[int, int] = 16
    channels: int = 3
    widths: Sequence[int] = (128, 64, 32)
    style_size: int = 128
    mapping_layers: int = 2
    multiplier: float = 0.01
    decay: float = 0.995
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.mapping = _Mapping(self.style_size, self.mapping_layers, self.multiplier, self.decay)
        self.synthesis = _Synthesis(self.size, self.channels, self.widths, self.dtype)

    @property
    def layers(self) -> int:
        """The number of styles that an image takes."""
        return 2 * len(self.widths)

    def styles(self, z: Array, *, train: bool = True) -> Array:
        """The mapping network, `z [n, latent] -> w [n, style_size]`."""
        return self.mapping(z, train=train)

    def synthesise(self, w: Array, *, train: bool = True) -> Array:
        """The synthesis network, `w [n, style_size]` or `[n, layers, style_size]` to images `[n, height, width, channels]`."""
        del train
        w = w[:, None] if w.ndim == 2 else w
        return self.synthesis(jnp.broadcast_to(w, (len(w), self.layers, w.shape[-1])))

    def __call__(self, z: Array, *, train: bool = True) -> Array:
        return self.synthesise(self.styles(z, train=train), train=train)


def mean_style(variables: Variables) -> Array:
    """The moving average of w, `[style_size]`, in the variables of a `StyleGenerator`: the origin of truncation in w."""
    return variables[STYLES]['mapping']['mean']
