"""U-Net, PatchGAN and ResNet generator: the papers' shapes and counts, and references in numpy."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal, quick

from gan_jax import networks, parallel
from gan_jax.errors import InputError
from gan_jax.networks import layers, translation
from gan_jax.networks.normalization import instance_norm

NOISE = {'noise': jax.random.key(9)}


def shapes(network, size, channels):
    """Output and variables, as shapes."""
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(lambda key, x: network.init_with_output(key, x, train=False), jax.random.key(0), x)


def count(network, size, channels):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(network, size, channels)[1]['params']))


# The numbers that the authors' PyTorch code prints, in millions: U-Net 54.414 (256 pixels), 41.829 (128); PatchGAN 2.769 (6
# channels, batch norm), 2.765 (3 channels, instance norm); ResNet 11.378 (9 blocks), 7.838 (6). Each is derived below by hand.
DOWN = [(3, 64), (64, 128), (128, 256), (256, 512)] + [(512, 512)] * 4  # 256 to 1 pixels
UP = [(512, 512)] + [(1024, 512)] * 3 + [(1024, 256), (512, 128), (256, 64)]  # 1 to 128; inputs are joined maps


def weights(side, pairs):
    return side**2 * sum(a * b for a, b in pairs)


def outputs(pairs):
    return sum(b for _, b in pairs)


def test_parameters_of_the_unet():
    # No convolution has a bias but the last; batch norm has two parameters a channel, after all but the first and the innermost.
    normed = outputs(DOWN[1:-1]) + outputs(UP)
    expected = weights(4, DOWN + UP + [(128, 3)]) + 3 + 2 * normed
    assert expected == 54_413_955
    assert count(networks.UNet(), 256, 3) == expected
    assert count(networks.UNet(), 128, 3) == 41_828_995 == expected - 16 * (512 * 512 + 1024 * 512) - 2 * 2 * 512
    # Instance norm learns nothing, and every convolution has its bias.
    assert count(networks.UNet(norm='instance'), 256, 3) == expected - 2 * normed + outputs(DOWN) + outputs(UP)


def test_parameters_of_patchgan():
    hidden = [(64, 128), (128, 256), (256, 512)]
    for channels, norm, expected in ((6, 'batch', 2_768_705), (3, 'instance', 2_764_737)):
        learned = {'batch': 2, 'instance': 1}[norm] * outputs(hidden)  # scale and bias; or the convolution's bias
        assert weights(4, [(channels, 64), *hidden, (512, 1)]) + 64 + 1 + learned == expected
        assert count(networks.PatchDiscriminator(70, norm=norm), 256, channels) == expected


@pytest.mark.parametrize(('blocks', 'expected'), [(9, 11_378_179), (6, 7_837_699)])
def test_parameters_of_the_resnet(blocks, expected):
    strided, block = [(64, 128), (128, 256), (256, 128), (128, 64)], [(256, 256)] * 2 * blocks
    ends = weights(7, [(3, 64), (64, 3)])
    # All biases, those that instance norm cancels included: without them 5,248 (9 blocks) fewer.
    assert ends + weights(3, strided + block) + 64 + 3 + outputs(strided + block) == expected
    assert count(networks.ResNetGenerator(blocks=blocks), 256, 3) == expected


def test_layers_of_the_unet_at_256_pixels():
    x = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)

    def run(key, x):
        net = networks.UNet()
        variables = net.init(key, x, train=False)
        kept = lambda module, _: isinstance(module, layers.Dropout)
        return net.apply(variables, x, train=False, rngs=NOISE, capture_intermediates=kept, mutable=['intermediates'])

    y, state = jax.eval_shape(run, jax.random.key(0), x)
    assert y.shape == (1, 256, 256, 3)
    # Noise in the first three layers of the decoder.
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [(1, 2, 2, 512), (1, 4, 4, 512), (1, 8, 8, 512)]
    params = shapes(networks.UNet(), 256, 3)[1]['params']
    assert [params[f'Conv_{i}']['kernel'].shape for i in range(8)] == [(4, 4, *pair) for pair in DOWN]
    ups = [params[f'ConvTranspose_{i}']['kernel'].shape for i in range(8)]
    assert ups == [(4, 4, b, a) for a, b in [*UP, (128, 3)]]
    assert [params[f'BatchNorm_{i}']['scale'].size for i in range(13)] == [b for _, b in DOWN[1:-1] + UP]
    assert 'BatchNorm_13' not in params


@pytest.mark.parametrize('count', [1, 3])
def test_the_unet_translates_by_the_statistics_of_what_it_is_given(count):
    # The paper's test batch has its own statistics: inference is training without the update.
    net = networks.UNet(3, width=2, halvings=2, dropout=0.0, statistics='batch')
    x = normal(0, count, 8, 8, 3)
    variables = jax.tree.map(lambda leaf: leaf + 0.5, net.init(jax.random.key(0), x))
    given = net.apply(variables, x, train=False)
    np.testing.assert_allclose(given, net.apply(variables, x, mutable=['batch_stats'])[0], atol=1e-6)
    running = networks.UNet(3, width=2, halvings=2, dropout=0.0)
    assert np.abs(given - running.apply(variables, x, train=False)).max() > 1e-2
    with pytest.raises(InputError, match="must be 'running' or 'batch', not 'own'"):
        networks.UNet(3, width=2, halvings=2, statistics='own').init(jax.random.key(0), x)


@pytest.mark.parametrize('size', [16, 32, 64, 128])
def test_smaller_unets_end_in_one_position(size):
    y, variables = shapes(networks.UNet(1, width=2), size, 1)
    assert y.shape == (1, size, size, 1)
    assert len([name for name in variables['params'] if name.startswith('Conv_')]) == size.bit_length() - 1
    y, _ = shapes(networks.UNet(width=2, halvings=2), 12, 1)
    assert y.shape == (1, 12, 12, 3)


def test_receptive_fields():
    # Isola et al. 2017, section 4.4 and appendix 6.1.2; 142 is the field of one layer more than 70's.
    assert list(translation.PATCHES) == [1, 16, 34, 70, 142, 286]
    assert translation.receptive_field(((3, 1), (3, 1))) == 5 and translation.receptive_field(((4, 2), (4, 2))) == 10


@pytest.mark.parametrize(('field', 'side'), [(1, 256), (16, 126), (34, 62), (70, 30), (142, 14), (286, 6)])
def test_maps_of_logits_at_256_pixels(field, side):
    assert shapes(networks.PatchDiscriminator(field), 256, 6)[0].shape == (1, side, side)
    assert translation.patch_outputs(256, field) == side


@pytest.mark.parametrize('field', translation.PATCHES)
def test_a_logit_depends_on_just_its_receptive_field(field):
    # With ones for weights no derivative is zero by accident.
    size = max(8, 2 * 2 ** (field - 1).bit_length())
    net = networks.PatchDiscriminator(field, width=1, norm='none')
    x = jnp.ones((1, size, size, 1))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(net.init, jax.random.key(0), x))
    middle = translation.patch_outputs(size, field) // 2
    support = quick(jax.grad(lambda x: net.apply(variables, x)[0, middle, middle]))(x)[0, ..., 0] != 0
    rows, columns = np.nonzero(support.any(1))[0], np.nonzero(support.any(0))[0]
    assert len(rows) == len(columns) == field == rows[-1] - rows[0] + 1
    assert support.sum() == field**2
    assert rows[0] > 0 and rows[-1] < size - 1  # the image's edge cut nothing off


# References in numpy, float64, by Torch's definitions.


def np_conv(x, layer, stride, pad):
    w = np.asarray(layer['kernel'], np.float64)
    x, k = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)]), len(w)
    rows = range(0, x.shape[1] - k + 1, stride)
    out = np.stack([np.stack([np.tensordot(x[:, i : i + k, j : j + k], w, 3) for j in rows], 1) for i in rows], 1)
    return out + np.asarray(layer.get('bias', 0), np.float64)


def np_transposed(x, layer, pad):
    """Stride 2, to twice the size: input (i, j) adds its kernel's values from position (2 i - pad, 2 j - pad) on."""
    w, n = np.asarray(layer['kernel'], np.float64), x.shape[1]
    k = len(w)
    out = np.zeros((len(x), 2 * n + 2 * k, 2 * n + 2 * k, w.shape[2]))
    for i in range(n):
        for j in range(n):
            out[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.einsum('nc,abfc->nabf', x[:, i, j], w)
    return out[:, pad : pad + 2 * n, pad : pad + 2 * n] + np.asarray(layer.get('bias', 0), np.float64)


def np_norm(x):
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def relu(x):
    return np.maximum(x, 0)


def initialised(network, x):
    """Variables with larger weights than at initialisation, and biases, so that the output shows them."""
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), dict(variables))


def test_unet_in_numpy():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 2))
    net = networks.UNet(3, width=2, dropout=0.0, norm='instance')
    variables = initialised(net, x)
    p = variables['params']
    e1 = np_conv(np.asarray(x, np.float64), p['Conv_0'], 2, 1)
    e2 = np_norm(np_conv(leaky(e1), p['Conv_1'], 2, 1))
    e3 = np_conv(leaky(e2), p['Conv_2'], 2, 1)
    assert e3.shape == (2, 1, 1, 8)
    d1 = np_norm(np_transposed(relu(e3), p['ConvTranspose_0'], 1))
    d2 = np_norm(np_transposed(relu(np.concatenate([d1, e2], -1)), p['ConvTranspose_1'], 1))
    expected = np.tanh(np_transposed(relu(np.concatenate([d2, e1], -1)), p['ConvTranspose_2'], 1))
    np.testing.assert_allclose(quick(net.apply)(variables, x), expected, atol=2e-5)


def test_patchgan_in_numpy():
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 2))
    net = networks.PatchDiscriminator(16, width=2, norm='instance')
    variables = initialised(net, x)
    p = variables['params']
    h = leaky(np_conv(np.asarray(x, np.float64), p['Conv_0'], 2, 1))
    h = leaky(np_norm(np_conv(h, p['Conv_1'], 1, 1)))
    np.testing.assert_allclose(quick(net.apply)(variables, x), np_conv(h, p['Conv_2'], 1, 1)[..., 0], atol=2e-5)


def test_resnet_in_numpy():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 2))
    net = networks.ResNetGenerator(3, width=2, blocks=2)
    variables = initialised(net, x)
    p = variables['params']

    def reflected(x, i, pad):
        return np_conv(np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)], 'reflect'), p[f'Conv_{i}'], 1, 0)

    h = relu(np_norm(reflected(np.asarray(x, np.float64), 0, 3)))
    for i in (1, 2):
        h = relu(np_norm(np_conv(h, p[f'Conv_{i}'], 2, 1)))
    assert h.shape == (2, 2, 2, 8)
    for i in (3, 5):
        h = h + np_norm(reflected(relu(np_norm(reflected(h, i, 1))), i + 1, 1))
    for i in (0, 1):
        h = relu(np_norm(np_transposed(h, p[f'ConvTranspose_{i}'], 1)))
    np.testing.assert_allclose(quick(net.apply)(variables, x), np.tanh(reflected(h, 7, 3)), atol=1e-4)


# Noise.


def test_dropout_by_its_law_and_the_same_on_many_devices():
    x = jnp.ones((8, 1000))
    y = layers.Dropout(0.25).apply({}, x, rngs=NOISE)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    np.testing.assert_allclose((y == 0).mean(1), 0.25, atol=0.05)  # 3.6 standard deviations of a share
    assert all((y[0] != row).any() for row in y[1:])
    split = lambda rows: layers.Dropout(0.25).apply({}, rows, rngs=NOISE)
    np.testing.assert_array_equal(jax.vmap(split, axis_name=parallel.AXIS)(x.reshape(4, 2, -1)).reshape(8, -1), y)
    np.testing.assert_array_equal(layers.Dropout(0.0).apply({}, x), x)


def test_the_unets_noise_stays_on_in_inference():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    net = networks.UNet(1, width=2)
    variables = quick(net.init)(jax.random.key(0), x)
    call = quick(lambda key: net.apply(variables, x, train=False, rngs={'noise': key}))
    first, second = (call(jax.random.key(i)) for i in (0, 1))
    assert (first != second).any()
    np.testing.assert_array_equal(first, call(jax.random.key(0)))


# Instance norm.


def test_instance_norm_is_of_each_image_and_channel():
    x = 3 * jax.random.normal(jax.random.key(0), (3, 8, 8, 4)) + jnp.arange(4)
    y = np.asarray(instance_norm(x), np.float64)
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(y, np_norm(np.asarray(x, np.float64)), atol=1e-5)
    np.testing.assert_array_equal(instance_norm(x.at[1:].set(7.0))[0], instance_norm(x)[0])
    # Squares of these are multiples of 8 in float32: E[x^2] - E[x]^2 could not be 1/16.
    far = instance_norm(jnp.array([1e4, 1e4 + 0.5]).reshape(1, 2, 1, 1)).ravel()
    np.testing.assert_allclose(far, [-1, 1], atol=1e-3)
    assert instance_norm(x.astype(jnp.bfloat16), dtype=jnp.bfloat16).dtype == jnp.bfloat16
    for shape in ((2, 4), (2, 1, 1, 4)):
        with pytest.raises(InputError, match='instance norm requires more than one position'):
            instance_norm(jnp.zeros(shape))


# What is common to all three.

SMALL = [
    (networks.UNet, {'width': 2}, 3),
    (networks.ResNetGenerator, {'width': 2, 'blocks': 1}, 3),
    (networks.PatchDiscriminator, {'receptive_field': 16, 'width': 2}, 6),
]


@pytest.mark.parametrize(('make', 'options', 'channels'), SMALL)
@pytest.mark.parametrize(
    'norm', ['batch', *(pytest.param(n, marks=pytest.mark.slow) for n in ('instance', 'spectral', 'weight', 'none'))]
)
def test_half_precision_keeps_parameters_and_outputs_in_float32(make, options, channels, norm):
    y, variables = shapes(make(**options, norm=norm, dtype=jnp.bfloat16), 16, channels)
    assert y.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


@pytest.mark.parametrize(('make', 'options', 'channels'), SMALL)
def test_initial_weights(make, options, channels):
    variables = quick(make(**{**options, 'width': 16}, norm='batch').init)(jax.random.key(0), jnp.zeros((1, 16, 16, channels)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables['params']):
        if path[-1].key == 'kernel':
            assert float(leaf.std()) == pytest.approx(0.02, rel=0.1)
        if path[-1].key == 'scale':
            assert float(leaf.mean()) == pytest.approx(1, abs=0.02) and 0 < float(leaf.std()) < 0.04
        if path[-1].key == 'bias':
            assert not leaf.any()


@pytest.mark.parametrize(('make', 'options', 'channels'), SMALL)
def test_only_canonical_convolutions(make, options, channels):
    # Of other forms the CPU's program is an order of magnitude slower inside a scan. On maps smaller than the kernel, as at
    # the bottom of a U-Net, XLA swaps the operands; those cost nothing.
    options = options | ({'halvings': 2} if make is networks.UNet else {})
    net, x = make(**options, norm='instance'), jnp.ones((1, 32, 32, channels))
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    loss = lambda variables, x: jnp.square(net.apply(variables, x, rngs=NOISE)).sum()
    text = quick(jax.grad(loss, (0, 1))).lower(variables, x).compile().as_text()
    assert set(re.findall(r'dim_labels=(\w+->\w+)', text)) == {'b01f_01io->b01f'} and 'lhs_dilate' not in text


@pytest.mark.parametrize(
    ('network', 'size', 'message'),
    [
        (networks.UNet(), 48, r'48 x 48 .* a U-Net takes powers of two'),
        (networks.UNet(), 2, 'a U-Net takes powers of two'),
        (networks.UNet(halvings=3), 12, 'a U-Net with 3 halvings takes multiples of 8'),
        (networks.UNet(norm='virtual'), 16, "'virtual' requires a reference batch of latents"),
        (networks.ResNetGenerator(), 30, 'size 30 .* multiples of 4'),
        (networks.ResNetGenerator(), 4, 'size 4 .* at least 8'),
        (networks.PatchDiscriminator(), 16, 'size 16 is too small .* field 70; fields that fit: 1, 16, 34'),
        (networks.PatchDiscriminator(50), 64, 'field 50 .* PatchGAN takes 1, 16, 34, 70, 142, 286'),
        (networks.PatchDiscriminator(norm='virtual'), 64, "'virtual' is only for generators"),
    ],
)
def test_what_a_network_does_not_take_is_refused_in_a_line(network, size, message):
    with pytest.raises(InputError, match=message) as error:
        shapes(network, size, 3)
    assert '\n' not in str(error.value)


def test_a_transposed_convolution_with_padding():
    y = jnp.ones((1, 4, 4, 1))
    make = functools.partial(layers.ConvTranspose, 1, (3, 3), (2, 2))
    variables = initialised(make(), y)
    # Flax's SAME has its one row of padding below and to the right for even sizes, Torch's padding 1 above and to the left.
    same, torch = (make(padding=padding).apply(variables, y) for padding in (None, ((1, 1), (1, 1))))
    np.testing.assert_allclose(torch, np_transposed(np.asarray(y), variables['params'], 1), atol=1e-6)
    np.testing.assert_allclose(same, np_transposed(np.asarray(y), variables['params'], 0), atol=1e-6)
    with pytest.raises(ValueError, match='no convolution with padding'):
        make(padding=((3, 3), (3, 3))).apply(variables, y)
