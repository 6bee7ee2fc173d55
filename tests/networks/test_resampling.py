"""Resampling through FIR filters: against the definition in NumPy, and each the transpose of the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import downsampled, upsampled

from gan_jax.errors import InputError
from gan_jax.networks.layers import Conv
from gan_jax.networks.resampling import (
    after_repetition,
    conv_downsample,
    downsample,
    filtered,
    filtered_downsample,
    filtered_upsample,
    halved_exactly,
    upsample,
    upsample_conv,
)

FILTERS = [(1, 3, 3, 1), (1, 2, 1), (1, 1), (1, 2, 3, 5), (1, 4, 6, 4, 1), (-1, 2, 9, 9, 2, -1)]


@pytest.mark.parametrize('taps', FILTERS)
def test_both_are_what_they_are_defined_as(taps):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for shape in ((2, 4, 6, 3), (1, 7, 2, 1)):
            x = rng.normal(size=shape)
            found = filtered_upsample(jnp.asarray(x), taps), filtered_downsample(jnp.asarray(x), taps)
            for a, b in zip(found, (upsampled(x, taps), downsampled(x, taps)), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize('taps', [(1, 3, 3, 1), (1, 1)])
def test_with_even_symmetric_taps_each_is_the_transpose_of_the_other(taps):
    keys = jax.random.split(jax.random.key(0))
    small, large = jax.random.normal(keys[0], (2, 4, 3, 2)), jax.random.normal(keys[1], (2, 8, 6, 2))
    a = jnp.vdot(filtered_upsample(small, taps), large)
    np.testing.assert_allclose(a, 4 * jnp.vdot(small, filtered_downsample(large, taps)), rtol=1e-5)


def test_filtering_without_resampling():
    rng = np.random.default_rng(0)
    x, taps, (low, high) = rng.normal(size=(1, 5, 4, 2)), (1, 2, 3, 5), (2, 1)
    one = lambda row: np.convolve(np.pad(row, (low, high)), 3 * np.asarray(taps) / np.sum(taps), 'valid')
    expected = np.apply_along_axis(one, 2, np.apply_along_axis(one, 1, x))
    with jax.enable_x64(True):
        np.testing.assert_allclose(filtered(jnp.asarray(x), taps, padding=(low, high), gain=3), expected, atol=1e-12)


def same_conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


AFTER = {upsample_conv: lambda x, w: same_conv(upsample(x), w), conv_downsample: lambda x, w: downsample(same_conv(x, w))}


@pytest.mark.parametrize('kernel', [(3, 3), (1, 1), (5, 3)])
@pytest.mark.parametrize('one', AFTER)
def test_a_convolution_and_a_resampling_are_one_convolution(one, kernel):
    """With its derivatives to second order."""
    keys = jax.random.split(jax.random.key(0), 4)
    with jax.enable_x64(True):
        x, w, dx, dw = (
            jax.random.normal(key, shape, float) for key, shape in zip(keys, [(2, 4, 6, 3), (*kernel, 3, 5)] * 2, strict=True)
        )

        def all_of(function):
            value = lambda x, w: jnp.sin(function(x, w)).sum()
            slope = jax.grad(value, (0, 1))
            return function(x, w), slope(x, w), jax.jvp(slope, (x, w), (dx, dw))[1]

        for a, b in zip(*map(jax.tree.leaves, (all_of(one), all_of(AFTER[one]))), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_what_cannot_be_resampled_in_one_convolution_is_refused():
    x, w = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    for one in AFTER:
        with pytest.raises(ValueError, match='kernels must have odd sides and maps even ones'):
            one(x, w[:2])
    with pytest.raises(ValueError, match='maps even ones'):
        conv_downsample(x[:, :3], w)


@pytest.mark.parametrize('one', AFTER)
def test_a_layer_of_one_convolution_has_the_parameters_of_a_layer(one):
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    plain, fused = Conv(5, (3, 3)), Conv(5, (3, 3), dtype=jnp.bfloat16, convolve=one)
    variables = plain.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, variables, fused.init(jax.random.key(1), x))
    y, expected = fused.apply(variables, x), AFTER[one](x, variables['params']['kernel'])
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(float), expected, atol=0.03)


def test_sides_that_can_be_halved():
    assert halved_exactly(28, 2) == (7, 7) and halved_exactly((8, 24), 3) == (1, 3)
    with pytest.raises(InputError, match='images of 8 x 12 cannot be halved 3 times'):
        halved_exactly((8, 12), 3)


def test_constants_stay_inside_and_fade_at_the_edges():
    x = filtered_upsample(jnp.ones((1, 4, 4, 1)))[0, :, :, 0]
    np.testing.assert_allclose(x[1:-1, 1:-1], 1, rtol=1e-6)
    np.testing.assert_allclose(x[0, 1:-1], 0.75, rtol=1e-6)  # 3/4 of the edge, and 1/4 of the zeros beyond
    np.testing.assert_allclose(filtered_downsample(jnp.ones((1, 8, 8, 1)))[0, 1:-1, 1:-1], 1, rtol=1e-6)


def test_half_precision_stays():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    assert filtered_upsample(x).dtype == filtered_downsample(x).dtype == jnp.bfloat16


def test_r3gans_filter_is_named_by_what_follows_a_repetition():
    assert after_repetition((1, 2, 1)) == (1, 3, 3, 1)


@pytest.mark.parametrize('taps', [(1,), (1, -1), ()])
def test_filters_that_cannot_be_scaled_are_refused(taps):
    for resample in (filtered_upsample, filtered_downsample):
        with pytest.raises(ValueError, match='at least two taps with a sum other than 0'):
            resample(jnp.ones((1, 4, 4, 1)), taps)
