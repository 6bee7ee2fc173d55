"""Moments of features: against NumPy in float64, however the rows arrive, and statistics files."""

import pathlib
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.metrics import moments as module
from gan_jax.metrics.moments import FeatureMoments, Gaussian, all_reduce, feature_moments, init, load, merge, save, update

D = 7
update_ = jax.jit(update)


def rows(n, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, D)) @ rng.normal(size=(D, D)) + offset).astype(np.float32)


def assert_moments_of(found, x, rtol):
    """Entries of the covariance relative to the deviations they belong to; means relative to the features' size."""
    x = np.asarray(x, np.float64)
    assert int(found.size) == len(x)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=0, atol=rtol * abs(x).max())
    expected = np.cov(x.T)
    deviations = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found.covariance / np.outer(deviations, deviations), np.corrcoef(x.T), rtol=0, atol=rtol)


def in_batches(x, sizes, capacity):
    """Batches of one size; what a batch lacks is not a number, and masked."""
    moments, start = init(D), 0
    for size in sizes:
        batch = np.full((capacity, D), np.nan, np.float32)
        batch[:size] = x[start : start + size]
        moments, start = update_(moments, batch, np.arange(capacity) < size), start + size
    assert start == len(x)
    return moments


@pytest.mark.parametrize(('offset', 'rtol'), [(0, 1e-6), (100, 1e-6), (10_000, 1e-4)])
def test_any_batches_give_the_moments_of_the_whole(offset, rtol):
    """At 10,000, float32 itself rounds a mean to one part in 2,000 of a deviation."""
    x = rows(400, offset)
    whole = [feature_moments(jnp.asarray(x)), update_(init(D), x), in_batches(x, [400], 512)]
    parts = [in_batches(x, [50] * 8, 50), in_batches(x, [64] * 6 + [16], 64), in_batches(x, [1, 0, 7, 392], 392), *whole]
    for found in parts:
        assert found.size.dtype == jnp.int32 and found.mean.dtype == found.scatter.dtype == jnp.float32
        assert_moments_of(found, x, rtol)


def test_merging_is_associative_and_knows_the_empty_set():
    a, b, c = (feature_moments(jnp.asarray(rows(n, 100, seed=n))) for n in (5, 90, 31))
    x = np.concatenate([rows(n, 100, seed=n) for n in (5, 90, 31)])
    for found in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(c, merge(b, a))):
        assert_moments_of(found, x, 1e-6)
    for found in (merge(init(D), a), merge(a, init(D))):
        jax.tree.map(np.testing.assert_array_equal, found, a)
    empty = merge(init(D), update_(init(D), np.full((3, D), np.nan), np.zeros(3, bool)))
    jax.tree.map(np.testing.assert_array_equal, empty, init(D))


@pytest.mark.parametrize('offset', [0, 100])
def test_devices_share_a_set_in_uneven_parts(offset):
    """41 rows on four devices, 16 places on each: the last holds nothing at all."""
    x = rows(41, offset)
    batch = np.full((64, D), np.nan, np.float32)
    places = np.concatenate([np.arange(10), 16 + np.arange(16), 32 + np.arange(15)])
    batch[places] = x
    mask = np.isin(np.arange(64), places)

    def reduced(features, mask):
        return all_reduce(update(init(D), features, mask))

    split = lambda a: a.reshape(4, 16, *a.shape[1:])
    for run in (jax.pmap(reduced, parallel.AXIS), jax.vmap(reduced, axis_name=parallel.AXIS)):
        found = run(split(batch), split(mask))
        for i in range(4):
            assert_moments_of(jax.tree.map(lambda leaf, i=i: leaf[i], found), x, 1e-6)
    jax.tree.map(np.testing.assert_array_equal, all_reduce(init(D)), init(D))


def test_a_scan_over_batches():
    x = rows(60, 3)
    found, _ = jax.lax.scan(lambda m, batch: (update(m, batch), None), init(D), jnp.asarray(x).reshape(6, 10, D))
    assert_moments_of(found, x, 1e-6)


def test_numpy_stays_on_the_host_in_float64(monkeypatch):
    x = rows(100, 100)
    found = feature_moments(x)
    assert isinstance(found.scatter, np.ndarray) and found.scatter.dtype == np.float64
    assert_moments_of(found, x, 1e-13)
    monkeypatch.setattr(module, 'BLOCK', 30)  # four blocks, the last of ten
    assert_moments_of(feature_moments(x), x, 1e-13)
    with jax.enable_x64(True):
        double = feature_moments(jnp.asarray(x, jnp.float64))
        assert double.scatter.dtype == jnp.float64
        assert_moments_of(double, x, 1e-13)
        assert_moments_of(update(init(D, jnp.float64), x), x, 1e-13)


def test_narrow_types_are_widened():
    x = np.random.default_rng(0).integers(0, 255, (300, D), np.uint8)
    assert_moments_of(feature_moments(jnp.asarray(x)), x, 1e-6)
    half = jnp.asarray(rows(50), jnp.bfloat16)
    assert_moments_of(feature_moments(half), half, 1e-6)


@pytest.mark.parametrize('features', [rows(30, 100), jnp.asarray(rows(30, 100))], ids=['numpy', 'jax'])
def test_statistics_files_give_back_what_was_saved(tmp_path, features):
    moments = feature_moments(features)
    save(tmp_path / 'new' / 'statistics', moments)
    loaded = load(tmp_path / 'new' / 'statistics')  # no suffix is put on
    assert isinstance(loaded, FeatureMoments) and loaded.size == 30 and loaded.mean.dtype == np.float64
    exact = features.dtype == np.float32 and not isinstance(features, np.ndarray)
    for a, b in zip(loaded, moments, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.asarray(b).dtype), b, rtol=0 if exact else 1e-15)
    with np.load(tmp_path / 'new' / 'statistics') as file:
        assert sorted(file) == ['count', 'mu', 'sigma'] and file['mu'].dtype == file['sigma'].dtype == np.float64
        x = np.asarray(features, np.float64)
        np.testing.assert_allclose(file['sigma'], np.cov(x.T), rtol=1e-4, atol=1e-4)


def test_files_of_ttur_and_pytorch_fid(tmp_path):
    """They hold mu and sigma, and do not say of how many images."""
    x = rows(30).astype(np.float64)
    np.savez(tmp_path / 'theirs.npz', mu=x.mean(0), sigma=np.cov(x, rowvar=False))
    theirs = load(tmp_path / 'theirs.npz')
    assert isinstance(theirs, Gaussian)
    np.testing.assert_array_equal(theirs.mean, x.mean(0))
    np.testing.assert_array_equal(theirs.covariance, np.cov(x.T))
    save(tmp_path / 'ours.npz', theirs)
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / 'ours.npz'), theirs)


def test_files_that_are_no_statistics(tmp_path):
    path = tmp_path / 'file.npz'
    good = {'mu': np.zeros(3), 'sigma': np.eye(3)}

    def refused(match):
        with pytest.raises(InputError, match=match):
            load(path)

    refused('No such file')
    path.write_bytes(b'text')
    refused('it is not a file of arrays of numbers')
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('a', 'b')
    refused('its member a is not an array')
    np.savez(path, mu=np.array([{}]), sigma=np.eye(3))
    refused('it is not a file of arrays of numbers')
    with path.open('wb') as file:
        np.save(file, np.eye(3))
    refused('is not an npz file of statistics mu and sigma: it has no mu')
    for wrong in (
        {'mu': np.zeros(2)},
        {'sigma': np.triu(np.ones((3, 3)))},
        {'mu': np.array([0, 1, np.nan])},
        {'sigma': np.diag([1, 1, np.nan])},
        {'mu': np.zeros((1, 3))},
        {'count': 1},
    ):
        np.savez(path, **(good | wrong))
        refused('must hold a finite mean')


def test_bad_input():
    x = rows(5)
    broken = x.copy()
    broken[1, 2], broken[1, 3], broken[4, 0] = np.nan, np.inf, -np.inf
    for kind in (np.asarray, jnp.asarray):
        with pytest.raises(ValueError, match='2 of the 5 rows of features are not finite'):
            feature_moments(kind(broken))
        with pytest.raises(ValueError, match=r'features must be \[n >= 2, d\], got features \(1, 7\)'):
            feature_moments(kind(x[:1]))
    with pytest.raises(ValueError, match=r'features must be \[n, 7\], and a mask must be \[n\], got \(5, 6\)'):
        update(init(D), x[:, :6])
    with pytest.raises(ValueError, match=r'got \(5, 7\) under a mask \(4,\)'):
        update(init(D), x, np.ones(4, bool))
    with pytest.raises(ValueError, match='at least two features, and moments has 1'):
        save('never.npz', update(init(D), x[:1]))
    with pytest.raises(ValueError, match='moments is not finite'):
        save('never.npz', update(init(D), broken))


def test_the_core_needs_nothing_else_of_the_library():
    """Copied out without the top-level package, the core imports, and brings no network, game, run or data set along."""
    root = pathlib.Path(module.__file__).parents[1]
    code = f"""
import sys, types
package = types.ModuleType('gan_jax')
package.__path__ = [{str(root)!r}]
sys.modules['gan_jax'] = package
import gan_jax.metrics.frechet, gan_jax.metrics.scores, gan_jax.metrics.moments, gan_jax.metrics.estimates
print(sorted({{name.split('.')[1] for name in sys.modules if name.startswith('gan_jax.')}}), 'flax' in sys.modules)
"""
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    core = ['compilation', 'errors', 'files', 'hosts', 'liveness', 'metrics', 'parallel', 'placement', 'typing']
    assert found.stdout.strip() == f'{core} False'
