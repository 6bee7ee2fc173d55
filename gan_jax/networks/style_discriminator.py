"""StyleGAN2's discriminator (Karras et al. 2020, section 4): residual, and with the spread of the batch."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.networks.equalized import FILTER, EqualizedConv, EqualizedDense, scaled_leaky_relu
from gan_jax.networks.layers import at_least_float32
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.resampling import filtered_downsample, halved_exactly
from gan_jax.typing import Array


class StyleDiscriminator(nn.Module):
    """StyleGAN2's discriminator, `[n, height, width, channels] -> logits [n]` (Karras et al. 2020, section 4).

    A 1 x 1 convolution is followed by residual blocks, each of two 3 x 3 convolutions, the second of which halves the map through
    a filter, beside a 1 x 1 convolution of the filtered map; their sum is divided by sqrt(2). The smallest map passes through the
    minibatch layer, a 3 x 3 convolution and two linear layers. With `features_too=True`, a call returns `(logits, features)`: the
    outputs of the first convolution of each block, the finest first, and the last hidden layer, `[n, units]`.

    Args:
        widths: number of channels of each stage, from the full size to the smallest map.
        minibatch: member of `layers.MINIBATCH_LAYERS`; the default is the authors'.
        dtype: dtype of the computation; the smallest stage is in float32 at least.

    Raises `InputError` for a size that cannot be halved between the stages, and for unknown minibatch layers.
    """

    widths: Sequence[int] = (32, 64, 128)
    minibatch: str = 'stddev:group_size=4'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        del train
        halved_exactly((x.shape[1], x.shape[2]), len(self.widths) - 1)
        first, *others = self.widths
        x = scaled_leaky_relu(EqualizedDense(first, dtype=self.dtype)(x))
        features = []
        for width in others:
            y = scaled_leaky_relu(EqualizedConv(x.shape[-1], dtype=self.dtype)(x))
            features.append(y)
            y = scaled_leaky_relu(EqualizedConv(width, down=True, dtype=self.dtype)(y))
            beside = EqualizedDense(width, use_bias=False, dtype=self.dtype)(filtered_downsample(x, FILTER))
            x = (y + beside) / math.sqrt(2)
        x = at_least_float32(x)
        wide = x.dtype
        x = minibatch_layer(self.minibatch)(x)
        if x.ndim == 4:  # minibatch discrimination flattens
            x = scaled_leaky_relu(EqualizedConv(self.widths[-1], dtype=wide)(x))
        x = scaled_leaky_relu(EqualizedDense(self.widths[-1], dtype=wide)(x.reshape(len(x), -1)))
        features.append(x)
        logits = EqualizedDense(1, dtype=wide)(x).squeeze(-1)
        return (logits, features) if features_too else logits
