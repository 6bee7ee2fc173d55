"""The Inception network of 2015-12-05, which defines FID, KID and the Inception score (Szegedy et al. 2016).

It differs from the Inception v3 of the paper and from that of torchvision: average pooling divides by the number of cells inside
the image, and the pooling of the last block, Mixed_7c, is a maximum. Layers are named as in the PyTorch release. Batch norm is
folded into the convolutions (`convert.fold`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.lax import Precision

from gan_jax.typing import Array

HIGHEST = Precision.HIGHEST
SIZE = 299
"""Height and width of the network's input."""
CLASSES = 1008
OUTPUTS = ('64', '192', '768', '2048', 'logits_unbiased', 'logits')
"""The global means of four feature maps, named by their widths ('2048' is TensorFlow's `pool_3`), and the logits without and with
their bias."""


class Convolution(NamedTuple):
    """A convolution without bias, followed by batch norm and ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = 'SAME'


class Branch(NamedTuple):
    """An optional pooling followed by a sequence of convolutions, where a pair denotes two in parallel."""

    name: str
    row: tuple[Convolution | tuple[Convolution, Convolution], ...] = ()
    pool: str | None = None


Block = tuple[Branch, ...]
"""Branches of the same input, concatenated along the channels."""

POOLS = {
    'average': lambda x: nn.avg_pool(x, (3, 3), padding='SAME', count_include_pad=False),
    'max': lambda x: nn.max_pool(x, (3, 3), padding='SAME'),
    'max_stride_2': lambda x: nn.max_pool(x, (3, 3), (2, 2)),
}


def _mixed_5(pool_features: int) -> Block:
    return (
        Branch('branch1x1', (Convolution(64),)),
        Branch('branch5x5', (Convolution(48), Convolution(64, (5, 5)))),
        Branch('branch3x3dbl', (Convolution(64), Convolution(96, (3, 3)), Convolution(96, (3, 3)))),
        Branch('branch_pool', (Convolution(pool_features),), 'average'),
    )


def _mixed_6(width: int) -> Block:
    wide, tall = Convolution(width, (1, 7)), Convolution(width, (7, 1))
    return (
        Branch('branch1x1', (Convolution(192),)),
        Branch('branch7x7', (Convolution(width), wide, Convolution(192, (7, 1)))),
        Branch('branch7x7dbl', (Convolution(width), tall, wide, tall, Convolution(192, (1, 7)))),
        Branch('branch_pool', (Convolution(192),), 'average'),
    )


def _mixed_7(pool: str) -> Block:
    pair = (Convolution(384, (1, 3)), Convolution(384, (3, 1)))
    return (
        Branch('branch1x1', (Convolution(320),)),
        Branch('branch3x3', (Convolution(384), pair)),
        Branch('branch3x3dbl', (Convolution(448), Convolution(384, (3, 3)), pair)),
        Branch('branch_pool', (Convolution(192),), pool),
    )


def _halving(features: int) -> Convolution:
    return Convolution(features, (3, 3), 2, 'VALID')


SECTIONS: dict[str, dict[str, Convolution | Block | str]] = {
    '64': {
        'Conv2d_1a_3x3': _halving(32),
        'Conv2d_2a_3x3': Convolution(32, (3, 3), padding='VALID'),
        'Conv2d_2b_3x3': Convolution(64, (3, 3)),
        'MaxPool_1': 'max_stride_2',
    },
    '192': {
        'Conv2d_3b_1x1': Convolution(80),
        'Conv2d_4a_3x3': Convolution(192, (3, 3), padding='VALID'),
        'MaxPool_2': 'max_stride_2',
    },
    '768': {
        'Mixed_5b': _mixed_5(32),
        'Mixed_5c': _mixed_5(64),
        'Mixed_5d': _mixed_5(64),
        'Mixed_6a': (
            Branch('branch3x3', (_halving(384),)),
            Branch('branch3x3dbl', (Convolution(64), Convolution(96, (3, 3)), _halving(96))),
            Branch('branch_pool', pool='max_stride_2'),
        ),
        'Mixed_6b': _mixed_6(128),
        'Mixed_6c': _mixed_6(160),
        'Mixed_6d': _mixed_6(160),
        'Mixed_6e': _mixed_6(192),
    },
    '2048': {
        'Mixed_7a': (
            Branch('branch3x3', (Convolution(192), _halving(320))),
            Branch('branch7x7x3', (Convolution(192), Convolution(192, (1, 7)), Convolution(192, (7, 1)), _halving(192))),
            Branch('branch_pool', pool='max_stride_2'),
        ),
        'Mixed_7b': _mixed_7('average'),
        'Mixed_7c': _mixed_7('max'),
    },
}
"""The network from input to features, divided where an output of that name is taken."""


def _rows(block: str, branch: Branch) -> Iterator[dict[str, Convolution]]:
    """The convolutions of a branch in sequence, by their full names; two of them for a pair."""
    for i, step in enumerate(branch.row):
        name = f'{block}.{branch.name}' + (f'_{i + 1}' if len(branch.row) > 1 else '')
        yield {name: step} if isinstance(step, Convolution) else {name + 'a': step[0], name + 'b': step[1]}


class InceptionV3(nn.Module):
    """Maps preprocessed images `[n, 299, 299, 3]` in [-1, 1) to a tuple of the `outputs`, each `[n, width]`, float32.

    Layers beyond the deepest output are not computed and require no parameters. Raises `ValueError` for unknown outputs.
    """

    outputs: tuple[str, ...] = ('2048',)

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, ...]:
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs:
            raise ValueError(f'outputs must be among {", ".join(OUTPUTS)}; got {self.outputs}')
        found: dict[str, Array] = {}
        for section, steps in SECTIONS.items():
            for name, step in steps.items():
                x = _apply(name, step, x)
            found[section] = x.mean((1, 2))
            if found.keys() >= set(self.outputs):
                return tuple(found[name] for name in self.outputs)
        unbiased = nn.Dense(CLASSES, use_bias=False, precision=HIGHEST, name='logits')(found['2048'])
        bias = self.param('logits_bias', nn.initializers.zeros, (CLASSES,))
        found |= {'logits_unbiased': unbiased, 'logits': unbiased + bias}
        return tuple(found[name] for name in self.outputs)


def _apply(name: str, step: Convolution | Block | str, x: Array) -> Array:
    if isinstance(step, str):
        return POOLS[step](x)
    if not isinstance(step, Convolution):
        return jnp.concatenate([_branch(name, branch, x) for branch in step], -1)
    # For batches, XLA's CPU backend takes 2 to 4 times as long for a VALID convolution of stride 1 as for the SAME one.
    crop = step.padding == 'VALID' and step.stride == 1
    padding = 'SAME' if crop else step.padding
    y = nn.Conv(step.features, step.kernel, step.stride, padding, precision=HIGHEST, name=name)(x)
    return nn.relu(y[:, 1:-1, 1:-1] if crop else y)


def _branch(block: str, branch: Branch, x: Array) -> Array:
    if branch.pool is not None:
        x = POOLS[branch.pool](x)
    for convolutions in _rows(block, branch):
        x = jnp.concatenate([_apply(name, conv, x) for name, conv in convolutions.items()], -1)
    return x


class Layer(NamedTuple):
    """The properties of a convolution that a converter requires."""

    name: str
    shape: tuple[int, int, int, int]
    """Shape of the kernel: height, width, inputs, features."""


def layers() -> list[Layer]:
    """The 94 convolutions in the order of the network."""
    found: list[Layer] = []
    channels = 3
    for name, step in (item for steps in SECTIONS.values() for item in steps.items()):
        if isinstance(step, Convolution):
            found.append(Layer(name, (*step.kernel, channels, step.features)))
            channels = step.features
        elif not isinstance(step, str):
            found += [layer for branch in step for layer in _branch_layers(name, branch, channels)]
            channels = sum(_width(branch, channels) for branch in step)
    return found


def _branch_layers(block: str, branch: Branch, inputs: int) -> Iterator[Layer]:
    for convolutions in _rows(block, branch):
        yield from (Layer(name, (*conv.kernel, inputs, conv.features)) for name, conv in convolutions.items())
        inputs = sum(conv.features for conv in convolutions.values())


def _width(branch: Branch, channels: int) -> int:
    """The number of channels that a branch returns for an input of `channels` channels."""
    last = branch.row[-1] if branch.row else Convolution(channels)
    return last.features if isinstance(last, Convolution) else sum(conv.features for conv in last)
