"""The CIFAR ResNets of SNGAN and WGAN-GP: sizes, the papers' order of layers as reference, spectral norm, half precision."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import quick
from jax import lax

import gan_jax
from gan_jax import games, latents, networks, objectives, penalties
from gan_jax.errors import InputError
from gan_jax.games.conditional import auxiliary_classifier


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def shapes(network, *inputs):
    return jax.eval_shape(network.init, jax.random.key(0), *inputs)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_like(variables):
    leaves, tree = jax.tree.flatten(variables['params'])
    params = [0.7 * normal(i, *leaf.shape) / np.sqrt(leaf.size ** (leaf.ndim > 2)) for i, leaf in enumerate(leaves)]
    return {**variables, 'params': jax.tree.unflatten(tree, params)}


LATENT, IMAGE, LABEL = jnp.zeros((1, 128)), jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, int)


def test_parameter_counts():
    # By the layers that the authors' code lists (SNGAN: gen_models/resnet_32.py and dis_models/snresnet_32.py, where the last
    # layer of D has no bias, which mimicry's has; WGAN-GP: gan_cifar_resnet.py).
    conv = lambda k, a, b: k * k * a * b + b

    def generator(w, norms):  # per block two 3x3, one 1x1 convolution, two norms; then a norm and a convolution
        block = 2 * conv(3, w, w) + conv(1, w, w) + 2 * norms * 2 * w
        return 128 * 16 * w + 16 * w + 3 * block + 2 * w + conv(3, w, 3)

    first = conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128)
    discriminator = first + 3 * 2 * conv(3, 128, 128) + conv(1, 128, 128) + 128 + 1
    assert (generator(256, 1), generator(128, 1), discriminator) == (4276739, 1204483, 1053825)
    assert count(shapes(networks.SNGANGenerator(), LATENT)['params']) == 4276739
    assert count(shapes(networks.SNGANGenerator(width=128), LATENT)['params']) == 1204483
    d = networks.SNGANDiscriminator()
    assert count(shapes(d, IMAGE)['params']) == 1053825 - 1  # SNGAN's last layer has no bias
    d = d.clone(pool='mean', last_bias=True)
    assert count(shapes(d.clone(norm='none'), IMAGE)['params']) == 1053825
    assert count(shapes(d.clone(norm='layer'), IMAGE)['params']) == 1053825 + 6 * 2 * 128
    # Conditional: ten scales and biases in each of the six norms of G's blocks, a vector of 128 for each class in D.
    assert count(shapes(networks.SNGANGenerator(classes=10), LATENT, LABEL)['params']) == generator(256, 10)
    assert count(shapes(networks.ProjectionDiscriminator(d, 10), IMAGE, LABEL)['params']) == 1053825 + 10 * 128
    assert count(shapes(networks.AuxiliaryDiscriminator(d, 10), IMAGE)['params']) == 1053825 + 10 * 128 + 10


def test_sizes_and_features():
    for size, base in ((28, 7), (32, 4), (64, 4)):
        call = functools.partial(networks.SNGANGenerator(size, 1, 2).init_with_output, train=False)
        images, variables = jax.eval_shape(call, jax.random.key(0), jnp.zeros((3, 5)))
        assert images.shape == (3, size, size, 1)
        assert variables['params']['Dense_0']['kernel'].shape == (5, base * base * 2)
    call = functools.partial(networks.SNGANDiscriminator(2).init_with_output, features_too=True)
    (logits, features), _ = jax.eval_shape(call, jax.random.key(0), jnp.zeros((3, 28, 28, 1)))
    assert logits.shape == (3,)
    assert [f.shape for f in features] == [(3, 14, 14, 2), *[(3, 7, 7, 2)] * 3, (3, 2)]
    with pytest.raises(InputError, match='image size 30 is not supported'):
        shapes(networks.SNGANGenerator(30), LATENT)
    with pytest.raises(InputError, match='image size 30 x 32 cannot be halved twice'):
        shapes(networks.SNGANDiscriminator(2), jnp.zeros((1, 30, 32, 3)))
    with pytest.raises(InputError, match="unknown pool 'max'; known: 'sum', 'mean'"):
        shapes(networks.SNGANDiscriminator(2, pool='max'), IMAGE)
    with pytest.raises(InputError, match="normalization 'virtual' is only for generators"):
        shapes(networks.SNGANDiscriminator(2, norm='virtual'), IMAGE)


class Paper:
    """The layers of a network in the order of its paper, on parameters taken in the order in which they are used."""

    def __init__(self, params):
        self.layers = {name: iter(sorted((k for k in params if k.startswith(name)), key=lambda k: int(k.split('_')[1])))
                       for name in ('Conv', 'BatchNorm', 'LayerNorm', 'ConditionalBatchNorm', 'Dense')}  # fmt: skip
        self.params = params

    def conv(self, x):
        p = self.params[next(self.layers['Conv'])]
        return lax.conv_general_dilated(x, p['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')) + p['bias']

    def norm(self, x, labels=None):
        name = 'ConditionalBatchNorm' if labels is not None else 'BatchNorm'
        p = self.params[next(self.layers[name])]
        scale, bias = (p[k] if labels is None else p[k][labels][:, None, None] for k in ('scale', 'bias'))
        x = x - x.mean((0, 1, 2))
        return x / jnp.sqrt(jnp.square(x).mean((0, 1, 2)) + 1e-5) * scale + bias

    def layer_norm(self, x):
        p = self.params[next(self.layers['LayerNorm'])]
        x = x - x.mean((1, 2, 3), keepdims=True)
        return x / jnp.sqrt(jnp.square(x).mean((1, 2, 3), keepdims=True) + 1e-5) * p['scale'] + p['bias']

    def dense(self, x):
        p = self.params[next(self.layers['Dense'])]
        return x @ p['kernel'] + p.get('bias', 0)


def relu(x):
    return jnp.maximum(x, 0)


def twice(x):
    return jnp.kron(x, jnp.ones((1, 2, 2, 1)))


def half(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


@pytest.mark.slow
@pytest.mark.parametrize('classes', [0, 3])
def test_the_generator_in_the_papers_order(classes):
    generator = networks.SNGANGenerator(16, 2, 3, classes=classes)
    z, labels = normal(0, 4, 5), jnp.array([0, 2, 1, 2]) if classes else None
    inputs = (z, labels) if classes else (z,)
    variables = random_like(quick(generator.init)(jax.random.key(1), *inputs))
    found = quick(lambda v: generator.apply(v, *inputs, mutable=['batch_stats'])[0])(variables)

    @quick
    def paper(params):
        layers = Paper(params)
        x = layers.dense(z).reshape(4, 4, 4, 3)
        for _ in range(2):
            h = layers.conv(twice(relu(layers.norm(x, labels))))
            h = layers.conv(relu(layers.norm(h, labels)))
            x = h + layers.conv(twice(x))  # the shortcut is enlarged, then convolved
        return jnp.tanh(layers.conv(relu(layers.norm(x))))

    expected = paper(variables['params'])
    assert found.shape == (4, 16, 16, 2) and np.std(expected) > 0.02
    np.testing.assert_allclose(found, expected, atol=2e-4)
    if classes:
        other = quick(lambda v: generator.apply(v, z, (labels + 1) % 3, mutable=['batch_stats'])[0])(variables)
        assert np.abs(other - found).max() > 1e-2


@pytest.mark.parametrize(('norm', 'pool'), [('none', 'mean'), ('layer', 'sum')])
def test_the_discriminator_in_the_papers_order(norm, pool):
    discriminator = networks.SNGANDiscriminator(3, norm=norm, pool=pool)
    x = normal(0, 4, 8, 8, 2)
    variables = random_like(quick(discriminator.init)(jax.random.key(1), x))

    @quick
    def paper(params):
        layers = Paper(params)
        normalise = layers.layer_norm if norm == 'layer' else lambda x: x
        h = half(layers.conv(relu(layers.conv(x))))
        y = h + layers.conv(half(x))
        for shrinks in (True, False, False):
            h = layers.conv(relu(normalise(y)))
            h = layers.conv(relu(normalise(h)))
            y = half(h) + half(layers.conv(y)) if shrinks else h + y  # the shortcut is convolved, then shrunk
        pooled = relu(y).sum((1, 2)) / (1 if pool == 'sum' else 4)
        return layers.dense(pooled)[:, 0]

    found = quick(lambda v: discriminator.apply(v, x))(variables)
    np.testing.assert_allclose(found, paper(variables['params']), rtol=2e-4, atol=1e-4)


def test_every_layer_of_sngans_discriminator_has_spectral_norm_one():
    network = networks.ProjectionDiscriminator(networks.SNGANDiscriminator(4), 5)
    x, labels = normal(0, 2, 8, 8, 3), jnp.array([0, 4])
    variables = quick(network.init)(jax.random.key(1), x, labels)
    advance = quick(
        lambda v: lax.fori_loop(0, 100, lambda _, v: {**v, **network.apply(v, x, labels, mutable=['batch_stats'])[1]}, v)
    )
    variables = advance(variables)
    params = {**variables['params'], **variables['params']['network']}
    stats = jax.tree.leaves_with_path(variables['batch_stats'])
    sigmas = {path[-1].key[: -len('/sigma')]: leaf for path, leaf in stats if path[-1].key.endswith('/sigma')}
    # Three convolutions in each block that shrinks and two in each that does not, the dense layer, the labels' vectors.
    assert sorted(sigmas) == sorted([*(f'Conv_{i}/kernel' for i in range(10)), 'Dense_0/kernel', 'Embed_0/embedding'])
    for name, sigma in sigmas.items():
        layer, part = name.split('/')
        kernel = np.asarray(params[layer][part]).reshape(-1, params[layer][part].shape[-1]) / sigma
        assert np.linalg.norm(kernel, 2) == pytest.approx(1, abs=0.01), name


def test_initial_weights():
    # Glorot-uniform: variance 2 / (fan in + fan out); twice that in the 3x3 convolutions of a block.
    g = quick(networks.SNGANGenerator(8, 3, 32).init)(jax.random.key(0), jnp.zeros((1, 64)))['params']
    for name, variance in [
        ('Dense_0', 2 / (64 + 512)),
        ('Conv_0', 4 / (9 * 64)),
        ('Conv_1', 4 / (9 * 64)),
        ('Conv_2', 2 / 64),
        ('Conv_3', 2 / (9 * 35)),
    ]:
        kernel = np.asarray(g[name]['kernel'])
        assert kernel.var() == pytest.approx(variance, rel=0.15), name
        assert np.abs(kernel).max() <= np.sqrt(3 * variance) * (1 + 1e-5)


def test_half_precision_keeps_parameters_and_outputs_in_float32():
    half = {'dtype': jnp.bfloat16}
    g, d = networks.SNGANGenerator(8, 3, 4, classes=3, **half), networks.SNGANDiscriminator(4, **half)
    label = jnp.zeros(2, int)
    x, g_variables = jax.eval_shape(g.init_with_output, jax.random.key(0), jnp.zeros((2, 5)), label)
    call = functools.partial(d.init_with_output, features_too=True)
    (logits, features), d_variables = jax.eval_shape(call, jax.random.key(0), jnp.zeros((2, 8, 8, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves((g_variables, d_variables))} == {jnp.dtype('float32')}
    assert x.dtype == logits.dtype == features[-1].dtype == jnp.float32
    assert features[0].dtype == jnp.bfloat16


@pytest.mark.slow
def test_a_penalised_step_has_only_canonical_convolutions():
    # WGAN-GP's conditional game: conditional batch norm in G, an auxiliary classifier and a gradient penalty in D.
    game = games.conditional(
        networks.SNGANGenerator(16, 1, 2, classes=2),
        networks.AuxiliaryDiscriminator(networks.SNGANDiscriminator(2, norm='none', pool='mean'), 2),
        objectives.wasserstein(),
        latent=latents.normal(2),
        penalties=[penalties.wgan_gp()],
        auxiliary=auxiliary_classifier(1.0, 0.1, generated=False),
    )
    optimizer, batch = optax.sgd(1e-3), {'image': normal(1, 4, 16, 16, 1), 'label': jnp.array([0, 1, 1, 0])}
    state = quick(lambda key: gan_jax.init(game, optimizer, optimizer, batch, key))(jax.random.key(0))
    step = quick(gan_jax.make_train_step(game, optimizer, optimizer)).lower(state, batch).compile()
    after, metrics = step(state, batch)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.generator, after.discriminator, metrics)))
    text = step.as_text()
    assert set(re.findall(r'dim_labels=(\w+->\w+)', text)) == {'b01f_01io->b01f'} and 'lhs_dilate' not in text
