"""Discriminators that output an energy: the reconstruction error of an autoencoder (Zhao et al. 2017, section 2.3)."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.dcgan import smallest_map
from gan_jax.networks.layers import Conv, ConvTranspose, at_least_float32
from gan_jax.networks.normalization import discriminator_normalization
from gan_jax.numerics import euclidean_norm
from gan_jax.typing import Array


class EnergyDiscriminator(nn.Module):
    """The reconstruction error of an autoencoder as a discriminator: `[n, ...] -> energies [n]`.

    Computes E(x) = |Dec(Enc(x)) - x| (Zhao et al. 2017, section 2.3), the Euclidean norm over all entries of an example. With
    `features_too=True`, a call returns `(energies, [code])`; `features.pulling_away` uses the code.

    Energies grow with the square root of the number of pixels and with their range, and margins are in the same units. An
    autoencoder that always outputs the mean image has energy `mean_energy`; a margin far above that demands reconstructions that
    are worse still.

    `autoencoder(x, train=...)` must return `(reconstruction, code)`: the reconstruction has the shape of `x`, the code is
    `[n, ...]`.
    """

    autoencoder: nn.Module

    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        reconstruction, code = self.autoencoder(x, train=train)
        energies = euclidean_norm(reconstruction - x)
        return (energies, [code]) if features_too else energies

    def reconstruct(self, x: Array) -> Array:
        """Returns Dec(Enc(x)) in inference mode, `[n, ...]`. Call it by `network.apply(variables, x, method='reconstruct')`."""
        return self.autoencoder(x, train=False)[0]


def mean_energy(examples: Array) -> Array:
    """Returns the mean distance of examples `[n, ...]` from their mean, a scalar that sets the scale of energies and margins."""
    return euclidean_norm(examples - examples.mean(0)).mean()


class MLPAutoencoder(nn.Module):
    """A fully connected autoencoder, `[n, ...] -> (reconstruction [n, ...], code [n, features[-1]])`, as in the paper for MNIST.

    The encoder consists of ReLU layers, the decoder of a single linear layer. Raises `InputError` for norm 'virtual'.
    """

    features: Sequence[int] = (1024, 1024)
    dtype: Any = jnp.float32
    norm: str = 'none'
    """A member of `layers.NORMALIZATIONS` for all encoder layers but the first. Batch norm makes energies depend on the batch."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> tuple[Array, Array]:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype)
        code = x.reshape(len(x), -1)
        for i, width in enumerate(self.features):
            code = wrap(nn.Dense(width, use_bias=i == 0 or normalization.use_bias, dtype=self.dtype))(code)
            code = nn.relu(norm()(code) if i else code)
        reconstruction = wrap(nn.Dense(math.prod(x.shape[1:]), dtype=self.dtype))(code)
        return at_least_float32(reconstruction).reshape(x.shape), at_least_float32(code)


class ConvAutoencoder(nn.Module):
    """A convolutional autoencoder, `[n, h, w, c] -> (reconstruction [n, h, w, c], code [n, h / 2^k, w / 2^k, channels])`.

    As in the paper's networks for faces and rooms, strided convolutions halve the image down to 4 x 4 (7 x 7 for 28 pixels), and
    transposed convolutions enlarge it again. Activations are LeakyReLU(0.2) on the way down and ReLU on the way up; the output
    is linear.

    Args:
        width: number of channels at half the image's size; it doubles at each further halving.
        kernel_size: side of the kernels.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`.

    Raises `InputError` for image sizes that `dcgan.smallest_map` rejects, and for norm 'virtual'.
    """

    width: int = 64
    kernel_size: int = 4
    dtype: Any = jnp.float32
    norm: str = 'none'

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> tuple[Array, Array]:
        normalization = discriminator_normalization(self.norm)
        wrap, norm = normalization.parts(train, self.dtype)
        *_, halvings = smallest_map((x.shape[1], x.shape[2]))
        options: Any = {'kernel_size': (self.kernel_size, self.kernel_size), 'strides': (2, 2), 'dtype': self.dtype}
        code, channels = x, x.shape[-1]
        for i in range(halvings):
            code = wrap(Conv(features=self.width << i, use_bias=i == 0 or normalization.use_bias, **options))(code)
            code = nn.leaky_relu(norm()(code) if i else code, 0.2)
        x = code
        for i in reversed(range(halvings - 1)):
            x = nn.relu(norm()(wrap(ConvTranspose(self.width << i, use_bias=normalization.use_bias, **options))(x)))
        x = wrap(ConvTranspose(channels, **options))(x)
        return at_least_float32(x), at_least_float32(code)
