"""Feature extractors: what turns images into the vectors that the metrics compare.

Any function `images -> features [n, d]` is one; `Extractor` adds the name under which its numbers are reported, so that a
distance in the features of some other network is never read as FID.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, parallel
from gan_jax.errors import InputError
from gan_jax.registry import Table
from gan_jax.typing import AnyArray, Array


class Outputs(NamedTuple):
    """What an extractor makes of n images."""

    features: Any
    """`[n, d]`, an array of JAX or, from `extract`, of NumPy."""
    logits: Any = None
    """`[n, classes]`, of extractors that classify."""


class Extractor(NamedTuple):
    """A named feature extractor."""

    name: str
    """What its numbers are reported under, weights included: two extractors of one name are the same function."""
    apply: Callable[[Array], Outputs]
    """Images `[n, h, w, c]`, uint8 or float in [-1, 1], to `Outputs`; pure, and not yet compiled."""
    shape: tuple[int, ...] | None = None
    """`(h, w, c)` of the only images it takes; None if it takes all."""


def as_float(images: AnyArray) -> Array:
    """uint8 pixels to float32 in [-1, 1]; floats stay as they are."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1 if images.dtype == jnp.uint8 else jnp.asarray(images)


def pixels() -> Extractor:
    """The pixels themselves, in [-1, 1], as one vector."""
    return Extractor('pixels', lambda images: Outputs(as_float(images).reshape(len(images), -1)))


def inception(path: str | None = None, resize: str = 'tf1') -> Extractor:
    """Inception v3 of 2015-12-05: the features of FID and KID, and the logits without bias of the Inception score.

    `path` names a file of weights; the cache is looked into without it. Raises `InputError` if there are none.
    """
    from gan_jax.metrics import inception as network

    weights = network.load(path)
    apply = network.inception(weights.variables, resize=resize, outputs=('2048', 'logits_unbiased'))
    return Extractor(f'inception-2015-12-05 {weights.source}, {resize} resize', lambda images: Outputs(*apply(images)))


def classifier(dataset: str, size: int | None = None, data_dir: str | None = None) -> Extractor:
    """The classifier of a labelled data set (`gan_jax.metrics.classifier`), trained on its 'train' split and cached."""
    from gan_jax import data
    from gan_jax.metrics.classifier import train_classifier

    images = data.load(dataset, split='train', size=size, data_dir=data_dir)
    if images.labels is None:
        raise InputError(f'{dataset} has no labels to train a classifier on')
    return train_classifier(images.images, images.labels, name=dataset, cache=True).extractor


def squeezenet(path: str) -> Extractor:
    """SqueezeNet 1.1's last features, from a file of its weights (`gan_jax.metrics.squeezenet`); no FID."""
    from gan_jax.metrics import squeezenet as network

    return network.squeezenet(path)


def custom(function: str) -> Extractor:
    """Your own: `package.module.name` of a function from images to features `[n, d]`."""
    module, _, name = function.rpartition('.')
    try:
        apply = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f'no function {function!r} to extract features with: {error}') from error
    return Extractor(function, lambda images: Outputs(apply(images)))


EXTRACTORS: Table[Callable[..., Extractor]] = Table(
    'extractor',
    {'inception': inception, 'classifier': classifier, 'squeezenet': squeezenet, 'pixels': pixels, 'custom': custom},
)
"""Name -> factory."""


def extract(extractor: Extractor, batches: Iterable[np.ndarray], *, batch_size: int = 64) -> Iterator[Outputs]:
    """The outputs for images that come in batches of any sizes, each `[n, h, w, c]`; as numpy arrays, in order.

    Batches are cut and filled up to one size, which all local devices share, so there is one compiled program; the fill is
    cut off again. Raises `InputError` if a feature is no finite number.
    """
    devices = jax.local_device_count()
    size = math.ceil(batch_size / devices) * devices
    apply = compilation.jit(extractor.apply)
    for rows in _rebatched(batches, size):
        if extractor.shape not in (None, rows.shape[1:]):
            raise InputError(f'{extractor.name} takes images {extractor.shape}, not {rows.shape[1:]}; --resize may help')
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), 0)])
        features, logits = (None if x is None else np.asarray(x)[: len(rows)] for x in apply(parallel.split_rows(filled)))
        if features is None or features.ndim != 2:
            raise InputError(f'{extractor.name} does not make one vector of an image')
        broken = int((~np.isfinite(features).all(1)).sum())
        if broken:
            raise InputError(f'{extractor.name} makes features that are no finite numbers of {broken} of {len(rows)} images')
        yield Outputs(features, logits)


def _rebatched(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same rows in batches of `size`, the last one smaller."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting.append(np.asarray(batch))
        if sum(map(len, waiting)) >= size:
            rows = np.concatenate(waiting)
            whole = len(rows) // size * size
            yield from (rows[i : i + size] for i in range(0, whole, size))
            waiting = [rows[whole:]] if whole < len(rows) else []
    if waiting:
        yield np.concatenate(waiting)
