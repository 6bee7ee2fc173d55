"""Files of statistics: they give the scores of the images, and are refused where they do not fit."""

import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax import metrics
from gan_jax.errors import InputError
from gan_jax.metrics import command, statistics
from gan_jax.metrics.extractors import Extractor, Outputs
from gan_jax.metrics.imagesets import ImageSet
from gan_jax.metrics.moments import feature_moments, save

RNG = np.random.default_rng(0)
REAL, FAKE = (RNG.integers(0, 256, (n, 3, 3, 1), np.uint8) for n in (40, 36))
LABELS = np.arange(40, dtype=np.int32) % 2


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def folders(tmp_path):
    """REAL and FAKE as folders with the sub-folders a and b, to which the images belong by turns."""
    for name, images in (('real', REAL), ('fake', FAKE)):
        for i, image in enumerate(images):
            file = tmp_path / name / 'ab'[i % 2] / f'{i:03}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(file)
    return str(tmp_path / 'real'), str(tmp_path / 'fake')


def score(*images, **options):
    options = {'extractor': 'pixels', **options}
    return {s.name: s for s in command.main(command.Config(images, **options))}


MEASURES = ('frechet', 'kernel', 'prdc:k=3', 'monge:directions=20', 'intra_class')


def test_a_file_gives_the_scores_of_the_images(folders, tmp_path, capsys):
    file = str(tmp_path / 'real.npz')
    score(folders[0], measures=MEASURES, save_reference=file)  # without FAKE, only the file is written
    assert f'{file} has the moments, features and labels of {folders[0]}' in capsys.readouterr().out
    expected = score(*folders, measures=MEASURES)
    found = score(folders[1], measures=MEASURES, reference=file)
    assert set(found) == set(expected) and len(found) == 8
    for name, row in expected.items():
        assert found[name].value == pytest.approx(row.value, rel=1e-5, abs=1e-9), name
        assert (found[name].reals, found[name].fakes) == (40, 36)
    assert score(file, folders[1], measures=('kernel',))['kernel_distance'] == found['kernel_distance']  # in place of REAL
    origin = metrics.load_statistics(file).origin
    assert (origin.images, origin.split, origin.size, origin.whole) == (folders[0], '', 40, True)
    assert (origin.shape, origin.resize, origin.extractor, origin.classes) == ((3, 3, 1), None, 'pixels', ('a', 'b'))
    with np.load(file) as arrays:  # as other programs read it
        np.testing.assert_allclose(arrays['mu'], feature_moments(REAL.reshape(40, -1) / 127.5 - 1).mean, atol=1e-6)


def test_moments_alone_serve_the_measures_of_moments(folders, tmp_path):
    file = str(tmp_path / 'real.npz')
    both = score(*folders, measures=('frechet', 'vendi'), save_reference=file)
    assert score(folders[1], measures=('frechet',), reference=file)['frechet_distance'] == both['frechet_distance']
    assert np.load(file).files == ['mu', 'sigma', 'count', 'probe', 'origin']
    for measure, message in (
        (
            'kernel',
            'statistics do not contain individual features; this metric requires the real images, or a file that was saved',
        ),
        ('authenticity', 'statistics do not contain individual features'),
        ('accuracy', 'statistics do not contain images'),
        ('copying', 'copies are found among individual images'),
    ):
        with pytest.raises(InputError, match=message):
            score(folders[1], measures=(measure,), reference=file)


def test_what_was_just_saved_scores_like_the_images(folders, tmp_path):
    """Also where REAL names another split than the default."""
    options = {'measures': ('frechet', 'kernel'), 'resize': 3, 'channels': 1, 'reals': 50}
    expected = score('digits:test', folders[1], **options)
    found = score('digits:test', folders[1], save_reference=str(tmp_path / 'digits.npz'), **options)
    assert metrics.load_statistics(tmp_path / 'digits.npz').origin.split == 'test'
    for name, row in expected.items():
        assert found[name].value == pytest.approx(row.value, rel=1e-5) and found[name].reals == row.reals == 50


@pytest.mark.parametrize('dtype', ['int32', 'uint8'])
def test_integer_features_are_written_and_read(tmp_path, monkeypatch, folders, dtype):
    module, file = types.ModuleType('own_integers'), str(tmp_path / 'own.npz')
    monkeypatch.setitem(sys.modules, 'own_integers', module)
    module.f = lambda x: np.asarray(x).reshape(len(x), -1).astype(dtype)
    options = {'measures': ('frechet', 'prdc:k=3'), 'extractor': 'custom:function=own_integers.f'}
    score(folders[0], save_reference=file, **options)
    expected, found = score(*folders, **options), score(folders[1], reference=file, **options)
    assert {name: row.value for name, row in found.items()} == pytest.approx({name: row.value for name, row in expected.items()})


def flat(scale=1.0, name='own'):
    return Extractor(name, lambda x: Outputs(jnp.float32(scale) * x.reshape(len(x), -1).astype(jnp.float32)))


def images(**options):
    return ImageSet('mine:train', lambda count: [REAL[:7], REAL[7:]], (3, 3, 1), 40, 'train')._replace(**options)


@pytest.fixture
def kept(tmp_path):
    found = metrics.reference_statistics(flat(), images(), {'moments', 'features'})
    metrics.save_statistics(tmp_path / 'kept.npz', found)
    return metrics.load_statistics(tmp_path / 'kept.npz')


def check(found, extractor, **options):
    statistics.check_extractor(found, extractor, **options)


def test_statistics_fit_only_their_extractor_and_shape(kept):
    check(kept, flat(), shape=(3, 3, 1))
    for extractor, options, message in (
        (flat(name='other'), {}, 'kept.npz has features of own, not of other'),
        (flat(1 + 1e-5), {}, 'own with other code or weights'),
        (flat(), {'shape': (4, 3, 1)}, 'is of images 3 x 3 x 1, and the generated images are 4 x 3 x 1; use --resize N$'),
        (flat(), {'shape': (3, 3, 3)}, 'use --channels 1 or 3$'),
    ):
        with pytest.raises(InputError, match=message):
            check(kept, extractor, **options)


def test_under_another_release_the_features_decide(kept):
    old = kept._replace(origin=kept.origin._replace(program='0' * 16, versions={'jax': '0.9'}))
    for scale in (1, 1 + 1e-5):
        check(old, flat(scale))
    for extractor in (flat(1.01), Extractor('own', lambda x: Outputs(flat().apply(x).features[:, :5]))):
        with pytest.raises(InputError, match='with other code or weights'):
            check(old, extractor)


def test_functions_that_jax_cannot_trace_are_told_apart_by_their_features(tmp_path, monkeypatch, folders):
    module, file = types.ModuleType('own_statistics'), str(tmp_path / 'own.npz')
    monkeypatch.setitem(sys.modules, 'own_statistics', module)
    options = {'measures': ('frechet',), 'extractor': 'custom:function=own_statistics.f'}
    module.f = lambda x: np.asarray(x, np.float32).reshape(len(x), -1)
    score(folders[0], save_reference=file, **options)
    assert metrics.load_statistics(file).origin.program is None
    score(folders[1], reference=file, **options)
    module.f = lambda x: 1.01 * np.asarray(x, np.float32).reshape(len(x), -1)
    with pytest.raises(InputError, match=r'own_statistics\.f with other code or weights: save it again'):
        score(folders[1], reference=file, **options)


def test_the_split_and_the_number_of_images_are_those_of_the_protocol(kept):
    protocol = metrics.protocols.Protocol(metrics.measures.frechet(), None, extractor='own')
    fake = ImageSet('fake', lambda count: [FAKE], (3, 3, 1))
    run = lambda found, **fixed: metrics.evaluate(
        {'p': protocol._replace(**fixed)}, lambda split: found, fake, extractors=lambda text: flat()
    )
    (row,) = run(kept)
    assert row.value == pytest.approx(run(images())[0].value, rel=1e-5)
    assert run(kept, reals=40) == [row]
    for found, fixed, message in (
        (kept, {'split': 'test'}, r"p compares with the split 'test', and .*kept\.npz is of 40 images of mine:train"),
        (kept, {'reals': 39}, 'p compares with 39 images, and'),
        (kept._replace(origin=kept.origin._replace(whole=False)), {}, 'p compares with all images, and'),
    ):
        with pytest.raises(InputError, match=message):
            run(found, **fixed)


def test_the_hash_is_that_of_the_pixels():
    """In whatever blocks they come."""
    of = lambda *blocks: metrics.reference_statistics(flat(), images(batches=lambda count: blocks)).origin.pixels
    assert of(REAL) == of(REAL[:9], REAL[9:])
    changed = REAL.copy()
    changed[5, 2, 1] ^= 1
    assert of(changed) != of(REAL)


def test_damaged_and_foreign_files(kept, tmp_path):
    whole = dict(np.load(tmp_path / 'kept.npz'))
    origin = json.loads(str(whole['origin']))

    def load(**changed):
        np.savez(tmp_path / 'x.npz', **{name: x for name, x in {**whole, **changed}.items() if x is not None})
        return metrics.load_statistics(tmp_path / 'x.npz')

    say = lambda **changed: np.array(json.dumps({**origin, **changed}))
    assert load().origin == kept.origin
    for changed, message in (
        (
            {'features': whole['features'][:39]},
            r'x\.npz is damaged: it says that it has 40 images, but its arrays are .*\[39, 9\]',
        ),
        ({'features': np.full((40, 9), np.nan)}, 'is damaged'),
        ({'probe': None}, 'is damaged'),
        ({'count': np.int64(41)}, 'is damaged'),
        ({'labels': np.full(40, 7)}, 'is damaged'),
        ({'mu': whole['mu'][:5], 'sigma': whole['sigma'][:5, :5]}, 'is damaged'),
        ({'mu': None, 'sigma': None, 'features': None}, 'is damaged'),
        ({'mu': None}, 'is not an npz file of statistics mu and sigma: it has no mu'),
        ({'origin': np.array('no JSON')}, 'does not say what its statistics are of: Expecting value'),
        ({'origin': np.array('[1]')}, 'does not say what its statistics are of'),
        ({'origin': say(format=2)}, 'it is in a newer format'),
        ({'origin': say(size='40')}, 'its entries are of other types'),
        ({'origin': say(more=1)}, 'does not say what its statistics are of'),
    ):
        with pytest.raises(InputError, match=message) as error:
            load(**changed)
        assert '\n' not in str(error.value)
    content = bytearray((tmp_path / 'kept.npz').read_bytes())
    content[len(content) // 3] ^= 255
    (tmp_path / 'x.npz').write_bytes(content)
    with pytest.raises(InputError, match='cannot read'):
        metrics.load_statistics(tmp_path / 'x.npz')


def test_published_statistics_are_read_and_said_to_be_unchecked(folders, tmp_path, capsys):
    save(tmp_path / 'published.npz', feature_moments(REAL.reshape(40, -1) / np.float32(127.5) - 1))
    file = str(tmp_path / 'published.npz')
    found = score(folders[1], reference=file, measures=('frechet',))['frechet_distance']
    assert found.value == pytest.approx(score(*folders, measures=('frechet',))['frechet_distance'].value, rel=1e-5)
    assert f'note: {file} does not state which images and features it was computed from' in capsys.readouterr().out


def test_flags_that_do_not_go_together(folders, tmp_path):
    file = str(tmp_path / 'real.npz')
    score(folders[0], measures=('frechet',), save_reference=file)
    for arguments, options, message in (
        (folders[1:], {'reference': file, 'reals': 9}, '--reals cannot be combined with statistics'),
        ((file, folders[1]), {'split': 'test'}, '--split cannot be combined with statistics'),
        (folders[1:], {'reference': file, 'save_reference': file}, '--save-reference cannot be combined with statistics'),
        ((), {'reference': file}, 'REAL and at least one FAKE are required'),
        *(
            (folders[:1], {'save_reference': file, name: value}, f'--{name} concerns the scores of FAKE')
            for name, value in (('json', '-'), ('samples', 9), ('seeds', 2))
        ),
        (folders, {'measures': ('vendi',), 'save_reference': file}, 'vendi compares with no real images'),
        (
            folders,
            {'measures': ('frechet', 'authenticity', 'accuracy'), 'save_reference': file},
            'differ in the extractor, split or number of real images',
        ),
        (folders, {'measures': ('accuracy',), 'save_reference': file}, 'accuracy requires images'),
        (folders, {'split': 'test'}, 'real has no splits of which --split test could be one'),
        (('digits:test', folders[1]), {'split': 'train'}, "names the split 'test', and --split the split 'train'"),
        (folders, {'extractor': None, 'protocol': ('fid5k',), 'split': 'train'}, 'a protocol fixes what --split would change'),
    ):
        with pytest.raises(InputError, match=message):
            score(*arguments, **{'measures': () if 'protocol' in options else ('frechet',), **options})
