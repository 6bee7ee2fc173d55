"""The feature likelihood divergence: the authors' procedure in NumPy and float64, a closed form, and planted copies."""

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from gan_jax.metrics.likelihood import feature_likelihood_divergence

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def squares(x, y):
    return np.stack([np.square(row - y).sum(1) for row in x])


def log_densities(distance, log_variance, d):
    return -0.5 * distance / np.exp(log_variance) - d / 2 * log_variance - d / 2 * np.log(2 * np.pi)


def fitted(centres, data, steps):
    """Adam, written out, on the gradient of the mean log-likelihood by its definition."""
    (m, d), n = centres.shape, len(data)
    near, far = squares(data, centres), 0.81 * np.square(data - data.mean(0)).sum(1)
    logs = np.append(np.log((near.min(0) + 1e-3) / d), 0.0)
    first = second = np.zeros(m + 1)
    distance = np.concatenate([near, far[:, None]], 1)
    weights = np.append(np.full(m, 1 / m), 1.0)
    for t in range(1, steps + 1):
        joint = log_densities(distance, logs, d) + np.log(weights)
        share = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        gradient = -(share * (distance / np.exp(logs) / 2 - d / 2)).sum(0) / (n * d)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        logs = logs - 0.5 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        logs[:-1] = np.clip(logs[:-1], -40, 20)
    return logs[:-1]


def negative_log_likelihoods(data, centres, logs):
    d = centres.shape[1]
    return -(logsumexp(log_densities(squares(data, centres), logs, d), axis=1) - np.log(len(centres))) / d


def reference(train, held_out, fake, rows, steps=50):
    mean, std = held_out.mean(0), held_out.std(0, ddof=1)
    train, held_out, fake = ((x - mean) / np.where(std > 0, std, 1) for x in (train, held_out, fake))
    half = min(len(fake), len(train) // 2)
    centres, rest = train[rows[:half]], train[rows[half:]]
    logs = fitted(fake, train, steps)
    ours = negative_log_likelihoods(held_out, fake, logs)
    base = negative_log_likelihoods(held_out, centres, fitted(centres, rest, steps))
    gap = negative_log_likelihoods(train, fake, logs).mean() - ours.mean()
    return 100 * (ours - base).mean(), 100 * (ours - base).std(ddof=1) / len(held_out) ** 0.5, 100 * gap


CASES = {
    'new data': (normal(0, 60, 4), normal(1, 40, 4), normal(2, 50, 4)),
    'offset 100': (normal(0, 40, 3) + 100, normal(1, 30, 3) + 100, 0.7 * normal(2, 35, 3) + 100.2),
    'more dimensions than examples': (normal(0, 20, 40), normal(1, 12, 40), normal(2, 15, 40)),
    'ties': tuple(np.round(2 * normal(seed, 30, 2)) for seed in range(3)),
    'a constant feature': tuple(np.concatenate([normal(s, 20, 2), np.ones((20, 1))], 1) for s in range(3)),
    'few': (normal(0, 4, 2), normal(1, 2, 2), normal(2, 1, 2)),
}


@pytest.mark.parametrize('case', CASES)
def test_the_authors_procedure(case):
    train, held_out, fake = CASES[case]
    with jax.enable_x64(True):
        rows = np.asarray(jax.random.permutation(KEY, len(train)))
        found = feature_likelihood_divergence(train, held_out, fake, KEY)
        np.testing.assert_allclose(found, reference(train, held_out, fake, rows), rtol=1e-6, atol=1e-7)
        blocked = feature_likelihood_divergence(train, held_out, fake, KEY, block=7)
        np.testing.assert_allclose(blocked, found, rtol=1e-6, atol=1e-7)
    narrow = [x.astype(np.float32) for x in CASES[case]]
    found = feature_likelihood_divergence(*narrow, KEY)
    np.testing.assert_allclose(found, reference(*(x.astype(np.float64) for x in narrow), rows), rtol=1e-6, atol=1e-7)


def test_one_gaussian_in_closed_form():
    """One sample at the centre of a circle of training examples: the variance starts at r^2 / d, and at a rate of 0 it stays."""
    d = 2
    circle = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
    train, held_out = circle, np.concatenate([circle, -circle])
    scale = held_out.std(0, ddof=1)
    with jax.enable_x64(True):
        found = feature_likelihood_divergence(train, held_out, np.zeros((1, d)), KEY, steps=1, rate=0.0)
    log_variance = np.log(((1 / scale**2)[0] + 1e-3) / d)
    of_one = -log_densities((1 / scale**2)[0], log_variance, d) / d
    assert found.gap == pytest.approx(0, abs=1e-9)  # training and held-out examples are the same points
    rows = np.asarray(jax.random.permutation(KEY, 8))
    base = negative_log_likelihoods(
        held_out / scale,
        (train / scale)[rows[:1]],
        np.log((squares((train / scale)[rows[1:]], (train / scale)[rows[:1]]).min(0) + 1e-3) / d),
    )
    assert found.value == pytest.approx(100 * (of_one - base.mean()), rel=1e-6)


def test_copies_are_found_and_new_data_are_not():
    train, held_out, new = (normal(seed, 300, 5).astype(np.float32) for seed in range(3))
    good = feature_likelihood_divergence(train, held_out, new, KEY)
    bad = feature_likelihood_divergence(train, held_out, new + 3, KEY)
    copies = feature_likelihood_divergence(train, held_out, train, KEY)
    assert abs(float(good.value)) < 15 and abs(float(good.gap)) < 15
    assert copies.value > 100 and copies.gap < -100
    assert bad.value > good.value + 2 * good.standard_error


def test_bad_input():
    train, held_out, fake = CASES['new data']
    for call, message in (
        (lambda: feature_likelihood_divergence(train[:3], held_out, fake, KEY), 'at least 4 training and 2 held-out examples'),
        (lambda: feature_likelihood_divergence(train, held_out[:1], fake, KEY), 'got 60, 1 and 50'),
        (lambda: feature_likelihood_divergence(train, held_out, fake, KEY, steps=0), '1 step'),
        (lambda: feature_likelihood_divergence(train, held_out, fake[:, :2], KEY), 'same dimension'),
        (lambda: feature_likelihood_divergence(train, held_out * np.nan, fake, KEY), 'held_out contains 160 values'),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize('constant', [0.0, 0.1, 0.25, 0.3, 7e3])
def test_a_constant_feature_counts_for_nothing_whatever_it_is(constant):
    rng = np.random.default_rng(0)
    train, held_out, fake = (rng.normal(size=(200, 4)).astype(np.float32) for _ in range(3))
    blur = 0.01 * rng.normal(size=(200, 1)).astype(np.float32)
    column = lambda value, more=0: np.concatenate([value, np.full((200, 1), constant, np.float32) + more], 1)
    value = feature_likelihood_divergence(column(train), column(held_out), column(fake, blur), jax.random.key(0))
    without = (column(train, -constant), column(held_out, -constant), column(fake, blur - constant))
    none = feature_likelihood_divergence(*without, jax.random.key(0))
    assert float(value.value) == pytest.approx(float(none.value), abs=0.3)
