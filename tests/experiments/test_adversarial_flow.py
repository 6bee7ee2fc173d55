"""The adversarial flow on a line: the optimal map and the distances from it against closed forms."""

import numpy as np
import pytest
from scipy.special import ndtri

from experiments.adversarial_flow import transport
from gan_jax import data

Z = ndtri((np.arange(20_000) + 0.5) / 20_000)
"""Quantiles of the noise."""


def test_the_optimal_map_to_a_gaussian_is_affine():
    one = data.Mixture(np.array([[3.0]]), np.array([2.0]))
    np.testing.assert_allclose(transport.optimal_map(one, Z), 3 + 2 * Z, atol=1e-9)


def test_the_optimal_map_to_a_mixture_is_increasing_and_has_its_distribution():
    mixture = transport.TARGET
    best = transport.optimal_map(mixture, Z)
    assert (np.diff(best) > 0).all()
    np.testing.assert_allclose(best, -best[::-1], atol=1e-9)  # by symmetry
    for quarter, centre in zip(best.reshape(4, -1), mixture.centres[:, 0], strict=True):
        assert quarter.mean() == pytest.approx(centre, abs=1e-3) and quarter.std() == pytest.approx(0.05, rel=0.02)


def test_distances_of_known_maps():
    best = transport.optimal_map(transport.TARGET, Z)
    second = 1.25 + 0.05**2  # of the data: the mean of (.5^2, 1.5^2), plus the variance of a mode
    found = transport.distances(Z, best)
    assert found['from_optimal_map'] == found['wasserstein_2'] == 0 and found['cost'] == found['least_cost']
    assert found['cost'] == pytest.approx(np.square(Z).mean() + second - 2 * (Z * best).mean(), abs=1e-3)
    # The decreasing map has the same distribution, and is as far from the optimal one as it can be.
    found = transport.distances(Z, -best)
    assert found['wasserstein_2'] == pytest.approx(0, abs=1e-9)
    assert found['from_optimal_map'] == pytest.approx(2 * second**0.5, rel=1e-3)
    assert found['cost'] == pytest.approx(np.square(Z).mean() + second + 2 * (Z * best).mean(), abs=1e-3)
    # An increasing map is as far from the optimal one as its distribution is from the data's: here by a shift.
    found = transport.distances(Z, best + 0.3)
    assert found['from_optimal_map'] == pytest.approx(0.3) and found['wasserstein_2'] == pytest.approx(0.3)
