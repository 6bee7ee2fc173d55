"""Maps of images: exact by whole pixels, and a resampling that keeps what a wavelet's filter keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import warping

IMAGE = jax.random.uniform(jax.random.key(0), (6, 6, 2), minval=-1)


def inverse(a, b, c, d, x=0.0, y=0.0):
    return jnp.array([[a, b, x], [c, d, y], [0, 0, 1.0]])


def rotation(degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return inverse(cos, -sin, sin, cos)


@pytest.mark.parametrize('name', ['SYM2', 'SYM6'])
def test_filters_are_orthogonal_to_their_even_shifts(name):
    # The conditions that define them, with the vanishing moments of the filter with alternating signs (Daubechies 1992).
    taps = getattr(warping, name)
    assert taps.sum() == pytest.approx(np.sqrt(2), abs=1e-10)
    for shift in range(0, len(taps), 2):
        assert taps[shift:] @ taps[: len(taps) - shift] == pytest.approx(float(shift == 0), abs=1e-10)
    signs = (-1.0) ** np.arange(len(taps))
    for moment in range(len(taps) // 2):
        assert abs((signs * taps) @ np.arange(len(taps)) ** moment) < 1e-9 * len(taps) ** moment


@pytest.mark.parametrize('side', [1, 2, 5])
def test_mirror_images_are_those_of_numpy(side):
    expected = np.pad(np.arange(side), 7, 'reflect') if side > 1 else np.zeros(15, int)
    np.testing.assert_array_equal(warping.mirrored(np.arange(-7, side + 7), side), expected)


def test_moves_by_whole_pixels_are_those_of_numpy():
    x = np.asarray(IMAGE)
    np.testing.assert_array_equal(warping.moved(IMAGE, jnp.eye(3)), x)
    np.testing.assert_array_equal(warping.moved(IMAGE, inverse(-1, 0, 0, 1)), x[:, ::-1])
    np.testing.assert_array_equal(warping.moved(IMAGE, inverse(0, -1, 1, 0)), np.rot90(x))
    np.testing.assert_array_equal(warping.moved(IMAGE, inverse(-1, 0, 0, -1)), np.rot90(x, 2))
    shifted = warping.moved(IMAGE[:, :5], inverse(1, 0, 0, 1, -2, 1))  # right by 2 and up by 1
    expected = np.pad(x[:, :5], ((1, 1), (2, 2), (0, 0)), 'reflect')[2:, :5]
    np.testing.assert_array_equal(shifted, expected)


@pytest.mark.parametrize('sides', [(6, 6), (5, 8), (1, 3)])
def test_resampling_by_the_identity_changes_nothing(sides):
    image = jax.random.uniform(jax.random.key(0), (*sides, 3), minval=-1)
    np.testing.assert_allclose(warping.resampled(image, jnp.eye(3)), image, atol=2e-6)


@pytest.mark.parametrize('matrix', [rotation(30), inverse(1, 0, 0, 1, -0.3, 0.7), inverse(0.8, 0, 0, 1.1), rotation(180)])
def test_ramps_stay_linear(matrix):
    # The filter has more than two vanishing moments, and bilinear interpolation is exact for what is linear. In the middle, as
    # mirror images are bent.
    side, middle = 40, slice(15, 25)
    y, x = np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 2, indexing='ij')
    ramp = lambda x, y: np.stack([0.02 * x + 0.01 * y + 0.1, -0.01 * y], -1)
    at = np.einsum('ij,jhw->ihw', np.asarray(matrix, np.float64), np.stack([x, y, np.ones_like(x)]))
    found = np.asarray(warping.resampled(jnp.asarray(ramp(x, y), jnp.float32), matrix))
    np.testing.assert_allclose(found[middle, middle], ramp(at[0], at[1])[middle, middle], atol=1e-5)


def test_shrinking_does_not_alias():
    # Pixels of a chessboard beyond the reduced image's frequencies vanish, where nearest pixels would show them.
    y, x = np.meshgrid(np.arange(32), np.arange(32), indexing='ij')
    board = jnp.asarray((-1.0) ** (x + y), jnp.float32)[..., None]
    half = inverse(2, 0, 0, 2)
    assert np.abs(warping.resampled(board, half))[12:20, 12:20].max() < 0.1
    assert np.abs(warping.moved(board, half))[12:20, 12:20].min() == 1
