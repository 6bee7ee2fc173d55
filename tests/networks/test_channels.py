"""Sums to channels and their transposes: what NumPy says, on every lowering, to second order, under `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gan_jax.networks import channels
from gan_jax.networks.layers import Conv

SHAPES = [((2, 3, 4, 5), 0), ((2, 3, 4, 5), 1), ((64, 7), 0), ((1, 1, 3), 0), ((0, 4, 3), 0), ((4, 1, 1, 6), 1)]


@pytest.mark.parametrize(('shape', 'lead'), SHAPES)
def test_sums_and_means_are_numpys(shape, lead):
    x = np.random.default_rng(0).normal(size=shape)
    axes = tuple(range(lead, x.ndim - 1))
    with jax.enable_x64(True):
        np.testing.assert_allclose(channels.channel_sum(jnp.asarray(x), lead=lead), x.sum(axes), atol=1e-12)
        if x.size:
            np.testing.assert_allclose(channels.channel_mean(jnp.asarray(x), lead=lead), x.mean(axes), atol=1e-12)
        values = x.sum(axes)
        again = channels.channel_broadcast(jnp.asarray(values), shape)
        np.testing.assert_array_equal(again, np.broadcast_to(np.expand_dims(values, axes), shape))


def test_integers_and_half_precision_keep_their_types():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4096, 3)), jnp.bfloat16)
    found = channels.channel_sum(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(float), np.asarray(x, np.float64).sum(0), rtol=2**-8)  # rounded once
    np.testing.assert_array_equal(channels.channel_sum(jnp.full((300, 3), 2)), [600] * 3)


@pytest.mark.parametrize('lead', [0, 1])
def test_derivatives_to_second_order_and_vmap(lead):
    """`sin(sum(x^2))` by the two maps, and a broadcast of it times x, against the same by `sum` and `broadcast_to`."""
    axes = tuple(range(lead, 3))

    def ours(x):
        return jnp.sum(x * channels.channel_broadcast(jnp.sin(channels.channel_sum(x**2, lead=lead)), x.shape))

    def reference(x):
        return jnp.sum(x * jnp.sin(jnp.sum(x**2, axes, keepdims=True)))

    def derivatives(function, x, v):
        gradient, second = jax.jvp(jax.grad(function), (x,), (v,))
        return function(x), gradient, second, jax.grad(lambda x: jnp.sum(jax.grad(function)(x) * v))(x)

    with jax.enable_x64(True):
        x, v = jax.random.normal(jax.random.key(0), (2, 2, 3, 2, 4), float)
        for a, b in zip(jax.jit(derivatives, static_argnums=0)(ours, x, v), derivatives(reference, x, v), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        many = jnp.stack([x, 2 * x], 2)
        each = jnp.stack([jax.grad(reference)(x), jax.grad(reference)(2 * x)], 2)
        np.testing.assert_allclose(jax.vmap(jax.grad(ours), 2, 2)(many), each, rtol=1e-10, atol=1e-10)


def test_a_cpu_sums_by_a_product_and_a_bias_has_no_other_sum(optimised):
    """What XLA sums itself is the fold of a product's result, never the images."""
    layer, x = Conv(32, (3, 3)), jnp.ones((8, 16, 16, 16))
    variables = layer.init(jax.random.key(0), x)
    bias = jax.jit(jax.grad(lambda bias: jnp.sum(jnp.sin(layer.apply({'params': {**variables['params'], 'bias': bias}}, x)))))
    text = bias.lower(variables['params']['bias']).as_text()
    assert 'dot_general' in text
    assert not [line for line in text.splitlines() if 'stablehlo.reduce' in line and '8x16x16' in line.split('->')[0]]


def test_other_platforms_have_their_own_sum():
    lowered = export.export(jax.jit(channels.channel_sum), platforms=['cuda'])(jnp.ones((2, 4, 4, 3)))
    assert 'dot_general' not in lowered.mlir_module()
    assert 'stablehlo.reduce' in lowered.mlir_module()
