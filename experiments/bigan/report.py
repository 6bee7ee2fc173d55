"""The figures of samples, of reconstructions, and of linear classifiers on codes and on pixels."""

from typing import Any

import numpy as np

from experiments.shared import autoencoders, image_gan
from experiments.shared.translation import save_titled
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.metrics.probe import linear_probe

PROBED = 10_000
"""Maximal number of labelled training images for the linear classifiers."""


def images_of(found: image_gan.ImageData) -> np.ndarray:
    """Held-out images, uint8 `[n, h, w, c]`, or training images of a data set without them."""
    return (found.train if found.held_out is None else found.held_out).images


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The figures of samples, of reconstructions, and of linear classifiers on codes and on pixels."""
    config: Any = trained.config
    found: image_gan.ImageData = trained.study.data
    results = image_gan.evaluate(trained)
    invert = config.inverse(found.source.size, found.source.channels)
    apply = lambda state, images, key: invert(state.ema, images, key)
    real = image_gan.at_random(images_of(found), config.samples)
    _, made = trained.mapped(apply, real, 'inverted')
    labels = found.train.labels
    judge = None if labels is None else train_classifier(found.train.images, labels, name=config.dataset, cache=True)
    figures = autoencoders.figures(real, made, judge)
    results['reconstruction'] = figures
    named = [(autoencoders.TITLES[name], value) for name, value in figures.items()]
    if trained.first:
        shown = slice(autoencoders.SHOWN)
        save_titled(trained.path / 'reconstructions.png', [('image x', real[shown]), ('G(E(x))', made[shown])])
    if labels is not None and found.held_out is not None and found.held_out.labels is not None:
        rows = np.random.default_rng(0).permutation(len(labels))[:PROBED]
        train, test = found.train.images[rows], found.held_out.images
        inferred = [trained.mapped(apply, images, 'inverted')[0] for images in (train, test)]
        pixels = [image_gan.floats(images).reshape(len(images), -1) for images in (train, test)]
        try:
            for name, (known, new) in {'codes': inferred, 'pixels': pixels}.items():
                probe = linear_probe(known, labels[rows], new, found.held_out.labels)
                results[f'probe_{name}'] = probe.accuracy
                named.append((f'accuracy of a linear classifier on {name}', probe.accuracy))
        except InputError as error:
            trained.tell(f'no linear classifiers: {error}')
    trained.tell(runs.table([('reconstructions', 'value'), *named], title=f'{config.dataset} after {trained.steps} steps'))
    return results
