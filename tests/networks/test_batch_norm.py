"""Batch norm: right far from the origin, flax's everywhere else, and one batch over devices by one exchange."""

import re

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal, paths, quick, random_variables

from gan_jax import networks, parallel
from gan_jax.networks.batch_norm import BatchNorm, batch_moments


@pytest.mark.parametrize(
    ('mean', 'deviation', 'out'),
    [
        (100.0, 0.01, (1e-4 / 1.1e-4) ** 0.5),  # E[x^2] - E[x]^2 makes 1.61 of it
        (-100.0, 0.01, (1e-4 / 1.1e-4) ** 0.5),
        (1e4, 1.0, 1.0),
        (3e6, 10.0, 1.0),
        (0.0, 1e-3, (1e-6 / 1.1e-5) ** 0.5),
        (100.0, 0.0, 0.0),
    ],
)
def test_far_from_the_origin(mean, deviation, out):
    x = np.asarray(mean + deviation * normal(0, 64, 32, 32, 1), np.float32)
    exact = x.astype(np.float64)
    norm = BatchNorm(False)
    y, state = norm.apply(norm.init(jax.random.key(0), x), x, mutable=['batch_stats'])
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    resolved = 2 * np.spacing(np.float32(abs(mean))) / np.sqrt(exact.var() + 1e-5)  # of the mean, in units of the output
    np.testing.assert_allclose(y, expected, atol=1e-4 + resolved)
    np.testing.assert_allclose(np.std(y), out, rtol=0.02)
    np.testing.assert_allclose(state['batch_stats']['var'] - 0.9, 0.1 * exact.var(), rtol=1e-3, atol=1e-7)


def call(norm, **options):
    def apply(params, x):
        return norm.apply({**params, **options}, x, mutable=['batch_stats'])

    return apply


def derivatives(apply):
    """`(params, x) -> the output, the state, the derivatives of the output, and those of its derivative`, as R1 takes them."""

    def loss(params, x):
        return jnp.sin(apply(params, x)[0]).sum()

    def penalty(params, x):  # weighted, because to directions that sum to 0 a shift of the mean is nothing
        return (normal(7, *x.shape) * jnp.square(jax.grad(loss, 1)(params, x))).sum()

    return lambda params, x: (apply(params, x), jax.grad(loss, (0, 1))(params, x), jax.grad(penalty, (0, 1))(params, x))


@pytest.mark.parametrize(
    'options', [{}, {'use_scale': False, 'epsilon': 1e-6}, {'use_scale': False, 'use_bias': False}, {'use_running_average': True}]
)
def test_it_is_flaxes(options):
    options = {'use_running_average': False, **options}
    ours, theirs = BatchNorm(**options), nn.BatchNorm(momentum=0.9, use_fast_variance=False, dtype=jnp.float32, **options)
    x = 2 * normal(0, 6, 3, 2, 4) + 1
    variables = theirs.init(jax.random.key(0), x)
    assert paths(ours.init(jax.random.key(0), x)) == paths(variables)
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.abs(normal(1, *leaf.shape)), variables)
    stats = {'batch_stats': variables.pop('batch_stats')}
    close(*(quick(derivatives(call(norm, **stats)))(variables, x) for norm in (ours, theirs)), 1e-4)


def test_half_precision_has_the_moments_of_single():
    x = (3 + normal(0, 64, 8)).astype(jnp.bfloat16)
    norm = BatchNorm(False, dtype=jnp.bfloat16)
    y, state = norm.apply(norm.init(jax.random.key(0), x), x, mutable=['batch_stats'])
    assert y.dtype == jnp.bfloat16 and {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype('float32')}
    np.testing.assert_allclose(state['batch_stats']['mean'], 0.1 * x.astype(jnp.float32).mean(0), rtol=1e-6)


def test_a_batch_over_four_devices_is_one_batch_by_one_exchange():
    # Devices with means of their own, far from the origin: their variances alone would be too small.
    x = 100 + 0.01 * (normal(0, 8, 2, 3) + jnp.arange(8).reshape(8, 1, 1))
    norm = BatchNorm(False)
    variables = norm.init(jax.random.key(0), x)
    stats = {'batch_stats': variables.pop('batch_stats')}

    def over_devices(params, x):
        return jax.vmap(call(norm, **stats), (None, 0), axis_name=parallel.AXIS)(params, x.reshape(4, 2, *x.shape[1:]))

    def whole(params, x):
        y, state = over_devices(params, x)
        return y.reshape(x.shape), jax.tree.map(lambda leaf: leaf[2], state)

    (y, state), gradient, second = quick(derivatives(whole))(variables, x)
    exact = np.asarray(x, np.float64)
    variance = exact.var((0, 1))
    np.testing.assert_allclose(y, (exact - exact.mean((0, 1))) / np.sqrt(variance + 1e-5), atol=2e-3)
    np.testing.assert_allclose(state['batch_stats']['var'], 0.9 + 0.1 * variance, atol=1e-6)
    expected = quick(derivatives(call(norm, **stats)))(variables, x)
    relative = lambda tree, like: jax.tree.map(lambda a, b: a / jnp.abs(b).max(), tree, like)
    for found, wanted in zip(((y, state), gradient, second), expected, strict=True):
        close(relative(found, wanted), relative(wanted, wanted), 3e-3)
    found = re.findall(r'\b(all_\w+|psum\w*|reduce_scatter)\[', str(jax.make_jaxpr(shares)(x)))
    assert found == ['all_gather']


def shares(x):
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:4]), (parallel.AXIS,)), jax.sharding.PartitionSpec
    return jax.shard_map(batch_moments, mesh=mesh, in_specs=spec(parallel.AXIS), out_specs=spec(), check_vma=False)(x)


def test_averages_move_in_training_only():
    x = normal(0, 8, 3)
    norm = BatchNorm(False)
    variables = norm.init(jax.random.key(0), x)
    close(variables['batch_stats'], {'mean': jnp.zeros(3), 'var': jnp.ones(3)}, 0)
    with pytest.raises(flax.errors.ModifyScopeVariableError):  # as flax's own: what is not mutable is not kept in silence
        norm.apply(variables, x)
    own = BatchNorm(False, track=False).apply(variables, x)  # inference by the batch's own moments
    close(own, norm.apply(variables, x, mutable=['batch_stats'])[0])


def test_standing_statistics_are_the_means_of_the_moments_over_batches():
    # Of two layers, the second of which sees what the first made of each batch by that batch's moments.
    network = networks.MLP((3, 2, 1), norm='batch')
    draw, keys = (lambda key: (jax.random.normal(key, (5, 4)),)), jax.random.split(jax.random.key(1), 3)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 4)))
    variables = jax.tree.map(lambda x: x + normal(2, *x.shape) ** 2, variables)
    found = quick(networks.standing_statistics, static_argnums=(0, 2))(network, variables, draw, keys)
    np.testing.assert_array_equal(found['params']['Dense_0']['kernel'], variables['params']['Dense_0']['kernel'])
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables['params'])
    expected = []
    for key in keys:
        x, moments = np.asarray(draw(key)[0], np.float64), []
        for i in range(2):
            x = x @ p[f'Dense_{i}']['kernel'] + p[f'Dense_{i}'].get('bias', 0)
            moments.append((x.mean(0), x.var(0)))
            norm = p[f'BatchNorm_{i}']
            x = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * norm['scale'] + norm['bias'], 0)
        expected.append(moments)
    for i in range(2):
        for j, name in enumerate(('mean', 'var')):
            mean = np.mean([moments[i][j] for moments in expected], 0)
            np.testing.assert_allclose(found['batch_stats'][f'BatchNorm_{i}'][name], mean, rtol=1e-4, atol=1e-6)


def test_standing_statistics_keep_what_is_not_batch_norms():
    network = networks.BigGANGenerator(8, 1, 2, 3, 2, attention=0)
    draw = lambda key: (jax.random.normal(key, (4, 4)), jnp.arange(4) % 3)
    variables = random_variables(network, *draw(jax.random.key(0)))
    found = quick(lambda v, keys: networks.standing_statistics(network, v, draw, keys))(
        variables, jax.random.split(jax.random.key(1))
    )
    assert paths(found) == paths(variables)
    same = jax.tree_util.tree_map_with_path(
        lambda path, x, y: bool((x == y).all()) == (path[-1].key not in ('mean', 'var')), variables, found
    )
    assert jax.tree.all(same)
    plain, draw = networks.MLP((2,)), lambda key: (jnp.zeros((1, 4)),)
    with pytest.raises(ValueError, match='MLP has no batch norm'):
        networks.standing_statistics(plain, random_variables(plain, *draw(None)), draw, jax.random.split(jax.random.key(1)))
