"""Stacked digits: what is drawn, how it is labelled and counted, and the networks of the literature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax import data, networks, parallel
from gan_jax.data.stacked import stack
from gan_jax.errors import InputError
from gan_jax.metrics import modes
from gan_jax.networks import layers, r3gan, stacked_mnist

# How many of MNIST's 60,000 training images show 0, 1, ..., 9.
MNIST_COUNTS = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])


def numbered(n, size=2):
    """Image i holds the number i in all pixels."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, size, size, 1))


def numbers(batch):
    """Which image stands in each channel, `[..., 3]`; all of a channel's pixels have to agree."""
    pixels = np.asarray(data.to_uint8(batch))
    assert (pixels == pixels[..., :1, :1, :]).all()
    return pixels[..., 0, 0, :]


def test_a_stack_has_the_digits_in_its_channels():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 1), np.uint8)
    stacked = stack(images, np.array([[3, 0, 4], [1, 1, 2]]))
    assert stacked.shape == (2, 3, 4, 3)
    for channel, row in enumerate((3, 0, 4)):
        np.testing.assert_array_equal(stacked[0, :, :, channel], images[row, :, :, 0])


def test_the_feed_draws_every_digit_in_every_channel_independently():
    feed, key = data.stacked_digits(numbered(7), 64), jax.random.key(0)
    found = numbers(jax.jit(lambda images: jax.lax.map(lambda t: feed.draw(images, key, t), jnp.arange(100)))(feed.data))
    assert found.shape == (100, 64, 3)
    found = found.reshape(-1, 3)
    counts = np.zeros((7, 7, 7))
    np.add.at(counts, tuple(found.T), 1)
    # Uniform over all 343 triples, which is both: each channel uniform, and the three independent.
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_a_batch_is_a_function_of_seed_and_step():
    images, keys = numbered(50), jax.random.split(jax.random.key(3), 2)
    feed = data.stacked_digits(images, 8)
    function = jax.jit(feed.draw)
    draw = lambda seed, step: numbers(function(feed.data, feed.own(seed, keys[seed]), jnp.int32(step)))
    np.testing.assert_array_equal(draw(0, 3), draw(0, 3))
    assert (draw(0, 3) != draw(0, 4)).any() and (draw(0, 3) != draw(1, 3)).any()
    two = data.stacked_digits(images, 8, minibatches=2)
    np.testing.assert_array_equal(numbers(two.draw(two.data, keys[0], jnp.int32(2))), [draw(0, 4), draw(0, 5)])
    many = jax.vmap(feed.draw, (None, 0, None))(feed.data, keys, jnp.int32(1))  # seeds of one program share the images
    np.testing.assert_array_equal(numbers(many), [draw(0, 1), draw(1, 1)])


def test_devices_share_one_global_batch():
    feed, key = data.stacked_digits(numbered(50), 8), jax.random.key(0)
    parts = jax.vmap(lambda _: feed.draw(feed.data, key, jnp.int32(5)), axis_name=parallel.AXIS)(jnp.arange(4))
    assert parts.shape == (4, 2, 2, 2, 3)
    np.testing.assert_array_equal(parts.reshape(8, 2, 2, 3), feed.draw(feed.data, key, jnp.int32(5)))
    run = parallel.pmap(lambda state, shared, step: (state, feed.draw(*shared, step).mean()[None]), batch_axis=None)
    assert run({}, (feed.data, key), jnp.int32(5))[1].shape == (1,)  # keys and images pass through the runner


def digits(counts, size=1):
    """Images and labels in which digit i occurs counts[i] times; the pixel is the digit."""
    labels = np.repeat(np.arange(10, dtype=np.int32), counts)
    return data.Images(np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), size, size, 1)), labels)


def test_the_test_set_is_fixed_and_labelled_by_its_number():
    source = digits([3] * 10, 2)
    chosen = data.stacked_test_set(source, 40)
    assert chosen.images.shape == (40, 2, 2, 3) and chosen.images.dtype == np.uint8 and chosen.labels.dtype == np.int32
    hundreds, tens, ones = chosen.images[:, 0, 0].astype(int).T
    np.testing.assert_array_equal(chosen.labels, 100 * hundreds + 10 * tens + ones)
    assert chosen.classes[7] == '007' and chosen.classes[chosen.labels[0]] == ''.join(map(str, chosen.images[0, 0, 0]))
    np.testing.assert_array_equal(chosen.images, data.stacked_test_set(source, 40).images)
    assert (chosen.labels != data.stacked_test_set(source, 40, seed=1).labels).any()


@pytest.mark.parametrize('counts', [np.full(10, 100), MNIST_COUNTS], ids=['equal', 'MNIST'])
def test_a_perfect_sampler_is_off_by_its_floor(counts):
    n = 25_600
    labels = data.stacked_test_set(digits(counts), n).labels
    found = modes.label_coverage(labels, 1000)
    # Three independent digits: the KL of the mode frequencies is three times the digits'. What a finite sample adds is
    # chi^2(999) / (2 n): 0.0195 +- 0.0009.
    p = counts / counts.sum()
    uneven = 3 * np.sum(p * np.log(10 * p))
    assert abs(uneven - (0.0042 if counts is MNIST_COUNTS else 0)) < 1e-4
    assert int(found.modes) == 1000
    assert abs(float(found.kl) - uneven - 999 / (2 * n)) < 4 * np.sqrt(2 * 999) / (2 * n)
    floor = modes.coverage_floor(n, 1000)
    assert abs(float(floor.kl) - 999 / (2 * n)) < 4e-4 and float(floor.modes) > 999.99


def test_channels_are_classified_by_themselves():
    real = data.load('digits', size=8)
    flat = real.images.reshape(len(real.images), -1).astype(np.float32)
    seen = []

    def nearest(x):
        seen.append(x.shape)
        x = np.asarray(x).reshape(len(x), -1).astype(np.float32)
        index = ((flat**2).sum(1) - 2 * x @ flat.T).argmin(1)
        return np.eye(10)[real.labels[index]]

    chosen = data.stacked_test_set(real, 50)
    classes = data.channel_classes(nearest, chosen.images)
    assert seen == [(150, 8, 8, 1)]
    np.testing.assert_array_equal(modes.stacked_labels(classes), chosen.labels)
    brightness = lambda x: -jnp.abs(x.mean((1, 2)) - 25.5 * jnp.arange(10))  # a pure one, in a compiled program
    compiled = jax.jit(lambda x: data.channel_classes(brightness, x.astype(jnp.float32)))(chosen.images)
    expected = np.rint(chosen.images.mean((1, 2)) / 25.5).clip(0, 9)
    np.testing.assert_array_equal(compiled, expected)


def test_what_are_no_digits_is_refused():
    for images in (numbered(3).astype(np.float32), np.zeros((3, 2, 2, 3), np.uint8), np.zeros((0, 2, 2, 1), np.uint8)):
        with pytest.raises(InputError, match='grey images'):
            data.stacked_digits(images, 4)
    for labels in (None, np.array([0, 1, 10])):
        with pytest.raises(InputError, match='labelled 0 to 9'):
            data.stacked_test_set(data.Images(numbered(3), labels), 4)


# The networks


def shapes(network, x):
    """Of the output and the variables."""
    return jax.eval_shape(lambda key, x: network.init_with_output(key, x, train=False), jax.random.key(0), x)


def parameters(name, size=28):
    generator, discriminator = networks.stacked_networks(name, size)
    latent = jnp.zeros((2, networks.STACKED_MNIST[name].latent_size))
    images, g = shapes(generator, latent)
    logits, d = shapes(discriminator, images)
    assert images.shape == (2, size, size, 3) and logits.shape == (2,)
    return g['params'], d['params']


def size_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('size', [8, 16, 28, 32])
@pytest.mark.parametrize('name', networks.STACKED_MNIST)
def test_every_pair_has_every_size(name, size):
    parameters(name, size)


def test_metz_networks():
    # Card of the method: z 256 -> 4 x 4 x 64 -> 32 -> 16 -> 8 -> 3 and 8 X, 16 X, 32 X -> 1, kernels 3 x 3, batch norm (a scale
    # and a bias in place of the layer's bias) everywhere but in the last layers.
    dense, ups = 256 * 1024 + 2 * 64, [9 * a * b + 2 * b for a, b in ((64, 32), (32, 16), (16, 8))]
    for name, widths in (('metz_quarter', (2, 4, 8)), ('metz_half', (4, 8, 16)), ('metz', (8, 16, 32))):
        g, d = parameters(name)
        assert size_of(g) == dense + sum(ups) + 9 * 8 * 3 + 3 == 286_795
        pairs = zip((3, *widths), widths, strict=False)
        assert size_of(d) == sum(9 * a * b + 2 * b for a, b in pairs) + 4 * 4 * widths[-1] + 1
        assert [d[f'Conv_{i}']['kernel'].shape[-1] for i in range(3)] == list(widths)
    assert size_of(parameters('metz_quarter')[1]) == 571


def test_veegan_networks():
    g, d = parameters('veegan')
    assert g['Dense_0']['kernel'].shape == (100, 2 * 2 * 512)
    kernels = [g[f'ConvTranspose_{i}']['kernel'].shape for i in range(4)]
    assert kernels == [(5, 5, 256, 512), (5, 5, 128, 256), (5, 5, 64, 128), (5, 5, 3, 64)]
    assert [d[f'Conv_{i}']['kernel'].shape for i in range(4)] == [
        (5, 5, *c) for c in ((3, 64), (64, 128), (128, 256), (256, 512))
    ]
    assert 'bias' in d['Conv_0'] and 'bias' not in d['Conv_1'] and 'BatchNorm_2' in d and 'BatchNorm_3' not in d


def test_a_map_of_odd_side_is_the_transpose_of_the_convolution_from_it():
    up = layers.ConvTranspose(5, (3, 3), (2, 2), use_bias=False)
    y = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = up.init(jax.random.key(1), y)
    down = layers.Conv(features=3, kernel_size=(3, 3), strides=(2, 2), use_bias=False)
    x = jax.random.normal(jax.random.key(2), (2, 7, 7, 5))
    a = jnp.vdot(stacked_mnist._cropped(up.apply(variables, y), 7), x)  # <up y, x> = <y, down x>
    np.testing.assert_allclose(a, jnp.vdot(y, down.apply(variables, x)), rtol=1e-5)


def test_activations_and_features():
    generator, discriminator = networks.stacked_networks('metz_quarter', 28)
    z = 50 * jax.random.normal(jax.random.key(1), (4, 256))
    x, _ = jax.jit(lambda z: generator.init_with_output(jax.random.key(0), z, train=False))(z)
    assert x.shape == (4, 28, 28, 3) and float(jnp.abs(x).max()) <= 1
    variables = jax.jit(lambda x: discriminator.init(jax.random.key(0), x, train=False))(x)
    judge = jax.jit(lambda v, x: discriminator.apply(v, x, features_too=True, mutable=['batch_stats']))
    (logits, features), _ = judge(variables, jax.random.normal(jax.random.key(2), x.shape))
    assert [f.shape for f in features] == [(4, 14, 14, 2), (4, 7, 7, 4), (4, 4, 4, 8)]
    kernel, bias = variables['params']['Dense_0']['kernel'], variables['params']['Dense_0']['bias']
    np.testing.assert_allclose(logits, (features[-1].reshape(4, -1) @ kernel + bias)[:, 0], atol=1e-6)
    # Batch norm comes before LeakyReLU(0.3): undone, the activations have mean 0 and variance 1 in each channel.
    before = np.where(features[0] < 0, features[0] / 0.3, features[0])
    np.testing.assert_allclose(before.mean((0, 1, 2)), 0, atol=1e-4)
    assert (features[0] < 0).any() and abs(before.std() - 1) < 0.1


@pytest.mark.slow
def test_the_residual_networks_start_as_linear_maps():
    generator, discriminator = networks.stacked_networks('r3gan', 28)
    z = jax.random.normal(jax.random.key(1), (3, 64))
    x, g = jax.jit(lambda z: generator.init_with_output(jax.random.key(0), z))(z)
    # Every block is the identity at first, so what is left is linear in the latent, and in the image.
    np.testing.assert_allclose(jax.jit(generator.apply)(g, 2 * z), 2 * x, rtol=1e-4, atol=1e-5)
    logits, d = jax.jit(lambda x: discriminator.init_with_output(jax.random.key(0), x))(x)
    judge = jax.jit(discriminator.apply)
    np.testing.assert_allclose(judge(d, x - 3), logits + judge(d, 0 * x - 3), atol=1e-4)
    # Each network has 4 blocks: He's weights times 4^(-1/4). The 3 x 3 of the widest block has fan-in 9 * 48.
    kernel = g['params']['Block_0']['Conv_0']['kernel']
    assert kernel.shape == (3, 3, 48, 48)
    expected = np.sqrt(2 / (1 + 0.2**2) / (9 * 48)) * 4**-0.25
    assert float(kernel.std()) == pytest.approx(expected, rel=0.02)
    gradient = jax.jit(jax.grad(lambda v: jnp.square(discriminator.apply(v, x)).sum()))(d)['params']['Block_2']
    assert float(jnp.abs(gradient['Dense_1']['kernel']).max()) > 0  # it leaves 0 at once
    assert [r3gan.halved(n, 3) for n in (28, 32, 9)] == [[28, 14, 7, 4], [32, 16, 8, 4], [9, 5, 3, 2]]


@pytest.mark.parametrize(('size', 'base'), [(28, 4), (16, 4), (8, 4), (3, 3)])
def test_small_images_of_r3gan_have_positions(size, base):
    # The only positions are the smallest map's weights: of one position there would be none.
    generator, discriminator = networks.stacked_networks('r3gan', size)
    x, g = shapes(generator, jnp.zeros((2, 64)))
    logits, d = shapes(discriminator, x)
    assert x.shape == (2, size, size, 3) and logits.shape == (2,)
    assert g['params']['basis'].shape == d['params']['basis'].shape == (base, base, 96)


def test_choices_that_networks_do_not_have_are_refused():
    generator, discriminator = networks.stacked_networks('metz_half', 16, 1, d_norm='none', minibatch='stddev', outputs=4)
    x, g = shapes(generator, jnp.zeros((2, 5)))
    logits, d = shapes(discriminator, x)
    assert x.shape == (2, 16, 16, 1) and logits.shape == (2, 4)
    assert 'batch_stats' in g and 'batch_stats' not in d
    with pytest.raises(InputError, match="'r3gan' have no norm"):
        networks.stacked_networks('r3gan', 28, d_norm='batch')
    with pytest.raises(InputError, match='did you mean metz'):
        networks.stacked_networks('metz_qarter', 28)
