"""One device, pmap, shard_map and vmap are the same step; counted and compared on 4 forced CPU devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import compilation, data, games, latents, networks, objectives, parallel
from gan_jax.training import minibatches_of_step

DEVICES = 4


def batch_norm_game() -> gan_jax.Game:
    return games.adversarial(
        networks.DCGANGenerator(8, 1, width=4),
        networks.DCGANDiscriminator(4),
        objectives.non_saturating(),
        latent=latents.normal(4),
    )


def make_step(**options):
    optimizer = optax.sgd(0.05)  # with Adam, round-off over a zero gradient alone differs by 1e-3
    return gan_jax.make_train_step(batch_norm_game(), optimizer, optimizer, **options)


def initial_state() -> gan_jax.TrainState:
    optimizer = optax.sgd(0.05)
    return gan_jax.init(batch_norm_game(), optimizer, optimizer, jnp.zeros((1, 8, 8, 1)), jax.random.key(0))


def assert_close(a, b, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=atol)


@functools.cache
def single_device(steps: int, unroll_steps: int):
    step = jax.jit(make_step(discriminator_steps=steps, unroll_steps=unroll_steps))
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
    step = make_step(discriminator_steps=steps, unroll_steps=unroll_steps)
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

    def train(wrap):
        feed = data.resident(images, 16)
        many = wrap(gan_jax.many_steps(make_step(), feed.by(jax.random.key(3)), 4))
        return many(initial_state(), feed.data, jnp.int32(3))

    expected, rows = train(jax.jit)
    state, found = train(lambda f: parallel.RUNNERS[runner](f, batch_axis=None, devices=jax.devices()[:DEVICES]))
    assert_close(expected, state)
    assert_close(rows, found)


def dense_game() -> gan_jax.Game:
    return games.adversarial(
        networks.MLP((8, 2)),
        networks.MLP((8, 8, 1), squeeze=True),
        objectives.minimax(),
        latent=latents.normal(4),
    )


@pytest.mark.parametrize(('options', 'updates'), [({}, 2), ({'simultaneous': True}, 1), ({'discriminator_steps': 3}, 2)])
def test_one_all_reduce_for_each_player_update(options, updates):
    # Simultaneous updates do not wait for each other, so XLA gives both one. The three discriminator steps are one loop body,
    # whose all-reduce stands in the program once.
    game, optimizer = dense_game(), optax.adam(1e-3)
    step = gan_jax.make_train_step(game, optimizer, optimizer, **options)
    batch = jnp.zeros((3, 8, 2) if options.get('discriminator_steps') else (8, 2))
    state = gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 2)), jax.random.key(0))
    assert len(all_reduces(step, state, batch, int(batch.ndim == 3))) == updates


def test_batch_norm_adds_only_its_own_exchanges():
    # G has one norm layer and D none at 8 pixels. It runs forward in both steps, and backward in G's own.
    found = collectives(make_step(), initial_state(), jnp.zeros((8, 8, 8, 1)), 0)
    assert sorted(found) == ['all-gather'] * 2 + ['all-reduce'] * 2 + ['reduce-scatter']


def all_reduces(*arguments):
    return [name for name in collectives(*arguments) if name == 'all-reduce']


def collectives(step, state, batch, axis):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (parallel.AXIS,))
    spec = jax.sharding.PartitionSpec
    split = spec(*[None] * axis, parallel.AXIS)
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(spec(), split), out_specs=spec(), check_vma=False)
    return re.findall(r' (all-\w+|reduce-scatter)(?:-start)?\(', jax.jit(mapped).lower(state, batch).compile().as_text())


@pytest.mark.parametrize('unroll_steps', [0, 1])
def test_the_loop_stays_on_its_devices_and_donates_the_whole_state(unroll_steps):
    feed = data.resident(np.zeros((40, 8, 8, 1), np.uint8), 16)
    many = gan_jax.many_steps(make_step(unroll_steps=unroll_steps), feed.by(jax.random.key(3)), 4)
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (parallel.AXIS,)), jax.sharding.PartitionSpec()
    mapped = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False), donate_argnums=0)
    state, arguments = initial_state(), (feed.data, jnp.int32(3))
    leaves = len(jax.tree.leaves(state))
    for platform in ('cuda', 'tpu'):
        text = mapped.trace(state, *arguments).lower(lowering_platforms=(platform,)).as_text()
        assert len(re.findall('tf.aliasing_output|jax.buffer_donor', text)) == leaves
        assert not re.search('callback|infeed|outfeed|stablehlo.send|stablehlo.recv|host', text)
    program = mapped.lower(state, *arguments).compile()
    aliased = re.search(r'input_output_alias=\{(.*?)\}, entry_computation', program.as_text(), re.S)
    assert aliased and aliased[1].count('-alias') == leaves


@pytest.mark.parametrize('runner', list(parallel.RUNNERS))
def test_a_step_is_compiled_once_for_the_first_state_and_all_later_ones(runner, caplog):
    init, step = paired_step()
    run, batch = parallel.RUNNERS[runner](step, devices=jax.devices()[:DEVICES]), jnp.ones((8, 2))
    state, others = init(jax.random.key(0)), []
    with caplog.at_level('WARNING', logger='jax._src.interpreters.pxla'), jax.log_compiles():
        for _ in range(3):
            others.append(len(caplog.records))
            state, _ = run(state, batch)
    assert re.findall('Compiling jit.(?:run|with_index).', caplog.text) and len(caplog.records) == others[1]


def test_an_uneven_batch_is_refused():
    run = parallel.pmap(make_step(), devices=jax.devices()[:DEVICES])
    with pytest.raises(gan_jax.InputError, match='batch size 6 is not divisible by the 4 devices'):
        run(initial_state(), jnp.zeros((6, 8, 8, 1)))


def test_pmean_of_a_tree_is_the_mean_and_leaves_integers_alone():
    tree = {'a': jnp.arange(8.0).reshape(4, 2), 'n': jnp.arange(4), 'h': jnp.ones((4, 3), jnp.bfloat16)}
    mean = jax.vmap(parallel.pmean, axis_name=parallel.AXIS)(tree)
    np.testing.assert_allclose(mean['a'], [[3.0, 4.0]] * 4)
    np.testing.assert_array_equal(mean['n'], tree['n'])
    assert mean['h'].dtype == jnp.bfloat16


def test_small_arrays_are_averaged_as_one_and_on_one_device_nothing_changes():
    tree = {'loss': 1.0, 'bias': jnp.ones(6), 'kernel': jnp.ones((40, 40)), 'step': jnp.int32(3)}
    assert parallel.pmean(tree) is tree
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (parallel.AXIS,)), jax.sharding.PartitionSpec()
    found = jax.make_jaxpr(jax.shard_map(parallel.pmean, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))(tree)
    summed = re.findall(r'(\S+) = psum', str(found))
    assert sorted(name.partition(':')[2] for name in summed) == ['f32[40,40]', 'f32[7]']


def test_example_keys_do_not_depend_on_the_number_of_devices():
    key = jax.random.key(2)
    together = parallel.example_keys(8, key)
    apart = jax.vmap(lambda _: parallel.example_keys(2, key), axis_name=parallel.AXIS)(jnp.arange(4)).reshape(-1)
    np.testing.assert_array_equal(jax.random.key_data(together), jax.random.key_data(apart))


@pytest.mark.parametrize(
    'jit', [jax.jit, compilation.jit, jax.checkpoint, lambda f: lambda x: jax.tree.map(lambda y: y[0], jax.lax.map(f, x[None]))]
)
def test_what_was_traced_on_one_device_is_traced_anew_on_many(jit):
    collective = jit(lambda x: (parallel.pmean(x), x + parallel.axis_size()))
    many = lambda x: jax.vmap(collective, axis_name=parallel.AXIS)(x)
    for run, x in (
        (collective, 3.0),
        (many, np.arange(4.0)),
        (jax.pmap(collective, parallel.AXIS), np.arange(4.0)),
        (collective, 3.0),
    ):
        mean, moved = run(jnp.asarray(x))
        np.testing.assert_allclose(mean, np.full(np.shape(x), np.mean(x)))
        np.testing.assert_allclose(moved, x + np.size(x))


@pytest.mark.parametrize('runner', ['pmap', 'shard_map', 'vmap'])
def test_alone_a_device_is_one_device(runner):
    keys = lambda key: jax.random.key_data(parallel.example_keys(2, key))
    expected = keys(jax.random.key(2))

    def both(key, rows):
        mine = parallel.alone(lambda key, rows: parallel.psum((keys(key), rows)))(key, rows)
        return key, jax.lax.all_gather((*mine, keys(key)), parallel.AXIS)

    rows = jnp.arange(4)
    if runner == 'vmap':
        _, found = jax.vmap(both, (None, 0), axis_name=parallel.AXIS)(jax.random.key(2), rows.reshape(4, 1))
        found = jax.tree.map(lambda x: x[0], found)
    else:
        _, found = parallel.RUNNERS[runner](both, devices=jax.devices()[:DEVICES])(jax.random.key(2), rows)
    np.testing.assert_array_equal(found[0], [expected] * 4)
    np.testing.assert_array_equal(found[1].ravel(), rows)
    np.testing.assert_array_equal(found[2].reshape(8, -1), jax.random.key_data(parallel.example_keys(8, jax.random.key(2))))
    np.testing.assert_array_equal(parallel.alone(keys)(jax.random.key(2)), expected)


def paired_step(**options):
    """A step whose loss is of pairs, so that it matters which example has which noise."""
    game = games.adversarial(
        networks.MLP((8, 2)), networks.MLP((8, 1), squeeze=True), objectives.relativistic(), latent=latents.normal(4)
    )
    optimizer = optax.sgd(0.1)
    init = lambda key: gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 2)), key)
    return init, gan_jax.make_train_step(game, optimizer, optimizer, **options)


@pytest.mark.parametrize('options', [{'generator_batches': 2}, {'generator_batches': 2, 'generator_steps': 2}])
def test_joined_minibatches_are_the_same_examples_on_many_devices(options):
    init, step = paired_step(**options)
    state = init(jax.random.key(0))
    batch = jax.random.normal(jax.random.key(1), (minibatches_of_step(1, **options), 8, 2)) * jnp.arange(8)[:, None]
    expected, metrics = jax.jit(step)(state, batch)
    split = batch.reshape(-1, DEVICES, 2, 2)
    found, found_metrics = jax.jit(jax.vmap(step, (None, 1), axis_name=parallel.AXIS))(state, split)
    for row in range(DEVICES):
        assert_close(expected, jax.tree.map(lambda x, row=row: x[row], found))
        assert_close(metrics, jax.tree.map(lambda x, row=row: x[row], found_metrics))


def test_seeds_side_by_side_do_not_share_a_batch():
    init, step = paired_step()
    batch, keys = jax.random.normal(jax.random.key(1), (8, 2)), jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(init)(keys)
    seeds = jax.vmap(step, (0, None))
    together, _ = jax.jit(seeds)(states, batch)
    split, _ = jax.jit(jax.vmap(seeds, (None, 0), axis_name=parallel.AXIS))(states, batch.reshape(DEVICES, 2, 2))
    for seed in range(3):
        of = lambda tree, seed=seed: jax.tree.map(lambda x: x[seed], tree)
        expected, _ = jax.jit(step)(of(states), batch)
        assert_close(expected, of(together))
        for row in range(DEVICES):
            assert_close(expected, of(jax.tree.map(lambda x, row=row: x[row], split)))
