"""BigGAN's networks (Brock, Donahue and Simonyan 2019, appendix B), for images of size 28 or 4 * 2^n.

In the generator the class enters every block, as an embedding that all blocks share, and so does a part of the latent. The
discriminator is one for `ProjectionDiscriminator`. Both attend to one of their maps. Weights are orthogonal at first and divided
by their largest singular value. Channels are `width` at the full size and double at each of the first four halvings, to at most
16 times as many: at 128 pixels and width 96 these are the networks of table 4.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.attention import SelfAttention
from gan_jax.networks.batch_norm import BatchNorm
from gan_jax.networks.channels import channel_broadcast
from gan_jax.networks.dcgan import smallest_map
from gan_jax.networks.layers import Conv, at_least_float32
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization
from gan_jax.networks.resampling import conv_downsample, downsample, upsample, upsample_conv
from gan_jax.typing import Array

orthogonal = nn.initializers.orthogonal()
WEIGHTS = ('spectral', 'weight', 'none')
"""The normalisations of weights, among which the generator chooses; its maps always have batch norm."""


class ConditionedBatchNorm(nn.Module):
    """Batch norm with gains and biases linear in a condition, `(x [n, ..., c], condition [n, d]) -> [n, ..., c]`.

        y = (1 + A condition) x_normalised + B condition

    A and B have no biases (Brock et al. 2019, section 3 and appendix B). The parameters are those of the two linear maps.

    Args:
        norm: member of `WEIGHTS`, for A and B.
        dtype: dtype of the result.
    """

    norm: str = 'spectral'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, condition: Array, *, train: bool = True) -> Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        x = BatchNorm(use_running_average=not train, track=train, dtype=wide, use_scale=False, use_bias=False)(x)
        wrap, _ = NORMALIZATIONS[self.norm].parts(train, self.dtype)
        linear = lambda name: wrap(
            nn.Dense(x.shape[-1], use_bias=False, dtype=self.dtype, kernel_init=orthogonal, name=f'{name}_of_condition')
        )
        gain, bias = (linear(name)(condition).astype(wide) for name in ('gain', 'bias'))
        return (x * channel_broadcast(1 + gain, x.shape) + channel_broadcast(bias, x.shape)).astype(self.dtype)


class BigGANGenerator(nn.Module):
    """BigGAN's generator, `(z [n, latent], labels [n]) -> [n, height, width, channels]` in [-1, 1] (table 4, left).

    The latent is split into equal parts, or as nearly equal as possible: the first is mapped to the smallest map, and each of
    the others, joined to the embedding of the class, is the condition of the batch norms of one block. A block doubles the map.

    Args:
        size: side of square images, or height and width.
        channels: number of channels of the images.
        width: number of channels at the full size.
        classes: number of classes.
        embedding: size of the embedding of a class, which all blocks share and which is not spectrally normalised.
        attention: number of halvings from the full size to the map with self-attention; 0 for none.
        dtype: dtype of the computation.
        norm: member of `WEIGHTS`.

    Raises `InputError` for sizes that `dcgan.smallest_map` rejects, for a map that does not exist, for fewer latents than parts,
    and for another norm.
    """

    size: int | tuple[int, int]
    channels: int = 3
    width: int = 96
    classes: int = 1000
    embedding: int = 128
    attention: int = 1
    dtype: Any = jnp.float32
    norm: str = 'spectral'

    @nn.compact
    def __call__(self, z: Array, labels: Array, *, train: bool = True) -> Array:
        *base, doublings = smallest_map(self.size)
        check_attention(self.attention, doublings)
        check_weights_norm(self.norm)
        check_latents(z.shape[-1], doublings)
        wrap, _ = NORMALIZATIONS[self.norm].parts(train, self.dtype)
        width = lambda halvings: self.width << min(4, halvings)
        embed = nn.Embed(self.classes, self.embedding, dtype=self.dtype, embedding_init=orthogonal)
        first, *parts = jnp.array_split(z.astype(self.dtype), doublings + 1, axis=-1)
        told = embed(labels)
        dense = nn.Dense(math.prod(base) * width(doublings), dtype=self.dtype, kernel_init=orthogonal)
        x = wrap(dense)(first).reshape(-1, *base, width(doublings))
        for halvings, part in zip(range(doublings, 0, -1), parts, strict=True):
            if halvings == self.attention:
                x = SelfAttention(self.norm, self.dtype)(x, train=train)
            condition = jnp.concatenate([told, part], -1)
            x = GeneratorBlock(width(halvings - 1), self.norm, self.dtype)(x, condition, train=train)
        x = nn.relu(BatchNorm(use_running_average=not train, track=train, dtype=self.dtype)(x))
        return jnp.tanh(at_least_float32(_convolution(wrap, self.dtype, self.channels)(x)))


class GeneratorBlock(nn.Module):
    """A residual block of the generator, `(x [n, h, w, c], condition [n, d]) -> [n, 2 h, 2 w, features]` (figure 15 b).

    Args:
        features: number of channels of the result.
        norm: member of `WEIGHTS`.
        dtype: dtype of the computation.
    """

    features: int
    norm: str = 'spectral'
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, condition: Array, *, train: bool = True) -> Array:
        wrap, _ = NORMALIZATIONS[self.norm].parts(train, self.dtype)
        conv = functools.partial(_convolution, wrap, self.dtype, self.features)
        norm = functools.partial(ConditionedBatchNorm, self.norm, self.dtype)
        h = conv(convolve=upsample_conv)(nn.relu(norm()(x, condition, train=train)))
        h = conv()(nn.relu(norm()(h, condition, train=train)))
        return h + upsample(conv(1)(x))  # upsampling and 1 x 1 commute; this is 4 times cheaper


class BigGANDiscriminator(nn.Module):
    """BigGAN's discriminator without the projection of the class, `[n, h, w, c] -> logits [n]` (table 4, right).

    Blocks halve the map until it is 4 pixels high or wide (7 of 28), and one more keeps its size; ReLU, a sum over positions and
    a dense layer follow. With `features_too=True`, a call returns `(logits, features)`: the outputs of the blocks, finest first,
    then the summed features. The whole discriminator is `ProjectionDiscriminator(BigGANDiscriminator(), classes)`.

    Args:
        width: number of channels of the first block.
        attention: number of halvings from the image to the map with self-attention; 0 for none.
        dtype: dtype of the computation.
        norm: member of `layers.NORMALIZATIONS`; one of outputs precedes the activations of every block but the first.

    Raises `InputError` for sizes that `dcgan.smallest_map` rejects, for a map that does not exist, and for norm 'virtual'.
    """

    width: int = 96
    attention: int = 1
    dtype: Any = jnp.float32
    norm: str = 'spectral'

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        *_, halvings = smallest_map((x.shape[1], x.shape[2]))
        check_attention(self.attention, halvings)
        wrap, norm = discriminator_normalization(self.norm).parts(train, self.dtype)
        features = []
        for number in range(halvings + 1):
            shrinks = number < halvings
            conv = functools.partial(_convolution, wrap, self.dtype, self.width << min(4, number, halvings - 1))
            ready = (lambda x: nn.relu(norm()(x))) if number else nn.relu
            h = conv()(ready(x) if number else x)
            h = conv(convolve=conv_downsample if shrinks else None)(ready(h))
            x = h + (conv(1)(downsample(x)) if shrinks else x)
            if number + 1 == self.attention:
                x = SelfAttention(self.norm, self.dtype)(x, train=train)
            features.append(x)
        features.append(at_least_float32(nn.relu(x)).sum((1, 2)))
        logits = wrap(nn.Dense(1, kernel_init=orthogonal))(features[-1]).squeeze(-1)
        return (logits, features) if features_too else logits


def check_attention(attention: int, halvings: int) -> None:
    """Raises `InputError` unless one of the networks' maps is this number of halvings from the full size, or it is 0."""
    if not 0 <= attention <= halvings:
        raise InputError(
            f'the image is halved {halvings} times, so attention must be from 0 (none) to {halvings}, not {attention}'
        )


def check_weights_norm(norm: str) -> None:
    """Raises `InputError` unless the norm is one of weights, beside which the generator has batch norm."""
    if norm not in WEIGHTS:
        raise InputError(f'G always has batch norm, so its norm must be one of weights: {", ".join(WEIGHTS)}, not {norm}')


def check_latents(latents: int, halvings: int) -> None:
    """Raises `InputError` unless every block and the smallest map have a part of the latents."""
    if latents <= halvings:
        raise InputError(f'{latents} latents are too few: each of {halvings} blocks and the smallest map takes a part of them')


def _convolution(
    wrap: Callable, dtype: Any, features: int, size: int = 3, convolve: Callable[[Array, Array], Array] | None = None
) -> Callable[[Array], Array]:
    how: dict[str, Any] = {'dtype': dtype, 'kernel_init': orthogonal, 'convolve': convolve}
    return wrap(Conv(features=features, kernel_size=(size, size), **how))
