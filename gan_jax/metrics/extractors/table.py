"""The table of extractors by name, as the command line and protocols refer to them: `inception:resize=clean`."""

import importlib
from collections.abc import Callable
from typing import Literal

from gan_jax import data
from gan_jax.errors import InputError, one_line
from gan_jax.metrics.extractors import inception as inception_v3
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.metrics.extractors.extraction import Extractor, Outputs, as_float
from gan_jax.metrics.extractors.squeezenet import squeezenet
from gan_jax.metrics.extractors.transformer import clip_vitb32, clip_vitl14, dinov2_vitb14, dinov2_vitl14, dinov2_vits14
from gan_jax.metrics.extractors.vgg import lpips, vgg16
from gan_jax.registry import Table


def pixels() -> Extractor:
    """The pixels themselves, in [-1, 1], as one vector."""
    return Extractor('pixels', lambda images: Outputs(as_float(images).reshape(len(images), -1)))


def inception(path: str | None = None, resize: str = 'tf1', features: Literal[64, 192, 768, 2048, 'spatial'] = 2048) -> Extractor:
    """Inception v3 of 2015-12-05: the features of FID and KID, and the logits without bias of the Inception score.

    Raises `InputError` if there are no weights.

    Args:
        path: a file of weights; by default they are read from the cache.
        resize: a name in `inception.RESIZES`.
        features: the width of the layer whose global means are the features, or 'spatial' for those of sFID. Other features than
            the default come without logits.
    """
    weights = inception_v3.load(path)
    outputs = (str(features), 'logits_unbiased') if features == 2048 else (str(features),)
    apply = inception_v3.inception(weights.variables, resize=resize, outputs=outputs)
    of = '' if features == 2048 else f', features {features}'
    name = f'inception-2015-12-05 {weights.source}, {resize} resize{of}'
    return Extractor(name, lambda images: Outputs(*apply(images)), rounds=True)


def classifier(dataset: str, size: int | None = None, channels: int | None = None, data_dir: str | None = None) -> Extractor:
    """The classifier of a labelled data set (`extractors.classifier`), trained on its 'train' split and cached.

    Raises `InputError` for a data set without labels, or one that cannot be read.

    Args:
        dataset: name of the data set.
        size: height and width to which images are cropped and resized; by default those of the data set.
        channels: 1 or 3; by default those of the data set.
        data_dir: directory of prepared TFDS data sets.
    """
    images = data.load(dataset, split='train', size=size, channels=channels, data_dir=data_dir)
    if images.labels is None:
        raise InputError(f'{dataset} has no labels to train a classifier on')
    return train_classifier(images.images, images.labels, name=dataset, cache=True).extractor


def custom(function: str) -> Extractor:
    """A user-defined extractor: `package.module.name` of a function from uint8 images `[n, h, w, c]` to features `[n, d]`.

    The function is compiled if JAX can trace it. Functions that use NumPy, PyTorch or anything else are called on NumPy arrays
    instead, and their statistics are not cached. Raises `InputError` if there is no such function.
    """
    module, _, name = function.rpartition('.')
    try:
        apply = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing a module may raise anything
        raise InputError(f'cannot find the function {function!r} to extract features with: {one_line(error)}') from error
    if not callable(apply):
        raise InputError(f'{function!r} must be a function to extract features with, not {type(apply).__name__}')
    return Extractor(function, lambda images: Outputs(apply(images)), on_host=True)


EXTRACTORS: Table[Callable[..., Extractor]] = Table(
    'extractor',
    {
        'inception': inception,
        'dinov2_vits14': dinov2_vits14,
        'dinov2_vitb14': dinov2_vitb14,
        'dinov2_vitl14': dinov2_vitl14,
        'clip_vitb32': clip_vitb32,
        'clip_vitl14': clip_vitl14,
        'vgg16': vgg16,
        'lpips': lpips,
        'classifier': classifier,
        'squeezenet': squeezenet,
        'pixels': pixels,
        'custom': custom,
    },
)
"""Name -> factory of an extractor."""
