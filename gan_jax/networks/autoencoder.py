"""Discriminators whose output is an energy: how badly an autoencoder reconstructs its input (Zhao et al. 2017, section 2.3)."""

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
    """E(x) = |Dec(Enc(x)) - x|, the Euclidean norm of all of an example: `[n, ...] -> energies [n]`.

    With `features_too=True` a call returns `(energies, [code])`, the code being what `features.pulling_away` looks at. Energies
    grow with the root of the number of pixels and with their range, and a margin is in their units: an autoencoder that always
    answers with the mean image has `mean_energy`, and a margin far above that asks for worse than it.

    `autoencoder(x, train=) -> (reconstruction like x, code [n, ...])`.
    """

    autoencoder: nn.Module

    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        reconstruction, code = self.autoencoder(x, train=train)
        energies = euclidean_norm(reconstruction - x)
        return (energies, [code]) if features_too else energies

    def reconstruct(self, x: Array) -> Array:
        """Dec(Enc(x)) in inference mode, `[n, ...]`, for `network.apply(variables, x, method='reconstruct')`."""
        return self.autoencoder(x, train=False)[0]


def mean_energy(examples: Array) -> Array:
    """The mean distance of examples `[n, ...]` from their mean: the scale of energies, and so of margins. A scalar."""
    return euclidean_norm(examples - examples.mean(0)).mean()


class MLPAutoencoder(nn.Module):
    """`[n, ...] -> (reconstruction, code [n, features[-1]])`: ReLU layers, and a decoder of one linear layer, as on MNIST."""

    features: Sequence[int] = (1024, 1024)
    dtype: Any = jnp.float32
    norm: str = 'none'
    """From `layers.NORMALIZATIONS`, of every encoder layer but the first. Batch norm makes energies depend on the batch."""

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
    """`[n, h, w, c] -> (reconstruction, code [n, h / 2^k, w / 2^k, channels])`: strided convolutions down, transposed ones up.

    As in the paper's networks for faces and rooms: 4 x 4 kernels, `width` channels at half the image's size, and
    twice as many at each further halving, to 4 x 4 (28 pixels: 7 x 7). LeakyReLU(0.2) down and ReLU up; the output is linear.
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
