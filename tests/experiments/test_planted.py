"""Planted failures: what each does to images, and who finds it on the digits."""

import json

import numpy as np
import pytest

from experiments.planted import __main__ as planted
from experiments.planted import pool
from experiments.planted.failures import KINDS, Parts
from experiments.planted.report import CLAIMS, NEW, is_found, report
from experiments.results import runner
from experiments.results.protocol import PROTOCOL
from gan_jax import runs
from gan_jax.errors import InputError
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
    # One more value after 1, 2, 3 lies in 2 +- 4.303 sqrt(1 + 1 / 3) = 2 +- 4.97 with probability .95 (Student's t).
    assert is_found('recall', [-2.9, -2.9, -2.9], [1, 2, 3]) is False
    assert is_found('recall', [-5, -2, -2], [1, 2, 3]) is True
    assert is_found('recall', [9, 9, 9], [1, 2, 3]) is False
    assert is_found('frechet_distance', [7, 7, 7], [1, 2, 3]) is True
    assert is_found('recall', [0], [9]) is None
    assert is_found('p_value', [0.01], [0.5]) is None
    assert is_found('p_value', [0.01, 0.04], [0.5, 0.5]) is True
    assert is_found('p_value', [0.01, 0.06], [0.5, 0.5]) is False


def test_the_digits(tmp_path, capsys, monkeypatch):
    """Each failure is found by who claims to; a perfect generator is not."""
    kinds = ('dropped', 'copies:share=0.2')
    options = {'size': 8, 'extractor': 'pixels', 'samples': 150, 'measures': ('frechet', 'prdc', 'authenticity'), 'seeds': 3}
    config = planted.Config(runs_dir=str(tmp_path), kinds=kinds, **options)
    results = planted.main(config)
    written = runs.read_json(tmp_path / 'planted/results.json')
    found = written.pop('found')
    assert written == json.loads(json.dumps(results)) and list(results) == [NEW, *kinds]
    dropped, copies = found['dropped'], found['copies:share=0.2']
    assert dropped['frechet_distance'] and dropped['recall'] and dropped['coverage'] and not dropped['precision']
    assert not dropped['nearer'] and not dropped['nearer_p_value'] and not dropped['p_value']
    # The medians and the ranks of 150 samples miss a share of copies of a fifth.
    assert copies['nearer'] and copies['nearer_p_value'] and not copies['frechet_distance'] and not copies['recall']
    assert min(results['copies:share=0.2']['nearer']) >= 30 > 10 > max(results[NEW]['nearer'])
    out = capsys.readouterr().out
    assert out.count('digits, 150 of 1,797 images, 3 seeds') == 2 and 'features: pixels' in out
    monkeypatch.setattr(pool, 'nearest_distance', None)  # nothing is left to compute
    assert planted.main(planted.Config(runs_dir=str(tmp_path), kinds=kinds, resume=True, **options)) == results
    seeds = runs.read_json(tmp_path / 'planted/seeds.json')
    seeds['1']['dropped']['recall'] = None  # JSON has no NaN
    runs.write_json(tmp_path / 'planted/seeds.json', seeds)
    again = planted.main(planted.Config(runs_dir=str(tmp_path), kinds=kinds, resume=True, **options))
    assert np.isnan(again['dropped']['recall']).tolist() == [False, True, False]
    figures = runner.by_seed(written, 3)
    for name, path in (('planted_digits', 'dropped/recall'), ('planted_copies_digits', 'copies:share=0.2/nearer')):
        row = PROTOCOL[name]
        paths = {column.path for column in row.columns}
        assert paths <= set(CLAIMS) and path.partition('/')[2] in paths and len(figures[path]) == 3


def test_one_table_shows_what_is_found_missed_and_unknown():
    values = {NEW: ([1.0, 2, 3], [0.5] * 3), 'copies': ([9.0, 9, 9], [0.01] * 3), 'blur': ([2.0, 2, 2], [0.5] * 3)}
    results = {kind: {'frechet_distance': a, 'p_value': b, 'of_my_own': a} for kind, (a, b) in values.items()}
    text = report(results, {kind: build(KINDS, kind) for kind in ('copies', 'blur')}, 'toy')
    # Of new images, 2 +- 4.303 / sqrt(3). A distance claims to find blur, and here it does not; it does not claim to find copies.
    assert [' '.join(line.split()) for line in text.splitlines() if line.startswith(('new', 'copies', 'blur'))] == [
        'new images 2.00 +- 2.48 2.00 +- 2.48',
        'copies 9.00 +- 0.00* 9.00 +- 0.00',
        'blur 2.00 +- 0.00? 2.00 +- 0.00',
        'new images 0.5',
        'copies 0.01*',
        'blur 0.5',
    ]
