"""The filters that a DCGAN's discriminator has learned, and the accuracy of a linear classifier on its features."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.shared import image_gan
from gan_jax import compilation, data, runs
from gan_jax.games.judgement import PROGRESS, apply_network
from gan_jax.metrics.probe import Probe, linear_probe, pooled_features
from gan_jax.typing import Array, Variables

LABELLED = (1000, 10_000)
"""Numbers of labelled training images for the probes."""


def discriminator_of(trained: runs.Trained) -> tuple[nn.Module, Variables, Variables]:
    """The discriminator, its variables, and untrained variables, which are drawn from a key that the run has not used."""
    config: Any = trained.config
    train = trained.study.data.train
    _, network = config.networks(train.size, train.channels)
    variables = {name: value for name, value in trained.state.discriminator.variables.items() if name != PROGRESS}
    example = jnp.zeros((1, *train.images.shape[1:]))
    fresh = compilation.jit(lambda key: network.init(key, example, train=False))(trained.key('untrained'))
    return network, variables, fresh


def filters(trained: runs.Trained) -> tuple[np.ndarray, int]:
    """The filters of the first layer as uint8 images, and the number of columns in which to draw them.

    At most 32 filters, each scaled about mid-grey by its own largest weight; below them, those of an untrained discriminator.
    """
    _, *both = discriminator_of(trained)
    learned, fresh = (first_filters(variables, trained.study.data.train.channels) for variables in both)
    columns = min(16, len(learned))
    return np.concatenate([learned, np.full_like(learned[:columns], 255), fresh]), columns


def first_filters(variables: Variables, channels: int) -> np.ndarray:
    """Filters as uint8 `[n, k, k, channels]`: 32 if there are as many, else at most 16."""
    kernels = [leaf for leaf in jax.tree.leaves(variables['params']) if leaf.ndim == 4 and leaf.shape[2] == channels]
    filters = np.moveaxis(np.asarray(kernels[0], np.float32), 3, 0)
    filters = filters[: 32 if len(filters) >= 32 else min(16, len(filters))]
    return np.round((filters / np.abs(filters).max((1, 2, 3), keepdims=True) + 1) * 127.5).astype(np.uint8)


def probes(trained: runs.Trained) -> dict[str, dict[str, Any]]:
    """The probe's accuracy on held-out images, by features and by number of labelled training images."""
    _, train, held_out = trained.study.data
    network, variables, fresh = discriminator_of(trained)
    sizes = [n for n in LABELLED if n <= len(train.images)] or [len(train.images)]
    rows = np.random.default_rng(0).permutation(len(train.images))[: max(sizes)]
    images, labels = train.images[rows], train.labels[rows]
    spaces: dict[str, Callable] = {'pixels': lambda x: image_gan.floats(x).reshape(len(x), -1)}
    for name, these in {'untrained D': fresh, 'trained D': variables}.items():
        spaces[name] = features_of(network, with_statistics(network, these, train.images))
    results: dict[str, dict[str, Any]] = {}
    for name, space in spaces.items():
        known, test = space(images), space(held_out.images)
        results[name] = {'features': known.shape[1]}
        for n in sizes:
            probe: Probe = linear_probe(known[:n], labels[:n], test, held_out.labels)
            results[name][str(n)] = probe._asdict()
    return results


def features_of(discriminator: nn.Module, variables: Variables) -> Callable[[np.ndarray], Array]:
    """The function from uint8 images to all convolutional features, with each map max-pooled to 4 x 4."""

    def features(x: Array) -> Array:
        (_, maps), _ = apply_network(discriminator, variables, data.to_float(x), train=False, features_too=True)
        return pooled_features(maps).astype(jnp.float32)

    return blocks_of(compilation.jit(features))


def with_statistics(discriminator: nn.Module, variables: Variables, images: np.ndarray) -> Variables:
    """The variables with batch statistics of training images alone, as in the authors' code.

    The statistics of a GAN's discriminator also cover samples, and an untrained network has none. Batch norm's averages forget a
    tenth with every batch, so that nothing earlier remains after 200 batches.
    """
    rows = np.random.default_rng(0).integers(0, len(images), (200, 64))

    def one(variables: Variables, x: Array) -> tuple[Variables, None]:
        _, state = apply_network(discriminator, variables, data.to_float(x), noise=jax.random.key(0))
        return {**variables, **state}, None

    return compilation.jit(lambda variables, x: lax.scan(one, variables, x)[0])(variables, images[rows])


def blocks_of(function: Callable[[Any], Any], size: int = 500) -> Callable[[Any], Any]:
    """Applies a function of `[n, ...]` in blocks of `size` rows.

    The last block is padded with its own rows, so that the function is compiled only once.
    """

    def run(x: Any) -> Any:
        filled = np.pad(x, [(0, -len(x) % size), *[(0, 0)] * (x.ndim - 1)], mode='wrap')
        return jnp.concatenate([function(filled[i : i + size]) for i in range(0, len(x), size)])[: len(x)]

    return run
