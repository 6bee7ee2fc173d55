"""Clipped density and coverage: a float64 reference, their calibration, and that they are linear in the share of bad samples."""

import math

import jax
import numpy as np
import pytest

from gan_jax.metrics.clipped import clipped_density_coverage, expected_coverage
from gan_jax.metrics.manifolds import prdc


def distances(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.stack([np.linalg.norm(row - y, axis=1) for row in x])


def chance(count, m, n, k):
    """Of `count` among m new examples in the ball of the k-th of n - 1 neighbours: all orders of m + n - 1 are equally likely."""
    return math.comb(count + k - 1, count) * math.comb(m - count + n - 1 - k, m - count) / math.comb(m + n - 1, m)


def expected_reference(n, m, k):
    """The mean of min(count / k, 1) for 0 to m new examples, by counting orders with integers."""
    return [sum(min(c / k, 1) * chance(c, new, n, k) for c in range(new + 1)) for new in range(m + 1)]


def reference(real, fake, k):
    own = distances(real, real)
    radii = np.sort(own, 1)[:, k]
    clipped = np.minimum(radii, np.median(radii))
    clip = lambda counts: np.minimum(counts / k, 1).mean()
    between = distances(real, fake)
    np.fill_diagonal(own, np.inf)
    density = clip((between <= clipped[:, None]).sum(0)) / clip((own <= clipped[:, None]).sum(0))
    covered = clip((between <= radii[:, None]).sum(1))
    coverage = np.interp(covered, expected_reference(len(real), len(fake), k), np.linspace(0, 1, len(fake) + 1))
    return min(density, 1), coverage


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def integers(seed, n, d, high):
    return np.random.default_rng(seed).integers(0, high, (n, d)).astype(np.float32)


@pytest.mark.parametrize('offset', [0, 100])
@pytest.mark.parametrize(
    'real, fake, k',
    [
        (normal(0, 61, 4), normal(1, 70, 4), 5),
        (normal(0, 60, 3), 0.8 * normal(1, 50, 3) + 0.2, 3),
        (integers(0, 50, 2, 6), integers(1, 40, 2, 7), 5),  # most distances are tied
        (integers(0, 2, 3, 9), integers(1, 3, 3, 9), 1),
        (normal(0, 40, 1) * np.ones(16, np.float32), normal(1, 40, 16), 4),  # of rank 1
        (np.repeat(normal(0, 5, 2), 4, axis=0), normal(0, 5, 2), 3),  # every radius is 0
    ],
)
def test_float64_reference(real, fake, k, offset):
    real, fake = np.round(64 * real) / 64 + offset, np.round(64 * fake) / 64 + offset  # exact in float32, so are all comparisons
    expected = reference(real, fake, k)
    np.testing.assert_allclose(clipped_density_coverage(real, fake, k, block=16), expected, rtol=2e-6, atol=1e-6)
    with jax.enable_x64(True):
        found = clipped_density_coverage(real.astype(np.float64), fake.astype(np.float64), k)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('n, m, k', [(2, 3, 1), (6, 5, 2), (9, 12, 5), (40, 60, 5)])
def test_expected_coverage_by_counting(n, m, k):
    np.testing.assert_allclose(expected_coverage(n, m, k), expected_reference(n, m, k), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('bad', [0.0, 0.25, 0.5, 0.9])
def test_scores_are_linear_in_the_share_of_bad_samples(bad):
    """Of 200 pairs of sets of 120, a share of the samples is far from the data: both scores are 1 minus that share."""
    n, d, repetitions = 120, 4, 200
    real, fake = normal(0, repetitions, n, d), normal(1, repetitions, n, d)
    fake[:, : round(bad * n)] += 1000
    found = jax.jit(lambda *sets: jax.lax.map(lambda z: clipped_density_coverage(*z), sets))(real, fake)
    for values in map(np.asarray, found):
        slack = 0.01 if bad else 0.04  # scores are clipped at 1, so those of perfect samples are a little lower on average
        assert values.mean() == pytest.approx(1 - bad, abs=slack + 3 * float(values.std()) / repetitions**0.5)
        assert values.std() / repetitions**0.5 < 0.01


def test_outliers_and_dropped_modes():
    # One real outlier with a huge ball: plain density counts it, clipped density does not.
    real, fake = normal(0, 200, 2), normal(1, 200, 2) + 30
    outlier = np.concatenate([real, [[300.0, 300.0]]]).astype(np.float32)
    assert clipped_density_coverage(outlier, fake).density == 0
    # Half of the samples in one of two modes cover half of the data, and all are realistic.
    real = np.concatenate([normal(2, 200, 2), normal(3, 200, 2) + 50])
    found = clipped_density_coverage(real, normal(4, 400, 2))
    assert found.density > 0.9 and found.coverage == pytest.approx(0.5, abs=0.08)
    # Copies of the data are realistic, and cover all.
    np.testing.assert_array_equal(clipped_density_coverage(real, real), [1, 1])


@pytest.mark.parametrize('block', [1, 64])
def test_blocks_change_nothing(block):
    real, fake = normal(0, 150, 6), normal(1, 140, 6)
    np.testing.assert_array_equal(clipped_density_coverage(real, fake, 3, block=block), clipped_density_coverage(real, fake, 3))


@pytest.mark.parametrize('unit', [2.0**-100, 2.0**-80, 2.0**60, 2.0**120])
def test_scores_do_not_depend_on_the_unit(unit):
    real, fake = normal(0, 300, 6), 1.3 * normal(1, 211, 6) + 0.2
    assert clipped_density_coverage(unit * real, unit * fake) == clipped_density_coverage(real, fake)
    assert prdc(unit * real, unit * fake) == prdc(real, fake)


def test_bad_input():
    x = normal(0, 6, 2)
    for call, message in (
        (lambda: clipped_density_coverage(x, x, 6), 'more than k real examples, got 6'),
        (lambda: clipped_density_coverage(x, x, 0), 'requires k >= 1'),
        (lambda: clipped_density_coverage(x, x[:, :1], 2), 'same dimension'),
        (lambda: clipped_density_coverage(x * np.nan, x, 2), 'real contains 12 values'),
        (lambda: expected_coverage(5, -1, 2), 'm >= 0'),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.isnan(jax.jit(clipped_density_coverage)(x * np.nan, x)).all()
