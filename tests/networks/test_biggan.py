"""BigGAN's networks and self-attention against NumPy in float64, their published sizes, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal, paths, quick, random_variables

from gan_jax import networks
from gan_jax.errors import InputError
from gan_jax.networks import biggan


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


# NumPy.


def conv(p, x):
    k = p['kernel'].shape[0]
    padded = np.pad(x, [(0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)])
    at = lambda i, j: padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ p['kernel'][i, j]
    return sum(at(i, j) for i in range(k) for j in range(k)) + p.get('bias', 0)


def relu(x):
    return np.maximum(x, 0)


def standardised(x):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def twice(x):
    return np.kron(x, np.ones((1, 2, 2, 1)))


def halved(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def largest(x):
    h, w = (side // 2 * 2 for side in x.shape[1:3])
    return np.max([x[:, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)], 0)


def attention(p, x):
    n, h, w, _ = x.shape
    flat = lambda y: y.reshape(n, -1, y.shape[-1])
    queries, keys, values = conv(p['Conv_0'], x), largest(conv(p['Conv_1'], x)), largest(conv(p['Conv_2'], x))
    logits = np.einsum('npc,nqc->npq', flat(queries), flat(keys))
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    seen = np.einsum('npq,nqc->npc', shares / shares.sum(-1, keepdims=True), flat(values)).reshape(n, h, w, -1)
    return x + p['gamma'] * conv(p['Conv_3'], seen)


def conditioned(p, x, condition):
    gain, bias = (condition @ p[f'{name}_of_condition']['kernel'] for name in ('gain', 'bias'))
    return standardised(x) * (1 + gain)[:, None, None] + bias[:, None, None]


def generated(p, z, labels):
    """G of 16 pixels: the latent in three parts, attention before the last of two blocks."""
    first, *parts = np.split(z, 3, 1)
    told = p['Embed_0']['embedding'][labels]
    x = (first @ p['Dense_0']['kernel'] + p['Dense_0']['bias']).reshape(len(z), 4, 4, -1)
    for i, part in enumerate(parts):
        x = attention(p['SelfAttention_0'], x) if i == 1 else x
        block, condition = p[f'GeneratorBlock_{i}'], np.concatenate([told, part], 1)
        h = conv(block['Conv_0'], twice(relu(conditioned(block['ConditionedBatchNorm_0'], x, condition))))
        h = conv(block['Conv_1'], relu(conditioned(block['ConditionedBatchNorm_1'], h, condition)))
        x = h + conv(block['Conv_2'], twice(x))
    x = standardised(x) * p['BatchNorm_0']['scale'] + p['BatchNorm_0']['bias']
    return np.tanh(conv(p['Conv_0'], relu(x)))


def judged(p, x, labels):
    """D of 16 pixels: two blocks that halve, attention after the first, and one that does not."""
    network = p['network']
    layers = (network[f'Conv_{i}'] for i in range(8))
    for i in range(3):
        h = conv(next(layers), relu(x) if i else x)
        h = conv(next(layers), relu(h))
        x = halved(h) + halved(conv(next(layers), x)) if i < 2 else h + x
        x = attention(network['SelfAttention_0'], x) if i == 0 else x
    phi = relu(x).sum((1, 2))
    psi = (phi @ network['Dense_0']['kernel'] + network['Dense_0']['bias'])[:, 0]
    return psi + (p['Embed_0']['embedding'][labels] * phi).sum(1)


# Tests.

LABELS = np.array([0, 2, 1])


@pytest.mark.parametrize(('height', 'width'), [(4, 6), (5, 3)])
def test_attention_is_the_formula(height, width):
    x = normal(1, 2, height, width, 16)
    network = networks.SelfAttention('none')
    variables = network.init(jax.random.key(0), x)
    np.testing.assert_array_equal(network.apply(variables, x), x)  # gamma is 0
    shapes = jax.tree.map(jnp.shape, variables['params'])
    channels = [shapes[f'Conv_{i}']['kernel'][2:] for i in range(4)]
    assert channels == [(16, 2), (16, 2), (16, 8), (8, 16)]
    variables = random_variables(network, x)
    expected = attention(float64(variables['params']), np.asarray(x, np.float64))
    np.testing.assert_allclose(network.apply(variables, x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match='at least 2 x 2 positions, not 1 x 3'):
        network.init(jax.random.key(0), x[:, :1, :3])


def test_the_generator_is_the_papers():
    network = networks.BigGANGenerator(16, 1, 2, 3, 5, norm='none')
    z = normal(1, 3, 6)
    variables = random_variables(network, z, LABELS)
    images, _ = quick(lambda v: network.apply(v, z, LABELS, mutable=['batch_stats']))(variables)
    expected = generated(float64(variables['params']), np.asarray(z, np.float64), LABELS)
    np.testing.assert_allclose(images, expected, rtol=1e-3, atol=1e-4)


def test_the_discriminator_is_the_papers():
    network = networks.ProjectionDiscriminator(networks.BigGANDiscriminator(2, norm='none'), 3)
    x = normal(1, 3, 16, 16, 1)
    variables = random_variables(network, x, LABELS)
    logits, features = quick(lambda v: network.apply(v, x, LABELS, features_too=True))(variables)
    np.testing.assert_allclose(logits, judged(float64(variables['params']), np.asarray(x, np.float64), LABELS), rtol=1e-4)
    assert [f.shape[1:] for f in features] == [(8, 8, 2), (4, 4, 4), (4, 4, 4), (4,)]


def test_sizes_are_the_published_ones():
    # At 128 pixels, width 96: compare_gan, architectures/resnet_biggan_test.py.
    discriminator = networks.ProjectionDiscriminator(networks.BigGANDiscriminator(), 1000)
    published = ((networks.BigGANGenerator(128), (1, 120), 70_433_988, 0), (discriminator, (1, 128, 128, 3), 87_982_370, 1))
    for network, shape, count, embeddings in published:
        found = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(1, int))
        assert sum(x.size for x in jax.tree.leaves(found['params'])) == count
        # Every kernel is divided by its norm, and D's embedding is, but not G's.
        ends = [path.rpartition('/')[2] for path in paths(found)]
        assert ends.count('u') == ends.count('sigma') == ends.count('kernel') + embeddings


def test_kernels_are_orthogonal_at_first():
    block = biggan.GeneratorBlock(3, 'none')
    variables = quick(block.init)(jax.random.key(0), jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 4)))
    kernels = [x.reshape(-1, x.shape[-1]) for x in jax.tree.leaves(variables['params']) if x.ndim > 1]
    assert len(kernels) == 7  # two norms of two, three convolutions
    for W in kernels:
        product = W.T @ W if len(W) >= W.shape[1] else W @ W.T
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'latents', 'message'),
    [
        ({'attention': 3}, 6, r'attention must be from 0 \(none\) to 2, not 3'),
        ({'norm': 'batch'}, 6, 'G always has batch norm, so its norm must be one of weights'),
        ({}, 2, '2 latents are too few: each of 2 blocks'),
        ({'size': 20}, 6, 'image size 20'),
    ],
)
def test_what_is_refused(options, latents, message):
    network = networks.BigGANGenerator(**{'size': 16, **options})
    with pytest.raises(InputError, match=message):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, latents)), jnp.zeros(1, int))
    if 'attention' in options:
        with pytest.raises(InputError, match=message):
            jax.eval_shape(networks.BigGANDiscriminator(2, 3).init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    with pytest.raises(InputError, match='not batch'):
        biggan.check_weights_norm('batch')
