"""Authenticity and C_T: by hand, against brute force in float64 and dgm-eval's formulas, and on planted copies."""

import jax
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from gan_jax.metrics.copying import authenticity, copying_test


def distances(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.stack([np.linalg.norm(row - y, axis=1) for row in x])


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def authentic(train, fake):
    """dgm-eval's formula: d(r, nearest other r) < d(fake, r) for r the nearest training example."""
    own = distances(train, train)
    np.fill_diagonal(own, np.inf)
    between = distances(fake, train)
    return (own.min(1)[between.argmin(1)] < between.min(1)).mean()


def test_authenticity_by_hand():
    # The nearest of 0.4 is 0, whose nearest is 1 away; that of 7 is 3, whose nearest is 2 away; a copy is never authentic.
    train, fake = np.array([[0.0], [1], [3]]), np.array([[0.4], [7], [3], [2.6]])
    found = authenticity(train, fake)
    assert found.value == 0.25
    assert float(found.standard_error) == pytest.approx(np.std([0, 1, 0, 0], ddof=1) / 2, rel=1e-6)


@pytest.mark.parametrize('offset', [0, 100])
@pytest.mark.parametrize('n, m, d', [(80, 60, 5), (40, 90, 1), (2, 2, 3), (60, 50, 300)])
def test_authenticity_by_brute_force(n, m, d, offset):
    train, fake = (np.round(64 * normal(seed, k, d)) / 64 + offset for seed, k in ((0, n), (1, m)))
    expected = authentic(train, fake)
    for block in (7, 1024):
        assert float(authenticity(train, fake, block=block).value) == pytest.approx(expected, abs=1e-6)


def test_ties_and_copies():
    rng = np.random.default_rng(0)
    train, fake = (rng.integers(0, 4, (n, 2)).astype(np.float32) for n in (30, 40))
    assert float(authenticity(train, fake).value) == pytest.approx(authentic(train, fake), abs=1e-6)
    assert authenticity(train, train).value == 0
    train, new = normal(0, 300, 8), normal(1, 300, 8)
    mixed = np.concatenate([new[:150], train[:150]])
    expected = 0.5 * float(authenticity(train, new[:150]).value)
    assert float(authenticity(train, mixed).value) == pytest.approx(expected, abs=1e-6)


def c_t(train, held_out, fake, cells, least):
    """Meehan et al.'s formula in cells given by labels, with SciPy's U and without a continuity correction."""
    total, weight = 0.0, 0.0
    for cell in np.unique(cells[0]):
        t, p, q = (x[c == cell] for x, c in zip((train, held_out, fake), cells, strict=True))
        if len(q) <= least or not len(p):
            continue
        u = mannwhitneyu(distances(q, t).min(1), distances(p, t).min(1), alternative='less').statistic
        z = (u - len(p) * len(q) / 2) / np.sqrt(len(p) * len(q) * (len(p) + len(q) + 1) / 12)
        total, weight = total + z * len(p) / len(held_out), weight + len(p) / len(held_out)
    return total / weight


def three_groups(seed, n, d=3, offset=0.0):
    """In each of three groups far apart, which k-means finds, and their labels."""
    labels = np.random.default_rng(seed).choice(3, n, p=[0.5, 0.3, 0.2])
    return (normal(seed, n, d) + 40 * np.eye(3, d)[labels] + offset).astype(np.float32), labels


@pytest.mark.parametrize('offset', [0, 100])
@pytest.mark.parametrize('d', [3, 80])
def test_copying_test_against_its_formula(d, offset):
    (train, a), (held_out, b), (fake, c) = (three_groups(seed, n, d, offset) for seed, n in ((0, 150), (1, 100), (2, 120)))
    found = copying_test(train, held_out, 1.05 * (fake - offset) + offset, dimension=100)
    expected = c_t(train, held_out, 1.05 * (fake - offset) + offset, (a, b, c), 20)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.shares.sum() == pytest.approx(1) and sorted(found.shares) == pytest.approx(np.sort(np.bincount(b) / 100))
    # The cell of the smallest group has too few samples if 30 are required, and is left out.
    omitted = copying_test(train, held_out, fake, least=30, dimension=100)
    assert omitted.value == pytest.approx(c_t(train, held_out, fake, (a, b, c), 30), rel=1e-6)
    assert np.isnan(omitted.cells).sum() == 1


def test_copies_new_data_and_noise():
    train, held_out, new = (normal(seed, 400, 6) for seed in range(3))
    assert abs(copying_test(train, held_out, new).value) < 3
    assert copying_test(train, held_out, train + 0.01 * normal(3, 400, 6)).value < -8
    assert copying_test(train, held_out, 2 * new).value > 8


def test_principal_components():
    """Of 80 features of which 2 vary much, the projection on 2 components finds what the 2 features alone show."""
    sets = [normal(seed, 200, 2) for seed in range(3)]
    wide = [np.concatenate([100 * x, 1e-3 * normal(9, 200, 78)], 1) @ np.linalg.qr(normal(8, 80, 80))[0] for x in sets]
    assert copying_test(*wide, dimension=2).value == pytest.approx(copying_test(*sets).value, abs=0.05)


def test_bad_input():
    x = normal(0, 30, 3)
    for call, message in (
        (lambda: authenticity(x[:1], x), r'train must be a set \[n >= 2, d\]'),
        (lambda: authenticity(x, x[:, :2]), 'same dimension'),
        (lambda: authenticity(x, x * np.nan), 'fake contains 90 values'),
        (lambda: copying_test(x, x, x, cells=31), '30 training examples cannot be divided into 31 cells'),
        (lambda: copying_test(x, x, x, least=40), 'none of the 3 cells has more than 40 generated examples'),
        (lambda: copying_test(x, x * np.inf, x), 'held_out contains 90 values'),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.isnan(jax.jit(authenticity)(x, x * np.nan).value)
