"""The Monge distance: closed forms, an independent reference in float64, its error, and torch-fidelity's formula."""

import jax
import numpy as np
import pytest
from scipy import stats

from gan_jax.metrics.monge import monge_distance

KEY = jax.random.key(0)


def normal(seed, n, d, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def directions(key, count, d, dtype=np.float32):
    """Those that the function draws."""
    towards = np.asarray(jax.random.normal(key, (count, d), dtype), np.float64)
    return towards / np.linalg.norm(towards, axis=1, keepdims=True)


def reference(x, y, towards):
    """W^2 as the integral of the squared difference of the quantile functions, on a grid that refines both."""
    m, n = len(x), len(y)
    middle = (np.arange(m * n) + 0.5) / (m * n)
    of = lambda z: np.sort(np.asarray(z, np.float64) @ towards.T, axis=0)[(middle * len(z)).astype(int)]
    return 3 * x.shape[1] * np.square(of(x) - of(y)).mean(0)


CASES = {
    'equal sizes': (normal(0, 60, 5), normal(1, 60, 5, 0.3)),
    'unequal sizes': (normal(0, 30, 8), normal(1, 42, 8, 0.1)),
    'one divides the other': (normal(0, 20, 3), normal(1, 60, 3)),
    'two examples': (normal(0, 2, 16), normal(1, 2, 16)),
    'two and three': (normal(0, 2, 4), normal(1, 3, 4)),
    'ties': (np.repeat(normal(0, 5, 2), 6, axis=0), np.repeat(normal(1, 7, 2), 4, axis=0)),
    'rank 1': (normal(0, 40, 1) * np.ones(9), normal(1, 40, 1) * np.arange(9)),
    'offset 100': (normal(0, 40, 6, 100), normal(1, 50, 6, 100.1)),
}


@pytest.mark.parametrize('case', CASES)
def test_float64_reference(case):
    x, y = CASES[case]
    found = monge_distance(x.astype(np.float32), y.astype(np.float32), KEY, directions=20)
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    assert float(found.value) == pytest.approx(reference(x32, y32, directions(KEY, 20, x.shape[1])).mean(), rel=2e-5)
    with jax.enable_x64(True):
        found, back = monge_distance(x, y, KEY, directions=20), monge_distance(y, x, KEY, directions=20)
        expected = reference(x, y, directions(KEY, 20, x.shape[1], np.float64)).mean()
        assert float(found.value) == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(back, found, rtol=1e-8)


def test_closed_forms():
    # A shift by v has distance 3 |v|^2 on average over directions, and exactly 3 v^2 in one dimension.
    x = normal(0, 50, 1).astype(np.float32)
    found = monge_distance(x, x + 0.5, KEY, directions=7)
    assert float(found.value) == pytest.approx(0.75, rel=1e-5)
    # The potentials are -x and x, so the mean of W^2 varies as a difference of two means does.
    assert float(found.standard_error) == pytest.approx(3 * np.sqrt(2 * x.var(ddof=1) / 50), rel=1e-4)
    x, shift = normal(0, 30, 4), np.array([1.0, -2, 0.5, 0])
    found = monge_distance(x, x + shift, KEY, directions=20_000)
    # The standard deviation of d (u.v)^2 over directions is |v|^2 for d = 4.
    assert float(found.value) == pytest.approx(3 * shift @ shift, rel=3 / 20_000**0.5)
    # Quantiles of N(0, 1) against those of N(1, 2^2): W^2 = 1 + (2 - 1)^2.
    x = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    assert float(monge_distance(x, 1 + 2 * x, KEY, directions=2).value) == pytest.approx(3 * 2, rel=2e-3)
    assert float(monge_distance(x, x[::-1], KEY, directions=2).value) == 0


@pytest.mark.parametrize('block', [1, 7, 100])
def test_blocks_change_nothing(block):
    x, y = CASES['unequal sizes']
    for compiled in (False, True):
        run = jax.jit(monge_distance, static_argnames=('directions', 'block')) if compiled else monge_distance
        with jax.enable_x64(True):
            found = run(x, y, KEY, directions=23, block=block)
            np.testing.assert_allclose(found, monge_distance(x, y, KEY, directions=23), rtol=1e-9)
        found = run(x, y, KEY, directions=23, block=block)
        np.testing.assert_allclose(found, monge_distance(x, y, KEY, directions=23), rtol=5e-6)


@pytest.mark.parametrize('case', ['unequal sizes', 'ties', 'two examples', 'offset 100'])
def test_the_compiled_version_agrees(case):
    x, y = (z.astype(np.float32) for z in CASES[case])
    compiled = jax.jit(lambda x, y: monge_distance(x, y, KEY, directions=23, block=5))(x, y)
    np.testing.assert_allclose(compiled, monge_distance(x, y, KEY, directions=23), rtol=2e-5)


@pytest.mark.parametrize('m, n', [(80, 80), (60, 90)])
def test_the_standard_error_is_the_spread(m, n):
    """Over 300 draws of both sets and of the directions, far enough apart for the first order to count."""
    x, y = (jax.random.normal(jax.random.key(i), (300, k, 3)) * (1 + i) + i for i, k in ((0, m), (1, n)))
    keys = jax.random.split(KEY, 300)
    found = jax.jit(lambda *sets: jax.lax.map(lambda z: monge_distance(*z, directions=40, block=40), sets))(x, y, keys)
    error = np.sqrt(np.mean(np.square(np.asarray(found.standard_error))))
    assert error / np.asarray(found.value).std() == pytest.approx(1, abs=0.12)


def test_torch_fidelitys_formula():
    """`alpha / (n M) sum_i sum_j (sorted u_i X - sorted u_i Y)^2` with alpha = 3 d, in NumPy and float32 as there."""
    x, y = (z.astype(np.float32) for z in CASES['equal sizes'])
    towards = directions(KEY, 50, 5).astype(np.float32)
    gap = np.sort(x @ towards.T, axis=0) - np.sort(y @ towards.T, axis=0)
    expected = 3.0 * 5 * np.square(gap).mean(0).mean()
    assert float(monge_distance(x, y, KEY, directions=50).value) == pytest.approx(expected, rel=1e-5)


def test_bad_input():
    x, y = CASES['two examples']
    for call, message in (
        (lambda: monge_distance(x[:1], y, KEY), r'x must be a set \[n >= 2, d\]'),
        (lambda: monge_distance(x, y[:, :3], KEY), 'same dimension'),
        (lambda: monge_distance(x, y * np.inf, KEY), 'y contains 32 values that are not finite'),
        (lambda: monge_distance(x, y, KEY, directions=0), 'at least 1 direction, got 0'),
        (lambda: monge_distance(x, y, KEY, block=0), 'at least one row'),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert np.isnan(monge_distance(x, y, KEY, directions=1).standard_error)
    assert np.isnan(jax.jit(monge_distance)(x * np.nan, y, KEY).value)
