"""StyleGAN2's networks against NumPy in float64, and the closed forms of its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import downsampled, upsampled

from gan_jax.errors import InputError
from gan_jax.networks import StyleDiscriminator, StyleGenerator
from gan_jax.networks.equalized import FILTER, EqualizedDense
from gan_jax.networks.style_generator import mean_style, modulated_convolution

WIDTHS = (6, 5, 4)


def leaky(x):
    return np.sqrt(2) * np.where(x > 0, x, 0.2 * x)


def correlated(x, kernel, pads=((1, 1), (1, 1))):
    """Images `[h, w, c]` with a kernel `[a, b, c, o]`, with zeros beyond the edges: every inner product of a patch."""
    x = np.pad(x, (*pads, (0, 0)))
    a, b = kernel.shape[:2]
    h, w = x.shape[0] - a + 1, x.shape[1] - b + 1
    return np.stack([[np.einsum('abc,abco->o', x[i : i + a, j : j + b], kernel) for j in range(w)] for i in range(h)])


def blurred(x, gain, pads):
    """One image `[h, w, c]` through the filter."""
    weights = gain * np.asarray(FILTER) / np.sum(FILTER)
    one = lambda row: np.convolve(np.pad(row, pads), weights, 'valid')
    return np.apply_along_axis(one, 1, np.apply_along_axis(one, 0, x))


def modulated(x, kernel, scales, up=False, demodulate=True):
    """Example by example, each with the kernel that the paper's equations give it."""
    made = []
    for image, s in zip(x, scales, strict=True):
        k = kernel * s[:, None]
        k = k / np.sqrt((k**2).sum((0, 1, 2)) + 1e-8) if demodulate else k
        if up:
            zeros = np.zeros((2 * image.shape[0] - 1, 2 * image.shape[1] - 1, image.shape[2]))
            zeros[::2, ::2] = image
            made.append(blurred(correlated(zeros, k, ((2, 2), (2, 2))), 2, (1, 1)))
        else:
            made.append(correlated(image, k, [(kernel.shape[0] // 2,) * 2] * 2))
    return np.stack(made)


@pytest.mark.parametrize(('side', 'up', 'demodulate'), [(3, False, True), (3, True, True), (3, False, False), (1, False, False)])
def test_a_modulated_convolution_is_one_of_each_example(side, up, demodulate):
    rng = np.random.default_rng(0)
    x, kernel, scales = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(side, side, 2, 3)), rng.normal(size=(3, 2))
    with jax.enable_x64(True):
        found = modulated_convolution(*map(jnp.asarray, (x, kernel, scales)), up=up, demodulate=demodulate)
        np.testing.assert_allclose(found, modulated(x, kernel, scales, up, demodulate), rtol=1e-10, atol=1e-12)


def test_demodulation_gives_unit_deviation():
    x, kernel, scales = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(4, 32, 32, 8), (3, 3, 8, 6), (4, 8)]))
    y = modulated_convolution(x, 7 * kernel, 5 * scales)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(y.std((1, 2)), 1, atol=0.15)  # 900 positions, of which neighbours share pixels
    assert float(y.std()) == pytest.approx(1, abs=0.02)


def test_the_learning_rate_is_equalised():
    """Adam's first step is the sign of the gradient: the output then moves by the multiplier times the root of the inputs."""
    for multiplier in (1.0, 0.01):
        layer, x = EqualizedDense(3, multiplier, bias_init=2.0), jnp.ones((1, 4))
        params = layer.init(jax.random.key(0), jnp.ones((1, 400)))['params']
        assert float(params['kernel'].std()) == pytest.approx(1 / multiplier, rel=0.1)
        params = layer.init(jax.random.key(0), x)['params']
        stepped = jax.tree.map(lambda p: p + 1, params)
        moved = layer.apply({'params': stepped}, x) - layer.apply({'params': params}, x)
        np.testing.assert_allclose(moved, multiplier * (2 + 1), rtol=1e-3)  # 4 inputs / sqrt(4), and the bias
        np.testing.assert_allclose(layer.apply({'params': params | {'kernel': 0 * params['kernel']}}, x), 2, rtol=1e-6)


def dense(p, x, multiplier=1.0):
    return multiplier * (x @ p['kernel'] / np.sqrt(p['kernel'].shape[0]) + p.get('bias', 0))


def scaled(kernel):
    return kernel / np.sqrt(np.prod(kernel.shape[:3]))


def generated(variables, z, multiplier):
    params, constants = variables['params'], variables['constants']['synthesis']
    w = z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8)
    for i in range(len(params['mapping'])):
        w = leaky(dense(params['mapping'][f'EqualizedDense_{i}'], w, multiplier))
    p, layer, image = params['synthesis'], 0, None
    x = np.stack([p['start']] * len(z))
    convolved = lambda x, p, **how: modulated(x, scaled(p['kernel']), dense(p['EqualizedDense_0'], w), **how)
    for stage in range(len(WIDTHS)):
        for up in (True, False) if stage else (False,):
            name = f'_StyledLayer_{layer}'
            y = convolved(x, p[name]['_Modulated_0'], up=up)
            x = leaky(y + p[name]['strength'] * constants[name]['noise'] + p[name]['bias'])
            layer += 1
        y = convolved(x, p[f'_Modulated_{stage}'], demodulate=False) + p[f'bias_{stage}']
        image = y if image is None else upsampled(image, FILTER) + y
    return image


def judged(params, x):
    layers = iter(range(9))
    x, convs = leaky(dense(params['EqualizedDense_0'], x)), iter(range(9))
    next(layers)

    def conv(x, down=False):
        p = params[f'EqualizedConv_{next(convs)}']
        images = (
            [correlated(blurred(one, 1, (2, 2)), scaled(p['kernel']), ((0, 0),) * 2)[::2, ::2] for one in x] if down else None
        )
        return np.stack(images or [correlated(one, scaled(p['kernel'])) for one in x]) + p['bias']

    for _ in WIDTHS[1:]:
        y = leaky(conv(leaky(conv(x)), down=True))
        x = (y + dense(params[f'EqualizedDense_{next(layers)}'], downsampled(x, FILTER))) / np.sqrt(2)
    spread = np.sqrt(x.var(0) + 1e-8).mean()
    x = leaky(conv(np.concatenate([x, np.full((*x.shape[:3], 1), spread)], -1)))
    x = leaky(dense(params[f'EqualizedDense_{next(layers)}'], x.reshape(len(x), -1)))
    return dense(params[f'EqualizedDense_{next(layers)}'], x)[:, 0]


def test_one_pass_against_numpy():
    rng = np.random.default_rng(0)
    filled = lambda shapes: jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape), shapes
    )  # nothing at 0, or it would not be seen
    with jax.enable_x64(True):
        generator = StyleGenerator(16, 3, WIDTHS, style_size=5, dtype=jnp.float64, multiplier=0.1)
        z = rng.normal(size=(2, 4))
        variables = filled(jax.eval_shape(lambda: generator.init(jax.random.key(0), jnp.asarray(z))))
        found, expected = jax.jit(lambda v, z: generator.apply(v, z, train=False))(variables, z), generated(variables, z, 0.1)
        assert found.dtype == jnp.float64 and found.shape == (2, 16, 16, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())

        discriminator = StyleDiscriminator(WIDTHS[::-1], dtype=jnp.float64)
        x = rng.normal(size=(2, 16, 16, 3))
        params = filled(jax.eval_shape(lambda: discriminator.init(jax.random.key(0), jnp.asarray(x))))['params']
        np.testing.assert_allclose(jax.jit(discriminator.apply)({'params': params}, x), judged(params, x), rtol=1e-9)


SMALL = StyleGenerator(8, 1, (3, 2), style_size=4)


@pytest.fixture(scope='module')
def variables():
    found = SMALL.init(jax.random.key(0), jnp.ones((1, 3)))
    return jax.tree_util.tree_map_with_path(lambda path, x: x + 0.5 if path[-1].key == 'strength' else x, found)


def test_noise_is_of_each_example_or_fixed(variables):
    z = jnp.ones((2, 3))
    fixed = SMALL.apply(variables, z, train=False)
    np.testing.assert_array_equal(fixed[0], fixed[1])
    a, b = (SMALL.apply(variables, z, train=False, rngs={'noise': jax.random.key(i)}) for i in (1, 2))
    for x, y in ((a[0], a[1]), (a, b), (a, fixed)):
        assert np.abs(x - y).max() > 1e-3


def test_the_average_of_styles_moves_in_training_only(variables):
    z = jax.random.normal(jax.random.key(1), (6, 3))
    w, moved = SMALL.apply(variables, z, method='styles', mutable=['styles'])
    np.testing.assert_allclose(mean_style(moved), 0.005 * w.mean(0), rtol=1e-4)
    np.testing.assert_array_equal(SMALL.apply(variables, z, train=False, method='styles'), w)
    assert not np.any(mean_style(variables))


def test_each_layer_has_its_style(variables):
    w = jax.random.normal(jax.random.key(1), (1, SMALL.layers, 4))
    made = jax.jit(lambda w: SMALL.apply(variables, w, method='synthesise'))
    for layer in range(SMALL.layers):
        assert np.abs(made(w.at[:, layer].add(1)) - made(w)).max() > 1e-4, layer
    np.testing.assert_allclose(made(w[:, 0]), made(jnp.repeat(w[:, :1], SMALL.layers, 1)), atol=1e-6)


def test_sizes():
    shapes = lambda size, widths: (
        jax.eval_shape(lambda: StyleGenerator(size, 1, widths).init_with_output(jax.random.key(0), jnp.zeros((2, 3)))[0]).shape
    )
    assert shapes(28, (4, 4, 4)) == (2, 28, 28, 1) and shapes((8, 16), (4, 4)) == (2, 8, 16, 1)
    with pytest.raises(InputError, match='images of 28 x 28 cannot be halved 3 times'):
        shapes(28, (4,) * 4)
    with pytest.raises(InputError, match='images of 6 x 8 cannot be halved 2 times'):
        StyleDiscriminator((4,) * 3).init(jax.random.key(0), jnp.zeros((1, 6, 8, 1)))
    flattened = StyleDiscriminator((4, 4), minibatch='discrimination:features=3')
    logits, features = flattened.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)), features_too=True)[0]
    assert logits.shape == (2,) and [f.shape for f in features] == [(2, 8, 8, 4), (2, 4)]
