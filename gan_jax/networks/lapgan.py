"""LAPGAN's networks for CIFAR-10 (Denton et al. 2015, section 3.1; the authors' code), for images of any even size.

A level's networks see an image as two parts of one size: the low-pass image, and the high-pass image that is added to it. Nothing
is normalised. At the widths given here they are the authors'. The coarsest level has fully connected networks: the generator is
`MLPGenerator(shape, (8000, 8000))`, with tanh where the authors, whose images are in [0, 1], have a sigmoid.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.layers import Conv, Dropout, at_least_float32
from gan_jax.typing import Array


class LevelGenerator(nn.Module):
    """`(z [n, h * w], low [n, h, w, c]) -> high [n, h, w, c]`: the noise is one more channel of the low-pass image."""

    width: int = 64
    kernel_sizes: Sequence[int] = (7, 7, 5)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, low: Array, *, train: bool = True) -> Array:
        x = jnp.concatenate([z.reshape(*low.shape[:3], 1), low], -1)
        for size in self.kernel_sizes[:-1]:
            x = nn.relu(Conv(features=self.width, kernel_size=(size, size), dtype=self.dtype)(x))
        size = self.kernel_sizes[-1]
        return at_least_float32(Conv(features=low.shape[-1], kernel_size=(size, size), dtype=self.dtype)(x))


class LevelDiscriminator(nn.Module):
    """`(high, low) -> logits [n]`, both `[n, h, w, c]`, of which it sees the sum. Dropout is by the random stream 'noise'.

    With `features_too=True` also the activations, finest first.
    """

    width: int = 64
    kernel_size: int = 5
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, high: Array, low: Array, *, train: bool = True, features_too: bool = False) -> Any:
        kernel = (self.kernel_size, self.kernel_size)
        fine = nn.relu(Conv(features=self.width, kernel_size=kernel, dtype=self.dtype)(high + low))
        coarse = nn.relu(Conv(features=self.width, kernel_size=kernel, strides=(2, 2), dtype=self.dtype)(fine))
        x = Dropout(self.dropout if train else 0)(coarse.reshape(len(coarse), -1))
        logits = at_least_float32(nn.Dense(1, dtype=self.dtype)(x).squeeze(-1))
        return (logits, [fine, coarse]) if features_too else logits


class CoarsestDiscriminator(nn.Module):
    """`[n, ...] -> logits [n]`, with dropout after every hidden layer by the random stream 'noise'.

    With `features_too=True` also the hidden activations.
    """

    features: Sequence[int] = (1600, 1600)
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        x = x.reshape(len(x), -1)
        hidden = []
        for width in self.features:
            hidden.append(nn.relu(nn.Dense(width, dtype=self.dtype)(x)))
            x = Dropout(self.dropout if train else 0)(hidden[-1])
        logits = at_least_float32(nn.Dense(1, dtype=self.dtype)(x).squeeze(-1))
        return (logits, hidden) if features_too else logits
