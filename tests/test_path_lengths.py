"""Path length regularisation: closed forms on linear maps, the average of lengths, and laziness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import path_lengths

LAYERS, SIZE, SIDE = 2, 3, 12


def linear(seed=0):
    """Images of 12 x 12 that are a linear function of the styles, and its matrix `[pixels, layers, size]`."""
    matrix = jax.random.normal(jax.random.key(seed), (SIDE * SIDE, LAYERS, SIZE))
    return matrix, lambda w: jnp.einsum('pls,nls->np', matrix, w).reshape(-1, SIDE, SIDE, 1)


def test_lengths_of_a_linear_map():
    """E |J^T y|^2 = |A|^2 / (pixels layers), the squared Frobenius norm; the lengths do not depend on the styles."""
    matrix, synthesise = linear()
    n = 4000
    lengths = jax.jit(lambda w: path_lengths.path_lengths(synthesise, w, jax.random.key(1)))(jnp.zeros((n, LAYERS, SIZE)))
    expected = float(jnp.square(matrix).sum()) / (SIDE * SIDE * LAYERS)
    assert float(jnp.square(lengths).mean()) == pytest.approx(expected, rel=0.04)  # 3 deviations: |y|^2 in 6 directions
    others = path_lengths.path_lengths(synthesise, jnp.ones((4, LAYERS, SIZE)), jax.random.key(1))
    np.testing.assert_allclose(others, lengths[:4], rtol=1e-5)


def test_an_orthogonal_map_has_equal_lengths():
    """J = c times an orthogonal matrix, which the paper shows to be the minimum: |J^T y| = c |y|, here c |n| / sqrt(h w)."""
    q, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (144, 144)))
    synthesise = lambda w: 5 * (w.reshape(len(w), -1) @ q).reshape(-1, SIDE, SIDE, 1)
    lengths = path_lengths.path_lengths(synthesise, jnp.zeros((50, 1, 144)), jax.random.key(1))
    assert float(lengths.mean()) == pytest.approx(5, rel=0.02) and float(lengths.std()) < 5 * 0.09  # 1 / sqrt(2 * 144) = .059


def test_the_penalty_and_the_average():
    matrix, _ = linear()
    regularization = path_lengths.path_length(weight=3, decay=0.9, every=2)

    def loss(scale, state, key):
        synthesise = lambda w: scale * jnp.einsum('pls,nls->np', matrix, w).reshape(-1, SIDE, SIDE, 1)
        paths, state = regularization.apply(synthesise, lambda: jnp.zeros((8, LAYERS, SIZE)), state, key)
        return paths.penalties.mean(), (paths, state)

    step, keys = jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.random.split(jax.random.key(2), 4)
    state, mean = regularization.init(), 0.0
    for i, key in enumerate(keys):
        scale = 2.0 + i
        (_, (paths, state)), gradient = step(scale, state, key)
        base = path_lengths.path_lengths(linear()[1], jnp.zeros((8, LAYERS, SIZE)), key)
        if i % 2:
            assert gradient == 0 and not np.any(paths.penalties)
        else:
            np.testing.assert_allclose(paths.penalties, 3 * 2 * (scale * base - mean) ** 2, rtol=1e-4)
            # The average is a constant to the gradient.
            assert float(gradient) == pytest.approx(float((3 * 2 * 2 * (scale * base - mean) * base).mean()), rel=1e-4)
            mean += 0.1 * (scale * float(base.mean()) - mean)
        assert float(state['mean']) == float(paths.mean) == pytest.approx(mean, rel=1e-4)
    assert int(state['updates']) == 4


def test_settings_out_of_range():
    for bad in ({'weight': -1}, {'decay': 1}, {'every': 0}, {'shrink': 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            path_lengths.path_length(**bad)
