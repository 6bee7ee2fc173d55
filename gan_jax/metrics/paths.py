"""How images change along a path in latent space: how evenly, and how fast. A generator that has memorised examples jumps."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.metrics.pairwise import scan_blocks
from gan_jax.typing import Array, Key


class Smoothness(NamedTuple):
    """The steps between neighbouring images of a path."""

    steps: Array
    """`[n - 1]`, the root mean squared difference of the entries of neighbouring images."""
    ratio: Array
    """The largest step divided by the mean step: 1 if all steps are equal, n - 1 if one step accounts for all of the change."""


def smoothness(images: Array) -> Smoothness:
    """The steps along `images [n, ...]`, which are a path in order. The ratio is NaN for a path that does not move.

    Raises `ValueError` for fewer than 3 images.
    """
    if len(images) < 3:
        raise ValueError(f'a path must have at least 3 images, so that 2 steps can be compared, got {images.shape}')
    steps = jnp.sqrt(jnp.square(jnp.diff(images, axis=0)).reshape(len(images) - 1, -1).mean(1))
    return Smoothness(steps, steps.max() / steps.mean())


class PathLength(NamedTuple):
    """The perceptual path length of a generator."""

    mean: Array
    """Over the paths that are not discarded."""
    standard_error: Array
    """Of the mean, over the same paths."""
    lengths: Array
    """`[n]`, the squared speed on each path, including those that are discarded."""


def perceptual_path_length(
    generate: Callable[[Array], Array],
    distance: Callable[[Array, Array], Array],
    start: Array,
    end: Array,
    between: Callable[[Array, Array, Array], Array],
    key: Key,
    *,
    epsilon: float = 1e-4,
    whole: bool = True,
    discard: tuple[float, float] = (1, 99),
    block: int = 16,
) -> PathLength:
    """The perceptual path length, PPL (Karras et al. 2019, section 4.1, eq. 2 and 3).

    It is the mean of d(G(l(t)), G(l(t + epsilon))) / epsilon^2 over random paths l between two latents, where d is a perceptual
    distance that is quadratic in small differences. In z the paths are arcs, `between=latents.slerp`, and `start` and `end` are
    independent latents. In w they are straight, `between=latents.lerp`; `start` and `end` are outputs of the mapping network, and
    `generate` is the synthesis network. The paper uses LPIPS on VGG-16, 100,000 paths, and the central part of faces. As in the
    authors' code, lengths outside two percentiles are discarded. In place of epsilon the difference of t that remains after
    rounding is used.

    Raises `ValueError` for latents of different shapes, an epsilon that is not positive, percentiles that are not in order, a
    distance that does not return one number per pair, or a block below 1.

    Args:
        generate: latents `[b, ...]` -> images `[b, h, w, c]`.
        distance: images, images -> `[b]`, such as LPIPS.
        start: latents `[n, ...]` at t = 0.
        end: latents `[n, ...]` at t = 1.
        between: `(a [...], b [...], t) -> [...]`, the latent at t on the path from a to b.
        key: draws t.
        epsilon: length of the step in t.
        whole: draws t uniformly from [0, 1); otherwise t = 0, which the paper calls the path endpoints.
        discard: the percentiles outside of which lengths are discarded; (0, 100) keeps all of them. The result is NaN if any
            length is not finite.
        block: number of paths whose images are generated at a time.
    """
    n = len(start)
    if start.shape != end.shape or not n:
        raise ValueError(f'the ends of the paths must be latents of one shape, got {start.shape} and {end.shape}')
    if not epsilon > 0 or not 0 <= discard[0] < discard[1] <= 100:
        raise ValueError(f'need epsilon > 0 and percentiles in order, got {epsilon} and {discard}')
    t = jax.random.uniform(key, (n,), start.dtype) if whole else jnp.zeros(n, start.dtype)
    later = t + epsilon

    def lengths(_: None, part: tuple[tuple[Array, ...], Array]) -> tuple[None, Array]:
        a, b, *times = part[0]
        images, others = (generate(jax.vmap(between)(a, b, time)) for time in times)
        found = distance(images, others)
        if found.shape != (len(a),):
            raise ValueError(f'the distance must return one number per pair, but returns {found.shape} for {len(a)} pairs')
        return None, found

    found = scan_blocks(lengths, None, (start, end, t, later), block)[1] / jnp.square(later - t)
    low, high = (round_(share / 100 * (n - 1)) for share, round_ in zip(discard, (math.floor, math.ceil), strict=True))
    ordered = jnp.sort(found)
    kept = (found >= ordered[low]) & (found <= ordered[high])
    count = kept.sum()
    mean = jnp.where(jnp.isfinite(found).all(), jnp.where(kept, found, 0).sum() / count, jnp.nan)
    variance = jnp.where(kept, jnp.square(found - mean), 0).sum() / (count - 1)
    return PathLength(mean, jnp.sqrt(variance / count), found)
