"""The kernel distance: closed forms, an independent float64 reference, its variance by enumeration and by simulation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics import kernel
from gan_jax.metrics.kernel import kernel_distance, kernel_distance_subsets


def reference(x, y):
    """The definition in float64, every pair of examples but those of an example with itself."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    apart = lambda matrix: matrix[~np.eye(len(matrix), dtype=bool)].mean()
    return apart(k(x, x)) + apart(k(y, y)) - 2 * k(x, y).mean()


def activations(seed, n, d, shift=0.0):
    """Numbers like Inception's: rectified, of mean 0.36."""
    return (np.maximum(np.random.default_rng(seed).normal(0.3, 0.5, (n, d)), 0) + shift).astype(np.float32)


def test_closed_forms():
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    # k(0, 1) + k(1, 2) - (k(0, 1) + k(0, 2) + k(1, 1) + k(1, 2)) / 2 = 1 + 27 - (1 + 1 + 8 + 27) / 2
    found = kernel_distance(x, y)
    assert found.value == 9.5 and np.isnan(found.standard_error)
    # A set and itself: the cross term alone has the pairs of an example with itself.
    x = activations(0, 50, 8).astype(np.float64)
    matrix = (x @ x.T / 8 + 1) ** 3
    apart = matrix[~np.eye(50, dtype=bool)].mean()
    assert float(kernel_distance(x, x).value) == pytest.approx(2 / 50 * (apart - np.diag(matrix).mean()), rel=1e-5)


CASES = {
    'unequal sizes': (activations(1, 130, 64), activations(2, 200, 64, 0.1)),
    'close': (activations(1, 300, 2048), activations(2, 300, 2048, 0.003)),
    '2048 dimensions': (activations(1, 200, 2048), activations(2, 150, 2048, 0.02)),
    'offset 100': (activations(1, 200, 64, 100), activations(2, 200, 64, 100.1)),
    'offset 100, 2048 dimensions': (activations(1, 200, 2048, 100), activations(2, 200, 2048, 100.02)),
    'far apart': (activations(1, 100, 16), activations(2, 100, 16, 20)),
    'two examples': (activations(1, 2, 16), activations(2, 2, 16, 1)),
}


@pytest.mark.parametrize('case', CASES)
def test_float64_reference(case):
    x, y = CASES[case]
    expected = reference(x, y)
    found = kernel_distance(x, y)
    assert float(found.value) == pytest.approx(expected, rel=2e-5)
    assert found.value.dtype == jnp.float32
    assert float(kernel_distance(y, x).value) == pytest.approx(expected, rel=2e-5)
    with jax.enable_x64(True):
        found = kernel_distance(x.astype(np.float64), y.astype(np.float64)).value
        assert float(found) == pytest.approx(expected, rel=1e-8)  # the reference's own rounding, of kernels of 1e12


@pytest.mark.parametrize('block', [1, 37])
def test_blocks_change_nothing(block):
    x, y = CASES['unequal sizes']
    expected, found = kernel_distance(x, y), kernel_distance(x, y, block=block)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('m, n', [(4, 4), (4, 6), (6, 4)])
def test_value_and_variance_are_unbiased(m, n):
    """Over every possible sample of two distributions on two points each, weighted by its probability."""
    points = jnp.array([[0.2, 1.0], [1.5, -0.3]])
    p, q = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    samples = np.array(list(itertools.product(range(2), repeat=m + n)))
    weight = np.prod(p[samples[:, :m]], 1) * np.prod(q[samples[:, m:]], 1)

    def estimates(x, y):
        value, sums = kernel._all_sums(x, y, 4)
        return value, kernel._components(*sums)

    with jax.enable_x64(True):
        x, y = jnp.asarray(np.asarray(points, np.float64))[samples[:, :m]], np.asarray(points, np.float64)[samples[:, m:]]
        values, parts = jax.jit(jax.vmap(estimates))(x, y)
        mean = lambda z: float(weight @ np.asarray(z))
        k = (np.asarray(points, np.float64) @ np.asarray(points, np.float64).T / 2 + 1) ** 3
        assert mean(values) == pytest.approx(p @ k @ p + q @ k @ q - 2 * p @ k @ q, rel=1e-9)
        expected = kernel.Components(*map(mean, parts))
        assert float(kernel.variance(expected, m, n)) == pytest.approx(mean((values - mean(values)) ** 2), rel=1e-9)
        w = k @ (p - q)
        assert expected.first_x == pytest.approx(p @ (w - p @ w) ** 2, rel=1e-9)
        assert expected.first_y == pytest.approx(q @ (w - q @ w) ** 2, rel=1e-9)


@pytest.mark.parametrize('shift, least, most', [(0.0, 1.0, 1.3), (0.5, 0.95, 1.05)])
def test_standard_error_is_the_spread(shift, least, most):
    """2,000 repetitions. Of equal distributions it is a little too large (a part of it is cut off at zero), never 1.4 times, as
    an error from the row sums alone would be."""
    x, y = jax.random.normal(jax.random.key(0), (2000, 30, 5)), jax.random.normal(jax.random.key(1), (2000, 45, 5)) + shift
    found = jax.jit(jax.vmap(lambda x, y: kernel_distance(x, y)))(x, y)
    error = jnp.sqrt(jnp.square(found.standard_error).mean())
    assert least < float(error / found.value.std()) < most


def test_subsets():
    x, y = CASES['unequal sizes']
    rng = np.random.default_rng(0)
    rows = tuple(np.stack([rng.permutation(len(z))[:40] for _ in range(5)]) for z in (x, y))
    values = [reference(x[i], y[j]) for i, j in zip(*rows, strict=True)]
    found = kernel_distance_subsets(x, y, indices=rows)
    assert float(found.mean) == pytest.approx(np.mean(values), rel=2e-5)
    assert float(found.std) == pytest.approx(np.std(values), rel=1e-4)
    # Without replacement: a subset as large as the set is the set. With replacement, it would repeat examples.
    x = x[:100]
    key = jax.random.key(0)
    whole = kernel_distance_subsets(x, y[:100], key, subsets=3, size=100)
    assert float(whole.mean) == pytest.approx(reference(x, y[:100]), rel=2e-5) and float(whole.std) < 1e-6
    a, b = (kernel_distance_subsets(x, y, k, subsets=4, size=30) for k in (key, jax.random.key(1)))
    np.testing.assert_array_equal(a, kernel_distance_subsets(x, y, key, subsets=4, size=30))
    assert float(a.mean) != float(b.mean) and float(a.std) > 0


def test_subsets_scatter_about_the_whole():
    """The mean over many subsets is near the U-statistic of all pairs, of which it is an average."""
    x, y = CASES['unequal sizes']
    found = kernel_distance_subsets(x, y, jax.random.key(0), subsets=200, size=50)
    assert abs(float(found.mean) - reference(x, y)) < 4 * float(found.std) / 200**0.5


def test_bad_input():
    x, y = CASES['unequal sizes']
    holed = x.copy()
    holed[3, 2] = np.nan
    for a, b, message in [
        (x[:1], y, r'x must be a set \[n >= 2, d\] of features, got \(1, 64\)'),
        (x, y[:, :3], r'same dimension, got x \(130, 64\) and y \(200, 3\)'),
        (x[0], y, r'x must be a set'),
        (x, y[:0], r'y must be a set'),
        (holed, y, 'x contains 1 values that are not finite'),
        (x, np.full_like(x, np.inf), 'y contains 8320 values'),
    ]:
        with pytest.raises(ValueError, match=message):
            kernel_distance(a, b)
        with pytest.raises(ValueError, match=message):
            kernel_distance_subsets(a, b, jax.random.key(0), size=2)
    assert np.isnan(jax.jit(kernel_distance)(holed, y).value)  # where no one can look, it is at least no number
    with pytest.raises(ValueError, match='at least one row'):
        kernel_distance(x, y, block=0)


@pytest.mark.parametrize(
    'settings, message',
    [
        ({'size': 131}, '100 subsets of 131 rows cannot be drawn from 130 and 200 rows'),
        ({'size': 1}, 'cannot be drawn'),
        ({'subsets': 0, 'size': 5}, 'cannot be drawn'),
        ({'key': None, 'size': 5}, 'either a key or indices'),
        ({'indices': (np.array([[0, 130]]), np.array([[0, 1]]))}, 'indices of x must be integers from 0 to 129'),
        ({'indices': (np.array([[0, 1]]), np.array([[-1, 1]]))}, 'indices of y must be integers from 0 to 199'),
        ({'indices': (np.array([[0, 1]]), np.array([[0.0, 1]]))}, 'indices of y must be integers'),
        ({'indices': (np.array([[0, 1]]), np.array([[0, 1], [1, 2]]))}, 'two arrays'),
    ],
)
def test_bad_subsets(settings, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance_subsets(*CASES['unequal sizes'], **{'key': jax.random.key(0), **settings})
