"""R3GAN's residual networks (Huang et al. 2024, section 3), which mirror each other and have no normalisation.

A stage is a resampling by two (down to a side of 4), a 1 x 1 convolution if the width changes, and residual blocks: 1 x 1,
LeakyReLU, 3 x 3, LeakyReLU, 1 x 1 without bias. The generator's smallest map is learned and modulated by the latent; the
discriminator's is summed with learned weights, channel by channel. The generator ends in a 1 x 1 convolution without tanh.

The paper's last two configurations differ in the blocks. Config D resamples bilinearly and narrows: the inner width is a quarter
of the stage's. Config E, which the paper publishes (`networks.r3gan_presets`), widens it to twice that (the inverted bottleneck),
makes the 3 x 3 convolutions grouped, and resamples through the FIR filter (1, 2, 1) (`networks.resampling`). The default fields
are those of a small config D, for stacked MNIST.

Given labels, the generator's latent is joined by a learned embedding of them, and the discriminator's last layer makes a vector
whose inner product with another embedding is the logit (Miyato and Koyama 2018, without the unconditional term).

Weights are initialised by fix-up (Zhang et al. 2019): the last layer of a block is 0, and the two before it are He's times
L^(-1/4), where L is the number of blocks in the network.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv, at_least_float32, with_bias
from gan_jax.networks.resampling import after_repetition, filtered_downsample, filtered_upsample
from gan_jax.typing import Array

_SLOPE = 0.2
_LOW_PRECISION = 4
"""The largest number of stages, the finest ones, that compute in a dtype of less than 32 bits, as in the authors' presets."""
R3GAN_FILTER = after_repetition((1, 2, 1))
"""The resampling filter of config E, (1, 3, 3, 1)."""

Sides = tuple[int, int]


def halved(size: int, times: int) -> list[int]:
    """Returns `size` and its successive halves, rounded up: `halved(28, 3)` is `[28, 14, 7, 4]`."""
    return [-(-size // 2**i) for i in range(times + 1)]


def check_stages(size: int | Sides, stages: int, taps: Sequence[float]) -> None:
    """Raises `InputError` for images that networks of this many stages cannot halve exactly, as filters need; see `taps`."""
    maps = _maps(size, stages)
    exact = all(a in (b, (2 * b[0], 2 * b[1])) for a, b in itertools.pairwise(maps))
    if taps and not exact:
        height, width = maps[0]
        raise InputError(
            f'images of {height} x {width} cannot be halved {stages - 1} times through a filter; use fewer stages or another size'
        )


def _maps(size: int | Sides, stages: int) -> list[Sides]:
    """Returns heights and widths of the stages' maps, from the full size down to 4, the paper's smallest, where others remain.

    The learned weights of the smallest map are all that the networks know about positions: from a single one, only frames grow.
    """
    sides = (size, size) if isinstance(size, int) else size
    columns = ([max(side, min(4, full)) for side in halved(full, stages - 1)] for full in sides)
    return list(zip(*columns, strict=True))


def _scaled(gain: float) -> nn.initializers.Initializer:
    """Returns an initialiser that draws normal weights of variance gain^2 / fan in."""
    return nn.initializers.variance_scaling(gain**2, 'fan_in', 'normal')


class Block(nn.Module):
    """A residual block, `[n, h, w, c]` to the same shape; at initialisation the residual is 0."""

    hidden: int
    blocks: int
    """The number of blocks in the whole network."""
    dtype: Any = jnp.float32
    groups: int = 1
    """The number of groups of channels of the 3 x 3 convolution."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = _scaled((2 / (1 + _SLOPE**2)) ** 0.5 * self.blocks**-0.25)
        y = _linear(self.hidden, self.dtype, init)(x)
        y = nn.leaky_relu(with_bias(self, y), _SLOPE)
        conv = functools.partial(Conv, kernel_size=(3, 3), dtype=self.dtype, kernel_init=init, feature_group_count=self.groups)
        y = nn.leaky_relu(conv(features=self.hidden)(y), _SLOPE)
        return x + _linear(x.shape[-1], self.dtype, nn.initializers.zeros)(y)


def _dtypes(dtype: Any, stages: int) -> list[Any]:
    """The dtype of each stage, the finest first."""
    low = min(_LOW_PRECISION, stages - 1)
    return [dtype] * low + [jnp.promote_types(dtype, jnp.float32)] * (stages - low)


def _linear(features: int, dtype: Any, init: nn.initializers.Initializer | None = None) -> nn.Dense:
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=init or _scaled(1.0))


def _resampled(x: Array, sides: Sides, taps: Sequence[float]) -> Array:
    """Resamples to these sides: through the filter, or bilinearly, with antialiasing if the map shrinks."""
    if taps and x.shape[1:3] != sides:
        grows = (sides[0] > x.shape[1], sides[1] > x.shape[2])
        return filtered_upsample(x, taps) if any(grows) else filtered_downsample(x, taps)
    return x if x.shape[1:3] == sides else jax.image.resize(x, (x.shape[0], *sides, x.shape[3]), 'bilinear')


class R3GANGenerator(nn.Module):
    """R3GAN's generator, `z [n, latent] -> [n, height, width, channels]`, with unbounded values (Huang et al. 2024, section 3).

    With `classes`, a call is `(z, labels int [n])`.

    Args:
        size: side of square images, or height and width.
        channels: number of channels of the images.
        widths: number of channels of each stage, from the smallest map to the full size.
        blocks: number of blocks in each stage; 2 in the paper.
        expansion: ratio of the inner width of a stage's blocks to its width; 1/4 in config D, whose stages are wider than the
            default ones, and 2 in config E.
        groups: number of groups of the 3 x 3 convolutions of each stage; empty for one group.
        taps: the resampling filter, R3GAN_FILTER in config E; empty to resample bilinearly.
        classes: number of classes, or 0.
        dtype: dtype of the four finest stages, or of all but the smallest one if there are four stages or fewer; the learned map
            and the other stages compute in float32 at least, as in the authors' presets.

    Raises `InputError` for a size that is not exactly halved between the stages, if there is a filter.
    """

    size: int | Sides = 28
    channels: int = 3
    widths: Sequence[int] = (96, 96, 64, 32)
    blocks: int = 1
    expansion: float = 0.5
    groups: Sequence[int] = ()
    taps: Sequence[float] = ()
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, labels: Array | None = None, *, train: bool = True) -> Array:
        del train
        stages = len(self.widths)
        check_stages(self.size, stages, self.taps)
        maps = _maps(self.size, stages)[::-1]
        if self.classes:
            z = jnp.concatenate([z, _embedding(self.classes, z.shape[-1], 1.0)(labels)], -1)
        basis = self.param('basis', nn.initializers.normal(1.0), (*maps[0], self.widths[0]))
        wide = jnp.promote_types(self.dtype, jnp.float32)
        x = basis.astype(wide) * _linear(self.widths[0], wide)(z)[:, None, None]
        dtypes = _dtypes(self.dtype, stages)[::-1]
        for width, sides, groups, dtype in zip(self.widths, maps, self.groups or [1] * stages, dtypes, strict=True):
            # 1 x 1 and resampling commute; which order is cheaper differs between the networks.
            x = x.astype(dtype) if width == x.shape[-1] else _linear(width, dtype)(x)
            x = _resampled(x, sides, self.taps)
            for _ in range(self.blocks):
                x = Block(int(self.expansion * width), self.blocks * stages, dtype, groups)(x)
        return at_least_float32(_linear(self.channels, self.dtype)(x))


class R3GANDiscriminator(nn.Module):
    """R3GAN's discriminator, `[n, height, width, channels] -> logits [n]` (Huang et al. 2024, section 3).

    With `classes`, a call is `(images, labels int [n])`. With `features_too=True`, it returns `(logits, outputs of the stages)`,
    the finest first.

    Args:
        widths: number of channels of each stage, from the full size to the smallest map: the generator's in reverse.
        blocks: number of blocks in each stage.
        expansion: as in `R3GANGenerator`.
        groups: as in `R3GANGenerator`, in the order of the widths.
        taps: as in `R3GANGenerator`.
        classes: as in `R3GANGenerator`.
        dtype: as in `R3GANGenerator`; what follows the stages is in float32 at least.

    Raises `InputError` for images that are not exactly halved between the stages, if there is a filter.
    """

    widths: Sequence[int] = (32, 64, 96, 96)
    blocks: int = 1
    expansion: float = 0.5
    groups: Sequence[int] = ()
    taps: Sequence[float] = ()
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: Array | None = None, *, train: bool = True, features_too: bool = False) -> Any:
        del train
        stages = len(self.widths)
        size = x.shape[1], x.shape[2]
        check_stages(size, stages, self.taps)
        features = []
        wide = jnp.promote_types(self.dtype, jnp.float32)
        dtypes = _dtypes(self.dtype, stages)
        for width, sides, groups, dtype in zip(
            self.widths, _maps(size, stages), self.groups or [1] * stages, dtypes, strict=True
        ):
            x = _resampled(x.astype(dtype), sides, self.taps)
            x = x if width == x.shape[-1] else _linear(width, dtype)(x)
            for _ in range(self.blocks):
                x = Block(int(self.expansion * width), self.blocks * stages, dtype, groups)(x)
            features.append(x)
        weights = self.param('basis', nn.initializers.normal((x.shape[1] * x.shape[2]) ** -0.5), x.shape[1:])
        x = (x * weights.astype(wide)).sum((1, 2))
        if self.classes:
            width = x.shape[-1]
            found = _linear(width, wide)(x)
            logits = (found * _embedding(self.classes, width, width**-0.5)(labels)).sum(-1)
        else:
            logits = _linear(1, wide)(x).squeeze(-1)
        return (logits, features) if features_too else logits


def _embedding(classes: int, size: int, gain: float) -> nn.Embed:
    """Returns a linear map of one-hot labels, initialised as one: the fan in is the number of classes."""
    return nn.Embed(classes, size, embedding_init=nn.initializers.normal(gain * classes**-0.5))
