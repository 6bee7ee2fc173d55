"""The pairs of networks of R3GAN's config E (Huang et al. 2024), and those that its authors publish, by name."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.r3gan import R3GAN_FILTER, R3GANDiscriminator, R3GANGenerator, Sides, check_stages
from gan_jax.registry import Table


class Stages(NamedTuple):
    """The stages of a config E, from the smallest map, of side 4, to the full size."""

    widths: Sequence[int]
    groups: Sequence[int]

    @property
    def size(self) -> int:
        """The side of the images."""
        return 4 << (len(self.widths) - 1)


R3GAN_STAGES: Table[Stages] = Table(
    'R3GAN preset',
    {
        'cifar10': Stages([768] * 4, [96] * 4),
        'ffhq64': Stages([768] * 4 + [384], [96] * 4 + [48]),
        'ffhq256': Stages([768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12]),
        'imagenet32': Stages([1536] * 4, [96] * 4),
        'imagenet64': Stages([1536] * 5, [96] * 5),
    },
)
"""Name -> stages, of the authors' code. All have two blocks in a stage, an expansion of 2, and latents of 64 numbers."""


def config_e(
    widths: Sequence[int],
    groups: Sequence[int],
    size: int | Sides,
    channels: int = 3,
    *,
    blocks: int = 2,
    classes: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[R3GANGenerator, R3GANDiscriminator]:
    """The generator and the discriminator of config E, whose stages mirror each other.

    Args:
        widths: number of channels of each stage, from the smallest map to the full size.
        groups: number of groups of the 3 x 3 convolutions of each stage.
        size: side of square images, or height and width.
        channels: number of channels of the images.
        blocks: number of blocks in each stage.
        classes: number of classes, or 0.
        dtype: dtype of the finest stages, see `R3GANGenerator`; the others compute in float32 at least.

    Raises `InputError` for a size that is not exactly halved between the stages, and for groups that do not divide the inner
    width of their stage.
    """
    check_stages(size, len(widths), R3GAN_FILTER)
    if len(widths) != len(groups) or any(2 * width % count for width, count in zip(widths, groups, strict=True)):
        raise InputError(
            f'the number of groups of each stage must divide twice its width; got groups {list(groups)} and widths {list(widths)}'
        )
    how: dict[str, Any] = {'blocks': blocks, 'expansion': 2, 'taps': R3GAN_FILTER, 'classes': classes, 'dtype': dtype}
    generator = R3GANGenerator(size, channels, tuple(widths), groups=tuple(groups), **how)
    return generator, R3GANDiscriminator(tuple(widths[::-1]), groups=tuple(groups[::-1]), **how)


def r3gan_networks(
    name: str, channels: int = 3, *, classes: int = 0, dtype: Any = jnp.float32
) -> tuple[R3GANGenerator, R3GANDiscriminator]:
    """The networks of a published preset, for images of its size (Huang et al. 2024, section 4; `R3GAN_STAGES`).

    Args:
        name: cifar10, ffhq64, ffhq256, imagenet32 or imagenet64.
        channels: number of channels of the images.
        classes: number of classes, or 0. The authors condition on CIFAR-10 and on ImageNet.
        dtype: dtype of the finest stages, see `R3GANGenerator`; the others compute in float32 at least.

    Raises `InputError` for an unknown name.
    """
    stages = R3GAN_STAGES[name]
    return config_e(*stages, stages.size, channels, classes=classes, dtype=dtype)
