"""The table of sample efficiency, on the digits and noisy ones."""

import json

import numpy as np
import pytest

from experiments import sample_efficiency
from gan_jax import data
from gan_jax.errors import InputError
from gan_jax.metrics import frechet_distance_from_features


@pytest.fixture
def noisy(tmp_path):
    images = data.load('digits', size=8).images
    noise = np.random.default_rng(0).normal(0, 60, images.shape)
    np.savez(tmp_path / 'noisy.npz', images=np.clip(images + noise, 0, 255).astype(np.uint8))
    return str(tmp_path / 'noisy.npz')


def test_bias_and_separation_by_size(noisy, tmp_path, capsys):
    options = {'extractor': 'pixels', 'resize': 8, 'repetitions': 4, 'json': tmp_path / 'rows.json'}
    found = sample_efficiency.main(
        sample_efficiency.Config(
            'digits', noisy, measures=('frechet', 'monge:directions=30'), sizes=(50, 300, 1000, 9999), **options
        )
    )
    rows = {(row['measure'], row['size']): row for row in found}
    assert list(rows) == [(m, size) for m in ('frechet', 'monge:directions=30') for size in (50, 300, 1000)]
    for measure in ('frechet', 'monge:directions=30'):
        small, middle, large = (rows[measure, size] for size in (50, 300, 1000))
        assert small['bias'] > middle['bias'] > abs(large['bias'])  # both overestimate few samples
        assert middle['separation'] > 5 and small['spread'] > middle['spread'] > 0 and np.isnan(large['control'])
    as_rows = lambda images: images.reshape(len(images), -1) / np.float32(127.5) - 1
    whole = frechet_distance_from_features(as_rows(data.load('digits', size=8).images), as_rows(np.load(noisy)['images']))
    row = rows['frechet', 50]
    assert row['mean'] / (1 + row['bias']) == pytest.approx(float(whole), rel=1e-5)
    assert len(json.loads((tmp_path / 'rows.json').read_text())) == 6
    assert 'separation' in capsys.readouterr().out


def test_the_bias_has_the_sign_of_the_difference_and_nothing_is_divided_by_0(noisy, capsys):
    options = {'extractor': 'pixels', 'resize': 8, 'sizes': (50,), 'repetitions': 2, 'json': '-'}
    measures = ('kernel', 'prdc')  # of a set with itself
    found = sample_efficiency.main(sample_efficiency.Config('digits', 'digits', measures=measures, **options))
    out = capsys.readouterr().out
    assert json.loads(out[out.index('[\n') :])[0]['size'] == 50
    for row in found:
        whole = row['whole']
        assert np.sign(row['bias']) == np.sign(row['mean'] - whole) or np.isnan(row['bias']) or row['mean'] == whole


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'measures': ('vendi',)}, 'vendi does not compare features of generated and real images'),
        ({'measures': ('score',)}, 'score does not compare'),
        ({'measures': ('copying',)}, 'copying does not compare'),
        ({'sizes': (5000,)}, '--sizes 5000 exceeds the 1437 images'),
        ({'real': 'NOISY'}, 'has no test split to draw the control from'),
    ],
)
def test_bad_input(noisy, options, message):
    options = {'real': 'digits', 'extractor': 'pixels', 'resize': 8, **options}
    options['real'] = noisy if options['real'] == 'NOISY' else options['real']
    with pytest.raises(InputError, match=message):
        sample_efficiency.main(sample_efficiency.Config(options.pop('real'), noisy, **options))


def test_the_whole_of_a_set_has_no_spread(noisy, capsys):
    """Every draw would be the same images: a spread of 0 and an infinite separation."""
    options = {'extractor': 'pixels', 'resize': 8, 'repetitions': 3, 'measures': ('monge:directions=3',)}
    small, whole = sample_efficiency.main(sample_efficiency.Config('digits', noisy, sizes=(360, 1437), **options))
    assert small['spread'] > 0 and np.isnan(small['separation'])  # the control takes all 360 held-out images
    assert np.isnan(whole['spread']) and np.isnan(whole['separation'])
    out = capsys.readouterr().out
    assert '1437 images are all that the smaller set has: one value, without spread and separation' in out
    assert [line.split()[5] for line in out.splitlines() if ' 1437 ' in line and 'monge' in line] == ['-']
