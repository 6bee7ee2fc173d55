"""LAPGAN's networks for CIFAR-10 (Denton et al. 2015, section 3.1; the authors' code), for images of any even size.

The networks of a level see an image as two parts of the same size: the low-pass image, and the high-pass image that is added to
it. There is no normalisation. The default widths are the authors'. The networks of the coarsest level are fully connected; the
generator is `MLPGenerator(shape, (8000, 8000))`, with tanh in place of the sigmoid of the authors, whose images are in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.layers import Conv, Dropout, at_least_float32
from gan_jax.typing import Array


class LevelGenerator(nn.Module):
    """The generator of a level, `(z [n, h * w], low [n, h, w, c]) -> high [n, h, w, c]` (Denton et al. 2015, section 3.1).

    The noise is an additional channel of the low-pass image.
    """

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
    """The discriminator of a level, `(high [n, h, w, c], low [n, h, w, c]) -> logits [n]` (Denton et al. 2015, section 3.1).

    Its input is the sum of both images. With `features_too=True`, a call returns `(logits, activations)`, the finest first.

    Args:
        width: number of channels.
        kernel_size: side of the kernels.
        dropout: dropout rate in training, by the random stream 'noise'.
        dtype: dtype of the computation.
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
    """The discriminator of the coarsest level, `[n, ...] -> logits [n]` (Denton et al. 2015, section 3.1).

    In training, dropout by the random stream 'noise' follows every hidden layer. With `features_too=True`, a call returns
    `(logits, hidden activations)`.
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
