"""Failures of a generator, planted in real images."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.ranges import Count, DeviationAbove0, Range, ShareAbove0, Whole, checked
from gan_jax.registry import Table


class Parts(NamedTuple):
    """A division of a data set; images are uint8 `[n, h, w, c]`."""

    samples: int
    """Number of images that the failing generator returns."""
    train: np.ndarray
    new: np.ndarray
    """More images than `samples`, so that some can be left out; a perfect generator returns the first `samples` of them."""
    labels: np.ndarray | None
    """Of the new images, `[n]`."""


class Failure(NamedTuple):
    """A way in which a generator fails."""

    aspect: str
    """What it lacks: 'fidelity', 'diversity' or 'novelty'."""
    plant: Callable[[Parts, np.random.Generator], np.ndarray]
    """Returns `samples` images."""


@checked
def dropped(classes: Count = 2) -> Failure:
    """New images without those of some classes, which are drawn at random."""

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        if parts.labels is None:
            raise InputError('dropped requires a data set with labels')
        gone = rng.permutation(np.unique(parts.labels))[:classes]
        kept = parts.new[~np.isin(parts.labels, gone)][: parts.samples]
        if len(kept) < parts.samples:
            raise InputError(f'only {len(kept)} new images are left without {classes} classes; lower --samples')
        return kept

    return Failure('diversity', plant)


@checked
def duplicates(share: Annotated[float, Range(0, 1, above=True, below=True)] = 0.1) -> Failure:
    """This share of the new images, each of them equally often."""

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        different = max(1, round(share * parts.samples))
        return parts.new[rng.permutation(np.arange(parts.samples) % different)]

    return Failure('diversity', plant)


@checked
def blur(sigma: DeviationAbove0 = 1.0) -> Failure:
    """Convolution with a Gaussian of this standard deviation in pixels."""

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        return _levels(gaussian_filter(parts.new[: parts.samples].astype(np.float32), (0, sigma, sigma, 0)))

    return Failure('fidelity', plant)


@checked
def noise(sigma: DeviationAbove0 = 0.1) -> Failure:
    """Gaussian noise, of this standard deviation where black is 0 and white 1."""

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        images = parts.new[: parts.samples]
        return _levels(images + 255 * sigma * rng.normal(size=images.shape))

    return Failure('fidelity', plant)


@checked
def shrunk(scale: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5) -> Failure:
    """Images shrunk by this factor and enlarged again, both to the nearest pixel: a wrong resize."""

    def nearest(size: int) -> np.ndarray:
        """The pixel that each pixel gets its value from, `[size]`."""
        kept = np.floor((np.floor(np.arange(size) * scale) + 0.5) / scale).astype(int)
        return np.minimum(kept, size - 1)

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        images = parts.new[: parts.samples]
        return images[:, nearest(images.shape[1])][:, :, nearest(images.shape[2])]

    return Failure('fidelity', plant)


@checked
def copies(share: ShareAbove0 = 0.1, shift: Whole = 0) -> Failure:
    """Training images in place of this share of the new ones, and of at least one, shifted down and to the right."""

    def plant(parts: Parts, rng: np.random.Generator) -> np.ndarray:
        images, number = parts.new[: parts.samples].copy(), max(1, round(share * parts.samples))
        if number > len(parts.train):
            raise InputError(f'{number} copies require as many training images, not {len(parts.train)}')
        copied = parts.train[rng.choice(len(parts.train), number, replace=False)]
        images[rng.choice(parts.samples, number, replace=False)] = np.roll(copied, (shift, shift), (1, 2))
        return images

    return Failure('novelty', plant)


def _levels(images: np.ndarray) -> np.ndarray:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


KINDS: Table[Callable[..., Failure]] = Table(
    'kind of failure',
    {'dropped': dropped, 'duplicates': duplicates, 'blur': blur, 'noise': noise, 'resize': shrunk, 'copies': copies},
)
"""Name -> factory of a failure."""
