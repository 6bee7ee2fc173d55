"""Measures: each reports what its estimator finds, from the splits that it requires, whatever the batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import metrics
from gan_jax.errors import InputError
from gan_jax.metrics import command, protocols
from gan_jax.metrics.extractors import Extractor, Outputs
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.metrics.measure import Found
from gan_jax.metrics.measures import MEASURES
from gan_jax.metrics.moments import feature_moments
from gan_jax.registry import build

RNG = np.random.default_rng(0)
SETS = {name: RNG.integers(0, 256, (n, 2, 2, 1), np.uint8) for name, n in (('train', 60), ('test', 50), ('fake', 56))}
LABELS = {name: np.arange(len(x), dtype=np.int32) % 3 for name, x in SETS.items()}
KEY = jax.random.key(0)


def vectors(name):
    return SETS[name].reshape(len(SETS[name]), -1).astype(np.float32)


def outputs(images):
    x = images.reshape(len(images), -1).astype(jnp.float32)
    return Outputs(x, x / 50)


EXTRACTOR = Extractor('levels', outputs)
TRAIN, TEST, FAKE = (vectors(name) for name in ('train', 'test', 'fake'))

EXPECTED = {
    'frechet': lambda: [metrics.frechet_distance_from_features(TRAIN, FAKE)],
    'frechet_infinity': lambda: [metrics.frechet_infinity(feature_moments(TRAIN), FAKE, KEY).value],
    'score:splits=2': lambda: [metrics.inception_score(np.random.default_rng(0).permutation(FAKE / 50), 2).mean],
    'score_infinity': lambda: [metrics.inception_score_infinity(FAKE / 50, KEY).value],
    'kernel': lambda: [metrics.kernel_distance(TRAIN, FAKE).value],
    'kernel:sigma=100': lambda: [metrics.kernel_distance(TRAIN, FAKE, sigma=100).value],
    'kernel_subsets:subsets=3,size=20,seed=0': lambda: [
        metrics.kernel_distance_subsets(TRAIN, FAKE, KEY, subsets=3, size=20).mean
    ],
    'cmmd': lambda: metrics.cmmd(TRAIN, FAKE)[:2],
    'monge:directions=20': lambda: [metrics.monge_distance(TRAIN, FAKE, KEY, directions=20).value],
    'prdc:k=3': lambda: metrics.prdc(TRAIN, FAKE, 3),
    'clipped:k=3': lambda: metrics.clipped_density_coverage(TRAIN, FAKE, 3),
    'vendi:order=2': lambda: [metrics.vendi_score(FAKE, order=2)],
    'authenticity': lambda: [100 * metrics.authenticity(TRAIN, FAKE).value],
    'copying:cells=2,least=5': lambda: [metrics.copying_test(TRAIN, TEST, FAKE, cells=2, least=5).value],
    'likelihood': lambda: metrics.feature_likelihood_divergence(TRAIN, TEST, FAKE, KEY)[::2],
    'intra_class': lambda: [metrics.intra_class_frechet(TRAIN, LABELS['train'], FAKE, LABELS['fake']).mean],
    'accuracy:steps=2,seed=3': lambda: [
        metrics.classification_accuracy_score(
            SETS['test'],
            LABELS['test'],
            SETS['fake'],
            LABELS['fake'],
            train=functools.partial(train_classifier, steps=2, seed=3),
        ).accuracy
    ],
}


def images(name, seen=None):
    cut = lambda x: [x[:7], x[7:30], x[30:]]
    found = protocols.ImageSet(
        name, lambda count: (seen.append(name) if seen is not None else None) or cut(SETS[name]), (2, 2, 1)
    )
    return found._replace(classes=('a', 'b', 'c'), labelled=lambda count: zip(cut(SETS[name]), cut(LABELS[name]), strict=True))


def test_every_measure_is_in_the_table():
    assert {text.partition(':')[0] for text in EXPECTED} == set(MEASURES)


@pytest.mark.parametrize('text', EXPECTED)
def test_measures_report_what_their_estimators_find(text, tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path))
    wanted = {text: protocols.Protocol(build(MEASURES, text), None, split='train', extractor='levels')}
    for batch_size in (5, 64):
        found = protocols.evaluate(
            wanted, lambda split: images(split), images('fake'), extractors=lambda name: EXTRACTOR, batch_size=batch_size
        )
        np.testing.assert_allclose([s.value for s in found], np.ravel(EXPECTED[text]()), rtol=1e-5)
        assert all(s.spread is None or (s.spread >= 0 and s.spread_is) for s in found)


def test_copies_are_looked_for_in_the_training_set():
    """Whatever split the protocol names; the others use that split."""
    seen = []
    texts = ('authenticity', 'copying:cells=1,least=5', 'vendi', 'prdc')
    wanted = {t: protocols.Protocol(build(MEASURES, t), None, split='test', extractor='levels') for t in texts}
    sets = {name: images(name, seen) for name in SETS}
    found = protocols.evaluate(wanted, sets.__getitem__, sets['fake'], extractors=lambda name: EXTRACTOR)
    assert seen == ['train', 'test', 'fake', 'test', 'fake']
    assert found[0].value == pytest.approx(100 * float(metrics.authenticity(TRAIN, FAKE).value))
    assert [(s.name, s.reals) for s in found[:4]] == [('auth_pct', 60), ('c_t', 60), ('vendi_score', None), ('precision', 50)]


def test_the_splits_of_a_score_are_not_the_classes_by_which_files_are_sorted():
    logits = 30 * np.eye(10, dtype=np.float32)[np.repeat(np.arange(10), 50)]
    assert float(metrics.inception_score(logits).mean) == pytest.approx(1, abs=1e-3)
    ((_, value, spread, _),) = build(MEASURES, 'score').call(None, Found(500, logits=logits))
    assert 8 < value < 10 and spread < 0.5  # 10 if every split had as many of each class


@pytest.mark.parametrize('text', ['copying', 'likelihood'])
def test_held_out_images_are_required(text):
    wanted = {text: protocols.Protocol(build(MEASURES, text), None, extractor='levels')}
    run = lambda real: protocols.evaluate(wanted, real, images('fake'), extractors=lambda name: EXTRACTOR)
    with pytest.raises(InputError, match='train has no held-out images: a data set must have a test split'):
        run(lambda split: images('train'))
    with pytest.raises(InputError, match='requires the real images'):
        run(lambda split: feature_moments(TRAIN))


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    for name, folder in (('train', 'real/train'), ('test', 'real/test'), ('fake', 'fake')):
        (tmp_path / folder).mkdir(parents=True)
        for i, image in enumerate(SETS[name]):
            Image.fromarray(image[..., 0]).save(tmp_path / folder / f'{i:03}.png')
    real, fake = str(tmp_path / 'real'), str(tmp_path / 'fake')
    run = lambda *names, real=real: command.main(command.Config((real, fake), measures=names, extractor='pixels'))
    found = {s.name: s.value for s in run('authenticity', 'copying:least=5', 'monge:directions=50')}
    scaled = [x / np.float32(127.5) - 1 for x in (TRAIN, TEST, FAKE)]
    assert found['auth_pct'] == pytest.approx(100 * float(metrics.authenticity(scaled[0], scaled[2]).value), rel=1e-5)
    assert found['c_t'] == pytest.approx(metrics.copying_test(*scaled, least=5).value, rel=1e-5)
    with pytest.raises(InputError, match="authenticity is defined on the split 'train', not 'test'"):
        run('authenticity', real=f'{real}:test')
    with pytest.raises(InputError, match="measure 'vendi:order=-1': order must be at least 0, not -1"):
        run('vendi:order=-1')
    with pytest.raises(InputError, match='has no held-out images'):
        run('copying', real=f'{real}/train')


def test_labels_are_compared_by_the_names_of_their_classes():
    wanted = {'m': protocols.Protocol(build(MEASURES, 'intra_class'), None, extractor='levels')}
    other = images('fake')._replace(classes=('c', 'a', 'b'), labelled=lambda count: [(SETS['fake'], (LABELS['fake'] + 1) % 3)])
    found = [
        protocols.evaluate(wanted, lambda split: images('train'), fake, extractors=lambda name: EXTRACTOR)
        for fake in (images('fake'), other)
    ]
    assert found[0] == found[1]


def test_measures_say_what_they_compute_after_whom_and_with_what():
    for name in MEASURES:
        measure = build(MEASURES, name)
        assert measure.about.endswith('.') and any(year in measure.about for year in map(str, range(2016, 2027))), name
    assert build(MEASURES, 'kernel_subsets:size=9').settings == 'subsets=100, size=9, seed=2020, sigma=None'
