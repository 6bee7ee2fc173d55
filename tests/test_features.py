"""Feature losses: what all have in common, and their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import parallel
from gan_jax.features import FEATURES

REAL, FAKE = jax.random.normal(jax.random.key(0), (2, 8, 5))


def cosines(s):
    s = s / np.linalg.norm(s, axis=1, keepdims=True)
    squares = (s @ s.T) ** 2
    return (squares.sum() - np.trace(squares)) / (len(s) * (len(s) - 1))


REFERENCES = {
    'feature_matching': lambda r, f: ((r.mean(0) - f.mean(0)) ** 2).sum(),
    'feature_matching_l1': lambda r, f: np.abs(r.mean(0) - f.mean(0)).mean(),
    'feature_reconstruction': lambda r, f: ((r - f) ** 2).sum() / 2 / len(r),
    'pulling_away': lambda r, f: cosines(f),
}


@pytest.mark.parametrize('name', FEATURES)
def test_common_contract(name):
    loss = FEATURES[name](weight=2.0)
    assert loss(REAL, FAKE).shape == ()
    compiled = jax.jit(lambda r, f: loss(r, f))
    np.testing.assert_allclose(compiled(REAL, FAKE), loss(REAL, FAKE), rtol=1e-5)
    compiled(FAKE, REAL)
    assert compiled._cache_size() == 1
    with jax.debug_nans(True):
        for fake in (jnp.zeros((8, 5)), 1e4 * FAKE):
            once = jax.grad(lambda f: loss(REAL, f))
            twice = jax.grad(lambda f, once=once: jnp.square(once(f)).sum())
            assert all(np.isfinite(x).all() for x in (loss(REAL, fake), once(fake), twice(fake)))
    with jax.enable_x64(True):
        real, fake = np.random.default_rng(0).normal(size=(2, 6, 3))
        np.testing.assert_allclose(loss(jnp.asarray(real), jnp.asarray(fake)), 2 * REFERENCES[name](real, fake), rtol=1e-12)
    with pytest.raises(ValueError, match='weight must be from 0 to 1000000, not -'):
        FEATURES[name](weight=-0.1)


@pytest.mark.parametrize('name', FEATURES)
def test_one_device_and_many_agree(name):
    loss = FEATURES[name]()
    expected = jax.grad(lambda s: loss(REAL, jnp.tanh(s * FAKE)))(1.3)

    def local(real, fake):
        return parallel.pmean(jax.grad(lambda s: loss(real, jnp.tanh(s * fake)))(1.3))

    split = [x.reshape(4, 2, 5) for x in (REAL, FAKE)]
    np.testing.assert_allclose(jax.vmap(local, axis_name=parallel.AXIS)(*split), np.full(4, expected), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(loss, axis_name=parallel.AXIS)(*split), np.full(4, loss(REAL, FAKE)), rtol=1e-5)


@pytest.mark.parametrize('name', ['feature_matching', 'feature_matching_l1', 'feature_reconstruction'])
def test_features_that_do_not_match_are_refused(name):
    for shape in ((8, 4), (8, 5, 1)):
        with pytest.raises(ValueError, match='features must be'):
            FEATURES[name]()(REAL, jnp.zeros(shape))


def test_pulling_away_closed_forms():
    # Card 8: two of three alike, and a diagonal between two axes: both 1/3; lengths do not matter.
    term = FEATURES['pulling_away'](weight=1.0)
    for rows in ([[1, 0], [1, 0], [0, 1]], [[1, 0], [1, 1], [0, 1]]):
        s = jnp.array(rows, jnp.float32)
        for scale in (jnp.ones((3, 1)), jnp.array([[2.0], [0.1], [7.0]])):
            assert float(term(REAL, scale * s)) == pytest.approx(1 / 3, abs=1e-6)


def test_feature_matching_is_of_means():
    fake = REAL[::-1] + jnp.array([1.0, 0, 0, 0, 2.0])
    assert float(FEATURES['feature_matching']()(REAL, fake)) == pytest.approx(5, rel=1e-5)
    assert float(FEATURES['feature_matching_l1']()(REAL, fake)) == pytest.approx(3 / 5, rel=1e-5)


def test_pulling_away_of_one_example_has_no_pairs():
    loss = FEATURES['pulling_away'](weight=1.0)
    value, gradient = jax.value_and_grad(lambda fake: loss(fake, fake))(FAKE[:1])
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize('scale', [1e-30, 1e-18, 1e-9, 1e9, 1e18, 1e30])
def test_pulling_away_does_not_depend_on_lengths(scale):
    loss = FEATURES['pulling_away'](weight=1.0)
    fake = jnp.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert loss(fake, scale * fake) == pytest.approx(1 / 3, rel=1e-5)
    expected = jax.grad(lambda x: loss(fake, x))(fake)
    np.testing.assert_allclose(scale * jax.grad(lambda x: loss(fake, x))(scale * fake), expected, rtol=1e-4, atol=1e-6)
