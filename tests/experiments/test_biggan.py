"""The experiments on BigGAN and BiGAN: labels, standing statistics in what is drawn, and what BiGAN's codes are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal, quick, random_variables

from experiments import biggan
from experiments.bigan import __main__ as bigan
from experiments.shared import conditional, labelled
from gan_jax import data
from gan_jax.games.parts import by_collection
from gan_jax.keys import named
from gan_jax.networks import standing_statistics
from gan_jax.runs.generators import draw_latents

SMALL = {'size': 8, 'width': 2, 'latent_size': 3, 'batch_size': 8}
CONFIG = biggan.Config(embedding=2, attention=0, standing_batches=2, g_norm='none', **SMALL)


@pytest.mark.parametrize('in_memory', [True, False])
def test_balanced_sets_have_every_class_equally_often(in_memory):
    labels = np.array([1, 0, 1, 2, 1, 1, 2], np.int32)
    arrays = {'image': np.arange(7, dtype=np.uint8), 'label': labels}

    class Stored:
        def __len__(self):
            return 7

        def read(self, rows):
            return {name: x[list(rows)] for name, x in arrays.items()}

        def every_label(self):
            return labels

    found = labelled.balanced(arrays if in_memory else labelled.Part(Stored(), np.arange(7)))
    if not in_memory:
        np.testing.assert_array_equal(found.every_label(), labels[found.rows])
        found = found.read(range(len(found)))
    assert np.bincount(found['label']).tolist() == [4, 4, 4]
    np.testing.assert_array_equal(labels[found['image']], found['label'])  # every image keeps its label
    assert np.bincount(found['image']).tolist() == [1, 4, 1, 2, 1, 1, 2]


def test_labels_are_drawn_as_in_the_data_or_uniformly(monkeypatch):
    digits = data.load('digits', size=8)
    rows = np.concatenate([np.flatnonzero(digits.labels == k)[: 20 if k else 80] for k in range(10)])
    few = labelled.Labelled(digits.images[rows], digits.labels[rows], digits.classes)
    source = {'image': few.images, 'label': few.labels}
    monkeypatch.setattr(labelled, 'load', lambda config, check: labelled.LabelledData(source, few, few))
    for sampling, share, count in (('data', 80 / 260, 260), ('uniform', 0.1, 800)):
        made = conditional.study(biggan.Config(embedding=2, label_sampling=sampling, **SMALL))
        assert made.generator.shares[0] == made.known['shares'][0] == pytest.approx(share)
        assert len(made.feed.data['label']) == count


def test_what_is_drawn_has_standing_statistics():
    generator = CONFIG.generator(8, 1, ['a', 'b'], [0.25, 0.75])
    network, _ = CONFIG.networks(8, 1, 2)
    z, labels = normal(1, 3, 3), jnp.array([0, 1, 1])
    average = random_variables(network, z, labels)
    weights = quick(generator.weights)(average)
    draw = lambda key: draw_latents(generator, 8, key)
    keys = jax.random.split(named(jax.random.key(0), 'standing'), 2)  # not those of the first images of seed 0
    close(weights, quick(lambda average: standing_statistics(network, average, draw, keys))(average))
    alone = quick(lambda z, y: generator.generate(weights, z, y))(z[:1], labels[:1])
    together = quick(lambda z, y: generator.generate(weights, z, y))(z, labels)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    plain = dataclasses.replace(CONFIG, standing_batches=0).generator(8, 1, ['a', 'b'], [0.25, 0.75])
    assert plain.weights(average) is average


def test_the_regularisation_is_of_the_generator_alone():
    pair = biggan.Config(orthogonal_weight=0.5, optimizers='adam', embedding=2, **SMALL).players()
    plain = biggan.Config(orthogonal_weight=0.0, optimizers='adam', embedding=2, **SMALL).players()
    params = {'kernel': jnp.array([[1.0, 1.0], [0.0, 1.0]])}
    zero = jax.tree.map(jnp.zeros_like, params)
    moves = [
        bool(np.any(player.update(zero, player.init(params), params)[0]['kernel']))
        for player in (pair.generator, pair.discriminator, plain.generator)
    ]
    assert moves == [True, False, False] and pair.discriminator_steps == 2


@pytest.mark.parametrize('stochastic', [False, True])
def test_an_image_is_inverted_and_generated_again(stochastic):
    config = bigan.Config(stochastic=stochastic, kernel_size=2, pair_width=2, g_norm='none', **SMALL)
    generator, encoder, _ = config.modules(8, 1)
    images, key = normal(2, 2, 8, 8, 1), jax.random.key(3)
    parts = {
        'generator': random_variables(generator, jnp.zeros((1, 3))),
        'encoder': random_variables(encoder, images),
    }
    average = by_collection(parts)
    codes, made = quick(config.inverse(8, 1))(average, images, key)
    expected = encoder.apply(parts['encoder'], images, train=False, rngs={'noise': key})
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    np.testing.assert_allclose(made, generator.apply(parts['generator'], codes, train=False), atol=1e-5)
    drawn = config.generator(8, 1)
    np.testing.assert_allclose(drawn.generate(drawn.weights(average), codes, jnp.zeros(2, int)), made, atol=1e-5)
