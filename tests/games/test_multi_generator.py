"""MAD-GAN: the optimum of Ghosh et al. 2018, K = 1 as the standard game, labels, shared layers, and samples of the mixture."""

import functools
import operator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
from helpers import quick

import gan_jax
from gan_jax import augmentations, features, games, latents, networks, objectives, penalties
from gan_jax.errors import InputError
from gan_jax.games.judgement import PROGRESS
from gan_jax.games.multi_generator import mixture, real_logit

KEY = jax.random.key(0)
# -(K + 1) log(K + 1) + K log K, computed by hand for the reference; K = 1 is the -log 4 of Goodfellow et al. 2014.
OPTIMA = {1: -1.386294, 2: -1.909543, 3: -2.249341, 4: -2.502012}


def make(K=3, features=2, discriminator=None, **options):
    discriminator = discriminator or networks.MLP((6, K + 1), activation=nn.tanh)
    return games.multi_generator(networks.MLP((5, features)), discriminator, generators=K, latent=latents.normal(4), **options)


def distributions(K, atoms=4, seed=0):
    """K overlapping distributions over a few atoms, all in 20ths."""
    counts = 1 + np.random.default_rng(seed).multinomial(20 - atoms, np.ones(atoms) / atoms, K)
    return counts, np.repeat(np.eye(atoms), counts.sum(0), 0), np.stack([np.repeat(np.eye(atoms), c, 0) for c in counts])


@pytest.mark.parametrize('K', OPTIMA)
def test_the_optimum_is_reached_with_a_free_discriminator(K):
    with jax.enable_x64(True):
        counts, real, fake = distributions(K)  # the data are the mean of the generators
        game = make(K, 4, networks.MLP((K + 1,), dtype=jnp.float64))  # one-hot atoms: K + 1 free logits for each
        d = {'params': {'Dense_0': {'kernel': jnp.zeros((4, K + 1)), 'bias': jnp.zeros(K + 1)}}}
        flat, unravel = jax.flatten_util.ravel_pytree(d)
        loss = jax.jit(jax.value_and_grad(lambda x: game.discriminator_loss(unravel(x), fake, real, KEY)[0]))
        found = scipy.optimize.minimize(loss, flat, jac=True, method='BFGS', options={'gtol': 1e-9})
        d = unravel(jnp.asarray(found.x))
        value, _ = game.generator_loss(d, fake, real, KEY)
        assert float(value) == pytest.approx(OPTIMA[K], abs=1e-6)
        p = np.concatenate([counts, counts.mean(0, keepdims=True)]) / 20
        probabilities = jax.nn.softmax(jnp.eye(4) @ d['params']['Dense_0']['kernel'] + d['params']['Dense_0']['bias'])
        np.testing.assert_allclose(probabilities, (p / p.sum(0)).T, atol=1e-6)  # D_i = p_gi / (p_d + sum_j p_gj)


@pytest.mark.parametrize('K', OPTIMA)
def test_elsewhere_the_best_discriminator_makes_more_of_it(K):
    # Generators whose mean is not the data: the value against the best D, log p_i up to a constant, is above the optimum.
    with jax.enable_x64(True):
        counts, real, _ = distributions(K)
        game = make(K, 4, networks.MLP((K + 1,), dtype=jnp.float64))
        for seed in range(1, 6):
            others, _, fake = distributions(K, seed=seed)
            p = np.concatenate([others, counts.mean(0, keepdims=True)]) / 20
            d = {'params': {'Dense_0': {'kernel': jnp.log(p).T, 'bias': jnp.zeros(K + 1)}}}
            assert float(game.generator_loss(d, fake, real, KEY)[0]) > OPTIMA[K] + 1e-3


class Difference(nn.Module):
    """The logit of a discriminator of two classes."""

    @nn.compact
    def __call__(self, x, *, train=True):
        logits = networks.MLP((6, 2), activation=nn.tanh, name='two')(x)
        return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize('non_saturating', [False, True])
@pytest.mark.slow
def test_one_generator_is_the_standard_game(non_saturating):
    objective = objectives.non_saturating() if non_saturating else objectives.minimax()
    terms = [penalties.r1(), penalties.r2(0.5)]
    one = make(1, penalties=terms, non_saturating=non_saturating)
    standard = games.adversarial(networks.MLP((5, 2)), Difference(), objective, latent=latents.normal(4), penalties=terms)
    batch, fake = jax.random.normal(KEY, (2, 7, 2))

    @functools.partial(jax.jit, static_argnums=0)
    def both(game, d, play):
        """Values and gradients of both losses."""
        by_d = jax.value_and_grad(lambda d: game.discriminator_loss(d, play, batch, KEY)[0])(d)
        return by_d, jax.value_and_grad(lambda play: game.generator_loss(d, play, batch, KEY)[0])(play)

    d = one.init(batch, KEY)[1]
    found, expected = both(one, d, fake[None]), both(standard, {'params': {'two': d['params']}}, fake)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-5, atol=1e-6)


def test_both_losses_by_numpy():
    K, n = 3, 5
    game, non_saturating = make(K), make(K, non_saturating=True)
    batch, play = jax.random.normal(KEY, (n, 2)), jax.random.normal(jax.random.key(1), (K, n, 2))
    d = game.init(batch, KEY)[1]
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), d['params'])

    def log_probabilities(x):
        hidden = np.tanh(np.asarray(x, np.float64) @ w['Dense_0']['kernel'] + w['Dense_0']['bias'])
        return scipy.special.log_softmax(hidden @ w['Dense_1']['kernel'] + w['Dense_1']['bias'], -1)

    real, fake = log_probabilities(batch), log_probabilities(play)
    expected = -real[:, K].mean() - sum(fake[i, :, i].mean() for i in range(K))
    loss, (_, metrics) = game.discriminator_loss(d, play, batch, KEY)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics['told_apart']) == pytest.approx((fake[..., :K].argmax(-1) == np.arange(K)[:, None]).mean())
    log_not_real = np.log1p(-np.exp(fake[..., K]))
    expected = real[:, K].mean() + sum(log_not_real[i].mean() for i in range(K))
    assert float(game.generator_loss(d, play, batch, KEY)[0]) == pytest.approx(expected, rel=1e-5)
    expected = -sum(fake[i, :, K].mean() for i in range(K))
    assert float(non_saturating.generator_loss(d, play, batch, KEY)[0]) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        real_logit(jnp.asarray(fake)), fake[..., K] - np.log1p(-np.exp(fake[..., K])), rtol=1e-4, atol=1e-5
    )


def test_swapping_generators_changes_nothing_and_swapping_their_labels_does():
    K = 4
    game = make(K)
    batch, play = jax.random.normal(KEY, (9, 2)), jax.random.normal(jax.random.key(1), (K, 9, 2))
    play += jnp.arange(K)[:, None, None]
    d = game.init(batch, KEY)[1]
    order = jnp.array([2, 0, 3, 1])
    columns = jnp.append(order, K)
    last = jax.tree.map(lambda x: x[..., columns], d['params']['Dense_1'])
    swapped = {'params': {**d['params'], 'Dense_1': last}}
    both = jax.jit(lambda d, play: [loss(d, play, batch, KEY)[0] for loss in (game.discriminator_loss, game.generator_loss)])
    losses = lambda d, play: [float(x) for x in both(d, play)]
    before, together, play_only = losses(d, play), losses(swapped, play[order]), losses(d, play[order])
    np.testing.assert_allclose(together, before, rtol=1e-6)
    assert play_only[1] == pytest.approx(before[1], rel=1e-6)  # the generators' loss sees only "real" or not
    assert abs(play_only[0] - before[0]) > 0.01


def test_label_i_is_index_i_and_real_the_last():
    K = 3
    game = make(K, 1, networks.MLP((K + 1,)))
    kernel = 2.0 * jnp.arange(K + 1)[None]  # logits 40 (2 c x - c^2): the class c next to x
    d = {'params': {'Dense_0': {'kernel': 40 * kernel, 'bias': -40.0 * jnp.arange(K + 1) ** 2}}}
    real, play = jnp.full((4, 1), float(K)), jnp.broadcast_to(jnp.arange(K, dtype=float)[:, None, None], (K, 4, 1))
    loss, (_, metrics) = game.discriminator_loss(d, play, real, KEY)
    assert float(loss) < 1e-6 and float(metrics['told_apart']) == 1
    assert float(game.discriminator_loss(d, jnp.roll(play, 1, 0), real, KEY)[0]) > 100


@pytest.mark.parametrize('shared', [(), ('Dense_0',), ('Dense_1',)])
def test_generators_have_own_parameters_but_for_the_shared_layers(shared):
    K = 3
    game = make(K, shared=shared)
    batch = jnp.zeros((8, 2))
    g, _ = game.init(batch, KEY)
    for name, layer in g['params'].items():
        kernels = np.asarray(layer['kernel'])
        assert kernels.ndim == (2 if name in shared else 3)
        if name not in shared:
            assert len(kernels) == K and (kernels[0] != kernels[1]).all() and (kernels[1] != kernels[2]).all()
    examples, state = game.play(g, batch, KEY)
    assert examples.shape == (K, 8, 2) and state == {}
    z = jax.vmap(latents.normal(4))(jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(8)))
    for i in range(K):
        params = {name: x if name in shared else jax.tree.map(operator.itemgetter(i), x) for name, x in g['params'].items()}
        np.testing.assert_allclose(examples[i], networks.MLP((5, 2)).apply({'params': params}, z), rtol=1e-5, atol=1e-6)
    products = [
        equation.outvars[0].aval.shape
        for equation in jax.make_jaxpr(game.play)(g, batch, KEY).eqns
        if equation.primitive.name == 'dot_general'
    ]
    assert ((8, 5) in products) == (shared == ('Dense_0',))  # a trunk runs once, not K times


def test_statistics_of_each_generators_examples_are_its_own():
    K = 3
    network = networks.MLP((4, K + 1), norm='batch')
    game = games.multi_generator(
        networks.MLP((5, 2), norm='batch'), network, generators=K, latent=latents.normal(4), shared=('Dense_0', 'BatchNorm_0')
    )
    batch, play = jax.random.normal(KEY, (16, 2)), jax.random.normal(jax.random.key(1), (K, 16, 2))
    play = play * jnp.array([1.0, 2, 5])[:, None, None]
    g, d = game.init(batch, KEY)
    loss, (state, _) = jax.jit(game.discriminator_loss)(d, play, batch, KEY)
    apply = lambda d, x: network.apply(d, x, mutable=['batch_stats'])
    real, after = apply(d, batch)
    passes = [apply({**d, **after}, x) for x in play]
    expected = -jax.nn.log_softmax(real)[:, K].mean() - sum(jax.nn.log_softmax(y)[:, i].mean() for i, (y, _) in enumerate(passes))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    mean = jax.tree.map(lambda *x: np.mean(x, 0), *(after for _, after in passes))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    _, moved = jax.jit(game.play)(g, batch, KEY)
    assert jax.tree.map(jnp.shape, moved) == jax.tree.map(jnp.shape, {'batch_stats': g['batch_stats']})
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(g['batch_stats']), strict=True))


def test_penalties_are_on_the_logit_of_real_and_averaged_over_generators():
    K = 3
    terms = [penalties.scheduled(penalties.r1(2.0), every=2), penalties.r2(4.0)]
    game, plain = make(K, penalties=terms), make(K)
    batch, play = jax.random.normal(KEY, (9, 2)), jax.random.normal(jax.random.key(1), (K, 9, 2))
    d = game.init(batch, KEY)[1]
    network = {'params': d['params']}
    logit = lambda x: real_logit(networks.MLP((6, K + 1), activation=nn.tanh).apply(network, x[None])[0])
    squares = lambda x: jnp.square(jax.vmap(jax.grad(logit))(x)).sum(-1)
    by_r1, by_r2 = jax.jit(lambda: (squares(batch).mean(), squares(play.reshape(-1, 2)).mean()))()
    values, losses = [], jax.jit(game.discriminator_loss)
    for _ in range(3):
        loss, (state, metrics) = losses(d, play, batch, KEY)
        values.append(float(metrics['penalty']))
        base, _ = plain.discriminator_loss(network, play, batch, KEY)
        assert float(loss - base) == pytest.approx(values[-1], rel=1e-4)
        d = {**d, **state}
    np.testing.assert_allclose(values, [2 * by_r1 + 2 * by_r2, 2 * by_r2, 2 * by_r1 + 2 * by_r2], rtol=1e-5)
    assert int(d[PROGRESS]['updates']) == 3


def test_real_examples_and_those_of_every_generator_are_augmented():
    # Packs of two through a D that has weights for both halves: |a|^2 of the real logit's slope in all entries.
    K = 2
    game = make(K, discriminator=networks.MLP((K + 1,)), penalties=[penalties.r2(2.0)], augmentation=augmentations.packing(2))
    batch, play = jax.random.normal(KEY, (6, 2)), jax.random.normal(jax.random.key(1), (K, 6, 2))
    d = game.init(batch, KEY)[1]
    assert d['params']['Dense_0']['kernel'].shape == (4, K + 1)
    _, (state, metrics) = game.discriminator_loss(d, play, batch, KEY)
    packs = play.reshape(K, 3, 4)
    logit = lambda x: real_logit(networks.MLP((K + 1,)).apply({'params': d['params']}, x[None])[0])
    squares = jnp.square(jax.vmap(jax.vmap(jax.grad(logit)))(packs)).sum(-1)
    assert float(metrics['penalty']) == pytest.approx(float(squares.mean()), rel=1e-5)
    assert float(metrics['fake_logit']) == pytest.approx(float(jax.vmap(jax.vmap(logit))(packs).mean()), rel=1e-5)
    assert int(state[PROGRESS]['updates']) == 1


@pytest.mark.parametrize(('shift', 'probability'), [(-0.1, 0.0), (0.1, 0.1)])
def test_an_adaptive_augmentation_hears_a_logit_of_one_in_k_plus_1(shift, probability):
    K = 3

    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=True):
            logits = self.param('logits', nn.initializers.zeros, (K + 1,))
            return jnp.broadcast_to(logits, (len(x), K + 1)) + 0 * x.sum()

    game = make(K, discriminator=Constant(), augmentation=augmentations.adaptive(images=160, every=1))
    images = jax.random.uniform(KEY, (16, 8, 8, 1))
    d = {**game.init(images, KEY)[1], 'params': {'logits': shift * jax.nn.one_hot(K, K + 1)}}
    _, (state, _) = quick(game.discriminator_loss)(d, jnp.stack([images] * K), images, KEY)
    assert float(state[PROGRESS]['augmentation'].probability) == pytest.approx(probability)


def test_features_of_all_generators_together_are_matched():
    K, network = 3, networks.MLP((6, 4), activation=nn.tanh)
    terms = [features.feature_matching(2.0)]
    game = make(K, feature_losses=terms, objective_weight=0.0)
    batch, play = jax.random.normal(KEY, (9, 2)), jax.random.normal(jax.random.key(1), (K, 9, 2))
    d = game.init(batch, KEY)[1]
    hidden = lambda x: network.apply(d, x, features_too=True)[1][-1].mean(0)
    expected = 2 * jnp.square(hidden(batch) - hidden(play.reshape(-1, 2))).sum()
    loss, metrics = game.generator_loss(d, play, batch, KEY)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5) == float(metrics['feature_loss'])


def test_samples_of_the_mixture():
    K, n = 4, 8000
    play = jnp.arange(K)[:, None] * 10_000 + jnp.arange(n)
    samples = np.asarray(mixture(play, KEY))
    np.testing.assert_array_equal(samples % 10_000, np.arange(n))  # sample i stays in its place
    np.testing.assert_allclose(np.bincount(samples // 10_000) / n, 1 / K, atol=4 * np.sqrt(3 / 16 / n))
    np.testing.assert_array_equal(mixture(play[:, :100], KEY), samples[:100])
    assert (mixture(play, jax.random.key(1)) != samples).mean() > 0.5


def test_what_does_not_work_is_refused():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        make(0)
    with pytest.raises(InputError, match='no layer Conv_0 to share; it has Dense_0, Dense_1'):
        make(shared=('Conv_0', 'Dense_0')).init(jnp.zeros((1, 2)), KEY)
    with pytest.raises(InputError, match='makes the 3 generators equal'):
        make(shared=('Dense_0', 'Dense_1')).init(jnp.zeros((1, 2)), KEY)
    game = make(3, discriminator=networks.MLP((3,)))
    d = game.init(jnp.zeros((1, 2)), KEY)[1]
    with pytest.raises(ValueError, match=r'require discriminator logits \(5, 4\), got \(5, 3\)'):
        game.discriminator_loss(d, jnp.zeros((3, 5, 2)), jnp.zeros((5, 2)), KEY)


def test_images():
    game = games.multi_generator(
        networks.DCGANGenerator(8, 1, 4),
        networks.DCGANDiscriminator(4, outputs=3),
        generators=2,
        latent=latents.normal(4),
        shared=('Dense_0', 'BatchNorm_0'),
    )
    optimizer = optax.sgd(0.1)
    batch = jnp.zeros((4, 8, 8, 1))
    state = jax.eval_shape(lambda: gan_jax.init(game, optimizer, optimizer, batch, KEY))
    step = gan_jax.make_train_step(game, optimizer, optimizer)
    after, _ = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    samples = jax.eval_shape(lambda s: gan_jax.sample(game, s, jnp.zeros(5), KEY), state)
    assert samples.shape == (2, 5, 8, 8, 1)
