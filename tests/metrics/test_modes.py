"""Modes, stacked digits, Parzen windows: closed forms and exact enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gan_jax.data import MIXTURES
from gan_jax.metrics.modes import coverage_floor, density_coverage, label_coverage, mode_coverage, stacked_labels
from gan_jax.metrics.parzen import SIGMAS, parzen_bandwidth, parzen_log_density, parzen_log_likelihood


@pytest.mark.parametrize('name, modes', [('ring_unrolled', 8), ('grid_veegan', 25)])
def test_a_perfect_sampler(name, modes):
    # In the plane, 1 - exp(-4.5) = 98.889 % of a Gaussian lie within three standard deviations.
    mixture = MIXTURES[name]
    points = jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 40_000))
    found = mode_coverage(points, mixture.centres, mixture.stds)
    assert found.modes == modes
    assert float(found.high_quality) == pytest.approx(0.98889, abs=0.002)
    assert 0 <= float(found.reverse_kl) < 1e-3


def test_collapsed_and_absent_modes():
    mixture = MIXTURES['ring_unrolled']
    one = mode_coverage(jnp.asarray(mixture.centres[:1].repeat(10, 0)), mixture.centres, mixture.stds)
    assert (one.modes, one.high_quality) == (1, 1)
    assert float(one.reverse_kl) == pytest.approx(np.log(8), abs=1e-6)
    for nowhere in (jnp.zeros((10, 2)), jnp.full((10, 2), jnp.nan)):
        none = mode_coverage(nowhere, mixture.centres, mixture.stds)
        assert (none.modes, none.high_quality) == (0, 0) and np.isinf(none.reverse_kl)
    for bad in (jnp.zeros((10, 3)), jnp.zeros((0, 2)), jnp.zeros(2)):
        with pytest.raises(ValueError, match='not points of the same space'):
            mode_coverage(bad, mixture.centres, mixture.stds)


def test_stacked_digits():
    classes = np.array([[0, 0, 0], [9, 9, 9], [1, 2, 3], [1, 2, 3]], np.uint8)  # of which 100 times overflows
    labels = stacked_labels(classes)
    np.testing.assert_array_equal(labels, [0, 999, 123, 123])
    found = label_coverage(labels, 1000)
    assert found.modes == 3
    assert float(found.kl) == pytest.approx(np.log(1000) + 0.5 * np.log(0.25) + 0.5 * np.log(0.5), rel=1e-6)
    every = stacked_labels(np.array(list(itertools.product(range(10), repeat=3))))
    np.testing.assert_array_equal(every, np.arange(1000))
    for modes in (1000, 900, 150, 100):  # uniform over some of the modes: log(1000 / modes)
        found = label_coverage(every[:modes], 1000)
        assert found.modes == modes and float(found.kl) == pytest.approx(np.log(1000 / modes), abs=2e-6)


@pytest.mark.parametrize('n, modes', [(1, 3), (4, 3), (6, 2), (5, 4), (3, 1)])
def test_floor_by_enumeration(n, modes):
    """The mean over all equally likely sequences of labels, by the function whose expectation it is."""
    sequences = np.array(list(itertools.product(range(modes), repeat=n)))
    found = jax.vmap(lambda labels: label_coverage(labels, modes))(sequences)
    floor = coverage_floor(n, modes)
    assert float(floor.kl) == pytest.approx(float(found.kl.mean()), abs=1e-6)
    assert float(floor.modes) == pytest.approx(float(found.modes.mean()), rel=1e-6)


def test_floor_of_stacked_digits():
    # Expansion of the expected entropy: (K - 1) / (2 n) + (K^2 - 1) / (12 n^2) + ..., which is .0195 + .0001 for the first. One
    # simulation each gave .0198, .0191 and .0100.
    for n, simulated in ((25_600, 0.0198), (26_000, 0.0191), (50_000, 0.0100)):
        floor = coverage_floor(n, 1000)
        assert float(floor.kl) == pytest.approx(999 / (2 * n) + (1000**2 - 1) / (12 * n**2), rel=1e-3)
        assert float(floor.kl) == pytest.approx(simulated, abs=7e-4)
        assert float(floor.modes) == pytest.approx(1000 * (1 - 0.999**n), rel=1e-9)
    labels = jax.random.randint(jax.random.key(0), (40, 25_600), 0, 1000)
    found = jax.vmap(lambda labels: label_coverage(labels, 1000))(labels)
    assert float(found.kl.mean()) == pytest.approx(
        float(coverage_floor(25_600, 1000).kl), abs=4 * float(found.kl.std()) / 40**0.5
    )
    assert float(coverage_floor(500, 1000).modes) == pytest.approx(393.6, abs=0.1)  # 1000 (1 - .999^500)


def test_bad_labels():
    for bad, message in [
        (np.array([0, 10]), 'labels must be from 0 to 9, got 0 to 10'),
        (np.array([-1, 3]), 'got -1 to 3'),
        (np.array([0.5]), 'labels must be integers, got float64'),
        (np.array([], int), r'labels must be \[n\], got \(0,\)'),
        (np.array([[1]]), r'labels must be \[n\]'),
    ]:
        with pytest.raises(ValueError, match=message):
            label_coverage(bad, 10)
    with pytest.raises(ValueError, match='from 0 to 9'):
        stacked_labels(np.array([[1, 2, 10]]))
    with pytest.raises(ValueError, match=r'more than 2\^31 labels'):
        stacked_labels(np.full((1, 10), 9))
    assert int(stacked_labels(np.full((1, 31), 1), num_classes=2)[0]) == 2**31 - 1
    with pytest.raises(ValueError, match=r'\[n, channels\]'):
        stacked_labels(np.array([1, 2]))
    for n, modes in ((0, 10), (10, 0)):
        with pytest.raises(ValueError, match='at least 1'):
            coverage_floor(n, modes)


def reference(samples, data, sigma):
    """Log-densities in float64 from all the differences."""
    squares = np.square(data[:, None].astype(np.float64) - samples).sum(-1)
    d = samples.shape[1]
    normalisation = np.log(len(samples)) + d / 2 * np.log(2 * np.pi * sigma**2)
    return special.logsumexp(-squares / (2 * sigma**2), axis=1) - normalisation


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_parzen_of_one_centre_is_a_gaussian():
    # At its own centre, in one dimension and of width 1: -log sqrt(2 pi).
    found = parzen_log_likelihood(np.array([[0.7]]), np.array([[0.7]]), 1.0)
    assert float(found.value) == pytest.approx(-0.918939, abs=1e-6) and np.isnan(found.standard_error)
    # The mean over Gaussian data of deviation tau: -d / 2 (log(2 pi sigma^2) + tau^2 / sigma^2).
    tau, sigma, d = 0.5, 0.8, 6
    found = parzen_log_likelihood(np.full((1, d), 3.0), tau * normal(0, 20_000, d) + 3, sigma)
    expected = -d / 2 * (np.log(2 * np.pi * sigma**2) + tau**2 / sigma**2)
    error = (d / 2) ** 0.5 * tau**2 / sigma**2 / 20_000**0.5  # of |x|^2 / (2 sigma^2), half a chi-square
    assert float(found.standard_error) == pytest.approx(error, rel=0.03)
    assert abs(float(found.value) - expected) < 4 * error


@pytest.mark.parametrize(
    'n, m, d, sigma, offset', [(50, 70, 3, 0.3, 0), (50, 70, 3, 0.3, 100), (40, 1, 5, 2.0, 0), (60, 80, 784, 0.2, 0)]
)
def test_parzen_sums(n, m, d, sigma, offset):
    samples, data = normal(0, m, d) * 0.3 + offset, normal(1, n, d) * 0.3 + offset
    expected = reference(samples, data, sigma)
    found = parzen_log_density(samples, data, sigma, block=16)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=1e-4)
    estimate = parzen_log_likelihood(samples, data, sigma)
    assert float(estimate.value) == pytest.approx(expected.mean(), rel=3e-5)
    assert float(estimate.standard_error) == pytest.approx(expected.std(ddof=1) / n**0.5, rel=1e-4)


def test_parzen_of_far_points_is_finite():
    found = parzen_log_density(np.zeros((2, 1)), np.array([[1000.0]]), 0.1)
    assert float(found[0]) == pytest.approx(-0.5e8, rel=1e-6)


def test_density_integrates_to_one():
    grid = np.linspace(-8, 8, 4001, dtype=np.float32)[:, None]
    density = np.exp(parzen_log_density(normal(0, 20, 1), grid, 0.25))
    assert np.trapezoid(density, dx=16 / 4000) == pytest.approx(1, abs=1e-4)


def test_bandwidth():
    samples, validation = normal(0, 300, 2), normal(1, 200, 2)
    sigmas = np.array([0.02, 0.1, 0.3, 0.6, 2.0])
    found = parzen_bandwidth(samples, validation, sigmas, block=64)
    expected = [reference(samples, validation, sigma).mean() for sigma in sigmas]
    np.testing.assert_allclose(found.log_likelihoods, expected, rtol=1e-4)
    assert float(found.sigma) == pytest.approx(sigmas[np.argmax(expected)])
    assert float(found.sigma) in (np.float32(0.3), np.float32(0.6))
    # Goodfellow et al.'s ten widths, from .1 to 1, a constant factor apart.
    assert len(SIGMAS) == 10 and SIGMAS[0] == 0.1 and SIGMAS[-1] == 1
    np.testing.assert_allclose(SIGMAS[1:] / SIGMAS[:-1], 10 ** (1 / 9))
    assert float(parzen_bandwidth(samples, validation).sigma) in SIGMAS.astype(np.float32)


def test_density_coverage():
    """Of its own distribution a model covers 95 %; of two equal modes, one of which it misses, half of that."""
    samples, data = normal(0, 2000, 2), normal(1, 2000, 2)
    same = density_coverage(samples, data, 0.3)
    assert float(same.value) == pytest.approx(0.95, abs=0.02)
    assert float(same.standard_error) == pytest.approx((0.95 * 0.05 / 2000) ** 0.5, rel=0.2)
    two = np.concatenate([data[:1000], data[1000:] + 40])
    assert float(density_coverage(samples, two, 0.3).value) == pytest.approx(0.475, abs=0.02)
    assert float(density_coverage(two, samples, 0.3).value) > 0.9  # a model of more than the data covers the data
    assert float(density_coverage(samples, data, 0.3, quantile=0.5).value) == pytest.approx(0.5, abs=0.05)
    small, points = normal(2, 41, 2), normal(3, 30, 2)
    threshold = np.percentile(reference(small, small, 0.4), 5)  # of 41 values, the third smallest: no interpolation
    expected = (reference(small, points, 0.4) > threshold).mean()
    assert float(density_coverage(small, points, 0.4, block=8).value) == pytest.approx(expected, abs=1e-6)
    # Strictly above: if all samples are one, no point at that density counts.
    assert float(density_coverage(np.zeros((5, 2)), np.zeros((4, 2)), 1.0).value) == 0


def test_bad_windows():
    x = normal(0, 10, 3)
    for sigma in (0.0, -1.0, np.nan, np.ones(2)):
        with pytest.raises(ValueError, match='positive number'):
            parzen_log_density(x, x, sigma)
    for sigmas in (0.3, np.zeros(0), np.array([1.0, -1.0])):
        with pytest.raises(ValueError, match='positive number'):
            parzen_bandwidth(x, x, sigmas)
    with pytest.raises(ValueError, match='same dimension'):
        parzen_log_density(x, x[:, :2], 1.0)
    with pytest.raises(ValueError, match='data contains 10 values'):
        parzen_log_density(x, np.where([[1, 0, 0]], np.nan, x), 1.0)
    for quantile in (0.0, 1.0):
        with pytest.raises(ValueError, match='between 0 and 1'):
            density_coverage(x, x, 1.0, quantile=quantile)
    holed = x.copy()
    holed[0] = np.nan
    assert np.isnan(jax.jit(density_coverage)(x, holed, 1.0).value)
    assert np.isnan(jax.jit(density_coverage)(holed, x, 1.0).value)
