"""pix2pix and CycleGAN: closed forms of their losses, the pool's law, and one step of the real networks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import quick

import gan_jax
from gan_jax import augmentations, features, games, networks, objectives, optimizers, parallel, penalties
from gan_jax.games.differences import absolute_difference
from gan_jax.games.image_pool import empty_pool, exchange
from gan_jax.games.judgement import PROGRESS
from gan_jax.games.unpaired_translation import POOL

KEY = jax.random.key(0)


class Affine(nn.Module):
    """`scale x + shift`, not learned."""

    scale: float = 1.0
    shift: float = 0.0

    @nn.compact
    def __call__(self, x, *, train=True):
        return self.scale * x + self.shift


class Linear(nn.Module):
    """Logits `x . weights + bias`, with a parameter that has to be there to be learned."""

    weights: tuple[float, ...]
    bias: float = 0.0

    @nn.compact
    def __call__(self, x, *, train=True):
        w = self.param('w', lambda _: jnp.array(self.weights))
        return x @ w + self.bias


def losses(game, batch):
    """The discriminator's and the generator's loss at initialisation, with their metrics; the play; the state after it."""
    g, d = game.init(batch, KEY)
    play, _ = game.play({'params': {}, **g}, batch, KEY)
    by_d, (state, d_metrics) = game.discriminator_loss(d, play, batch, KEY)
    by_g, g_metrics = game.generator_loss(d, play, batch, KEY)
    return float(by_d), float(by_g), d_metrics | g_metrics, play, {**d, **state}


def softplus(x):
    return np.log1p(np.exp(x))


# Pairs.

PAIR = {'input': jnp.array([[1.0], [-1.0]]), 'target': jnp.array([[0.5], [3.0]])}


def test_pix2pix_in_closed_form():
    # G(x) = 2 x makes 2 and -2, D(x, y) = x / 2 + 3 y - 1.
    real, fake = np.array([0.5 + 1.5 - 1, -0.5 + 9 - 1]), np.array([0.5 + 6 - 1, -0.5 - 6 - 1])
    by_d, by_g, metrics, _, _ = losses(games.paired_translation(Affine(2.0), Linear((0.5, 3.0), -1.0)), PAIR)
    assert by_d == pytest.approx((softplus(-real) + softplus(fake)).mean(), rel=1e-6)
    assert float(metrics['l1']) == pytest.approx((1.5 + 5) / 2)
    assert by_g == pytest.approx(softplus(-fake).mean() + 100 * 3.25, rel=1e-6)
    assert (float(metrics['real_logit']), float(metrics['fake_logit'])) == pytest.approx((real.mean(), fake.mean()))


def test_pix2pix_weights():
    make = functools.partial(games.paired_translation, Affine(2.0), Linear((0.5, 3.0), -1.0))
    assert losses(make(l1_weight=7.0, objective_weight=0.0), PAIR)[1] == pytest.approx(7 * 3.25)  # L1 alone
    adversarial = softplus(-np.array([5.5, -7.5])).mean()
    assert losses(make(l1_weight=0.0, objective_weight=2.0), PAIR)[1] == pytest.approx(2 * adversarial, rel=1e-6)
    hinge = losses(make(objectives.hinge()), PAIR)
    assert hinge[1] == pytest.approx(-np.mean([5.5, -7.5]) + 325)


def test_penalties_act_on_the_target_given_the_input():
    # The gradient of D in y alone is 3; in both it would be |(.5, 3)|.
    make = functools.partial(games.paired_translation, Affine(2.0), Linear((0.5, 3.0), -1.0))
    _, _, metrics, _, state = losses(make(penalties=[penalties.r1(1.0), penalties.wgan_gp(1.0)]), PAIR)
    assert float(metrics['penalty']) == pytest.approx(9 / 2 + (3 - 1) ** 2)
    assert PROGRESS not in state
    lazy = make(penalties=[penalties.scheduled(penalties.r1(1.0), every=2)])
    _, d = lazy.init(PAIR, KEY)
    found = []
    for _ in range(4):
        _, (state, metrics) = lazy.discriminator_loss(d, PAIR['target'], PAIR, KEY)
        d = {**d, **state}
        found.append(float(metrics['penalty']))
    assert found == pytest.approx([9, 0, 9, 0])
    assert int(d[PROGRESS]['updates']) == 4


def scaled():
    """Every image of an example times one number that is drawn for the example, from 1 to 2."""

    def apply(state, x, keys):
        factor = jax.vmap(lambda key: jax.random.uniform(key, (1,), minval=1, maxval=2))(keys)
        return jax.tree.map(lambda image: factor * image, x)

    return augmentations.Augmentation(lambda: (), apply, lambda state, real: state)


def test_input_and_both_targets_are_augmented_alike():
    # D = y - 2 x is 0 of what this generator makes, however it is scaled, if input and output are scaled alike.
    make = functools.partial(games.paired_translation, Affine(2.0), Linear((-2.0, 1.0)), l1_weight=0.0)
    pair = {'input': PAIR['input'], 'target': 2 * PAIR['input'] + 1}  # and D of real targets is the factor
    game = make(objectives.wasserstein(), augmentation=scaled())
    _, d = game.init(pair, KEY)
    play = 2 * pair['input']
    _, (state, metrics) = game.discriminator_loss(d, play, pair, KEY)
    assert float(metrics['fake_logit']) == pytest.approx(0, abs=1e-6)
    assert 1 < float(metrics['real_logit']) < 2 and int(state[PROGRESS]['updates']) == 1
    logistic = make(augmentation=scaled())
    assert float(logistic.generator_loss(d, play, pair, KEY)[0]) == pytest.approx(np.log(2))


@pytest.mark.parametrize(('at', 'factor'), [('seen', 1.0), ('original', 3.0)])
def test_penalties_of_pairs_hold_the_augmented_input(at, factor):
    tripled = augmentations.Augmentation(
        lambda: (), lambda state, x, keys: jax.tree.map(lambda y: 3 * y, x), lambda state, _: state
    )
    terms = [penalties.r1(2.0), penalties.wgan_gp(1.0)]
    game = games.paired_translation(Affine(2.0), Linear((0.5, 3.0)), penalties=terms, penalty_at=at, augmentation=tripled)
    _, _, metrics, _, _ = losses(game, PAIR)
    slope = 3 * factor
    assert float(metrics['penalty']) == pytest.approx(slope**2 + (slope - 1) ** 2, rel=1e-5)


def test_pairs_are_packed_one_beside_the_other():
    game = games.paired_translation(Affine(2.0), Linear((1.0, 2.0, 10.0, 20.0)), objectives.wasserstein(),
                                    penalties=[penalties.r1(2.0)], augmentation=augmentations.packing(2))  # fmt: skip
    _, _, metrics, _, _ = losses(game, PAIR)
    assert float(metrics['real_logit']) == pytest.approx(1 - 2 + 5 + 60)  # inputs, then targets
    assert float(metrics['penalty']) == pytest.approx(10**2 + 20**2)


def test_feature_losses_of_translations():
    judge = networks.MLP((4, 1), squeeze=True)
    x = jax.random.normal(KEY, (6, 1))
    pair = {'input': x, 'target': x**2}
    terms = [features.feature_matching()]
    game = games.paired_translation(Affine(2.0), judge, l1_weight=0.0, objective_weight=0.0, feature_losses=terms)
    _, d = game.init(pair, KEY)
    hidden = lambda d, x: judge.apply(d, x, features_too=True)[1][-1].mean(0)
    distance = lambda d, real, fake: float(jnp.square(hidden(d, real) - hidden(d, fake)).sum())
    expected = distance(d, jnp.concatenate([x, x**2], -1), jnp.concatenate([x, 2 * x], -1))
    loss, metrics = game.generator_loss(d, 2 * x, pair, KEY)
    assert float(loss) == pytest.approx(expected, rel=1e-5) == float(metrics['feature_loss'])

    sets = {'a': x, 'b': 3 + x**2}
    options = {'objective_weight': 0.0, 'cycle_weight': 0.0, 'feature_losses': terms}
    two = games.unpaired_translation(Affine(), Affine(), judge, judge, **options)
    _, d = two.init(sets, KEY)
    play, _ = two.play({'params': {}}, sets, KEY)
    sides = {side: {'params': d['params'][side]} for side in 'ab'}
    expected = {f'feature_loss_{side}': distance(sides[side], sets[side], sets[other]) for side, other in ('ab', 'ba')}
    loss, metrics = two.generator_loss(d, play, sets, KEY)
    assert {name: float(metrics[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert float(loss) == pytest.approx(sum(expected.values()), rel=1e-5)


def test_shapes_that_would_broadcast_are_refused():
    wide = {'input': jnp.zeros((2, 4, 4, 1)), 'target': jnp.zeros((2, 4, 4, 3))}
    game = games.paired_translation(Affine(), Linear((1.0,) * 4))
    with pytest.raises(ValueError, match=r'the same shape, got \(1, 4, 4, 1\) and \(1, 4, 4, 3\)'):
        game.init(wide, KEY)
    with pytest.raises(ValueError, match=r'the same shape, got \(2, 4, 4, 1\) and \(2, 4, 4, 3\)'):
        absolute_difference(*wide.values())
    grey_and_coloured = {'a': wide['input'], 'b': wide['target']}
    with pytest.raises(
        ValueError, match=r'identity_weight must be 0 if the sets differ in shape, got \(4, 4, 1\) and \(4, 4, 3\)'
    ):
        cycle().init(grey_and_coloured, KEY)


def test_sampling_needs_the_input_alone():
    game = games.paired_translation(networks.MLP((1,)), Linear((0.5, 3.0)))
    state = gan_jax.init(game, optax.sgd(0.1), optax.sgd(0.1), PAIR, KEY)
    assert gan_jax.sample(game, state, {'input': jnp.zeros((5, 1))}, KEY).shape == (5, 1)


# Two sets.

SETS = {'a': jnp.array([[1.0], [2.0]]), 'b': jnp.array([[10.0], [14.0]])}


def cycle(there=None, back=None, d_a=0.1, d_b=0.2, **options):
    return games.unpaired_translation(there or Affine(), back or Affine(), Linear((d_a,)), Linear((d_b,)), **options)


def test_identity_maps_have_no_cycle_and_no_identity_loss():
    _, by_g, metrics, play, _ = losses(cycle(d_a=0.0, d_b=0.0), SETS)
    assert float(metrics['cycle']) == float(metrics['identity']) == 0
    assert by_g == 2.0  # (0 - 1)^2 from each discriminator
    np.testing.assert_array_equal(play.fake_a, SETS['b'])
    np.testing.assert_array_equal(play.cycle_a, SETS['a'])


def test_cyclegan_in_closed_form():
    # A to B adds 1, B to A takes 3: a round trip is off by 2 either way; on their own side they are off by 1 and 3.
    by_d, by_g, metrics, play, _ = losses(cycle(Affine(shift=1.0), Affine(shift=-3.0)), SETS)
    np.testing.assert_allclose(play.fake_b, [[2], [3]])
    np.testing.assert_allclose(play.fake_a, [[7], [11]])
    fake_a, fake_b, real_a, real_b = (
        0.1 * np.array([7, 11]),
        0.2 * np.array([2, 3]),
        0.1 * np.array([1, 2]),
        0.2 * np.array([10, 14]),
    )
    # Zhu et al. 2017, eq. 3 with least squares: the generators' loss without the half, the discriminators' with it.
    adversarial = ((fake_a - 1) ** 2).mean() + ((fake_b - 1) ** 2).mean()
    assert by_g == pytest.approx(adversarial + 10 * (2 + 2) + 0.5 * 10 * (1 + 3), rel=1e-6)
    judged = sum((((real - 1) ** 2 + fake**2) / 2).mean() for real, fake in ((real_a, fake_a), (real_b, fake_b)))
    assert by_d == pytest.approx(judged, rel=1e-6)
    assert float(metrics['cycle']) == pytest.approx(4) and float(metrics['identity']) == pytest.approx(4)


def test_cyclegan_weights():
    make = functools.partial(cycle, Affine(shift=1.0), Affine(shift=-3.0), 0.0, 0.0)
    assert losses(make(cycle_weight=3.0, identity_weight=0.0), SETS)[1] == pytest.approx(2 + 3 * 4)
    assert losses(make(cycle_weight=3.0, identity_weight=2.0, objective_weight=0.0), SETS)[1] == pytest.approx(3 * 4 + 3 * 2 * 4)
    play = losses(make(identity_weight=0.0), SETS)[3]
    assert play.identity_a is play.identity_b is None
    _, _, metrics, _, _ = losses(cycle(d_a=3.0, d_b=5.0, penalties=[penalties.r1(1.0)]), SETS)
    assert (float(metrics['penalty_a']), float(metrics['penalty_b'])) == pytest.approx((4.5, 12.5))


def test_each_discriminator_of_a_cyclegan_has_its_own_judgement():
    class Constant(nn.Module):
        value: float

        @nn.compact
        def __call__(self, x, *, train=True):
            return self.param('value', lambda _: jnp.float32(self.value)) + 0 * x.sum((1, 2, 3))

    # Least squares have their D undecided at 1/2: one of these is above that, and one below.
    adaptive = augmentations.adaptive(images=160, every=1)
    game = games.unpaired_translation(
        Affine(), Affine(), Constant(0.9), Constant(0.1), augmentation=adaptive, penalties=[penalties.scheduled(penalties.r1())]
    )
    sets = {side: jax.random.uniform(jax.random.key(i), (16, 8, 8, 1), minval=-1) for i, side in enumerate('ab')}
    _, d = game.init(sets, KEY)
    _, (state, _) = quick(game.discriminator_loss)(d, game.play({'params': {}}, sets, KEY)[0], sets, KEY)
    found = {side: float(state[PROGRESS][side]['augmentation'].probability) for side in 'ab'}
    assert found == pytest.approx({'a': 0.1, 'b': 0.0})
    assert all(int(state[PROGRESS][side]['updates']) == 1 for side in 'ab')


def test_each_network_keeps_its_own_statistics():
    batch = {'a': jax.random.normal(KEY, (8, 2)), 'b': 5 + jax.random.normal(KEY, (8, 2))}
    net, judge = networks.MLP((3, 2), norm='batch'), networks.MLP((3, 1), squeeze=True, norm='batch')
    game = games.unpaired_translation(net, net, judge, judge, pool_size=0)
    g, d = game.init(batch, KEY)
    play, g_state = game.play(g, batch, KEY)
    _, (d_state, _) = game.discriminator_loss(d, play, batch, KEY)
    for variables, state, names in ((g, g_state, ('a_to_b', 'b_to_a')), (d, d_state, ('a', 'b'))):
        means = [jax.tree.leaves(held['batch_stats'][name])[0] for name in names for held in (variables, state)]
        assert not np.allclose(means[0], means[1]) and not np.allclose(means[2], means[3]) and not np.allclose(means[1], means[3])
    assert POOL not in d and 'params' not in g_state and 'params' not in d_state


# The pool.


@pytest.fixture(scope='module')
def history():
    """20,000 numbered images through a pool of 50: what was shown for each, and what is left."""
    newcomers = jnp.arange(20_000.0)[:, None]
    pool, shown = quick(exchange)(empty_pool(50, newcomers[0]), newcomers, KEY)
    stored = jax.lax.bitcast_convert_type(pool.bits, jnp.float32)
    assert int(pool.filled) == 50
    return np.asarray(shown)[:, 0].astype(int), np.asarray(stored)[:, 0].astype(int)


def test_a_pool_shows_the_first_images_as_they_are(history):
    shown, _ = history
    np.testing.assert_array_equal(shown[:50], np.arange(50))


def test_a_full_pool_shows_a_stored_image_half_of_the_time(history):
    shown, _ = history
    assert (shown[50:] != np.arange(50, 20_000)).mean() == pytest.approx(0.5, abs=0.014)  # 4 standard deviations


def test_a_pool_neither_loses_nor_doubles_an_image(history):
    # The first 50 are shown and stored; every other is shown once, or is still there.
    shown, stored = history
    assert sorted([*shown, *stored]) == sorted([*range(50), *range(20_000)])


def test_every_stored_image_is_equally_likely(history):
    shown, _ = history
    place = {image: image for image in range(50)}
    used = np.zeros(50)
    for newcomer, image in enumerate(shown):
        if image != newcomer:
            slot = place.pop(image)
            place[newcomer] = slot
            used[slot] += 1
    expected = used.sum() / 50
    assert ((used - expected) ** 2 / expected).sum() < 49 + 4 * np.sqrt(2 * 49)  # chi-squared, 49 degrees of freedom


def test_gradients_reach_what_is_shown_as_it_is():
    images = jnp.arange(1.0, 9.0)[:, None]
    pool = empty_pool(2, images[0])
    shown = exchange(pool, images, KEY)[1]
    gradient = jax.grad(lambda images: jnp.square(exchange(pool, images, KEY)[1]).sum())(images)
    np.testing.assert_array_equal(gradient, np.where(shown == images, 2 * images, 0))
    assert 0 < (shown != images).sum() < 6


def test_a_pool_is_the_same_on_four_devices_as_on_one():
    images = jax.random.normal(KEY, (16, 3))
    pool = empty_pool(5, images[0])
    expected, shown = exchange(pool, images, KEY)
    split = lambda rows: exchange(pool, rows, KEY)
    pools, rows = jax.vmap(split, axis_name=parallel.AXIS)(images.reshape(4, 4, 3))
    np.testing.assert_array_equal(rows.reshape(16, 3), shown)
    for device in range(4):
        jax.tree.map(lambda a, b, device=device: np.testing.assert_array_equal(a[device], b), pools, expected)


def test_discriminators_see_the_pool_and_generators_do_not():
    game = cycle(Affine(shift=1.0), Affine(shift=-3.0), d_a=0.1, d_b=0.0, pool_size=2)
    _, d = game.init(SETS, KEY)
    play, _ = game.play({'params': {}}, SETS, KEY)
    _, (state, _) = game.discriminator_loss(d, play, SETS, KEY)
    full = {**d, **state}
    stored = {side: np.sort(jax.lax.bitcast_convert_type(full[POOL][side].bits, jnp.float32).ravel()) for side in 'ab'}
    np.testing.assert_array_equal(stored['a'], [7, 11])
    np.testing.assert_array_equal(stored['b'], [2, 3])
    # Images of a thousand more come next: every one is shown as it is, or an old one is; half the sum of two logits tells which.
    later = play._replace(fake_a=play.fake_a + 1000)
    logits = lambda key: game.discriminator_loss(full, later, SETS, key)[1][1]['fake_logit_a']
    shown = np.round(20 * np.asarray(quick(jax.vmap(logits))(jax.random.split(KEY, 64))))
    assert set(shown) == {7 + 11, 7 + 1007, 11 + 1007, 11 + 1011, 1007 + 1011}
    assert game.generator_loss(full, later, SETS, KEY) == game.generator_loss(d, later, SETS, KEY)


def test_an_unroll_leaves_the_pool_where_it_was():
    game = cycle(networks.MLP((1,)), networks.MLP((1,)), pool_size=50)
    optimizer = optax.sgd(0.1)
    state = gan_jax.init(game, optimizer, optimizer, SETS, KEY)
    step = quick(gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=3))
    for seen in (2, 4):
        state, _ = step(state, SETS)
        for side in 'ab':
            pool = state.discriminator.state[POOL][side]
            assert int(pool.filled) == seen and not pool.bits[seen:].any() and pool.bits[:seen].all()


def test_a_pool_of_a_negative_size_is_refused():
    with pytest.raises(ValueError, match='at least 0, got -1'):
        cycle(pool_size=-1)


# Both, with the networks of their papers.


@pytest.mark.slow
def test_pix2pix_trains():
    game = games.paired_translation(networks.UNet(1, width=2), networks.PatchDiscriminator(16, width=2))
    x = jax.random.uniform(KEY, (2, 8, 8, 3), minval=-1)
    assert_trains(game, {'input': x, 'target': x[..., :1]})


class Pixelwise(nn.Module):
    """A generator that is compiled in a moment."""

    @nn.compact
    def __call__(self, x, *, train=True):
        return jnp.tanh(nn.Dense(1)(x))


@pytest.mark.slow
def test_cyclegan_trains():
    there, patches = networks.ResNetGenerator(1, width=2, blocks=1), networks.PatchDiscriminator(16, width=2, norm='instance')
    game = games.unpaired_translation(
        there, Pixelwise(), networks.MLP((2, 1), squeeze=True), patches, pool_size=2, identity_weight=0
    )
    x = jax.random.uniform(KEY, (2, 8, 8, 1), minval=-1)
    assert_trains(game, {'a': x, 'b': -x})


def assert_trains(game, batch):
    pair = optimizers.adam()
    state = quick(lambda key: gan_jax.init(game, pair.generator, pair.discriminator, batch, key))(KEY)
    step = quick(gan_jax.make_train_step(game, pair.generator, pair.discriminator))
    after, metrics = step(step(state, batch)[0], batch)
    assert step._cache_size() == 1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, after.generator, after.discriminator)))
    for old, new in ((state.generator, after.generator), (state.discriminator, after.discriminator)):
        kernels = [(a != b).any() for a, b in zip(*map(jax.tree.leaves, (old.params, new.params)), strict=True) if a.ndim > 1]
        assert all(kernels)
