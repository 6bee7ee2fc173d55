"""Laplacian pyramids of images (Burt and Adelson 1983), as defined for LAPGAN (Denton et al. 2015, section 2.2).

    I_0 = I,   I_{k+1} = down(I_k),   h_k = I_k - up(I_{k+1}) for k < K,   h_K = I_K

Images are `[..., height, width, channels]`, and a pyramid is the tuple `(h_0, ..., h_K)`, finest first. For any `down` and
`up`, `up(I_{k+1}) + h_k` recovers I_k. Here `up` is bilinear interpolation and `down` its antialiased counterpart: both
preserve constants, and neither shifts the image.
"""

import itertools
from collections.abc import Sequence

import jax

from gan_jax.errors import InputError
from gan_jax.typing import Array


def down(images: Array) -> Array:
    """Halves the size: a blur with weights (1, 3, 3, 1) / 8 along each axis at every second position, renormalised at the edges.

    `[..., h, w, c] -> [..., h / 2, w / 2, c]`. Raises `InputError` for an odd size.
    """
    height, width = images.shape[-3:-1]
    for size in (height, width):
        check_size(size, 1)
    return _resize(images, height // 2, width // 2)


def up(images: Array) -> Array:
    """Doubles the size by bilinear interpolation: weights 3/4 and 1/4 along each axis, with the edge repeated.

    `[..., h, w, c] -> [..., 2 h, 2 w, c]`.
    """
    height, width = images.shape[-3:-1]
    return _resize(images, 2 * height, 2 * width)


def low_pass(images: Array) -> Array:
    """`up(down(images))`, the part of the images `[..., h, w, c]` that the next level can represent.

    Raises `InputError` for an odd size.
    """
    return up(down(images))


def gaussian(images: Array, halvings: int) -> tuple[Array, ...]:
    """The images `[..., h, w, c]` at all sizes, `(I_0, ..., I_K)` with K = `halvings`; I_k is `[..., h / 2^k, w / 2^k, c]`.

    Raises `InputError` if they cannot be halved that often.
    """
    stages = [images]
    for _ in range(halvings):
        stages.append(down(stages[-1]))
    return tuple(stages)


def build(images: Array, halvings: int) -> tuple[Array, ...]:
    """The Laplacian pyramid of images `[..., h, w, c]`, `(h_0, ..., h_K)` with K = `halvings` and the shapes of `gaussian`.

    Raises `InputError` if they cannot be halved that often.
    """
    stages = gaussian(images, halvings)
    return (*(fine - up(coarse) for fine, coarse in itertools.pairwise(stages)), stages[-1])


def reconstruct(pyramid: Sequence[Array]) -> Array:
    """The images `[n, h, w, c]` of a pyramid `(h_0, ..., h_K)`, h_k of `[n, h / 2^k, w / 2^k, c]`: the inverse of `build`."""
    images = pyramid[-1]
    for high in pyramid[-2::-1]:
        images = up(images) + high
    return images


def check_size(size: int, halvings: int) -> None:
    """Raises `InputError` if a size cannot be halved that often."""
    possible = (size & -size).bit_length() - 1
    if halvings > possible:
        sizes = ', '.join(str(size >> i) for i in range(possible + 1))
        raise InputError(f'images of {size} x {size} cannot be halved {halvings} times; the possible sizes are {sizes}')


def _resize(images: Array, height: int, width: int) -> Array:
    return jax.image.resize(images, (*images.shape[:-3], height, width, images.shape[-1]), 'linear')
