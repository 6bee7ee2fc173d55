"""Images as vectors of zeros and ones."""

from typing import NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.errors import InputError


class Binary(NamedTuple):
    """Images, and binary vectors drawn from them once."""

    grey: np.ndarray
    """uint8, `[n, size, size, 1]`"""
    pixels: np.ndarray
    """bool, `[n, d]`"""
    labels: np.ndarray
    """int, `[n]`"""


def load(name: str, size: int | None, data_dir: str | None) -> tuple[Binary, Binary, Binary]:
    """Training, validation and test set. A sixth of the training images is used for validation: 10,000 images of MNIST.

    They are drawn at random, always the same, since a folder may be ordered by class; the images of each part keep their order.
    `size` is by default the data set's own, or 8 for the digits. Raises `InputError` unless the images are grey and labelled.
    """
    size = 8 if name == 'digits' and size is None else size
    sets = []
    for number, split in enumerate(('train', 'test')):
        images = data.load(name, split=split, size=size, data_dir=data_dir)
        if images.labels is None or images.channels != 1:
            raise InputError(f'{name} is not a data set of labelled grey images; mnist and digits are')
        sets.append(Binary(images.images, binarise(images.images, number), images.labels))
    train, test = sets
    held_out = np.zeros(len(train.grey), bool)
    held_out[np.random.default_rng(0).permutation(len(held_out))[: len(held_out) // 6]] = True
    return Binary(*(x[~held_out] for x in train)), Binary(*(x[held_out] for x in train)), test


def binarise(images: np.ndarray, seed: int) -> np.ndarray:
    """Draws bool vectors `[n, d]` from uint8 images `[n, ...]`: a pixel of grey level g is 1 with probability g / 255."""
    thresholds = np.random.default_rng(seed).integers(0, 255, images.shape, np.uint8)
    return (thresholds < images).reshape(len(images), -1)


def black_and_white(pixels: np.ndarray) -> np.ndarray:
    """Zeros and ones `[n, d]` as square images, uint8 `[n, size, size, 1]`."""
    size = round(pixels.shape[1] ** 0.5)
    return (255 * np.asarray(pixels, np.uint8)).reshape(-1, size, size, 1)


def intensities(images: np.ndarray) -> np.ndarray:
    """uint8 images `[n, ...]` as vectors in [0, 1], float32 `[n, d]`."""
    return images.reshape(len(images), -1) / np.float32(255)
