"""Normalisations by their papers' formulas: spectral, weight, virtual and conditional batch norm."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import close, normal, paths, quick

import gan_jax
from gan_jax import games, latents, networks, objectives, parallel, penalties
from gan_jax.errors import InputError
from gan_jax.networks import layers
from gan_jax.networks.weight_normalization import _standardising as standardising

# Spectral and weight normalisation.


def spectral_dense(W, u):
    """`(variables) -> (W normalised, state)` of a spectrally normalised Dense(2), and its variables. Flax's kernel is W^T."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return layers.spectral_norm(nn.Dense(2, use_bias=False, dtype=None), train=train)(x)

    stats = {'SpectralNorm_0': {'Dense_0/kernel/u': u, 'Dense_0/kernel/sigma': jnp.ones((), W.dtype)}}
    variables = {'params': {'Dense_0': {'kernel': W.T}}, 'batch_stats': stats}
    identity = jnp.eye(2, dtype=W.dtype)

    def call(variables, train=True):
        y, state = Net().apply(variables, identity, train, mutable=['batch_stats'])
        return y.T, {**variables, **state}

    return call, variables


def vector(variables):
    (stats,) = variables['batch_stats'].values()
    (u,) = (value for name, value in stats.items() if name.endswith('/u'))
    return u


def test_power_iteration_by_hand():
    # W W^T has eigenvalues 45 and 5: sigma_1 = sqrt(45). The estimate's error shrinks by (sigma_2 / sigma_1)^4 = 1 / 81 a step.
    with jax.enable_x64(True):
        W = jnp.array([[3.0, 0.0], [4.0, 5.0]])
        call, variables = spectral_dense(W, jnp.array([[1.0, 0.0]]))
        errors = []
        for _ in range(6):
            normalised, variables = call(variables)
            errors.append(np.sqrt(45) - float(W[0, 0] / normalised[0, 0]))
        ratios = [a / b for a, b in itertools.pairwise(errors[1:])]
        np.testing.assert_allclose(ratios, 81, rtol=0.02)
        assert errors[-1] < 1e-8
        assert np.linalg.norm(normalised, 2) == pytest.approx(1, abs=1e-8)
        _, after = call(variables, train=False)
        np.testing.assert_array_equal(vector(after), vector(variables))
        assert not np.array_equal(vector(call(variables)[1]), vector(variables))


def test_the_gradient_goes_through_sigma_and_not_through_the_vectors():
    # sigma = u^T W v with u, v constant, so d sigma / dW = u v^T; and that of <A, W / sigma>, A / sigma - <A, W> u v^T / sigma^2.
    with jax.enable_x64(True):
        W, A, u = np.asarray(normal(0, 2, 2)), np.asarray(normal(1, 2, 2)), np.array([0.6, 0.8])
        call, variables = spectral_dense(jnp.asarray(W), jnp.asarray(u)[None])
        gradient = jax.grad(lambda W: (A * call({**variables, 'params': {'Dense_0': {'kernel': W.T}}})[0]).sum())(jnp.asarray(W))
        v = u @ W / np.linalg.norm(u @ W)
        u = W @ v / np.linalg.norm(W @ v)
        sigma = u @ W @ v
        np.testing.assert_allclose(gradient, A / sigma - (A * W).sum() * np.outer(u, v) / sigma**2, atol=1e-9)


def convolution(features):
    return layers.Conv(features=features, kernel_size=(3, 3), use_bias=False)


def transposed(features):
    return layers.ConvTranspose(features, (3, 3), (2, 2), use_bias=False)


class Wrapped(nn.Module):
    """One layer within one of the two weight normalisations."""

    wrap: object
    make: object

    @nn.compact
    def __call__(self, x, train=True):
        return self.wrap(self.make(4), train=train)(x)


@pytest.mark.parametrize('make', [nn.Dense, convolution, transposed])
def test_the_largest_singular_value_becomes_one(make):
    x = normal(0, 2, 5, 5, 3)
    net = Wrapped(layers.spectral_norm, make)
    variables = net.init(jax.random.key(1), x)
    advance = quick(lambda v: {**v, **net.apply(v, x, mutable=['batch_stats'])[1]})
    for _ in range(60):
        variables = advance(variables)
    # A second pass over the normalised kernel, by the plain layer, tells what the first computed with.
    (kernel,) = (leaf['kernel'] for leaf in variables['params'].values())
    sigma = np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    plain = make(4).apply({'params': {**next(iter(variables['params'].values())), 'kernel': kernel / sigma}}, x)
    np.testing.assert_allclose(net.apply(variables, x, train=False), plain, atol=1e-5)


@pytest.mark.parametrize('make', [nn.Dense, convolution, transposed])
def test_weight_norm_has_one_norm_for_each_output_feature(make):
    x = normal(0, 2, 5, 5, 3)
    net = Wrapped(layers.weight_norm, make)
    variables = net.init(jax.random.key(1), x)
    (name,) = (name for name in variables['params'] if not name.startswith('WeightNorm'))
    axis = -2 if make is transposed else -1
    kernel = np.asarray(variables['params'][name]['kernel'])
    size = np.sqrt(np.square(kernel).sum(tuple(i for i in range(kernel.ndim) if i != kernel.ndim + axis), keepdims=True))
    g = np.arange(1.0, 5.0, dtype=np.float32).reshape(size.shape)
    scales = {'WeightNorm_0': {f'{name}/kernel/scale': g.ravel()}}

    def call(kernel):
        return net.apply({'params': {name: {**variables['params'][name], 'kernel': kernel}, **scales}}, x)

    plain = make(4).apply({'params': {**variables['params'][name], 'kernel': g * kernel / size}}, x)
    np.testing.assert_allclose(call(kernel), plain, atol=1e-5)
    np.testing.assert_allclose(call(kernel * g * 3), plain, atol=1e-5)  # the lengths of v do not matter, each feature's alone


INITIAL = [
    # The initialisers' own deviations: sqrt(4 / (fan in + fan out)) within blocks of residual networks, .02 in DCGAN.
    (networks.SNGANDiscriminator(128), (1, 8, 8, 3), 'Conv_1', (4 / (2 * 9 * 128)) ** 0.5),  # .0417
    (networks.SNGANDiscriminator(128), (1, 8, 8, 3), 'Conv_5', (2 / (2 * 128)) ** 0.5),
    (networks.DCGANDiscriminator(32, norm='spectral'), (1, 32, 32, 3), 'Conv_1', 0.02),
    (networks.DCGANDiscriminator(32, norm='spectral'), (1, 32, 32, 3), 'Dense_0', 0.02),
    (networks.DCGANDiscriminator(32, norm='weight'), (1, 32, 32, 3), 'Conv_2', 0.02),
    (networks.DCGANGenerator(16, 3, 64, norm='weight'), (1, 100), 'ConvTranspose_0', 0.02),
    (networks.DCGANGenerator(16, 3, 64, norm='spectral'), (1, 100), 'Dense_0', 0.02),
    (networks.PatchDiscriminator(70, 32, norm='spectral'), (1, 32, 32, 3), 'Conv_2', 0.02),
    (networks.UNet(3, 32, norm='weight'), (1, 8, 8, 3), 'ConvTranspose_0', 0.02),
    (networks.MLP((64, 64, 1), norm='spectral'), (1, 64), 'Dense_1', 64**-0.5),
]


@pytest.mark.parametrize(('network', 'shape', 'layer', 'deviation'), INITIAL)
@pytest.mark.parametrize('train', [True, False])
def test_kernels_are_stored_as_the_initialiser_draws_them(network, shape, layer, deviation, train):
    init = lambda key: network.init({'params': key, 'noise': key}, jnp.ones(shape), train=train)['params'][layer]['kernel']
    kernel = quick(init)(jax.random.key(0))
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.06)


def test_the_classifier_of_improved_gan_has_columns_of_the_authors_lengths():
    init = lambda key: networks.SemiSupervisedClassifier().init({'params': key, 'noise': key}, normal(0, 2, 28, 28, 1))
    params = quick(init)(jax.random.key(0))['params']
    lengths = [float(np.linalg.norm(params[f'Dense_{i}']['kernel'], axis=0).mean()) for i in range(5)]
    np.testing.assert_allclose(lengths, [0.1 * n**0.5 for n in (784, 1000, 500, 250, 250)], rtol=0.01)
    np.testing.assert_allclose(lengths, [2.8, 3.2, 2.2, 1.6, 1.6], atol=0.05)


def spectral_game():
    discriminator = networks.MLP((3, 1), squeeze=True, norm='spectral')
    return games.adversarial(
        networks.MLP((3, 2)), discriminator, objectives.non_saturating(), latent=latents.normal(2), penalties=[penalties.r1(1.0)]
    )


def test_only_the_discriminators_own_updates_advance_its_vectors():
    # With frozen weights u is a function of the number of power iterations alone. Three steps of the generator, each against a
    # discriminator unrolled once, and the penalty, must leave it where the discriminator's one loss left it.
    game, frozen = spectral_game(), optax.set_to_zero()
    state = gan_jax.init(game, optax.sgd(0.1), frozen, jnp.zeros((1, 2)), jax.random.key(0))
    step = gan_jax.make_train_step(game, optax.sgd(0.1), frozen, generator_steps=3, unroll_steps=1)
    batch = normal(1, 3, 4, 2)
    after, _ = quick(step)(state, batch)
    _, (expected, _) = quick(game.discriminator_loss)(state.discriminator.variables, batch[1], batch[0], jax.random.key(3))
    close(after.discriminator.state, expected)
    u = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(expected) if 'u' in str(path[-1])}
    before = dict(jax.tree_util.tree_leaves_with_path(state.discriminator.state))
    assert any(np.abs(leaf - before[path]).max() > 1e-2 for path, leaf in u.items())


# Virtual and conditional batch norm.


@pytest.mark.parametrize('shape', [(5,), (3, 4, 5)])
def test_virtual_batch_norm_by_its_formula(shape):
    R, n = 6, 3
    x = np.asarray(normal(0, R + n, *shape)) * 2 + 1
    norm = layers.VirtualBatchNorm(R)
    scale, bias = np.arange(1.0, 6.0, dtype=np.float32), np.arange(5.0, dtype=np.float32)
    out = norm.apply({'params': {'scale': scale, 'bias': bias}}, x)

    x = x.astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    first, second = x[:R].mean(axes), np.square(x[:R]).mean(axes)
    expected = [(row - first) / np.sqrt(second - first**2 + 1e-5) for row in x[:R]]
    for row in x[R:]:
        m1 = (R * first + row.mean(axes[:-1])) / (R + 1)
        m2 = (R * second + np.square(row).mean(axes[:-1])) / (R + 1)
        expected.append((row - m1) / np.sqrt(m2 - m1**2 + 1e-5))
    np.testing.assert_allclose(out, np.stack(expected) * scale + bias, atol=2e-5)
    with pytest.raises(ValueError, match='the first 6 rows must be the reference batch, got 5'):
        norm.init(jax.random.key(0), x[:5])


@pytest.mark.parametrize(
    ('make', 'train'),
    [
        (functools.partial(networks.DCGANGenerator, 16, 1, 2), True),
        (functools.partial(networks.MLP, (8, 8, 2)), True),
        (functools.partial(networks.MLP, (8, 8, 2)), False),
    ],
)
def test_a_virtual_generators_sample_is_its_own(make, train):
    generator = make(norm='virtual', reference_size=5)
    z = normal(0, 4, 3)
    variables = quick(generator.init)(jax.random.key(1), z)
    assert paths(variables['reference']) == {'z': (5, 3)}
    assert float(jnp.abs(variables['reference']['z']).min()) > 0
    call = quick(lambda z, variables=variables: generator.apply(variables, z, train=train))
    together = call(z)
    assert together.shape[0] == 4
    np.testing.assert_allclose(call(z.at[1:].multiply(100))[0], together[0], atol=1e-6)
    np.testing.assert_allclose(call(z[:1])[0], together[0], atol=1e-6)
    moved = call(z, {**variables, 'reference': {'z': 3 * variables['reference']['z'] + 1}})
    assert np.abs(moved - together).max() > 1e-3 * np.abs(together).max()


def test_virtual_batch_norm_is_for_generators():
    message = "normalization 'virtual' is only for generators; a discriminator takes batch, none, spectral, weight"
    for network in (networks.DCGANDiscriminator(2, norm='virtual'), networks.MLP((2, 1), squeeze=True, norm='virtual')):
        with pytest.raises(InputError, match=message):
            network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_conditional_batch_norm_by_its_formula():
    x, labels = np.asarray(normal(0, 6, 2, 2, 3)) * 3 + 1, jnp.array([0, 1, 1, 3, 0, 1])
    norm = layers.ConditionalBatchNorm(4)
    variables = norm.init(jax.random.key(0), x, labels)
    assert paths(variables['params']) == {'bias': (4, 3), 'scale': (4, 3)}
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))  # of all classes together
    standard = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(norm.apply(variables, x, labels, mutable=['batch_stats'])[0], standard, atol=1e-5)

    scale, bias = np.asarray(normal(1, 4, 3)), np.asarray(normal(2, 4, 3))
    variables = {**variables, 'params': {'scale': scale, 'bias': bias}}
    out, state = norm.apply(variables, x, labels, mutable=['batch_stats'])
    expected = np.stack([standard[i] * scale[c] + bias[c] for i, c in enumerate(labels)])
    np.testing.assert_allclose(out, expected, atol=1e-5)
    (running,) = state['batch_stats'].values()
    np.testing.assert_allclose(running['mean'], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(running['var'], 0.9 + 0.1 * variance, atol=1e-5)
    inference = norm.apply({**variables, **state}, x[:1], labels[:1], train=False)
    expected = (x[:1] - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-5) * scale[0] + bias[0]
    np.testing.assert_allclose(inference, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r'one label for each of 6 examples, got labels of shape \(2,\)'):
        norm.init(jax.random.key(0), x, labels[:2])


def test_conditional_batch_norm_shares_its_statistics_over_devices():
    x, labels = normal(0, 8, 3), jnp.arange(8) % 4
    norm = layers.ConditionalBatchNorm(4)
    variables = norm.init(jax.random.key(0), x, labels)
    expected = norm.apply(variables, x, labels, mutable=['batch_stats'])
    split = lambda x, labels: norm.apply(variables, x, labels, mutable=['batch_stats'])
    out, state = jax.vmap(split, axis_name=parallel.AXIS)(x.reshape(4, 2, 3), labels.reshape(4, 2))
    close(expected, (out.reshape(8, 3), jax.tree.map(lambda v: v[2], state)))


@pytest.mark.parametrize(
    'latent', [latents.uniform(3, 0.0), latents.uniform(3, -0.5, 0.5), latents.truncated_normal(3, 0.3), latents.normal(3)]
)
@pytest.mark.parametrize('generators', [0, 2])
def test_the_reference_batch_is_of_the_games_own_latents(latent, generators):
    network = networks.MLP((4, 2), norm='virtual', reference_size=200)
    if generators:
        judge = networks.MLP((2, generators + 1))
        game = games.multi_generator(network, judge, generators=generators, latent=latent)
    else:
        judge = networks.MLP((2, 1), squeeze=True)
        game = games.adversarial(network, judge, objectives.hinge(), latent=latent)
    g, _ = quick(lambda key: game.init(jnp.zeros((1, 2)), key))(jax.random.key(0))
    z = np.asarray(g['reference']['z']).reshape(-1, 3)[:200]
    expected = np.asarray(jax.vmap(latent)(jax.random.split(jax.random.key(1), 2000)))
    assert len(z) == 200 and len(np.unique(z)) == 600
    if abs(expected).max() < 1.5:  # bounded
        assert expected.min() - 0.02 <= z.min() and z.max() <= expected.max() + 0.02
    np.testing.assert_allclose(z.mean(), expected.mean(), atol=4 * expected.std() / 600**0.5)
    np.testing.assert_allclose(z.std(), expected.std(), rtol=0.1)


def test_a_reference_batch_of_labelled_examples_has_their_labels():
    generator = networks.ConcatenatedGenerator(networks.MLP((4, 2), norm='virtual', reference_size=6), 3)
    judge = networks.ConcatenatedDiscriminator(networks.MLP((2, 1), squeeze=True), 3, flat=True)
    game = games.conditional(generator, judge, objectives.hinge(), latent=latents.uniform(2, 0.0))
    batch = {'image': jnp.zeros((1, 2)), 'label': jnp.array([0, 1, 2])}
    g, _ = quick(lambda key: game.init(batch, key))(jax.random.key(0))
    (reference,) = jax.tree.leaves(g['reference'])
    np.testing.assert_array_equal(reference[:, 2:], np.tile(np.eye(3), (2, 1)))
    assert float(reference[:, :2].min()) >= 0 and float(reference[:, :2].max()) < 1


def test_power_iteration_leaves_a_kernel_of_zeros_behind():
    network = networks.MLP((4,), norm='spectral', kernel_init=nn.initializers.zeros)
    x = jax.random.normal(jax.random.key(0), (8, 3))
    variables = network.init(jax.random.key(1), x)
    step = lambda variables: {**variables, **network.apply(variables, x, train=True, mutable=['batch_stats'])[1]}
    variables = step(variables)
    grown = lambda p: p + 5 * jax.random.normal(jax.random.key(2), p.shape) if p.ndim == 2 else p
    variables = {**variables, 'params': jax.tree.map(grown, variables['params'])}
    for _ in range(30):
        variables = step(variables)
    apply = lambda x: network.apply(variables, x, train=False)
    largest = np.linalg.svd(apply(jnp.eye(3)) - apply(jnp.zeros((3, 3))), compute_uv=False)[0]
    assert largest == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize('count', [1, 3, 7, 500])
def test_what_does_not_vary_starts_at_scale_one(count):
    scale, bias = standardising(jnp.full((count, 1), 0.1) * jnp.array([[1.0, 3.3, -7.7]]))
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_allclose(bias, [-0.1, -0.33, 0.77], rtol=1e-5)
