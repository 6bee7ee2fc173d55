"""Planted failures: what each does to images, and who finds it on the digits."""

import json

import numpy as np
import pytest

from experiments.planted import __main__ as planted
from experiments.planted.failures import KINDS, Parts
from experiments.planted.report import NEW, READINGS, is_found
from experiments.results import runner
from experiments.results.protocol import PROTOCOL
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.metrics.measures import MEASURES, Found
from gan_jax.metrics.moments import feature_moments
from gan_jax.registry import build

RNG = np.random.default_rng(0)
PARTS = Parts(10, *(RNG.integers(0, 256, (n, 6, 6, 1), np.uint8) for n in (40, 20)), np.arange(20) % 4)


def plant(text):
    images = build(KINDS, text).plant(PARTS, np.random.default_rng(0))
    assert images.dtype == np.uint8 and images.shape == (10, 6, 6, 1)
    return images


def rows_of(images, others):
    """The number of the equal image among others, for each; -1 for none."""
    equal = (images[:, None] == others).all((2, 3, 4))
    return np.where(equal.any(1), equal.argmax(1), -1)


def test_failures_do_what_they_say():
    new = PARTS.new[:10]
    labels = PARTS.labels[rows_of(plant('dropped:classes=2'), PARTS.new)]
    assert len(set(labels)) == 2 and sorted(np.bincount(labels, minlength=4)) == [0, 0, 5, 5]
    assert sorted(rows_of(plant('duplicates:share=0.2'), new)) == [0] * 5 + [1] * 5
    copied = plant('copies:share=0.3')
    assert (rows_of(copied, PARTS.train) >= 0).sum() == 3 and (rows_of(copied, new) >= 0).sum() == 7
    assert (rows_of(plant('copies:share=0.001'), PARTS.train) >= 0).sum() == 1
    shifted = plant('copies:share=0.3,shift=1')
    assert (rows_of(np.roll(shifted, (-1, -1), (1, 2)), PARTS.train) >= 0).sum() == 3
    # Nearest pixels at half the size are every second one, and each fills two by two.
    small = plant('resize:scale=0.5')[:, ::2, ::2]
    np.testing.assert_array_equal(plant('resize:scale=0.5'), small.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(small, new[:, 1::2, 1::2])
    assert plant('blur:sigma=2').std() < 0.5 * new.std()
    grey = PARTS._replace(new=np.full_like(PARTS.new, 128))
    noisy = build(KINDS, 'noise:sigma=0.1').plant(grey, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(25.5, rel=0.1) and abs(noisy.mean() - 128) < 5
    with pytest.raises(InputError, match='only 5 new images are left without 3 classes'):
        plant('dropped:classes=3')
    with pytest.raises(InputError, match='requires a data set with labels'):
        build(KINDS, 'dropped').plant(PARTS._replace(labels=None), RNG)


def test_what_counts_as_found():
    # Student's interval of differences 1, 2, 3 is 2 +- 4.303 / sqrt(3) = 2 +- 2.484, and that of 2, 2.5, 3 is 2.5 +- 1.242.
    assert is_found('recall', [0, 0, 0], [1, 2, 3]) is False
    assert is_found('recall', [0, 0, 0], [2, 2.5, 3]) is True
    assert is_found('recall', [2, 2.5, 3], [0, 0, 0]) is False
    assert is_found('frechet_distance', [2, 2.5, 3], [0, 0, 0]) is True
    assert is_found('recall', [0], [9]) is None
    assert is_found('p_value', [0.01, 0.04], [0.5, 0.5]) is True
    assert is_found('p_value', [0.01, 0.06], [0.5, 0.5]) is False


def test_every_figure_of_every_measure_can_be_read():
    features = RNG.normal(size=(60, 3)).astype(np.float32)
    found = Found(60, feature_moments(features), features, features)
    for name in MEASURES:
        measure = build(MEASURES, 'kernel_subsets:size=9' if name == 'kernel_subsets' else name)
        rows = measure.call(found, found, *([found] if measure.held_out else []))
        assert {row[0] for row in rows} <= set(READINGS), name


def test_the_digits(tmp_path, capsys, monkeypatch):
    """Each of three failures is found by who claims to; a perfect generator is not."""
    kinds = ('dropped', 'noise:sigma=0.3', 'copies:share=0.2')
    options = {'size': 8, 'extractor': 'pixels', 'samples': 150, 'measures': ('frechet', 'prdc', 'authenticity', 'copying')}
    config = planted.Config(runs_dir=str(tmp_path), kinds=kinds, **options)
    results = planted.main(config)
    written = runs.read_json(tmp_path / 'planted/results.json')
    found = written['found']
    assert written | {'found': None} == json.loads(json.dumps(results)) | {'found': None} and list(results) == [NEW, *kinds]
    assert found['dropped']['recall'] and found['dropped']['frechet_distance'] and not found['dropped']['precision']
    assert found['noise:sigma=0.3']['frechet_distance'] and found['noise:sigma=0.3']['precision']
    copies = found['copies:share=0.2']
    assert copies['auth_pct'] and copies['c_t'] and copies['p_value'] and copies['nearer'] and copies['nearer_p_value']
    assert not copies['frechet_distance'] and not copies['recall'] and min(results['copies:share=0.2']['nearer']) >= 30
    assert max(results[NEW]['nearer']) < 10 and min(results[NEW]['p_value']) > 0.001
    out = capsys.readouterr().out
    assert out.count('digits, 150 of 1,797 images, 3 seeds') == 2 and 'features: pixels' in out
    monkeypatch.setattr(planted, 'nearest_distance', None)  # nothing is left to compute
    assert planted.main(planted.Config(runs_dir=str(tmp_path), kinds=kinds, resume=True, **options)) == results
    figures = runner.by_seed(written, 3)
    for row in (PROTOCOL['planted_digits'], PROTOCOL['planted_copies_digits']):
        paths = {row.path(row.lines[0], column) for column in row.columns}
        known = {path for path in paths if path.split('/')[1] in READINGS}
        assert paths == known and any(path in figures for path in paths)
