"""The train step: schedules of updates, fresh noise, averages, loops, and what a step may not touch."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import data, games, latents, networks, objectives, optimizers, parallel, penalties
from gan_jax.data import MIXTURES
from gan_jax.networks import layers


def counting_game() -> gan_jax.Game:
    """Each player's parameter counts its own updates (under sgd(1) of a loss of slope -1); metrics show what each saw."""

    def play(variables, batch, key, *, train=True):
        return {'g': variables['params'], 'noise': jax.random.normal(key)}, {}

    def discriminator_loss(variables, play, batch, key):
        metrics = {'d_saw_g': play['g'], 'd_noise': play['noise'], 'd_batch': batch.mean()}
        return -variables['params'] + jax.random.normal(key) * 0, ({}, metrics)

    def generator_loss(variables, play, batch, key):
        return -play['g'], {'g_saw_d': variables['params'], 'g_noise': play['noise'], 'g_batch': batch.mean()}

    return gan_jax.Game(
        lambda key, batch: ({'params': jnp.float32(0)}, {'params': jnp.float32(0)}), play, discriminator_loss, generator_loss
    )


def run_counting(batch, **options):
    game, optimizer = counting_game(), optax.sgd(1.0)
    step = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer, **options))
    return step(gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(0)), batch)


def test_alternating_updates_see_the_new_discriminator():
    state, metrics = run_counting(jnp.zeros(2))
    assert (state.discriminator.params, state.generator.params) == (1, 1)
    assert (metrics['d_saw_g'], metrics['g_saw_d']) == (0, 1)
    assert metrics['d_noise'] != metrics['g_noise']


def test_simultaneous_updates_see_the_old_players_and_one_play():
    state, metrics = run_counting(jnp.zeros(2), simultaneous=True)
    assert (state.discriminator.params, state.generator.params) == (1, 1)
    assert (metrics['d_saw_g'], metrics['g_saw_d']) == (0, 0)
    assert metrics['d_noise'] == metrics['g_noise']


def test_k_discriminator_steps_each_have_a_minibatch():
    batch = jnp.stack([jnp.full(2, float(i)) for i in range(3)])
    state, metrics = run_counting(batch, discriminator_steps=3)
    assert (state.discriminator.params, state.generator.params) == (3, 1)
    assert (metrics['d_batch'], metrics['g_batch']) == (1, 0)  # the mean of 0, 1, 2; and the first
    assert metrics['g_saw_d'] == 3


def test_k_generator_steps():
    batch = jnp.stack([jnp.full(2, float(i)) for i in range(3)])
    state, metrics = run_counting(batch, generator_steps=3)
    assert (state.discriminator.params, state.generator.params) == (1, 3)
    assert metrics['g_batch'] == 1


def test_minibatches_joined_for_the_generator():
    # D sees minibatches 0 to 2, and G two joined ones in each of its two steps: 0 and 1, then 2 and 3, 8 examples each.
    sizes = []
    game = counting_game()
    loss = lambda variables, play, batch, key: sizes.append(batch.shape) or game.generator_loss(variables, play, batch, key)
    counting = game._replace(generator_loss=loss)
    batch, optimizer = jnp.arange(4.0)[:, None] * jnp.ones(4), optax.sgd(1.0)
    options = {'discriminator_steps': 3, 'generator_steps': 2, 'generator_batches': 2}
    step = jax.jit(gan_jax.make_train_step(counting, optimizer, optimizer, **options))
    state, metrics = step(gan_jax.init(game, optimizer, optimizer, batch[0], jax.random.key(0)), batch)
    assert (state.discriminator.params, state.generator.params) == (3, 2)
    assert (metrics['d_batch'], metrics['g_batch']) == (1, 1.5) and set(sizes) == {(8,)}


@pytest.mark.parametrize(
    ('options', 'of_d', 'of_g'),
    [
        ({}, 0, 1),  # one step each: D's minibatch is 0, G's is 1
        ({'discriminator_steps': 2}, 0.5, 2),
        ({'generator_steps': 3}, 0, 2),
        ({'discriminator_steps': 3, 'generator_steps': 2, 'generator_batches': 2}, 1, 4.5),
        ({'unroll_steps': 2}, 0, 1),
    ],
)
def test_minibatches_of_the_generators_own(options, of_d, of_g):
    counts = {name: n for name, n in options.items() if name != 'unroll_steps'}
    number = gan_jax.training.minibatches_of_step(**counts, own_minibatches=True)
    batch = jnp.arange(float(number))[:, None] * jnp.ones(4)
    _, metrics = run_counting(batch, own_minibatches=True, **options)
    assert (metrics['d_batch'], metrics['g_batch']) == (of_d, of_g)
    shared = batch[: gan_jax.training.minibatches_of_step(**counts)]
    _, metrics = run_counting(shared[0] if len(shared) == 1 else shared, **options)
    assert metrics['g_batch'] == np.arange(number - counts.get('discriminator_steps', 1)).mean()  # D's first again


@pytest.mark.parametrize('unroll_steps', [0, 3])
def test_no_key_is_used_twice(monkeypatch, unroll_steps):
    seen = []

    def record(key):
        jax.debug.callback(lambda k: seen.append(tuple(np.asarray(k).tolist())), jax.random.key_data(key))

    game = counting_game()

    def play(variables, batch, key, *, train=True):
        record(key)
        return game.play(variables, batch, key)

    def discriminator_loss(variables, play, batch, key):
        record(key)
        return game.discriminator_loss(variables, play, batch, key)

    def generator_loss(variables, play, batch, key):
        record(key)
        return game.generator_loss(variables, play, batch, key)

    game_ = gan_jax.Game(game.init, play, discriminator_loss, generator_loss)
    optimizer = optax.sgd(1.0)
    options = {'discriminator_steps': 3, 'generator_steps': 2, 'unroll_steps': unroll_steps}
    step = gan_jax.make_train_step(game_, optimizer, optimizer, **options)
    state = gan_jax.init(game_, optimizer, optimizer, jnp.zeros((3, 2)), jax.random.key(0))
    with jax.disable_jit():
        for _ in range(2):
            state, _ = step(state, jnp.zeros((3, 2)))
    updates = 2 * (3 * 2 + 2 * 2)
    assert len(set(seen)) == updates + 2 * 2 * unroll_steps
    assert len(seen) >= len(set(seen))
    if not unroll_steps:
        assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    'options',
    [
        {'discriminator_steps': 0},
        {'generator_steps': 0},
        {'generator_batches': 0},
        {'simultaneous': True, 'generator_batches': 2},
        {'unroll_steps': -1},
        {'simultaneous': True, 'discriminator_steps': 2},
        {'ema_decay': 1.5},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError):
        gan_jax.make_train_step(counting_game(), optax.sgd(1.0), optax.sgd(1.0), **options)


def dcgan_game():
    return games.adversarial(
        networks.DCGANGenerator(16, 1, width=4),
        networks.DCGANDiscriminator(4),
        objectives.non_saturating(),
        latent=latents.normal(4),
    )


@pytest.mark.slow
def test_a_step_of_one_player_leaves_the_others_statistics_alone():
    # A generator step that advances D's batch statistics (or spectral norm vectors) is a bug found in the field's code.
    game, optimizer = dcgan_game(), optax.sgd(0.0)
    batch = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    state = gan_jax.init(game, optimizer, optimizer, batch, jax.random.key(0))
    first, _ = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))(state, batch)
    more = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer, generator_steps=3))
    third, _ = more(state, jnp.stack([batch] * 3))
    play = lambda key: game.play(state.generator.variables, batch, key)[0]
    d_key, _ = jax.random.split(jax.random.fold_in(state.key, 0))

    @jax.jit
    def statistics(keys):
        return game.discriminator_loss(state.discriminator.variables, play(keys[0]), batch, keys[1])[1][0]

    assert_equal(first.discriminator.state, statistics(jax.random.split(d_key)), rtol=1e-5)
    assert_equal(third.discriminator.state, statistics(jax.random.split(jax.random.split(d_key, 1)[0])), rtol=1e-5)
    changed = jax.tree.map(lambda a, b: not np.allclose(a, b), first.generator.state, state.generator.state)
    assert all(jax.tree.leaves(changed))


def assert_equal(a, b, rtol=0.0):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


def test_average_of_the_generator():
    state, _ = run_counting(jnp.zeros(2), ema_decay=0.999)
    np.testing.assert_allclose(state.ema['params'], 0.9)  # decay (1 + 0) / (10 + 0) of 0, and the rest of 1
    state, _ = run_counting(jnp.zeros(2), ema_decay=0.0)
    np.testing.assert_allclose(state.ema['params'], 1.0)


def test_samples_in_inference_mode_do_not_depend_on_their_companions():
    game, optimizer = dcgan_game(), optax.adam(1e-3)
    state = gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 16, 16, 1)), jax.random.key(0))
    state, _ = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))(state, jnp.ones((4, 16, 16, 1)))
    key = jax.random.key(3)
    few, many = (gan_jax.sample(game, state, jnp.zeros(n), key) for n in (2, 6))
    np.testing.assert_allclose(few, many[:2], atol=1e-6)
    few, many = (game.play(state.ema, jnp.zeros(n), key, train=True)[0] for n in (2, 6))
    assert np.abs(few - many[:2]).max() > 1e-3  # in training mode they do: the check can fail
    live = gan_jax.sample(game, state, jnp.zeros(2), key, ema=False)
    assert np.abs(live - gan_jax.sample(game, state, jnp.zeros(2), key)).max() > 0


def ring_run():
    mixture = MIXTURES['ring_unrolled']
    game = games.adversarial(
        networks.MLP((8, 2)), networks.MLP((8, 1), squeeze=True), objectives.minimax(), latent=latents.normal(4)
    )
    optimizer = optax.adam(1e-3)
    step = gan_jax.make_train_step(game, optimizer, optimizer)
    feed = data.generated(mixture.sample, 16)
    return step, feed, gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 2)), jax.random.key(0))


def test_many_steps_in_one_call_are_the_same_steps_and_compile_once():
    step, feed, start = ring_run()
    many = jax.jit(gan_jax.many_steps(step, feed.by(jax.random.key(1)), 8))
    together, rows = many(start, feed.data, jnp.int32(5))
    parts, _ = many(start, feed.data, jnp.int32(2))
    parts, _ = many(parts, feed.data, jnp.int32(3))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(jnp.asarray, together.generator), parts.generator)
    single = jax.jit(lambda state: step(state, feed.by(jax.random.key(1))(feed.data, state.step)))
    state = start
    for i in range(5):
        state, metrics = single(state)
        np.testing.assert_allclose(rows['generator_loss'][i], metrics['generator_loss'], rtol=1e-5)
    assert np.isnan(rows['generator_loss'][5:]).all()
    assert many._cache_size() == single._cache_size() == 1


def test_init_shares_no_buffer_so_that_the_state_can_be_donated():
    step, feed, start = ring_run()
    many = jax.jit(gan_jax.many_steps(step, feed.by(jax.random.key(0)), 2), donate_argnums=0)
    state, _ = many(start, feed.data, jnp.int32(2))
    assert int(state.step) == 2


# Steps that look ahead, on the bilinear game: theta' = psi, psi' = -theta.


def bilinear() -> gan_jax.Game:
    return gan_jax.Game(
        lambda batch, key: ({'params': batch[0, 0]}, {'params': batch[0, 1]}),
        lambda variables, batch, key, *, train=True: (variables['params'], {}),
        lambda variables, play, batch, key: (variables['params'] * play, ({}, {})),
        lambda variables, play, batch, key: (-variables['params'] * play, {}),
    )


def path(players, steps, **how):
    start = jnp.ones((2, 2))
    trainer = gan_jax.trainer(bilinear(), players, **how)

    def step(state, _):
        state, _ = trainer.step(state, start)
        return state, jnp.stack([state.generator.params, state.discriminator.params])

    return jax.jit(lambda: jax.lax.scan(step, trainer.init(start, jax.random.key(0)), None, steps))()


H, TURN = 0.2, np.array([[0.0, 1.0], [-1.0, 0.0]])


@pytest.mark.parametrize('mode', ['simultaneous', 'optimistic', 'extragradient'])
def test_steps_that_look_ahead_are_the_linear_maps_of_their_papers(mode):
    """Simultaneous steps grow by (1 + h^2)^(1/2); optimistic and extragradient ones converge."""
    players = optimizers.sgd(H, optimistic=mode == 'optimistic')
    how = {'extragradient': True} if mode == 'extragradient' else {'simultaneous': True}
    state, found = path(players, 300, **how)
    z = before = np.ones(2)
    for i in range(300):
        v = TURN @ z
        ahead = {
            'simultaneous': v,
            'optimistic': 2 * v - TURN @ before,
            'extragradient': TURN @ (z + H * v),
        }[mode]
        z, before = z + H * ahead, z
        if i < 20:
            np.testing.assert_allclose(found[i], z, rtol=1e-5, atol=1e-6)
    growth = np.linalg.norm(found[250]) / np.linalg.norm(found[150])
    eigenvalue = {
        'simultaneous': abs(1 + 1j * H),
        'optimistic': np.abs(np.roots([1, -1 - 2j * H, 1j * H])).max(),
        'extragradient': abs(1 + 1j * H - H**2),  # (1 - h^2 + h^4)^(1/2)
    }[mode]
    assert growth == pytest.approx(eigenvalue**100, rel=1e-3) and (eigenvalue < 0.99) == (mode != 'simultaneous')
    assert state.step == 300


def test_adam_that_looks_ahead_ends_nearer():
    # A step of Adam is as long as its rate near the equilibrium, too, so each ends on a cycle.
    ends = []
    for make, how in (
        (optimizers.adam, {'simultaneous': True}),
        (optimizers.optimistic_adam, {'simultaneous': True}),
        (optimizers.adam, {'extragradient': True}),
    ):
        _, found = path(make(0.01, 0.0, 0.9), 2000, **how)
        ends.append(float(np.linalg.norm(found[-300:], axis=1).max()))
    np.testing.assert_allclose(ends, [0.09, 0.024, 0.012], rtol=0.1)  # of the same recursion in NumPy


def test_an_extragradient_step_counts_once_and_keeps_what_adam_has_seen_twice():
    def discriminator_loss(variables, play, batch, key):
        return variables['params'] * play, ({'progress': variables['progress'] + 1}, {})

    game = bilinear()._replace(discriminator_loss=discriminator_loss)
    game = game._replace(init=lambda batch, key: ({'params': jnp.ones(())}, {'params': jnp.ones(()), 'progress': jnp.int32(0)}))
    trainer = gan_jax.trainer(game, optimizers.adam(0.1), extragradient=True)
    state, _ = jax.jit(trainer.step)(trainer.init(jnp.ones((2, 2)), jax.random.key(0)), jnp.ones((2, 2)))
    assert state.discriminator.state['progress'] == 1 and state.step == 1
    assert optax.tree.get(state.discriminator.opt_state, 'count') == 2


def test_anticipated_updates_do_not_count_as_progress():
    def discriminator_loss(variables, play, batch, key):
        return variables['params'] * play, ({'progress': variables['progress'] + 1}, {})

    def generator_loss(variables, play, batch, key):
        return -variables['params'] * play, {'progress': variables['progress'], 'd': variables['params']}

    game = bilinear()._replace(discriminator_loss=discriminator_loss, generator_loss=generator_loss)
    game = game._replace(init=lambda batch, key: ({'params': jnp.ones(())}, {'params': jnp.ones(()), 'progress': jnp.int32(0)}))
    seen = []
    for unroll_steps in (0, 3):
        trainer = gan_jax.trainer(game, optimizers.sgd(0.1), unroll_steps=unroll_steps)
        _, metrics = jax.jit(trainer.step)(trainer.init(jnp.ones((2, 2)), jax.random.key(0)), jnp.ones((2, 2)))
        seen.append((int(metrics['progress']), round(float(metrics['d']), 5)))
    assert seen == [(1, 0.9), (1, 0.6)]


# Accumulated gradients.


class Dropping(nn.Module):
    """A discriminator with dropout."""

    @nn.compact
    def __call__(self, x, *, train=True):
        return nn.Dense(1)(layers.Dropout(0.5)(jnp.tanh(nn.Dense(4)(x)))).squeeze(-1)


def on_devices(step, state, batch, devices, axis):
    """The compiled step, and what it returns, with the batch's axis spread over devices."""
    mesh, spec = jax.sharding.Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,)), jax.sharding.PartitionSpec
    split = spec(*[None] * axis, parallel.AXIS)
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(spec(), split), out_specs=spec(), check_vma=False)
    run = jax.jit(mapped).lower(state, batch).compile()
    everywhere, rows = (jax.sharding.NamedSharding(mesh, s) for s in (spec(), split))
    return run, run(jax.device_put(state, everywhere), jax.device_put(batch, rows))


DROPOUT = games.adversarial(
    networks.MLP((4,)), Dropping(), objectives.relativistic(), latent=latents.normal(3), penalties=[penalties.roth()]
)


@pytest.mark.parametrize('devices', [1, 4])
def test_accumulated_gradients_with_dropout_are_those_of_the_whole_batch(devices):
    players, batch = optimizers.sgd(0.1)._replace(discriminator_steps=2), jax.random.normal(jax.random.key(1), (4, 16, 4))
    trainer = lambda **options: gan_jax.trainer(DROPOUT, players, generator_batches=4, **options)
    state = trainer().init(batch[0], jax.random.key(0))
    whole, metrics = jax.jit(trainer().step)(state, batch)
    _, (parts, found) = on_devices(trainer(accumulate=2).step, state, batch, devices, 1)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, atol=1e-6)
    for name in metrics:
        np.testing.assert_allclose(found[name], metrics[name], rtol=1e-5, atol=1e-6)


def test_accumulated_gradients_are_averaged_over_devices_after_the_parts():
    trainer = gan_jax.trainer(DROPOUT, optimizers.sgd(0.1), accumulate=4)
    batch = jnp.ones((16, 4))
    run, _ = on_devices(trainer.step, trainer.init(batch, jax.random.key(0)), batch, 4, 0)
    reduces = lambda text: len(re.findall(r' all-reduce(?:-start)?\(', text))
    _, _, outside_of_loops = run.as_text().partition('\nENTRY ')
    assert reduces(run.as_text()) == reduces(outside_of_loops) == 2  # one for each player


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'extragradient': True, 'discriminator_steps': 2}, 'extragradient updates must be one per player'),
        ({'extragradient': True, 'unroll_steps': 1}, 'unroll_steps must be 0, got 1: extragradient updates already look ahead'),
        ({'accumulate': 2, 'unroll_steps': 1}, 'unroll_steps must be 0, got 1: a part cannot anticipate'),
        ({'accumulate': 0}, 'accumulate=0'),
    ],
)
def test_what_does_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        gan_jax.make_train_step(bilinear(), optax.sgd(1.0), optax.sgd(1.0), **options)


def test_a_batch_is_accumulated_in_equal_parts():
    with pytest.raises(ValueError, match='a batch of 2 examples per device cannot be accumulated in 3 equal parts'):
        run_counting(jnp.zeros(2), accumulate=3)


def test_the_averages_of_a_state_are_updated_with_it():
    game, optimizer = counting_game(), optax.sgd(1.0)
    state = gan_jax.init(game, optimizer, optimizer, jnp.zeros(2), jax.random.key(0), ema_widths=(0.1, 12**-0.5))
    step = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))
    for _ in range(4):
        state, _ = step(state, jnp.zeros(2))
    # G's parameter is the number of updates: the plain mean is 2.5, and the other is nearer the end.
    peaked, flat = (float(average.average['params']) for average in state.averages)
    assert flat == pytest.approx(2.5, rel=1e-6) and 3.5 < peaked < 4
