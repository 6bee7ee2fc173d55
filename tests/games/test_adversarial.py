"""The standard game takes any objective, penalty, augmentation, feature loss and network, and any of them together."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import augmentations, features, games, latents, networks, objectives, parallel, penalties, regularizers
from gan_jax.games.judgement import PROGRESS
from gan_jax.registry import build

LINE = {  # every member of every table at least once, with what else a user may put beside it
    'minimax': ('minimax:smoothing=0.1', ['r1'], ['instance_noise:sigma=0.5,updates=3'], [], []),
    'non_saturating': ('non_saturating', ['roth', 'r2'], [], ['feature_matching'], ['lecam']),
    'wasserstein': ('wasserstein', ['wgan_gp'], ['instance_noise'], ['pulling_away'], []),
    'least_squares': ('least_squares', ['dragan'], ['adaptive:images=64,every=1'], [], []),
    'hinge': ('hinge', [], ['diff_augment', 'packing'], ['feature_matching_l1'], ['bcr:policy=flip']),
    'energy_margin': ('energy_margin:margin=1', [], [], ['pulling_away'], ['zcr']),
    'relativistic': ('relativistic', ['r1', 'r2'], [], ['feature_reconstruction'], []),
    'relativistic_average': (
        'relativistic_average',
        ['wgan_gp:one_sided=True'],
        ['packing'],
        ['feature_matching'],
        ['top_k:decay=0.5,images=16'],
    ),
    'f_gan': (
        'f_gan:divergence=kl',
        ['r1_r2', 'finite_r1:epsilon=0.1', 'finite_r2:epsilon=0.1'],
        ['ada:policy=blit'],
        [],
        [],
    ),
}


class Images(nn.Module):
    """Images of 8 x 8 pixels from latents, by one dense layer: convolutions would be compiled for minutes here."""

    @nn.compact
    def __call__(self, z, *, train=True):
        return jnp.tanh(nn.Dense(64)(z)).reshape(-1, 8, 8, 1)


def make_game(name, every=2):
    objective, terms, augment, feature_losses, others = LINE[name]
    chain = augmentations.chain(*(build(augmentations.AUGMENTATIONS, text) for text in augment))
    return games.adversarial(
        Images(),
        networks.MLP((6, 1), squeeze=True, activation=nn.tanh),
        build(objectives.OBJECTIVES, objective),
        latent=latents.normal(3),
        penalties=[penalties.scheduled(build(penalties.PENALTIES, text), every=every) for text in terms],
        augmentation=chain if augment else None,
        feature_losses=[build(features.FEATURES, text) for text in feature_losses],
        regularizers=[build(regularizers.REGULARIZERS, text) for text in others],
    )


BATCHES = jax.random.uniform(jax.random.key(1), (3, 16, 8, 8, 1), minval=-1)
OPTIMIZER = optax.sgd(0.02)


def train(game, **options):
    state = gan_jax.init(game, OPTIMIZER, OPTIMIZER, BATCHES[0, :1], jax.random.key(0))
    return state, jax.jit(gan_jax.make_train_step(game, OPTIMIZER, OPTIMIZER, **options))


def test_every_member_of_every_table_is_here():
    text = ' '.join(str(line) for line in LINE.values())
    tables = (
        objectives.OBJECTIVES,
        penalties.PENALTIES,
        augmentations.AUGMENTATIONS,
        features.FEATURES,
        regularizers.REGULARIZERS,
    )
    assert [name for table in tables for name in table if name not in text] == []


@pytest.mark.parametrize('name', LINE)
def test_any_combination_trains_unrolled_and_the_same_on_many_devices(name):
    unroll_steps = (
        0 if name in ('least_squares', 'hinge', 'f_gan') else 1
    )  # an unroll through image transforms takes long to compile
    state, step = train(make_game(name), unroll_steps=unroll_steps)
    first = state
    for batch in BATCHES[:2]:
        state, metrics = step(state, batch)
    assert step._cache_size() == 1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.generator, state.discriminator.params, metrics)))
    for before, after in zip(jax.tree.leaves(first.generator.params), jax.tree.leaves(state.generator.params), strict=True):
        assert not np.array_equal(before, after)

    mapped = jax.jit(jax.vmap(step, axis_name=parallel.AXIS))
    states = jax.tree.map(lambda x: jnp.stack([x] * 4), first)
    for batch in BATCHES[:2]:
        states, found = mapped(states, batch.reshape(4, 4, 8, 8, 1))
    for row in range(4):
        for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(state), strict=True):
            if jnp.issubdtype(a.dtype, jnp.floating):
                np.testing.assert_allclose(a[row], b, atol=2e-6)
            elif not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                np.testing.assert_array_equal(a[row], b)
    for key in metrics:
        np.testing.assert_allclose(found[key][0], metrics[key], rtol=1e-4, atol=1e-5)


def dirac(**options):
    """A generator of ones, and a linear discriminator psi x."""

    class Ones(networks.MLP):
        features: tuple = ()

        def __call__(self, z, *, train=True):
            return jnp.ones((len(z), 1))

    return games.adversarial(
        Ones(), networks.MLP((1,), squeeze=True), objectives.wasserstein(), latent=latents.normal(1), **options
    )


def test_noise_is_in_both_players_losses_fresh_and_falls():
    game = dirac(augmentation=augmentations.instance_noise(1.0, updates=4))
    _, d = game.init(jnp.zeros((1, 1)), jax.random.key(0))
    d = {**d, 'params': {'Dense_0': {'kernel': jnp.ones((1, 1)), 'bias': jnp.zeros(1)}}}
    batch, play, keys = jnp.zeros((500, 1)), jnp.ones((500, 1)), jax.random.split(jax.random.key(0), 100)

    @jax.jit
    def losses(d):
        by_d, (state, _) = jax.vmap(lambda key: game.discriminator_loss(d, play, batch, key))(keys)
        by_g = jax.vmap(lambda key: game.generator_loss(d, play, batch, key)[0])(keys)
        return by_d, by_g, jax.tree.map(lambda x: x[0], state)

    levels = []
    for _ in range(5):
        # Wasserstein on an identity: either loss is a difference of means of 500 noisy points about 0 and about 1.
        *both, state = losses(d)
        levels.append([np.std(x) * np.sqrt(250) for x in both])
        d = {**d, **state}
    np.testing.assert_allclose(levels, np.array([[1], [0.75], [0.5], [0.25], [0]]) * [1, 1], atol=0.2)
    assert int(d[PROGRESS]['updates']) == 5 and int(d[PROGRESS]['augmentation']) == 5


def test_only_the_discriminators_updates_count():
    game = make_game('minimax')
    state, step = train(game, discriminator_steps=3, generator_steps=2, unroll_steps=1)
    for done in (3, 6):
        state, _ = step(state, BATCHES)
        assert int(state.discriminator.state[PROGRESS]['updates']) == done  # not the generator's, nor those of the unroll


def test_a_game_without_schedules_has_no_progress():
    game = games.adversarial(
        networks.MLP((1,)), networks.MLP((1,)), objectives.hinge(), latent=latents.normal(1), penalties=[penalties.r1()]
    )
    assert set(game.init(jnp.zeros((1, 1)), jax.random.key(0))[1]) == {'params'}


def test_penalties_act_on_what_the_discriminator_sees():
    # A pack of two is one example of two entries: |a|^2 of both weights, where one example alone would have half of it.
    game = dirac(penalties=[penalties.r1(2.0)], augmentation=augmentations.packing(2))
    _, d = game.init(jnp.zeros((1, 1)), jax.random.key(0))
    kernel = d['params']['Dense_0']['kernel']
    assert kernel.shape == (2, 1)
    _, (_, metrics) = game.discriminator_loss(d, jnp.ones((6, 1)), jnp.zeros((6, 1)), jax.random.key(0))
    assert float(metrics['penalty']) == pytest.approx(float(jnp.square(kernel).sum()), rel=1e-5)


def test_lazy_penalties_in_the_game():
    game = dirac(penalties=[penalties.scheduled(penalties.r1(2.0), every=3)])
    _, d = game.init(jnp.zeros((1, 1)), jax.random.key(0))
    values = []
    for _ in range(6):
        _, (state, metrics) = game.discriminator_loss(d, jnp.ones((4, 1)), jnp.zeros((4, 1)), jax.random.key(0))
        values.append(float(metrics['penalty']))
        d = {**d, **state}
    slope = float(d['params']['Dense_0']['kernel'][0, 0]) ** 2
    np.testing.assert_allclose(values, [3 * slope, 0, 0, 3 * slope, 0, 0], rtol=1e-5)


def test_a_step_of_seeds_side_by_side_takes_a_lazy_penalty_in_its_turns_only():
    calls = []

    def counted(critic, real, fake, key):
        jax.debug.callback(lambda: calls.append(1))
        return penalties.squared_gradient_norm(critic, real)

    game = games.adversarial(
        networks.MLP((4, 2)), networks.MLP((4, 1), squeeze=True, activation=nn.tanh), objectives.non_saturating(),
        latent=latents.normal(2), penalties=[penalties.scheduled(counted, every=3)],
    )  # fmt: skip
    trainer = gan_jax.trainer(game, gan_jax.optimizers.adam())
    batch = jnp.ones((4, 2))
    states = jax.vmap(lambda key: trainer.init(batch, key))(jax.random.split(jax.random.key(0), 3))
    step, taken = jax.jit(jax.vmap(trainer.step, (0, None))), []
    for _ in range(6):
        states, _ = jax.block_until_ready(step(states, batch))
        jax.effects_barrier()
        taken.append(bool(calls))
        calls.clear()
    assert taken == [True, False, False, True, False, False]


def test_feature_matching_alone_ignores_the_objective():
    layers = networks.MLP((4,)), networks.MLP((4, 1), squeeze=True)
    options = {'latent': latents.normal(2), 'feature_losses': [features.feature_matching()], 'objective_weight': 0.0}
    losses = []
    for objective in (objectives.hinge(), objectives.minimax()):
        game = games.adversarial(*layers, objective, **options)
        _, d = game.init(jnp.zeros((1, 4)), jax.random.key(0))
        batch, play = jax.random.normal(jax.random.key(1), (2, 16, 4))
        losses.append(float(game.generator_loss(d, play, batch, jax.random.key(2))[0]))
    hidden = lambda x: layers[1].apply(d, x, features_too=True)[1][-1]
    expected = np.square(np.asarray(hidden(batch).mean(0) - hidden(play).mean(0))).sum()
    np.testing.assert_allclose(losses, [expected] * 2, rtol=1e-5)


def test_a_fixed_generator_has_no_parameters():
    game = dirac()
    step = gan_jax.make_train_step(game, optax.sgd(0.1), optax.sgd(0.1))
    state = gan_jax.init(game, optax.sgd(0.1), optax.sgd(0.1), jnp.zeros((1, 1)), jax.random.key(0))
    after, _ = jax.jit(step)(state, jnp.zeros((4, 1)))
    moved = state.discriminator.params['Dense_0']['kernel'] - after.discriminator.params['Dense_0']['kernel']
    assert after.generator.params == {} and float(moved[0, 0]) == pytest.approx(0.1, rel=1e-4)


def test_parallel_all_gather_is_the_whole_batch():
    rows = jnp.arange(8.0).reshape(4, 2, 1)
    gathered = jax.vmap(parallel.all_gather, axis_name=parallel.AXIS)(rows)
    np.testing.assert_array_equal(gathered, np.tile(np.arange(8.0)[None, :, None], (4, 1, 1)))


def tripled():
    """Examples three times as large on their way to the discriminator."""
    return augmentations.Augmentation(lambda: (), lambda state, x, keys: 3 * x, lambda state, real: state)


@pytest.mark.parametrize('name', penalties.PENALTIES)
def test_penalties_of_the_original_are_differentiated_through_the_augmentation(name):
    # D(3 x) has three times the gradient in x that D has in what it sees.
    real, fake = jax.random.normal(jax.random.key(1), (2, 6, 1))
    factory = penalties.PENALTIES[name]
    found = {}
    for at in ('seen', 'original'):
        game = dirac(penalties=[factory()], augmentation=tripled(), penalty_at=at)
        _, d = game.init(jnp.zeros((1, 1)), jax.random.key(0))
        found[at] = float(game.discriminator_loss(d, fake, real, jax.random.key(0))[1][1]['penalty'])
    slope = float(d['params']['Dense_0']['kernel'][0, 0])
    if name in ('wgan_gp', 'dragan'):
        expected = {at: 10 * (abs(slope) * factor - 1) ** 2 for at, factor in (('seen', 1), ('original', 3))}
    else:
        expected = {'seen': found['seen'], 'original': 9 * found['seen']}
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_penalty_of_the_original_has_no_part_of_what_is_cut_away():
    # |a|^2 of the pixels that cutout leaves: three quarters of an image, less what of the hole lies beyond its edge.
    game = games.adversarial(
        Images(), networks.MLP((1,), squeeze=True), objectives.hinge(), latent=latents.normal(3),
        penalties=[penalties.r1(2.0)], penalty_at='original', augmentation=augmentations.diff_augment('cutout'),
    )  # fmt: skip
    _, d = game.init(BATCHES[0, :1], jax.random.key(0))
    d = {**d, 'params': jax.tree.map(jnp.ones_like, d['params'])}
    _, (_, metrics) = game.discriminator_loss(d, BATCHES[1], BATCHES[0], jax.random.key(0))
    assert 64 * 0.75 <= float(metrics['penalty']) < 63.5


@pytest.mark.parametrize('text', ['wasserstein', 'relativistic', 'relativistic_average', 'energy_margin'])
def test_an_adaptive_augmentation_needs_a_logit_at_which_the_discriminator_is_undecided(text):
    with pytest.raises(ValueError, match=r'is meaningless under this objective; use minimax, .* have a logit'):
        games.adversarial(
            Images(), networks.MLP((1,), squeeze=True), build(objectives.OBJECTIVES, text),
            latent=latents.normal(3), augmentation=augmentations.chain(augmentations.adaptive()),
        )  # fmt: skip


@pytest.mark.parametrize(('text', 'undecided'), [('least_squares', 0.5), ('f_gan:divergence=kl', 1.0), ('hinge', 0.0)])
def test_an_adaptive_augmentation_hears_logits_from_that_on(text, undecided):
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=True):
            return self.param('value', nn.initializers.zeros, ()) + 0 * x.sum((1, 2, 3))

    game = games.adversarial(
        Images(), Constant(), build(objectives.OBJECTIVES, text), latent=latents.normal(3),
        augmentation=augmentations.adaptive(images=160, every=1),
    )  # fmt: skip
    _, d = game.init(BATCHES[0, :1], jax.random.key(0))
    for shift, probability in ((-0.1, 0.0), (0.1, 0.1)):
        moved = {**d, 'params': {'value': jnp.float32(undecided + shift)}}
        _, (state, _) = game.discriminator_loss(moved, BATCHES[1], BATCHES[0], jax.random.key(0))
        assert float(state['progress']['augmentation'].probability) == pytest.approx(probability)
