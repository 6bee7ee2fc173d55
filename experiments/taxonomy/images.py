"""Images as vectors of zeros and ones."""

from typing import NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.errors import InputError


class Binary(NamedTuple):
    """Images as they are, and as vectors that were drawn of them once."""

    grey: np.ndarray
    """uint8, `[n, size, size, 1]`"""
    pixels: np.ndarray
    """bool, `[n, d]`"""
    labels: np.ndarray


def load(name: str, size: int | None, data_dir: str | None) -> tuple[Binary, Binary, Binary]:
    """Training, validation and test set. The last sixth of the training images are for validation: 10,000 of MNIST's.

    `size` is the data set's own if it is not given, 8 for the digits. Raises `InputError` for anything but labelled grey images.
    """
    size = 8 if name == 'digits' and size is None else size
    sets = []
    for number, split in enumerate(('train', 'test')):
        images = data.load(name, split=split, size=size, data_dir=data_dir)
        if images.labels is None or images.channels != 1:
            raise InputError(f'{name} is no set of labelled grey images')
        sets.append(Binary(images.images, binarise(images.images, number), images.labels))
    train, test = sets
    rest = len(train.grey) - len(train.grey) // 6
    return Binary(*(x[:rest] for x in train)), Binary(*(x[rest:] for x in train)), test


def binarise(images: np.ndarray, seed: int) -> np.ndarray:
    """uint8 images `[n, ...]` as bool vectors `[n, d]`: a pixel of grey level g is 1 with probability g / 255."""
    thresholds = np.random.default_rng(seed).integers(0, 255, images.shape, np.uint8)
    return (thresholds < images).reshape(len(images), -1)


def black_and_white(pixels: np.ndarray) -> np.ndarray:
    """Zeros and ones `[n, d]` as images, uint8 `[n, size, size, 1]`."""
    size = round(pixels.shape[1] ** 0.5)
    return (255 * np.asarray(pixels, np.uint8)).reshape(-1, size, size, 1)


def intensities(images: np.ndarray) -> np.ndarray:
    """uint8 images `[n, ...]` as vectors from 0 to 1, float32 `[n, d]`."""
    return images.reshape(len(images), -1) / np.float32(255)
