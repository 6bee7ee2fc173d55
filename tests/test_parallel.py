"""One device, pmap, shard_map and vmap are the same step; counted and compared on 4 forced CPU devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import data, games, latents, networks, objectives, parallel

DEVICES = 4


def batch_norm_game(axis_name: str | None) -> gan_jax.Game:
    return games.adversarial(
        networks.DCGANGenerator(8, 1, width=4, axis_name=axis_name),
        networks.DCGANDiscriminator(4, axis_name=axis_name),
        objectives.non_saturating(),
        latent=latents.normal(4),
        axis_name=axis_name,
    )


def make_step(axis_name: str | None, **options):
    optimizer = optax.sgd(0.05)  # with Adam, round-off over a zero gradient alone differs by 1e-3
    return gan_jax.make_train_step(batch_norm_game(axis_name), optimizer, optimizer, axis_name=axis_name, **options)


def initial_state() -> gan_jax.TrainState:
    optimizer = optax.sgd(0.05)
    return gan_jax.init(batch_norm_game(None), optimizer, optimizer, jnp.zeros((1, 8, 8, 1)), jax.random.key(0))


def assert_close(a, b, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=atol)


@functools.cache
def single_device(steps: int, unroll_steps: int):
    step = jax.jit(make_step(None, discriminator_steps=steps, unroll_steps=unroll_steps))
    state = initial_state()
    for batch in batches(steps):
        state, metrics = step(state, batch)
    return state, metrics


def batches(steps: int):
    shape = (steps, 16, 8, 8, 1) if steps > 1 else (16, 8, 8, 1)
    return [jax.random.uniform(key, shape, minval=-1) for key in jax.random.split(jax.random.key(1), 2)]


CASES = [(runner, *counts) for runner in ('pmap', 'shard_map', 'vmap') for counts in ((1, 0), (3, 2))]
QUICK = [('pmap', 1, 0)]


@pytest.mark.parametrize(
    ('runner', 'steps', 'unroll_steps'),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_every_runner_agrees_with_one_device(runner, steps, unroll_steps):
    expected, expected_metrics = single_device(steps, unroll_steps)
    axis = int(steps > 1)
    step = make_step(parallel.AXIS, discriminator_steps=steps, unroll_steps=unroll_steps)
    state = initial_state()
    if runner == 'vmap':
        mapped = jax.jit(jax.vmap(step, in_axes=(0, axis), axis_name=parallel.AXIS))
        state = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), state)
        for batch in batches(steps):
            split = batch.reshape(*batch.shape[:axis], DEVICES, -1, *batch.shape[axis + 1 :])
            state, metrics = mapped(state, split)
        for row in range(DEVICES):  # replicas that drift apart show here, and only here
            assert_close(expected, jax.tree.map(lambda x, row=row: x[row], state))
        metrics = jax.tree.map(lambda x: x[0], metrics)
    else:
        run = parallel.RUNNERS[runner](step, batch_axis=axis, devices=jax.devices()[:DEVICES])
        for batch in batches(steps):
            state, metrics = run(state, batch)
        assert_close(expected, state)
    assert_close(expected_metrics, metrics)


@pytest.mark.parametrize('runner', list(parallel.RUNNERS))
def test_resident_data_give_every_device_its_share(runner):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)

    def train(axis_name, wrap):
        feed = data.resident(images, 16, seed=3, axis_name=axis_name)
        many = wrap(gan_jax.many_steps(make_step(axis_name), feed.draw, 4))
        return many(initial_state(), feed.data, jnp.int32(3))

    expected, rows = train(None, jax.jit)
    state, found = train(parallel.AXIS, lambda f: parallel.RUNNERS[runner](f, batch_axis=None, devices=jax.devices()[:DEVICES]))
    assert_close(expected, state)
    assert_close(rows, found)


def dense_game(axis_name: str | None) -> gan_jax.Game:
    return games.adversarial(
        networks.MLP((8, 2)),
        networks.MLP((8, 8, 1), squeeze=True),
        objectives.minimax(),
        latent=latents.normal(4),
        axis_name=axis_name,
    )


@pytest.mark.parametrize(('options', 'updates'), [({}, 2), ({'simultaneous': True}, 1), ({'discriminator_steps': 3}, 2)])
def test_one_all_reduce_for_each_player_update(options, updates):
    # Simultaneous updates do not wait for each other, so XLA gives both one. The three discriminator steps are one loop body,
    # whose all-reduce stands in the program once.
    game, optimizer = dense_game(parallel.AXIS), optax.adam(1e-3)
    step = gan_jax.make_train_step(game, optimizer, optimizer, axis_name=parallel.AXIS, **options)
    batch = jnp.zeros((3, 8, 2) if options.get('discriminator_steps') else (8, 2))
    state = gan_jax.init(dense_game(None), optimizer, optimizer, jnp.zeros((1, 2)), jax.random.key(0))
    assert len(all_reduces(step, state, batch, int(batch.ndim == 3))) == updates


def test_batch_norm_adds_only_its_own_exchanges():
    # G has one norm layer and D none at 8 pixels. It runs forward in both steps, and backward in G's own.
    found = collectives(make_step(parallel.AXIS), initial_state(), jnp.zeros((8, 8, 8, 1)), 0)
    assert sorted(found) == ['all-gather'] * 2 + ['all-reduce'] * 2 + ['reduce-scatter']


def all_reduces(*arguments):
    return [name for name in collectives(*arguments) if name == 'all-reduce']


def collectives(step, state, batch, axis):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (parallel.AXIS,))
    spec = jax.sharding.PartitionSpec
    split = spec(*[None] * axis, parallel.AXIS)
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(spec(), split), out_specs=spec(), check_vma=False)
    return re.findall(r' (all-\w+|reduce-scatter)(?:-start)?\(', jax.jit(mapped).lower(state, batch).compile().as_text())


def test_an_uneven_batch_is_refused():
    run = parallel.pmap(make_step(parallel.AXIS), devices=jax.devices()[:DEVICES])
    with pytest.raises(gan_jax.InputError, match='batch size 6 is not divisible by the 4 devices'):
        run(initial_state(), jnp.zeros((6, 8, 8, 1)))


def test_pmean_of_a_tree_is_the_mean_and_leaves_integers_alone():
    tree = {'a': jnp.arange(8.0).reshape(4, 2), 'n': jnp.arange(4), 'h': jnp.ones((4, 3), jnp.bfloat16)}
    mean = jax.vmap(lambda t: parallel.pmean(t, 'i'), axis_name='i')(tree)
    np.testing.assert_allclose(mean['a'], [[3.0, 4.0]] * 4)
    np.testing.assert_array_equal(mean['n'], tree['n'])
    assert mean['h'].dtype == jnp.bfloat16


def test_example_keys_do_not_depend_on_the_number_of_devices():
    key = jax.random.key(2)
    together = parallel.example_keys(key, 8)
    apart = jax.vmap(lambda _: parallel.example_keys(key, 2, 'i'), axis_name='i')(jnp.arange(4)).reshape(-1)
    np.testing.assert_array_equal(jax.random.key_data(together), jax.random.key_data(apart))
