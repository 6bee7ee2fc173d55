"""The kernel distance: closed forms, an independent float64 reference, its variance by enumeration and by simulation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics import kernel, ustatistics
from gan_jax.metrics.kernel import cmmd, kernel_distance, kernel_distance_subsets


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
        value, sums, unit = kernel._all_sums(x, y, 4)
        return unit * value, jax.tree.map(lambda z: unit**2 * z, ustatistics.components(*sums))

    with jax.enable_x64(True):
        x, y = jnp.asarray(np.asarray(points, np.float64))[samples[:, :m]], np.asarray(points, np.float64)[samples[:, m:]]
        values, parts = jax.jit(jax.vmap(estimates))(x, y)
        mean = lambda z: float(weight @ np.asarray(z))
        k = (np.asarray(points, np.float64) @ np.asarray(points, np.float64).T / 2 + 1) ** 3
        assert mean(values) == pytest.approx(p @ k @ p + q @ k @ q - 2 * p @ k @ q, rel=1e-9)
        expected = ustatistics.Components(*map(mean, parts))
        assert float(ustatistics.variance(expected, m, n)) == pytest.approx(mean((values - mean(values)) ** 2), rel=1e-9)
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


@pytest.mark.parametrize('size', [2.0**-10, 1, 1000, 2.0**17])
def test_large_features_do_not_overflow(size):
    x, y = (size * np.random.default_rng(seed).normal(size=(40, 32)).astype(np.float32) for seed in (0, 1))
    value, error = kernel_distance(x, 1.5 * y)
    assert float(value) == pytest.approx(reference(x, 1.5 * y), rel=1e-3)
    if size >= 1000:  # where the cube is all of the kernel, both grow with its sixth power
        smaller = kernel_distance(x / 4, 1.5 * y / 4)
        assert float(error) == pytest.approx(4**6 * float(smaller.standard_error), rel=1e-3)
    rows = np.arange(40)[None]
    assert float(kernel_distance_subsets(x, 1.5 * y, indices=(rows, rows)).mean) == pytest.approx(float(value), rel=1e-4)


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


def gaussian(a, b, sigma):
    """exp(-|x - y|^2 / (2 sigma^2)) in float64, from the differences."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.exp(-np.stack([np.square(row - b).sum(1) for row in a]) / (2 * sigma**2))


def statistics(x, y, sigma):
    """The U-statistic and the V-statistic of MMD^2."""
    xx, yy, xy = gaussian(x, x, sigma), gaussian(y, y, sigma), gaussian(x, y, sigma)
    apart = lambda matrix: matrix[~np.eye(len(matrix), dtype=bool)].mean()
    return apart(xx) + apart(yy) - 2 * xy.mean(), xx.mean() + yy.mean() - 2 * xy.mean()


@pytest.mark.parametrize('sigma', [0.3, 10.0, 300.0])
@pytest.mark.parametrize('case', CASES)
def test_gaussian_kernel_against_float64(case, sigma):
    x, y = CASES[case]
    expected, _ = statistics(x, y, sigma)
    # The reference sums numbers of about 1, so it is itself accurate to 1e-16 times a small factor.
    np.testing.assert_allclose(kernel_distance(x, y, sigma=sigma).value, expected, rtol=1e-3, atol=1e-8)
    with jax.enable_x64(True):
        found = kernel_distance(x.astype(np.float64), y.astype(np.float64), sigma=sigma).value
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-14)


def test_gaussian_kernel_between_normals():
    """E k = (1 + 2 s / sigma^2)^(-d / 2) exp(-|m|^2 / (2 (sigma^2 + 2))), where s = 1 and m is the difference of the means."""
    d, sigma, shift, n = 3, 2.0, 0.7, 200
    x, y = (jax.random.normal(jax.random.key(i), (300, n, d)) + shift * i for i in (0, 1))
    width = sigma**2 + 2
    expected = 2 * (sigma**2 / width) ** (d / 2) * (1 - np.exp(-d * shift**2 / (2 * width)))
    found = jax.jit(lambda x, y: jax.lax.map(lambda pair: kernel_distance(*pair, sigma=sigma), (x, y)))(x, y)
    assert float(found.value.mean()) == pytest.approx(expected, abs=3.5 * float(found.value.std()) / 300**0.5)
    assert float(found.value.std()) < 0.2 * expected
    # Its standard error is the spread of the repetitions.
    assert float(jnp.sqrt(jnp.square(found.standard_error).mean()) / found.value.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize('n', [2, 150])
def test_cmmd_is_that_of_its_paper(n):
    """The authors' formula: the mean of all entries of the three kernel matrices, times 1000, of embeddings of unit length."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n + i, 768)) + 1 for i in (0, 7))
    unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
    unbiased, biased = statistics(unit(x), unit(y), 10)
    found = cmmd(x.astype(np.float32), y.astype(np.float32))
    assert float(found.value) == pytest.approx(1000 * biased, rel=1e-5)
    assert float(found.unbiased) == pytest.approx(1000 * unbiased, rel=1e-3, abs=1e-5)
    with jax.enable_x64(True):
        found, scaled = cmmd(x, y), cmmd(3 * x, 0.1 * y, block=13)
        np.testing.assert_allclose(found[:2], [1000 * biased, 1000 * unbiased], rtol=1e-9)
        np.testing.assert_allclose(scaled, found, rtol=1e-9)
    assert np.isnan(found.standard_error) == (n == 2)
    assert float(cmmd(x, x).value) == pytest.approx(0, abs=1e-5) and cmmd(x, x).unbiased < 0


def test_gaussian_kernel_of_torch_fidelity():
    torch_fidelity = pytest.importorskip('torch_fidelity.metric_kid')
    torch = pytest.importorskip('torch')
    x, y = (np.float32(10 * z) for z in CASES['unequal sizes'])
    settings = {'kid_subsets': 3, 'kid_subset_size': 40, 'kid_kernel': 'rbf', 'rng_seed': 1, 'verbose': False}
    expected = torch_fidelity.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **settings)
    rng = np.random.RandomState(1)
    rows = [[rng.choice(len(z), 40, replace=False) for z in (x, y)] for _ in range(3)]
    found = kernel_distance_subsets(x, y, sigma=10.0, indices=tuple(np.stack(i) for i in zip(*rows, strict=True)))
    # torch-fidelity computes in float32 what we do without cancellation.
    assert float(found.mean) == pytest.approx(expected['kernel_inception_distance_mean'], rel=1e-5)
    assert float(found.std) == pytest.approx(expected['kernel_inception_distance_std'], rel=1e-3)


@pytest.mark.parametrize('sigma', [0, -1.0, 1e-30, 1e30, float('inf'), float('nan')])
def test_bad_widths(sigma):
    x, y = CASES['two examples']
    for call in (lambda: kernel_distance(x, y, sigma=sigma), lambda: cmmd(x, y, sigma=sigma)):
        with pytest.raises(ValueError, match='width of a Gaussian kernel must be between 1e-18 and 1e18'):
            call()
    with pytest.raises(ValueError, match='y contains 1 rows of zeros'):
        cmmd(x, y * np.array([[0], [1]], np.float32))
