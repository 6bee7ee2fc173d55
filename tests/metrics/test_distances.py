"""Distances of pairs, against scipy and against distributions whose median is known."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from gan_jax.metrics.distances import pair_distances


@pytest.mark.parametrize('block', [5, 16, 1000])
def test_histograms_are_those_of_all_pairs(block):
    rng = np.random.default_rng(0)
    samples, data = rng.normal(3, 1, (37, 2, 3, 1)).astype(np.float32), rng.normal(3, 2, (50, 2, 3, 1)).astype(np.float32)
    found = pair_distances(samples, data, bins=30, block=block)
    for x, shares in ((samples, found.samples), (data, found.data)):
        exact = pdist(x.reshape(len(x), -1).astype(np.float64))
        assert exact.max() < found.edges[-1]
        np.testing.assert_allclose(shares, np.histogram(exact, found.edges)[0] / len(exact), atol=1.5 / len(exact))
        assert shares.sum() == pytest.approx(1)
    for x, median in zip((samples, data), found.medians, strict=True):
        assert abs(median - np.median(pdist(x.reshape(len(x), -1)))) < found.edges[1]


def test_medians_of_gaussians():
    # Differences of N(0, s^2 I_10) have squared norm 2 s^2 chi^2(10).
    rng = np.random.default_rng(1)
    samples, data = 0.5 * rng.normal(size=(1500, 10)), rng.normal(size=(1500, 10))
    found = pair_distances(samples, data)
    median = np.sqrt(2 * stats.chi2(10).median())
    np.testing.assert_allclose(found.medians, (0.5 * median, median), rtol=0.02)
    assert found.ratio == pytest.approx(0.5, rel=0.02)


def test_a_collapsed_generator():
    data = np.random.default_rng(2).normal(size=(200, 4))
    found = pair_distances(np.tile(data[:1], (100, 1)), data)
    assert found.samples[0] == 1 and found.ratio < 0.01
    # Two modes, 30 samples on one and 70 on the other: 2 * .3 * .7 of the pairs are apart, up to the n / (n - 1) of pairs.
    two = pair_distances(np.repeat(data[:2], (30, 70), axis=0), data)
    assert 1 - two.samples[0] == pytest.approx(2 * 0.3 * 0.7 * 100 / 99)


def test_what_has_no_pairs_is_refused():
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match='all identical'):
        pair_distances(x, 2 * x)
    with pytest.raises(ValueError, match='at least 1 bin'):
        pair_distances(x, np.eye(2), bins=0)
    with pytest.raises(ValueError, match='samples must be a set'):
        pair_distances(x[:1], np.eye(2))
    with pytest.raises(ValueError, match='at most 50,000'):
        pair_distances(np.zeros((50_001, 2)), np.eye(2))
