"""Stacked digits ("stacked MNIST", Metz et al. 2017, section 3.3.1): an independent digit in each of three colour channels.

This gives 1000 modes, which a classifier of single digits can count. The label of an image is its three-digit number, beginning
with the digit of the first channel. Modes are as frequent as their digits are: even for a perfect sampler, the KL divergence to
1000 equally likely modes is `metrics.modes.coverage_floor` plus three times that of the digits' frequencies to equal ones (0.004
in total on MNIST).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import parallel
from gan_jax.data.feeds import Feed, several, to_float
from gan_jax.data.images import Images
from gan_jax.errors import InputError
from gan_jax.typing import AnyArray, Array, Key

CHANNELS = 3


def stacked_digits(images: AnyArray, batch_size: int, *, minibatches: int = 1) -> Feed:
    """Stacked digits drawn anew in each step from `images`, uint8 `[n, size, size, 1]`: float32 `[batch, size, size, 3]`.

    Raises `InputError` for images of another shape or dtype.
    """
    _check(images)

    def one(images: Array, key: Key) -> Array:
        return stack(images, jax.random.randint(key, (1, CHANNELS), 0, len(images)))[0]

    def minibatch(images: Array, key: Key, number: Array) -> Array:
        local = batch_size // parallel.axis_size()
        keys = parallel.example_keys(local, jax.random.fold_in(key, number))
        return to_float(jax.vmap(one, (None, 0))(images, keys))

    return Feed(jnp.asarray(images), several(minibatch, minibatches))


def stacked_test_set(digits: Images, n: int, *, seed: int = 0) -> Images:
    """Returns n stacked digits that depend only on the seed: uint8 `[n, size, size, 3]`, with labels from 0 to 999.

    Raises `InputError` for images that are not labelled digits.
    """
    _check(digits.images)
    if digits.labels is None or not np.isin(digits.labels, np.arange(10)).all():
        raise InputError('stacked digits require images labelled 0 to 9')
    rows = np.random.default_rng(seed).integers(0, len(digits.images), (n, CHANNELS))
    labels = digits.labels[rows] @ np.array([100, 10, 1])
    return Images(stack(digits.images, rows), labels.astype(np.int32), tuple(f'{i:03}' for i in range(1000)))


def stack(images: Any, rows: Any) -> Any:
    """Stacks `images [n, h, w, 1]` by `rows [m, c]` to `[m, h, w, c]`: channel j of image i is image number `rows[i, j]`."""
    return images[rows][..., 0].transpose(0, 2, 3, 1)


def channel_classes(classify: Callable[[AnyArray], AnyArray], images: AnyArray) -> AnyArray:
    """Returns the most probable class of each colour channel by itself: `[n, h, w, c] -> [n, c]`.

    `classify` maps images `[m, h, w, 1]` to probabilities or logits `[m, classes]`, as do the functions returned by
    `metrics.classifier.train_classifier`: `probabilities` in blocks of bounded memory, and `extractor` within a compiled
    program. `metrics.modes.stacked_labels` converts the result to labels.
    """
    n, height, width, channels = images.shape
    single = images.transpose(0, 3, 1, 2).reshape(-1, height, width, 1)
    return classify(single).argmax(-1).reshape(n, channels)


def _check(images: AnyArray) -> None:
    if images.ndim != 4 or images.shape[3] != 1 or images.dtype != np.uint8 or not len(images):
        raise InputError(f'stacked digits require grey images, uint8 [n, size, size, 1], not {images.dtype} {images.shape}')
