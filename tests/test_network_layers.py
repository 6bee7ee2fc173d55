"""Normalisations and minibatch layers: the papers' formulas, batches over devices, and one table of tests for all."""

import functools
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import games, latents, networks, objectives, parallel, penalties
from gan_jax.errors import InputError
from gan_jax.networks import layers
from gan_jax.networks.layers import MINIBATCH_LAYERS, NORMALIZATIONS

quick = functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}
)
"""Compiling is most of the time these tests take."""
DISCRIMINATOR_NORMS = [name for name, member in NORMALIZATIONS.items() if not member.needs_reference]
POINT_NORMS = [name for name in DISCRIMINATOR_NORMS if name != 'instance']  # which is over the positions of an image


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def paths(variables):
    return {'/'.join(str(k.key) for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


# Minibatch discrimination and the minibatch standard deviation.


@pytest.mark.parametrize('include_self', [True, False])
def test_minibatch_discrimination_by_hand(include_self):
    # M_1 = [[1, 0], [0, 2]], M_2 = [[0, 1], [1, 0]], M_3 = M_1 + M_2. Distances of the pairs 12, 13, 23 for b = 1: 2, 1, 1, and
    # for b = 2: 3, 1, 2.
    f = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    T = jnp.array([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]])
    e1, e2, e3 = np.exp(-1.0), np.exp(-2.0), np.exp(-3.0)
    expected = np.array([[e2 + e1, e3 + e1], [e2 + e1, e3 + e2], [e1 + e1, e1 + e2]]) + include_self
    if include_self:
        np.testing.assert_allclose(expected, [[1.503215, 1.417667], [1.503215, 1.185122], [1.735759, 1.503215]], atol=1e-6)
    out = layers.MinibatchDiscrimination(2, 2, include_self).apply({'params': {'T': T}}, f)
    np.testing.assert_allclose(out, np.concatenate([f, expected], 1), atol=1e-6)


def test_minibatch_stddev_by_hand():
    x = np.asarray(normal(0, 6, 2, 2, 3))
    out = layers.MinibatchStddev().apply({}, x)
    np.testing.assert_array_equal(out[..., :3], x)
    np.testing.assert_allclose(out[..., 3], np.full((6, 2, 2), x.std(0).mean()), atol=1e-6)
    out = layers.MinibatchStddev(group_size=3).apply({}, x)
    np.testing.assert_allclose(out[:3, ..., 3], np.full((3, 2, 2), x[:3].std(0).mean()), atol=1e-6)
    np.testing.assert_allclose(out[3:, ..., 3], np.full((3, 2, 2), x[3:].std(0).mean()), atol=1e-6)
    np.testing.assert_allclose(  # a batch of fewer is one group, as the one example of an initialisation is
        layers.MinibatchStddev(group_size=8).apply({}, x), layers.MinibatchStddev().apply({}, x), atol=1e-7
    )
    with pytest.raises(ValueError, match='a batch of 6 examples is not made of groups of 4') as error:
        layers.MinibatchStddev(group_size=4).apply({}, x)
    assert '\n' not in str(error.value)


def test_minibatch_stddev_far_from_the_origin():
    x = np.array([[10000.0], [10000.5]], np.float32)  # squares are multiples of 8 here: E[x^2] - E[x]^2 could not be 1/16
    np.testing.assert_allclose(layers.MinibatchStddev().apply({}, x)[:, 1], 0.25, atol=1e-5)


@pytest.mark.parametrize('runner', ['vmap', 'shard_map'])
@pytest.mark.parametrize(
    'make',
    [
        functools.partial(layers.MinibatchDiscrimination, 3, 2),
        functools.partial(layers.MinibatchDiscrimination, 3, 2, include_self=False),
        layers.MinibatchStddev,
        functools.partial(layers.MinibatchStddev, group_size=2),
    ],
)
def test_a_batch_over_four_devices_is_one_batch(make, runner):
    x, weight = normal(0, 8, 5), normal(1, 8, 1)

    def network(axis_name):
        return nn.Sequential([nn.Dense(4), make(axis_name=axis_name), nn.Dense(1)])

    def step(axis_name, params, x, weight):
        def loss(params):
            out = jnp.tanh(network(axis_name).apply(params, x))
            return (weight * out).mean(), out

        (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return out, parallel.pmean(gradient, axis_name)

    params = network('i').init(jax.random.key(2), x[:1])  # an initialisation needs no axis
    expected, gradient = quick(functools.partial(step, None))(params, x, weight)
    split = functools.partial(step, 'i')
    if runner == 'vmap':
        rows = (v.reshape(4, 2, -1) for v in (x, weight))
        out, found = quick(jax.vmap(split, (None, 0, 0), axis_name='i'))(params, *rows)
        for device in range(4):
            close(gradient, jax.tree.map(lambda g, device=device: g[device], found))
    else:
        mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:4]), ('i',)), jax.sharding.PartitionSpec
        specs = {'in_specs': (spec(), spec('i'), spec('i')), 'out_specs': (spec('i'), spec())}
        out, found = quick(jax.shard_map(split, mesh=mesh, check_vma=False, **specs))(params, x, weight)
        close(gradient, found)
    close(expected, out.reshape(8, 1))


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
    with pytest.raises(ValueError, match='the first 6 rows are the reference batch, got 5'):
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
    message = "normalization 'virtual' is a generator's; a discriminator has batch, none, spectral, weight"
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
    split = lambda x, labels: layers.ConditionalBatchNorm(4, axis_name='i').apply(variables, x, labels, mutable=['batch_stats'])
    out, state = jax.vmap(split, axis_name='i')(x.reshape(4, 2, 3), labels.reshape(4, 2))
    close(expected, (out.reshape(8, 3), jax.tree.map(lambda v: v[2], state)))


# What is common to all members.


def member(name):
    """`x [n, 4, 4, 3] -> array`, of one normalisation or minibatch layer after a dense layer, with its variables."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            if name in MINIBATCH_LAYERS:
                return MINIBATCH_LAYERS[name]()(nn.Dense(4)(x))
            if name == 'conditional':
                return layers.ConditionalBatchNorm(3)(nn.Dense(4)(x), jnp.arange(x.shape[0]) % 3)
            wrap, norm = NORMALIZATIONS[name].parts(True, jnp.float32, None, reference=2)
            return norm()(wrap(nn.Dense(4))(x))

    net = Net()
    variables = dict(net.init(jax.random.key(0), normal(0, 4, 4, 4, 3)))
    params = variables.pop('params')
    return lambda params, x: net.apply({'params': params, **variables}, x, mutable=list(variables))[0], params


@pytest.mark.parametrize('name', sorted({*NORMALIZATIONS, *MINIBATCH_LAYERS, 'conditional'}))
def test_every_member(name):
    call, params = member(name)
    x = normal(1, 4, 4, 4, 3)
    compiled = quick(call)
    close(compiled(params, x), call(params, x), 1e-5)

    @quick
    def derivatives(params, x):
        slope = lambda params, x: jax.grad(lambda x: jnp.sin(call(params, x)).sum())(x)
        penalty = lambda params, x: jnp.square(slope(params, x)).sum()
        return jax.grad(lambda p: jnp.sin(call(p, x)).sum())(params), slope(params, x), jax.grad(penalty, (0, 1))(params, x)

    constant = jnp.ones_like(x) * x[:1]
    for inputs in (x, jnp.zeros_like(x), constant, 1e4 * x):
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((compiled(params, inputs), derivatives(params, inputs))))
    assert compiled._cache_size() == derivatives._cache_size() == 1
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def train_one_step(generator, discriminator, shape):
    """Penalised and unrolled: the step's derivatives are those of any method. Returns the program."""
    game = games.adversarial(
        generator, discriminator, objectives.non_saturating(), latent=latents.normal(2), penalties=[penalties.r1(1.0)]
    )
    optimizer = optax.sgd(1e-3)
    state = quick(lambda key: gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, *shape[1:])), key))(jax.random.key(0))
    step = quick(gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=1)).lower(state, normal(1, *shape)).compile()
    after, metrics = step(state, normal(1, *shape))
    for old, new in ((state.generator, after.generator), (state.discriminator, after.discriminator)):
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, new)))
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), old.params, new.params)
        assert sum(jax.tree.leaves(moved)) > len(jax.tree.leaves(moved)) / 2  # of a ReLU network some may be dead
    close(state.generator.state.get('reference'), after.generator.state.get('reference'), 0)
    return step


QUICK = [('batch', 'none'), ('spectral', 'discrimination'), ('weight', 'stddev')]


@pytest.mark.parametrize(
    ('norm', 'minibatch'),
    [
        pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow)
        for pair in itertools.product(POINT_NORMS, MINIBATCH_LAYERS)
    ],
)
def test_every_combination_trains(norm, minibatch):
    # Each of the generator's normalisations once.
    g_norm = ('virtual' if norm == 'none' else norm) if minibatch == 'none' else 'none'
    train_one_step(
        networks.MLP((3, 2) if minibatch == 'none' else (2,), jnp.tanh, norm=g_norm, reference_size=3),
        networks.MLP((3, 1), jnp.tanh, squeeze=True, norm=norm, minibatch=minibatch),  # layer norm of two units is a sign
        (4, 2),
    )


@pytest.mark.slow
def test_dcgan_trains_and_has_only_canonical_convolutions():
    step = train_one_step(
        networks.DCGANGenerator(8, 1, 2, 3, norm='virtual', reference_size=3),
        networks.DCGANDiscriminator(2, 3, norm='spectral', minibatch='discrimination'),
        (4, 8, 8, 1),
    )
    text = step.as_text()
    assert set(re.findall(r'dim_labels=(\w+->\w+)', text)) == {'b01f_01io->b01f'} and 'lhs_dilate' not in text


@pytest.mark.parametrize('minibatch', MINIBATCH_LAYERS)
@pytest.mark.parametrize('norm', NORMALIZATIONS)
def test_half_precision_keeps_parameters_and_outputs_in_float32(norm, minibatch):
    judge = norm if norm in DISCRIMINATOR_NORMS else 'none'
    of_points = lambda norm: 'none' if norm == 'instance' else norm
    x = jnp.ones((2, 16, 16, 1))
    half = {'dtype': jnp.bfloat16}
    trials = [
        (networks.DCGANDiscriminator(2, norm=judge, minibatch=minibatch, **half), x),
        (networks.MLP((4, 1), squeeze=True, norm=of_points(judge), minibatch=minibatch, **half), x),
        (networks.DCGANGenerator(16, 1, 2, norm=norm, reference_size=3, **half), jnp.ones((2, 4))),
        (networks.MLP((4, 2), norm=of_points(norm), reference_size=3, **half), jnp.ones((2, 4))),
    ]
    for network, inputs in trials:
        y, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), inputs)
        assert y.dtype == jnp.float32 and y.shape[0] == 2
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


def test_seeds_side_by_side():
    network = networks.MLP((4, 1), norm='spectral', minibatch='discrimination:features=3')
    x = normal(0, 3, 2)
    variables = quick(lambda keys: jax.lax.map(lambda key: network.init(key, x), keys))(jax.random.split(jax.random.key(1), 2))
    call = lambda variables: network.apply(variables, x, mutable=['batch_stats'])
    one = call(jax.tree.map(lambda v: v[1], variables))
    close(one, jax.tree.map(lambda v: v[1], quick(jax.vmap(call))(variables)), 1e-5)


# How the networks use them.


def test_the_default_trees_are_what_they_were():
    g = paths(jax.eval_shape(networks.DCGANGenerator(16, 1, 2).init, jax.random.key(0), jnp.zeros((1, 3))))
    assert g == {
        'batch_stats/BatchNorm_0/mean': (4,),
        'batch_stats/BatchNorm_0/var': (4,),
        'batch_stats/BatchNorm_1/mean': (2,),
        'batch_stats/BatchNorm_1/var': (2,),
        'params/BatchNorm_0/bias': (4,),
        'params/BatchNorm_0/scale': (4,),
        'params/BatchNorm_1/bias': (2,),
        'params/BatchNorm_1/scale': (2,),
        'params/ConvTranspose_0/kernel': (5, 5, 2, 4),
        'params/ConvTranspose_1/bias': (1,),
        'params/ConvTranspose_1/kernel': (5, 5, 1, 2),
        'params/Dense_0/kernel': (3, 64),
    }
    d = paths(jax.eval_shape(networks.DCGANDiscriminator(2).init, jax.random.key(0), jnp.zeros((1, 16, 16, 1))))
    assert d == {
        'batch_stats/BatchNorm_0/mean': (4,),
        'batch_stats/BatchNorm_0/var': (4,),
        'params/BatchNorm_0/bias': (4,),
        'params/BatchNorm_0/scale': (4,),
        'params/Conv_0/bias': (2,),
        'params/Conv_0/kernel': (5, 5, 1, 2),
        'params/Conv_1/kernel': (5, 5, 2, 4),
        'params/Dense_0/bias': (1,),
        'params/Dense_0/kernel': (64, 1),
    }
    m = paths(jax.eval_shape(networks.MLP((3, 1)).init, jax.random.key(0), jnp.zeros((1, 2))))
    dense = {'Dense_0/kernel': (2, 3), 'Dense_0/bias': (3,), 'Dense_1/kernel': (3, 1), 'Dense_1/bias': (1,)}
    assert m == {f'params/{name}': shape for name, shape in dense.items()}


def test_every_layer_of_a_spectral_discriminator_is_normalised_and_has_a_bias():
    d = networks.DCGANDiscriminator(2, norm='spectral')
    found = paths(jax.eval_shape(d.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1))))
    weighted = ['Conv_0', 'Conv_1', 'Dense_0']
    assert {name for name in found if name.startswith('params')} == {
        f'params/{layer}/{part}' for layer in weighted for part in ('kernel', 'bias')
    }
    assert [name.split('/')[2] for name in found if name.endswith('/u')] == weighted


def test_minibatch_layers_stand_before_the_last():
    x = jnp.zeros((4, 16, 16, 1))

    def inputs_of_the_last(network, name='Dense_0', x=x):
        return jax.eval_shape(network.init, jax.random.key(0), x)['params'][name]['kernel'].shape[0]

    for norm in DISCRIMINATOR_NORMS:
        make = functools.partial(networks.DCGANDiscriminator, 2, norm=norm)
        assert inputs_of_the_last(make()) == 4 * 4 * 4
        assert inputs_of_the_last(make(minibatch='discrimination')) == 4 * 4 * 4 + 100
        assert inputs_of_the_last(make(minibatch='discrimination:features=7,dimensions=2')) == 4 * 4 * 4 + 7
        assert inputs_of_the_last(make(minibatch='stddev:group_size=2')) == 4 * 4 * (4 + 1)
    assert inputs_of_the_last(networks.MLP((5, 1), minibatch='discrimination'), 'Dense_1') == 105
    assert inputs_of_the_last(networks.MLP((5, 1), minibatch='stddev'), 'Dense_1') == 6


def test_inference_and_initialisation_need_no_axis():
    x = normal(0, 4, 16, 16, 1)
    for minibatch in ('discrimination', 'stddev'):
        for network in (
            networks.DCGANDiscriminator(2, axis_name='i', minibatch=minibatch),
            networks.MLP((3, 1), norm='batch', minibatch=minibatch, axis_name='i'),
        ):
            variables = jax.eval_shape(network.init, jax.random.key(0), x[:1])
            jax.eval_shape(functools.partial(network.apply, train=False), variables, x)
            with pytest.raises(NameError, match='unbound axis name'):
                jax.eval_shape(functools.partial(network.apply, mutable=['batch_stats']), variables, x)


def test_unknown_names_are_refused_with_the_nearest():
    x = jnp.zeros((1, 8, 8, 1))
    for network, message in [
        (networks.DCGANGenerator(8, norm='spectrl'), "unknown normalization 'spectrl'; did you mean spectral"),
        (networks.DCGANDiscriminator(norm='vitual'), "unknown normalization 'vitual'; did you mean virtual"),
        (networks.DCGANDiscriminator(minibatch='std'), "unknown minibatch layer 'std'; did you mean stddev"),
        (networks.MLP((1,), norm='x'), "unknown normalization 'x'; known: batch, none, spectral, weight, virtual"),
        (networks.MLP((1,), minibatch='stddev:size=3'), "minibatch layer stddev has no setting 'size'"),
    ]:
        with pytest.raises(InputError, match=message):
            jax.eval_shape(network.init, jax.random.key(0), x)
