"""The command line of the metrics: several sets of images, classes, seeds, and the list of what there is."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan_jax.errors import InputError
from gan_jax.metrics import PROTOCOLS, catalogue, command, intra_class_frechet, measures, reporting, sources
from gan_jax.metrics.extractors import extraction
from gan_jax.metrics.measures import MEASURES
from gan_jax.runs import sampler

RNG = np.random.default_rng(0)
SETS = {
    name: RNG.integers(0, 256, (n, 4, 4, 1), np.uint8) for name, n in (('train', 30), ('test', 26), ('fake', 28), ('other', 24))
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """real/train and real/test, fake and other; in each, images by turns in the sub-folders a and b."""
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    for name, folder in (('train', 'real/train'), ('test', 'real/test'), ('fake', 'fake'), ('other', 'other')):
        write(tmp_path / folder, SETS[name], np.arange(len(SETS[name])) % 2)


def write(folder, images, labels):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / 'ab'[label] / f'{i:03}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(file)


def scores(*images, **options):
    return command.main(command.Config(images, **{'extractor': 'pixels', 'measures': ('frechet',), **options}))


def rows(*images, **options):
    """The scores and their JSON."""
    found = scores(*images, json='scores.json', **options)
    with open('scores.json') as file:
        return found, json.load(file)


def test_several_sets_are_scored_in_one_table(capsys):
    options = {'measures': ('frechet', 'prdc:k=3')}
    apart = [rows('real', name, **options) for name in ('fake', 'other')]
    capsys.readouterr()
    found, written = rows('real', 'fake', 'other', **options)
    assert found == apart[0][0] + apart[1][0]
    fields = ['name', 'value', 'spread', 'spread_is', 'protocol', 'extractor', 'reals', 'fakes', 'skipped', 'step']
    assert [list(row) for row in apart[0][1]] == 5 * [fields]  # one FAKE has the form that it always had
    assert written == [row | {'fake': name} for name, (_, of) in zip(('fake', 'other'), apart, strict=True) for row in of]
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ['images', 'metric', 'value'] and [line.split()[0] for line in lines[:10]] == 5 * ['fake'] + 5 * [
        'other'
    ]


def test_real_images_are_read_and_the_extractor_is_compiled_once(monkeypatch):
    opened, batches = [], sources.batches
    monkeypatch.setattr(sources, 'batches', lambda source, *a, **k: opened.append(source.name) or batches(source, *a, **k))
    extraction._compiled.cache_clear()
    scores('real', 'fake', 'other', measures=('frechet', 'kernel'))
    assert opened == ['real:train', 'fake', 'other'] and extraction._compiled.cache_info().misses == 1


def test_what_is_not_finite_is_null_in_json(tmp_path):
    np.savez('three.npz', SETS['fake'][:3])
    _, (row,) = rows('real', 'three.npz', measures=('kernel',))
    assert row['spread'] is None and np.isfinite(row['value'])


def test_classes_are_sub_folders(monkeypatch, tmp_path):
    (found,) = scores('real', 'fake', measures=('intra_class',))
    vectors = lambda name: SETS[name].reshape(len(SETS[name]), -1) / np.float32(127.5) - 1
    labels = lambda name: np.arange(len(SETS[name])) % 2
    expected = intra_class_frechet(vectors('train'), labels('train'), vectors('fake'), labels('fake'))
    assert found.value == pytest.approx(expected.mean, rel=1e-5) and (found.reals, found.fakes) == (30, 28)

    seen = []
    monkeypatch.setattr(measures, 'classification_accuracy_score', lambda *sets, train: seen.append(sets) or np.nan)
    with pytest.raises(AttributeError):
        scores('real', 'fake', measures=('accuracy',))
    ((real, real_labels, fake, fake_labels),) = seen  # in the order of the folders, of real test images
    np.testing.assert_array_equal(real, np.concatenate([SETS['test'][::2], SETS['test'][1::2]]))
    np.testing.assert_array_equal(real_labels, np.repeat([0, 1], 13))
    np.testing.assert_array_equal(fake, np.concatenate([SETS['fake'][::2], SETS['fake'][1::2]]))
    np.testing.assert_array_equal(fake_labels, np.repeat([0, 1], 14))


def test_classes_go_by_their_names(tmp_path):
    (expected,) = scores('real', 'fake', measures=('intra_class',))
    (tmp_path / 'fake' / 'a').rename(tmp_path / 'fake' / 'c')
    with pytest.raises(InputError, match='fake has classes that the real images do not have: c'):
        scores('real', 'fake', measures=('intra_class',))
    for split in ('train', 'test'):
        (tmp_path / 'real' / split / 'a').rename(tmp_path / 'real' / split / 'c')
    assert scores('real', 'fake', measures=('intra_class',)) == [expected]
    np.savez('plain.npz', SETS['fake'])
    with pytest.raises(
        InputError, match=r'plain\.npz has no classes, which this metric requires: .* a sub-folder for each class'
    ):
        scores('real', 'plain.npz', measures=('intra_class',))


def test_labels_go_with_their_images_when_some_are_broken_or_left_out(tmp_path):
    for broken in ('a/000.png', 'b/005.png'):
        (tmp_path / 'fake' / broken).write_bytes(b'no image')
    source = sources.open_source('fake', skip_broken=True)
    (tmp_path / 'fake' / 'a' / '004.png').write_bytes(b'broken since then')
    for count in (None, 9):
        images, labels = map(np.concatenate, zip(*sources.labelled_batches(source, count, seed=1), strict=True))
        assert len(images) == len(labels) == (count or 25)
        for image, label in zip(images, labels, strict=True):
            (number,) = np.flatnonzero((SETS['fake'] == image).all((1, 2, 3)))
            assert label == number % 2


def test_digits_have_their_labels():
    source = sources.open_source('digits', split='test')
    images, labels = map(np.concatenate, zip(*sources.labelled_batches(source, None), strict=True))
    assert source.classes == tuple('0123456789') and len(images) == 360 and np.bincount(labels).min() > 25


def test_seeds_give_a_mean_and_its_interval(tmp_path, capsys):
    sampler.save_sampler(tmp_path / 'run', lambda key: jnp.tanh(jax.random.normal(key, (4, 4, 4, 1))), 8)
    each = [scores('real', 'run', samples=20, seed=seed)[0].value for seed in (5, 6, 7)]
    capsys.readouterr()
    found, (row,) = rows('real', 'run', samples=20, seed=5, seeds=3)
    assert row['values'] == pytest.approx(each, rel=1e-12) and len(set(each)) == 3
    # Student's t of two degrees of freedom: 4.3027.
    assert found[0].value == pytest.approx(np.mean(each)) and found[0].spread == pytest.approx(
        4.302653 * np.std(each, ddof=1) / 3**0.5
    )
    assert found[0].spread_is == 'half of the 95 % interval over 3 seeds' and found[0].fakes == 20
    assert 'the samples are from step 8' in capsys.readouterr().out
    broken = [[found[0]._replace(value=value)] for value in (*row['values'], np.nan)]
    (mean,) = reporting.over_seeds(None, broken).scores
    assert mean == found[0]  # of the three that are finite
    with pytest.raises(InputError, match='--seeds draws the samples of a run anew, but the images of fake are fixed'):
        scores('real', 'run', 'fake', samples=20, seeds=2)
    with pytest.raises(InputError, match='--seed 4294967295 leaves room for 1 --seeds, not 2'):
        scores('real', 'run', samples=20, seed=2**32 - 1, seeds=2)


def test_the_list_has_every_protocol_and_measure_with_what_it_fixes(capsys):
    assert command.main(command.Config(list=True)) == []
    blocks = dict(block.split('\n', 1) for block in capsys.readouterr().out.split('\n\n') if '\n' in block)
    assert [name for name in blocks if name in PROTOCOLS] == list(PROTOCOLS)
    assert [name for name in blocks if name in MEASURES] == list(MEASURES)
    for text in ('Heusel et al. 2017', 'layer 2048, resize clean', 'real: all of train; generated: 50,000'):
        assert text in blocks['fid50k_full_clean']
    for text in ('Bińkowski', 'resize tf1', 'subsets=100, size=1000, seed=2020'):
        assert text in blocks['kid100x1000']
    assert 'real: 10,000 of test; generated: 10,000' in blocks['fid10k_test'] and 'real: none' in blocks['is50k']
    assert 'split: train and test' in blocks['copying'] and 'with labels' in blocks['intra_class']
    assert "k=3, strict=False, names=('precision', 'recall')" in blocks['pr50k3']
    assert max(map(len, catalogue.listing().splitlines())) <= 120
