"""The Fréchet distance: closed forms, an independent float64 reference, any rank, both precisions, and its bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from gan_jax import parallel
from gan_jax.metrics.frechet import frechet_distance, frechet_distance_from_features, frechet_infinity
from gan_jax.metrics.moments import FeatureMoments, Gaussian, all_reduce, feature_moments, init, load, merge, save, update

DOUBLE, SINGLE = 1e-9, 2e-5  # relative errors allowed


@functools.cache
def features(n, d, offset=0.0, seed=0, decay=0.5):
    """Positive features with a decaying spectrum, the way networks make them; float32, so that both precisions see one set."""
    rng, k = np.random.default_rng(seed), min(d, 256)
    mix = np.random.default_rng(99).normal(size=(k, d)) * np.arange(1, k + 1)[:, None] ** -decay / np.sqrt(d)
    return (np.maximum(4 * rng.normal(size=(n, k)) @ mix + 0.1 * seed + 0.3, 0) + offset).astype(np.float32)


def reference(x, y):
    """By the eigenvalues of Sx Sy in float64, within the span of y, where the product is not singular; y is the smaller set."""
    x, y = sorted((np.asarray(a, np.float64) for a in (x, y)), key=len, reverse=True)
    _, singular, span = np.linalg.svd(y - y.mean(0), full_matrices=False)
    span = span[singular > 1e-9 * singular[0]].T
    sx, sy = (np.atleast_2d(np.cov(a.T)) for a in (x, y))
    roots = np.sqrt(np.linalg.eigvals((span.T @ sx @ span) @ (span.T @ sy @ span)).astype(complex)).real.sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * roots


def on_device(x):
    return feature_moments(jnp.asarray(x))


ROUTES = {
    'moments, host': (lambda x, y: frechet_distance(feature_moments(x), feature_moments(y)), DOUBLE),
    'features, host': (frechet_distance_from_features, DOUBLE),
    'float32 moments, host': (lambda x, y: frechet_distance(on_device(x), on_device(y)), SINGLE),
    'float32 moments, device': (jax.jit(lambda x, y: frechet_distance(on_device(x), on_device(y))), SINGLE),
    'float32 features, device': (jax.jit(frechet_distance_from_features), SINGLE),
}
each_route = pytest.mark.parametrize('route', ROUTES)


@pytest.mark.parametrize('offset', [pytest.param(0, marks=pytest.mark.slow), 100])
@pytest.mark.parametrize(
    'shape', [(300, 200, 48), (400, 128, 160), (20, 200, 48), (20, 16, 48), (49, 48, 48), (300, 2, 12), (2, 2, 12), (40, 3, 1)]
)
@each_route
def test_any_rank_against_float64(route, shape, offset):
    """More samples than dimensions, fewer on one side, fewer on both, as many, and two. At 100, float32 rounds means to 4e-6."""
    n, m, d = shape
    x, y = features(n, d, offset), features(m, d, offset, seed=1)
    distance, tolerance = ROUTES[route]
    rounding = offset * 2**-24 if tolerance == SINGLE else 0
    assert float(distance(x, y)) == pytest.approx(reference(x, y), rel=tolerance, abs=rounding)


@each_route
def test_the_matrix_root_of_scipy(route):
    """The formula as it is written."""
    x, y = features(60, 8), features(40, 8, seed=1)
    sx, sy = np.cov(x.T.astype(float)), np.cov(y.T.astype(float))
    means = ((x.mean(0, dtype=float) - y.mean(0, dtype=float)) ** 2).sum()
    expected = means + np.trace(sx + sy - 2 * scipy.linalg.sqrtm(sx @ sy).real)
    distance, tolerance = ROUTES[route]
    assert float(distance(x, y)) == pytest.approx(expected, rel=tolerance)


@functools.cache
def _of_small_variances():
    both = features(2000, 512, decay=1.3)
    x, y = both[:1000], both[1000:]
    return x, y, reference(x, y), np.cov(both.T).trace()


@each_route
def test_float32_keeps_small_variances(route):
    """Two halves of one set, of variances from 1e-7 to 10; by eigenvalues float32 would be off by twice the tolerance."""
    x, y, expected, trace = _of_small_variances()
    distance, tolerance = ROUTES[route]
    assert expected < trace / 100
    allowed = {'rel': DOUBLE} if tolerance == DOUBLE else {'abs': 2e-6 * trace}
    assert float(distance(x, y)) == pytest.approx(expected, **allowed)


@each_route
def test_dead_repeated_and_dependent_features(route):
    """Covariances that are singular for another reason than their sample size."""
    distance, tolerance = ROUTES[route]
    x, y = features(200, 12), features(150, 12, seed=1)
    wide = lambda a: np.concatenate([np.zeros((len(a), 3), np.float32), a, a, 2 * a, np.full((len(a), 1), 5, np.float32)], 1)
    assert float(distance(wide(x), wide(y))) == pytest.approx(6 * reference(x, y), rel=tolerance)
    # Sums of integers, whose covariance has rank 12 of 60 but for rounding; that has to stay out of the root.
    mix = np.random.default_rng(0).integers(-1, 2, (12, 60)).astype(np.float32)
    x, y = np.round(16 * features(200, 60)), np.round(16 * y) @ mix
    assert float(distance(x, y)) == pytest.approx(reference(x, y), rel=tolerance)


@each_route
def test_identical_sets(route):
    distance, tolerance = ROUTES[route]
    for n, d in ((60, 16), (10, 16), (2, 5)):
        x = features(n, d, 100)
        assert float(distance(x, x[::-1].copy())) == pytest.approx(0, abs=0.1 * tolerance * np.cov(x.T).trace())


def exact(mean, covariance, n):
    """n samples whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(0).normal(size=(n, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


@each_route
def test_closed_forms(route):
    """Heusel et al. (2017, eq. 6); for commuting covariances the sum of squared differences of their roots."""
    distance, tolerance = ROUTES[route]
    mean, eye = np.array([1.0, -2.0, 0.5]), np.eye(3)
    for shift, a, b, expected in (
        (mean, eye, eye, 5.25),
        (0 * mean, eye, 4 * eye, 3),
        (0 * mean, np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 1.0]), 1 + 1 + 4),
    ):
        x, y = exact(0 * mean, a, 50), exact(shift, b, 70)
        assert float(distance(x, y)) == pytest.approx(expected, rel=tolerance)


def test_gaussians_without_samples():
    d, mean = 4, np.array([1.0, 2.0, 0.0, -2.0])
    unit = Gaussian(np.zeros(d), np.eye(d))
    for distance, tolerance in ((frechet_distance, DOUBLE), (jax.jit(frechet_distance), SINGLE)):
        assert float(distance(unit, Gaussian(mean, np.eye(d)))) == pytest.approx(9, rel=tolerance)
        assert float(distance(unit, Gaussian(np.zeros(d), 4 * np.eye(d)))) == pytest.approx(d, rel=tolerance)
        assert float(distance(unit, Gaussian(mean, np.zeros((d, d))))) == pytest.approx(9 + d, rel=tolerance)
        assert float(distance(unit, unit)) == pytest.approx(0, abs=tolerance)
        points = [Gaussian(m, np.zeros((d, d))) for m in (mean, 0 * mean)]
        assert float(distance(*points)) == pytest.approx(9, rel=tolerance)


def test_float64_on_the_device():
    x, y = features(100, 24), features(15, 24, seed=1)
    with jax.enable_x64(True):
        x64, y64 = (jnp.asarray(a, jnp.float64) for a in (x, y))
        for found in (
            jax.jit(frechet_distance_from_features)(x64, y64),
            jax.jit(frechet_distance)(feature_moments(x64), feature_moments(y64)),
        ):
            assert found.dtype == jnp.float64
            assert float(found) == pytest.approx(reference(x, y), rel=DOUBLE)


def reflected(variances, direction):
    """H diag(variances) H for the reflection H = 1 - 2 v v^T: dense, with known eigenvalues."""
    v = direction / np.linalg.norm(direction)
    across = np.outer(variances * v, v)
    return np.diag(variances) - 2 * across - 2 * across.T + 4 * (v @ (variances * v)) * np.outer(v, v)


@pytest.mark.parametrize(('d', 'decay'), [(2048, 0.5), (200, 3.0)])
def test_full_rank_in_float64(d, decay):
    """Commuting covariances, whose closed form is known; eigenvalues are good enough for the first pair only."""
    direction = np.random.default_rng(0).normal(size=d)
    a = np.arange(1.0, d + 1) ** -decay
    b = 1.01 * np.roll(a, 1)
    found = frechet_distance(*(Gaussian(np.full(d, m), reflected(v, direction)) for m, v in ((0, a), (0.01, b))))
    assert float(found) == pytest.approx(d * 1e-4 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=DOUBLE)


@pytest.mark.parametrize('route', ['moments, host', pytest.param('float32 moments, device', marks=pytest.mark.slow)])
def test_2048_dimensions_and_fewer_samples(route):
    x, y = features(150, 2048), features(100, 2048, seed=1)
    distance, tolerance = ROUTES[route]
    # All that is not in the span of both sets drops out of the product: 149 x 99 numbers are left of 2048 x 2048.
    span = np.linalg.qr(np.concatenate([x - x.mean(0), y - y.mean(0)]).astype(np.float64).T)[0]
    rotated = [(a - x.mean(0)).astype(np.float64) @ span for a in (x, y)]
    lost = ((x.mean(0, dtype=float) - y.mean(0, dtype=float)) ** 2).sum() - ((rotated[0].mean(0) - rotated[1].mean(0)) ** 2).sum()
    assert float(distance(x, y)) == pytest.approx(reference(*rotated) + lost, rel=tolerance)


@pytest.mark.parametrize(('offset', 'rtol'), [(0, 1e-6), (100, 2e-5)])
def test_streams_and_devices_give_one_distance(offset, rtol):
    """Whatever the batches, the padding of the last and the number of devices; at 100, float32 rounds means to 4e-6."""
    x, y = features(90, 24, offset), feature_moments(features(64, 24, offset, seed=1))
    expected = frechet_distance(feature_moments(x), y)
    step = jax.jit(update)
    for batch in (7, 45, 128):
        moments, rows = init(24), np.full((-len(x) // batch * -batch, 24), np.nan, np.float32)
        rows[: len(x)] = x
        for start in range(0, len(rows), batch):
            moments = step(moments, rows[start : start + batch], np.arange(start, start + batch) < len(x))
        assert float(frechet_distance(moments, y)) == pytest.approx(expected, rel=rtol)
    rows = np.full((4, 24, 24), np.nan, np.float32)
    rows.reshape(96, 24)[: len(x)] = x
    mask = np.arange(96).reshape(4, 24) < len(x)
    reduced = jax.pmap(lambda r, m: all_reduce(update(init(24), r, m)), parallel.AXIS, out_axes=None)(rows, mask)
    assert float(frechet_distance(reduced, y)) == pytest.approx(expected, rel=rtol)


def test_saved_statistics(tmp_path):
    """Ours know their sample size, which is worth digits if it is small; a foreign file compares all the same."""
    x, y = features(60, 24), features(10, 24, seed=1)
    expected = frechet_distance_from_features(x, y)
    save(tmp_path / 'ours.npz', feature_moments(y))
    assert frechet_distance(feature_moments(x), load(tmp_path / 'ours.npz')) == pytest.approx(expected, rel=DOUBLE)
    np.savez(tmp_path / 'theirs.npz', mu=y.mean(0, dtype=float), sigma=np.cov(y.astype(float), rowvar=False))
    theirs = load(tmp_path / 'theirs.npz')
    assert frechet_distance(feature_moments(x), theirs) == pytest.approx(expected, rel=1e-6)
    assert float(jax.jit(frechet_distance)(on_device(x), theirs)) == pytest.approx(expected, rel=1e-3)


def test_one_compilation_and_many_sets_at_once():
    sets = [(on_device(features(40, 6, seed=i)), on_device(features(4 + i, 6, seed=i + 1))) for i in range(3)]
    compiled = jax.jit(lambda a, b: frechet_distance(a, b))
    one_by_one = [compiled(a, b) for a, b in sets]
    assert compiled._cache_size() == 1
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)
    np.testing.assert_allclose(jax.vmap(frechet_distance)(*stacked), one_by_one, rtol=1e-5)


def test_the_bias_of_equal_distributions():
    """Two sets of n from N(0, 1) in d dimensions: n E = 2 d + d (d + 1) / 2 to first order, 168 for d = 16."""
    n, d = 1000, 16
    pairs = jax.random.normal(jax.random.key(0), (40, 2, n, d))
    found = n * jax.lax.map(lambda pair: frechet_distance_from_features(*pair), pairs)
    assert float(found.mean()) == pytest.approx(2 * d + d * (d + 1) / 2, abs=3 * float(found.std()) / 40**0.5)
    assert float(found.std()) < 20


def test_extrapolation_takes_the_bias_away():
    x, reference_ = np.random.default_rng(0).normal(size=(2000, 16)) + 0.25, Gaussian(np.zeros(16), np.eye(16))
    found = frechet_infinity(reference_, x, jax.random.key(0))
    np.testing.assert_array_equal(found.sizes, np.linspace(200, 2000, 15).astype(int))
    assert found.values[-1] == pytest.approx(frechet_distance(reference_, feature_moments(x)), rel=1e-12)
    slope, intercept = np.polyfit(1 / found.sizes, found.values, 1)
    assert (found.value, found.slope) == pytest.approx((intercept, slope), rel=1e-9)
    # The bias of one sampled side is half of that of two.
    assert found.slope == pytest.approx(16 + 16 * 17 / 4, rel=0.25)
    assert abs(found.value - 1) < 2 * found.standard_error < 0.15
    again, other = (frechet_infinity(reference_, x, jax.random.key(i)) for i in (0, 1))
    np.testing.assert_array_equal(found.values, again.values)
    assert np.abs(found.values[:-1] - other.values[:-1]).min() > 0
    single = jax.jit(lambda key, x: frechet_infinity(reference_, x, key, points=4))(
        jax.random.key(0), jnp.asarray(x, jnp.float32)
    )
    double = frechet_infinity(reference_, x, jax.random.key(0), points=4)
    for a, b in zip(single, double, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3)


def test_the_standard_error_is_that_of_new_features():
    """Over 100 sets of features: the error of the intercept that looks at the residuals alone is 2.4 times too small."""
    reference_ = Gaussian(np.zeros(3), np.eye(3))
    rng = np.random.default_rng(0)
    found = [frechet_infinity(reference_, rng.normal(size=(500, 3)) + 0.5, jax.random.key(i), points=8) for i in range(100)]
    values, errors = (np.array([getattr(f, name) for f in found]) for name in ('value', 'standard_error'))
    assert abs(values.mean() - 0.75) < 3 * values.std() / 10
    assert np.sqrt(np.mean(errors**2)) / values.std() == pytest.approx(1, abs=0.2)


def test_bad_input():
    x = features(8, 3)
    broken = x.copy()
    broken[[2, 5], 1] = np.nan, np.inf
    for bad, match in (
        ((x, x[:, :2]), r'of the same dimension, got x \(8, 3\) and y \(8, 2\)'),
        ((x, x[:1]), r'features must be \[n >= 2, d\]'),
        ((broken, x), '2 of the 8 rows of x are not finite'),
        ((jnp.asarray(x), jnp.asarray(broken)), '2 of the 8 rows of y are not finite'),
    ):
        with pytest.raises(ValueError, match=match):
            frechet_distance_from_features(*bad)
    moments, other = on_device(x), on_device(x[:, :2])
    for bad, match in (
        ((moments, other), r'same dimension, got means of .*\(2,\)'),
        ((moments, update(init(3), x[:1])), 'at least two features, and b has 1'),
        ((update(init(3), broken), moments), 'a is not finite'),
        ((moments, Gaussian(x.mean(0), np.diag([1, 1, -0.1]))), 'no negative eigenvalues'),
        ((moments, Gaussian(x.mean(0), np.ones((3, 3)) - 0.9 * np.eye(3))), 'no negative eigenvalues'),
        ((moments, FeatureMoments(np.int64(2), *feature_moments(x)[1:])), 'by its sample size, a rank of at most 1'),
    ):
        with pytest.raises(ValueError, match=match):
            frechet_distance(*bad)
    key, gaussian = jax.random.key(0), Gaussian(np.zeros(3), np.eye(3))
    for bad, points, match in (
        ((gaussian, features(19, 3)), 15, r'features \[n >= 20, 3\], got 15 and \(19, 3\)'),
        ((gaussian, features(30, 4)), 15, r'features \[n >= 20, 3\]'),
        ((gaussian, features(30, 3)), 2, 'need >= 3 points'),
        ((gaussian, np.tile(broken, (4, 1))), 15, '8 of the 32 rows of features are not finite'),
        ((init(3), features(30, 3)), 15, 'reference has 0'),
    ):
        with pytest.raises(ValueError, match=match):
            frechet_infinity(*bad, key, points=points)


def test_the_device_says_nan():
    """Values under a transformation cannot be looked at; there, what the host refuses is not a number."""
    x, compiled = features(8, 3), jax.jit(frechet_distance)
    broken = x.copy()
    broken[2, 1] = np.nan
    assert np.isnan(jax.jit(frechet_distance_from_features)(x, broken))
    assert np.isnan(compiled(on_device(x), update(init(3), broken)))
    assert np.isnan(compiled(on_device(x), update(init(3), x[:1]))) and np.isnan(compiled(init(3), on_device(x)))
    assert np.isnan(compiled(on_device(x), Gaussian(x.mean(0), np.full((3, 3), np.nan, np.float32))))
    overflown = merge(on_device(x), on_device(x[:2] * 1e25))
    assert not np.isfinite(overflown.scatter).all() and np.isnan(compiled(on_device(x), overflown))
