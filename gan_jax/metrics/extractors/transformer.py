"""Vision transformers (Dosovitskiy et al. 2021) as extractors: DINOv2 (Oquab et al. 2024) and CLIP (Radford et al. 2021).

DINOv2's ViT-L/14 is the extractor that Stein et al. (2023) recommend in place of Inception.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from gan_jax.metrics.extractors import published
from gan_jax.metrics.extractors.extraction import Extractor, Outputs
from gan_jax.metrics.extractors.preparation import CLIP, IMAGENET, RESIZES, check_square, prepare
from gan_jax.registry import Table
from gan_jax.typing import AnyArray, Array, Variables

HIGHEST = Precision.HIGHEST
_HEAD = 64
"""Channels of an attention head, in all of these networks."""


class Architecture(NamedTuple):
    """The sizes in which the networks differ."""

    width: int
    """Channels of a token."""
    depth: int
    """Number of blocks."""
    patch: int
    """Height and width of a patch."""
    projected: int | None = None
    """For CLIP, the dimension of the features; None for DINOv2, whose features have the width of a token."""
    side: int = 224
    """Height and width of the images."""


ARCHITECTURES: Table[Architecture] = Table(
    'network',
    {
        'dinov2_vits14': Architecture(384, 12, 14),
        'dinov2_vitb14': Architecture(768, 12, 14),
        'dinov2_vitl14': Architecture(1024, 24, 14),
        'clip_vitb32': Architecture(768, 12, 32, 512),
        'clip_vitl14': Architecture(1024, 24, 14, 768),
    },
)
"""Name -> architecture."""


class VisionTransformer(nn.Module):
    """Maps standardised images `[n, side, side, 3]` to features `[n, width or projected]` of the class token.

    CLIP normalises the tokens before the first block, has no bias in its patches and no scale in its branches, approximates the
    GELU by x sigmoid(1.702 x), and projects the features linearly.
    """

    architecture: Architecture

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width, depth, patch, projected, _ = self.architecture
        clip = projected is not None
        x = nn.Conv(width, (patch, patch), (patch, patch), 'VALID', use_bias=not clip, precision=HIGHEST, name='patches')(x)
        x = x.reshape(x.shape[0], -1, width)
        token = self.param('token', nn.initializers.zeros, (width,))
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, width)), x], 1)
        x = x + self.param('positions', nn.initializers.zeros, x.shape[1:])
        x = _norm('norm_in', clip)(x) if clip else x
        for i in range(depth):
            x = _Block(clip, name=f'block_{i}')(x)
        x = _norm('norm_out', clip)(x[:, 0])
        if projected is None:
            return x
        return jnp.dot(x, self.param('projection', nn.initializers.zeros, (width, projected)), precision=HIGHEST)


class _Block(nn.Module):
    """Attention and a hidden layer, each on normalised tokens and added to them."""

    clip: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        dense = lambda features, name: nn.Dense(features, precision=HIGHEST, name=name)
        scale = lambda name: 1 if self.clip else self.param(name, nn.initializers.ones, (width,))
        mixed = _attention(dense(3 * width, 'attention_in')(_norm('norm_1', self.clip)(x)))
        x = x + scale('scale_1') * dense(width, 'attention_out')(mixed)
        hidden = dense(4 * width, 'mlp_in')(_norm('norm_2', self.clip)(x))
        hidden = hidden * nn.sigmoid(1.702 * hidden) if self.clip else nn.gelu(hidden, approximate=False)
        return x + scale('scale_2') * dense(width, 'mlp_out')(hidden)


def _norm(name: str, clip: bool) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5 if clip else 1e-6, use_fast_variance=False, name=name)


def _attention(x: Array) -> Array:
    """`[n, tokens, 3 width]`, the queries, keys and values of all heads, to `[n, tokens, width]`."""
    n, tokens, width = x.shape
    query, key, value = jnp.moveaxis(x.reshape(n, tokens, 3, -1, _HEAD), 2, 0)
    logits = jnp.einsum('nihd,njhd->nhij', query, key, precision=HIGHEST) / np.sqrt(_HEAD).astype(np.float32)
    mixed = jnp.einsum('nhij,njhd->nihd', jax.nn.softmax(logits), value, precision=HIGHEST)
    return mixed.reshape(n, tokens, width // 3)


_OUTER = {
    'dinov2': {'patches': 'patch_embed.proj', 'token': 'cls_token', 'positions': 'pos_embed', 'norm_out': 'norm'},
    'clip': {
        'patches': 'visual.conv1',
        'token': 'visual.class_embedding',
        'positions': 'visual.positional_embedding',
        'norm_in': 'visual.ln_pre',
        'norm_out': 'visual.ln_post',
        'projection': 'visual.proj',
    },
}
_INNER = {
    'dinov2': {
        'norm_1': 'norm1', 'attention_in': 'attn.qkv', 'attention_out': 'attn.proj', 'scale_1': 'ls1.gamma',
        'norm_2': 'norm2', 'mlp_in': 'mlp.fc1', 'mlp_out': 'mlp.fc2', 'scale_2': 'ls2.gamma',
    },
    'clip': {
        'norm_1': 'ln_1', 'attention_in': 'attn.in_proj', 'attention_out': 'attn.out_proj',
        'norm_2': 'ln_2', 'mlp_in': 'mlp.c_fc', 'mlp_out': 'mlp.c_proj',
    },
}  # fmt: skip
_BLOCKS = {'dinov2': 'blocks', 'clip': 'visual.transformer.resblocks'}
_KINDS = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}


def official_name(path: str, family: str) -> str:
    """The name in the official release, of 'dinov2' or 'clip', of a variable such as 'block_0/mlp_in/kernel'."""
    outer, _, rest = path.partition('/')
    if not outer.startswith('block_'):
        return _OUTER[family][outer] + (f'.{_KINDS[rest]}' if rest else '')
    inner, _, kind = rest.partition('/')
    joint = '_' if _INNER[family][inner].endswith('in_proj') else '.'  # PyTorch's attention has `in_proj_weight`
    ending = joint + _KINDS[kind] if kind else ''
    return f'{_BLOCKS[family]}.{outer.removeprefix("block_")}.{_INNER[family][inner]}{ending}'


def resized_positions(positions: np.ndarray, side: int) -> np.ndarray:
    """Resizes position embeddings `[1, 1 + n * n, width]` to `[1, 1 + side * side, width]`, as DINOv2's code does.

    PyTorch's bicubic interpolation, without antialiasing, at the scale (side + 0.1) / n; the first position, that of the class
    token, is kept. DINOv2 was trained with n = 37 for images of 518 pixels.
    """
    size = int(np.sqrt(positions.shape[1] - 1))
    if size == side or positions.shape[1] != 1 + size**2:
        return positions
    matrix = _cubic_matrix(size, side)
    grid = positions[0, 1:].astype(np.float64).reshape(size, size, -1)
    resized = np.einsum('ia,jb,abc->ijc', matrix, matrix, grid, optimize=True).reshape(1, side * side, -1)
    return np.concatenate([positions[:, :1], resized.astype(np.float32)], 1)


def _cubic_matrix(size: int, side: int, *, sharpness: float = -0.75, offset: float = 0.1) -> np.ndarray:
    """`[side, size]`: cubic convolution between the four nearest positions, with the edges repeated (Keys 1981)."""
    position = (np.arange(side) + 0.5) * size / (side + offset) - 0.5
    low = np.floor(position).astype(int)
    matrix = np.zeros((side, size))
    for step in (-1, 0, 1, 2):
        d = np.abs(position - low - step)
        near = ((sharpness + 2) * d - (sharpness + 3)) * d**2 + 1
        far = sharpness * (((d - 5) * d + 8) * d - 4)
        np.add.at(matrix, (np.arange(side), np.clip(low + step, 0, size - 1)), np.where(d <= 1, near, far))
    return matrix


def load(name: str, path: str | None, architecture: Architecture) -> tuple[Variables, str]:
    """The variables of the network `name`, and what they were read from (`published.Loaded.source`).

    Raises `InputError` without a path, and for a file without these weights.
    """
    state, family = published.read(name, path), name.partition('_')[0]
    arrays = dict(state.arrays)
    if family == 'dinov2' and getattr(arrays.get('pos_embed'), 'ndim', 0) == 3:
        arrays['pos_embed'] = resized_positions(arrays['pos_embed'], architecture.side // architecture.patch)
    network = VisionTransformer(architecture)
    return published.fitted(network, architecture.side, lambda x: official_name(x, family), arrays, name), state.source


def transformer(name: str, weights: str | None, resize: str, architecture: Architecture | None = None) -> Extractor:
    """The extractor of a network in `ARCHITECTURES`. Raises `InputError` without weights, and for CLIP if images are not square.

    Args:
        name: name of the network.
        weights: the official file, or a `.safetensors` file of its arrays.
        resize: a name in `preparation.RESIZES`.
        architecture: a smaller architecture of the same family, by default the network's own.
    """
    RESIZES[resize]  # an unknown one is refused before the weights are read
    sizes = architecture or ARCHITECTURES[name]
    variables, source = load(name, weights, sizes)
    network, clip = VisionTransformer(sizes), sizes.projected is not None

    def apply(images: AnyArray) -> Outputs:
        if clip:
            check_square(images, name)
        return Outputs(network.apply(variables, prepare(images, sizes.side, resize, CLIP if clip else IMAGENET)))

    return Extractor(f'{name} {source}, {resize} resize', apply, rounds=True)


def dinov2_vits14(weights: str | None = None, resize: str = 'pillow') -> Extractor:
    """DINOv2's ViT-S/14: 384 features. As `dinov2_vitl14`, which also says when it raises `InputError`."""
    return transformer('dinov2_vits14', weights, resize)


def dinov2_vitb14(weights: str | None = None, resize: str = 'pillow') -> Extractor:
    """DINOv2's ViT-B/14: 768 features. As `dinov2_vitl14`, which also says when it raises `InputError`."""
    return transformer('dinov2_vitb14', weights, resize)


def dinov2_vitl14(weights: str | None = None, resize: str = 'pillow') -> Extractor:
    """DINOv2's ViT-L/14 (Oquab et al. 2024): the 1024 features of the normalised class token of 224 x 224 images.

    The resize 'pillow' is that of dgm-eval (Stein et al. 2023), 'clean' that of its option `--clean_resize`, and 'tf1' that of
    torch-fidelity. Raises `InputError` without weights.
    """
    return transformer('dinov2_vitl14', weights, resize)


def clip_vitb32(weights: str | None = None, resize: str = 'pillow') -> Extractor:
    """CLIP's ViT-B/32 (Radford et al. 2021): the 512 features that its text encoder shares, not normalised.

    The resize 'pillow' is that of the released code for square images, and 'tf1' that of torch-fidelity. Raises `InputError`
    without weights, and for images that are not square.
    """
    return transformer('clip_vitb32', weights, resize)


def clip_vitl14(weights: str | None = None, resize: str = 'pillow') -> Extractor:
    """CLIP's ViT-L/14: 768 features. As `clip_vitb32`, which also says when it raises `InputError`."""
    return transformer('clip_vitl14', weights, resize)
