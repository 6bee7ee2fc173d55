"""Minibatch layers by their formulas and over devices; one table of tests for them and all normalisations; the networks' use."""

import functools
import itertools
import re

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
from gan_jax.networks.layers import MINIBATCH_LAYERS, NORMALIZATIONS

DISCRIMINATOR_NORMS = [name for name, member in NORMALIZATIONS.items() if not member.needs_reference]
POINT_NORMS = [name for name in DISCRIMINATOR_NORMS if name != 'instance']  # which is over the positions of an image


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
    with pytest.raises(ValueError, match='a batch of 6 examples cannot be split into groups of 4') as error:
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

    network = nn.Sequential([nn.Dense(4), make(), nn.Dense(1)])

    def step(params, x, weight):
        def loss(params):
            out = jnp.tanh(network.apply(params, x))
            return (weight * out).mean(), out

        (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return out, parallel.pmean(gradient)

    params = network.init(jax.random.key(2), x[:1])
    expected, gradient = quick(step)(params, x, weight)
    if runner == 'vmap':
        rows = (v.reshape(4, 2, -1) for v in (x, weight))
        out, found = quick(jax.vmap(step, (None, 0, 0), axis_name=parallel.AXIS))(params, *rows)
        for device in range(4):
            close(gradient, jax.tree.map(lambda g, device=device: g[device], found))
    else:
        mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:4]), (parallel.AXIS,)), jax.sharding.PartitionSpec
        specs = {'in_specs': (spec(), spec(parallel.AXIS), spec(parallel.AXIS)), 'out_specs': (spec(parallel.AXIS), spec())}
        out, found = quick(jax.shard_map(step, mesh=mesh, check_vma=False, **specs))(params, x, weight)
        close(gradient, found)
    close(expected, out.reshape(8, 1))


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
            wrap, norm = NORMALIZATIONS[name].parts(True, jnp.float32, reference=2)
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


def test_dropout_of_everything_has_no_gradient():
    layer = layers.Dropout(1.0)
    f = lambda x: layer.apply({}, x, rngs={'noise': jax.random.key(0)}).sum()
    value, gradient = jax.value_and_grad(f)(jnp.ones((2, 3)))
    assert value == 0 and not gradient.any()
