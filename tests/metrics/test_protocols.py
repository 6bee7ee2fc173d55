"""Protocols, sources of images, extractors, and the command line over them."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.metrics import command, imagesets, protocols, sources
from gan_jax.metrics import scores as class_scores
from gan_jax.metrics.extractors import EXTRACTORS, Extractor, Outputs, extract
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.manifolds import prdc
from gan_jax.metrics.moments import feature_moments, save
from gan_jax.runs import sampler, scores

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.integers(0, 256, (n, 3, 3, 3), np.uint8) for n in (40, 50))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def folders(tmp_path):
    """REAL and FAKE as folders of PNG files, in which order is by name."""
    for name, images in (('real', REAL), ('fake', FAKE)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f'{i:03}.png')
    return str(tmp_path / 'real'), str(tmp_path / 'fake')


def score(*arguments, **options):
    options = {'extractor': 'pixels', **options}
    return {s.name: s for s in command.main(command.Config(arguments, **options))}


def vectors(images):
    return images.reshape(len(images), -1) / np.float32(127.5) - 1


def test_folders_files_and_arrays_give_one_number(folders, tmp_path, capsys):
    np.savez(tmp_path / 'fake.npz', fake=FAKE)
    found = score(*folders, json=str(tmp_path / 'scores.json'))
    expected = frechet_distance_from_features(vectors(REAL), vectors(FAKE))
    assert found['frechet_distance'].value == pytest.approx(float(expected), rel=2e-5)
    assert found['precision'].value == float(prdc(vectors(REAL), vectors(FAKE), 5).precision)
    assert found['kernel_distance'].spread > 0 and found['kernel_distance'].spread_is == 'standard error'
    assert (found['density'].reals, found['density'].fakes) == (40, 50)
    again = score(folders[0], str(tmp_path / 'fake.npz'))
    assert again == found
    written = json.loads((tmp_path / 'scores.json').read_text())
    assert [row['value'] for row in written] == [s.value for s in found.values()]
    out = capsys.readouterr().out
    assert 'features: pixels; not FID' in out and 'precision' in out


@pytest.mark.parametrize('batch_size', [4, 8, 40, 64])
def test_batch_size_last_batch_and_devices_do_not_matter(folders, batch_size):
    # Four devices share each batch; the last one of 40 or 50 images is filled up, and the fill is cut off again.
    found = score(*folders, batch_size=batch_size, measures=('frechet',))
    expected = frechet_distance_from_features(vectors(REAL), vectors(FAKE))
    assert found['frechet_distance'].value == pytest.approx(float(expected), rel=2e-5)
    pixels = list(extract(EXTRACTORS['pixels'](), [REAL[:7], REAL[7:30], REAL[30:]], batch_size=batch_size))
    np.testing.assert_allclose(np.concatenate([p.features for p in pixels]), vectors(REAL), atol=1e-6)


def test_images_are_drawn_without_replacement_and_too_few_are_refused(folders):
    source = sources.open_source(folders[1])
    drawn = np.concatenate(list(sources.batches(source, 30, seed=3)))
    assert len(np.unique(drawn.reshape(30, -1), axis=0)) == 30
    assert not np.array_equal(drawn, FAKE[:30])
    with pytest.raises(InputError, match='has 50 readable images, but 51 were requested'):
        list(sources.batches(source, 51))


def test_broken_and_mixed_images(folders, tmp_path, capsys):
    (tmp_path / 'fake' / '007.png').write_bytes(b'no image')
    with pytest.raises(InputError, match=r'cannot read image .*007\.png'):
        score(*folders)
    assert score(*folders, skip_broken=True)['frechet_distance'].fakes == 49
    assert 'skipped 1 unreadable images, ' in capsys.readouterr().out
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / 'fake' / '007.png')
    with pytest.raises(InputError, match=r'different sizes \(.*000\.png is 3 x 3, .*007\.png is 4 x 5\); use --resize N'):
        score(*folders)
    assert score(*folders, resize=3)['frechet_distance'].fakes == 50


def test_statistics_from_a_file(folders, tmp_path):
    save(tmp_path / 'statistics.npz', feature_moments(vectors(REAL)))
    found = score(str(tmp_path / 'statistics.npz'), folders[1], measures=('frechet',))
    assert found['frechet_distance'].value == pytest.approx(score(*folders)['frechet_distance'].value, rel=2e-5)
    with pytest.raises(InputError, match='statistics do not contain individual features'):
        score(str(tmp_path / 'statistics.npz'), folders[1])


def test_a_protocol_fixes_everything(monkeypatch, folders):
    seen = []

    def features(text):
        return Extractor(text, lambda images: Outputs(images.reshape(len(images), -1).astype(jnp.float32)))

    def images(name):
        return protocols.ImageSet(name, lambda count: seen.append((name, count)) or [REAL], REAL.shape[1:])

    wanted = {name: protocols.PROTOCOLS[name] for name in ('fid10k_test', 'fid50k_full', 'kid50k_full')}
    found = protocols.evaluate(wanted, images, images('fake'), extractors=features)
    assert seen == [('test', 10_000), ('fake', 10_000), ('train', None), ('fake', 50_000)]  # one pass for two protocols
    assert [(s.protocol, s.extractor) for s in found] == [(name, 'inception') for name in wanted]


def test_precision_and_recall_of_50k_count_ties():
    # Radii of 3, 2, 2, 3 to the third neighbour, on both sides: 6 lies on a border, and so does 2.
    points = [np.array(x, np.uint8).reshape(-1, 1, 1, 1) for x in ([0, 1, 2, 3], [5, 6, 7, 8])]
    levels = Extractor('levels', lambda images: Outputs(images.reshape(len(images), -1).astype(jnp.float32)))
    found = protocols.PROTOCOLS['pr50k3'].measure.call(*(imagesets.collect(levels, [x], {'features'}) for x in points))
    assert [(name, value) for name, value, *_ in found] == [('precision', 0.5), ('recall', 0.5)]


def test_the_score_of_a_classifier_is_that_of_its_logits():
    classify = Extractor('classes', lambda x: Outputs(x[:, 0, 0].astype(jnp.float32), x[:, 0, 0].astype(jnp.float32) / 50))
    protocol = protocols.Protocol(protocols.score(5), None, extractor='classes')
    images = protocols.ImageSet('fake', lambda count: [FAKE])
    (found,) = protocols.evaluate({'s': protocol}, lambda split: images, images, extractors=lambda text: classify)
    drawn = np.random.default_rng(0).permutation(FAKE[:, 0, 0])  # into five splits
    p = np.array(jax.nn.softmax(drawn.astype(np.float64) / 50)).reshape(5, 10, 3)
    values = np.exp((p * np.log(p / p.mean(1, keepdims=True))).sum(2).mean(1))
    assert found.value == pytest.approx(values.mean(), rel=1e-6)
    assert found.spread == pytest.approx(values.std(), rel=1e-4) and found.spread_is == 'sd over 5 splits'
    assert found.reals is None and found.fakes == 50


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'protocol': ('fid50k',)}, "unknown protocol 'fid50k'; did you mean fid5k or"),
        ({'protocol': ('is50k',), 'extractor': 'pixels'}, 'a protocol fixes what --extractor would change'),
        ({'measures': ('fid',)}, "unknown measure 'fid'"),
        ({'measures': ('prdc:k=40',)}, '40'),
        ({'measures': ('score',)}, 'pixels does not predict classes'),
        ({'extractor': 'inceptoin'}, "unknown extractor 'inceptoin'; did you mean inception"),
        ({'extractor': 'custom:function=no.such.thing'}, "cannot find the function 'no.such.thing'"),
        ({'extractor': 'classifier:dataset=digits'}, r'accepts images \(16, 16, 1\), not \(3, 3, 3\)'),
        ({'samples': 51}, '50 readable images, but 51'),
        ({'samples': 1}, '--samples must be from 2 to 10000000, not 1'),
        ({'samples': 0}, '--samples must be from 2 to 10000000, not 0'),
        ({}, None),
    ],
)
def test_bad_input_is_one_line(folders, options, message, monkeypatch):
    if 'digits' in str(options):
        train = lambda *a, **k: types.SimpleNamespace(extractor=EXTRACTORS['pixels']()._replace(shape=(16, 16, 1)))
        monkeypatch.setattr('gan_jax.metrics.extractors.table.train_classifier', train)
    if message is None:
        assert score(*folders, **options)
    else:
        with pytest.raises(InputError, match=message) as error:
            score(*folders, **{'extractor': None if 'protocol' in options else 'pixels', **options})
        assert '\n' not in str(error.value)


def test_sources_that_are_none(tmp_path):
    np.savez(tmp_path / 'other.npz', x=np.zeros((2, 3)))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.json').write_text('{}')
    for text, message in (
        ('other.npz', r'must have one array of images \[n, h, w, c\], not 0; it has x float64\[2, 3\]'),
        ('missing.npz', 'cannot read'),
        ('missing/', 'no folder'),
        ('run', 'is a run without sampler.bin'),
    ):
        with pytest.raises(InputError, match=message):
            sources.open_source(f'{tmp_path}/{text}')


def test_features_have_to_be_finite_vectors():
    bad = Extractor('bad', lambda images: Outputs(jnp.where(jnp.arange(len(images))[:, None] == 1, jnp.nan, 1.0)))
    with pytest.raises(InputError, match='bad returns features that are not finite for 1 of 40'):
        list(extract(bad, [REAL]))
    with pytest.raises(InputError, match='must return one vector'):
        list(extract(Extractor('flat', lambda images: Outputs(images.sum((1, 2, 3)))), [REAL]))


def test_a_saved_sampler_is_the_generator(tmp_path):
    draw = lambda key: jnp.tanh(jax.random.normal(key, (4, 2, 2, 1)))
    sampler.save_sampler(tmp_path, draw, 3)
    source = sources.open_source(str(tmp_path), seed=5)
    found = np.concatenate(list(sources.batches(source, 10)))
    keys = [jax.random.fold_in(jax.random.key(5), block) for block in range(3)]
    expected = np.concatenate([np.round((draw(key) + 1) * 127.5) for key in keys])[:10]
    np.testing.assert_array_equal(found, expected)
    other = sources.open_source(str(tmp_path), seed=6)
    assert not np.array_equal(np.concatenate(list(sources.batches(other, 10))), found)


def test_scores_during_training_keep_no_image_and_ignore_the_fill(tmp_path):
    # 25 samples in blocks of 4 on four devices: seven blocks, the last one part, and an eighth that does not count.
    one = jax.vmap(lambda key: jax.random.normal(key, (2, 2, 1)))
    draw = lambda state, key: state * one(parallel.example_keys(4, key))  # as a game draws
    key = jax.random.key(1)
    images = np.concatenate([draw(2.0, jax.random.fold_in(key, b)) for b in range(7)])[:25].reshape(25, -1)
    logits = lambda x: jnp.concatenate([x.reshape(len(x), -1), jnp.zeros((len(x), 1))], 1)
    extractor = Extractor('classes', lambda x: Outputs(x.reshape(len(x), -1), logits(x)))
    found, classes = scores.sample_moments(draw, extractor, samples=25, block=4)(jnp.float32(2), key)
    expected = feature_moments(images)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5)
    p = jax.nn.softmax(logits(images))
    inception = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert float(class_scores.value(classes)) == pytest.approx(float(inception), rel=1e-5)
