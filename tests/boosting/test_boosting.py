"""AdaGAN: lambda and Q exactly, density ratios, mixtures of components, weighted data, and a loop that resumes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import close

import gan_jax
from gan_jax import boosting, data, games, latents, networks, objectives, parallel, runs
from gan_jax.boosting import MIXINGS, REWEIGHTINGS, density_ratios, optimal_weights
from gan_jax.errors import InputError, Interrupted
from gan_jax.keys import named
from gan_jax.optimizers import Optimizers
from gan_jax.registry import build

KEY = jax.random.key(0)
UNIFORM = np.full(4, 0.25)
THIRD, SIXTH, FIFTEENTH = 1 / 3, 1 / 6, 1 / 15
# P_d is uniform on four points. (P_g, beta, lambda, Q), by hand from theorem 1: sum_i (lambda / 4 - (1 - beta) g_i)_+ = beta.
STARS = [
    ((0.5, 0.5, 0, 0), 0.5, 1, (0, 0, 0.5, 0.5)),
    ((0.5, 0.5, 0, 0), 0.25, 0.5, (0, 0, 0.5, 0.5)),
    ((0.5, 0.5, 0, 0), 0.75, 1, (SIXTH, SIXTH, THIRD, THIRD)),
    ((0.7, 0.2, 0.1, 0), 0.25, 19 / 30, (0, 1 / 30, THIRD, 19 / 30)),
    ((0.7, 0.2, 0.1, 0), 0.5, 13 / 15, (0, 7 / 30, THIRD, 13 / 30)),
    ((0.7, 0.2, 0.1, 0), 0.75, 1, (0.1, 4 * FIFTEENTH, 0.3, THIRD)),
]
# From theorem 2: sum_i (1 / 4 - lambda (1 - beta) g_i)_+ = beta. In the first P_g leaves out just beta of P_d, so that every
# lambda from 10 / 3 on has the same Q, and the least is returned.
DAGGERS = [
    ((0.7, 0.2, 0.1, 0), 0.25, 10 / 3, (0, 0, 0, 1)),
    ((0.7, 0.2, 0.1, 0), 0.5, 5 / 3, (0, SIXTH, THIRD, 0.5)),
    ((0.7, 0.2, 0.1, 0), 0.75, 1, (0.1, 4 * FIFTEENTH, 0.3, THIRD)),
]


@pytest.mark.parametrize(
    ('name', 'p_g', 'beta', 'threshold', 'q'), [('star', *x) for x in STARS] + [('dagger', *x) for x in DAGGERS]
)
def test_worked_examples(name, p_g, beta, threshold, q):
    reweighting = REWEIGHTINGS[name]()
    with jax.enable_x64(True):
        found = reweighting(UNIFORM, np.array(p_g), beta)
        # The same from a sample: every point as often as P_d has it, and exact ratios.
        points = np.repeat(np.arange(4), 5)
        sample = optimal_weights(4 * np.array(p_g)[points], beta, reweighting)
        for result, weights in ((found, found.q), (sample, np.bincount(points, sample.q))):
            assert bool(result.found) and float(result.threshold) == pytest.approx(threshold, abs=1e-6)
            np.testing.assert_allclose(weights, q, atol=1e-6)
            assert float(result.q.sum()) == pytest.approx(1, abs=1e-12)
    mixture = (1 - beta) * np.array(p_g) + beta * np.asarray(found.q)
    assert np.allclose(mixture, UNIFORM, atol=1e-6) == (threshold == 1)  # P_d itself, if and only if lambda is 1


DIVERGENCES = {  # f of D_f(Q || P) = sum_i p_i f(q_i / p_i)
    'KL': lambda t: t * np.log(np.where(t > 0, t, 1)),
    'Pearson': lambda t: (t - 1) ** 2,
    'Hellinger': lambda t: (np.sqrt(t) - 1) ** 2,
    'total variation': lambda t: np.abs(t - 1) / 2,
}


@pytest.mark.parametrize('f', DIVERGENCES)
@pytest.mark.parametrize('name', ['star', 'dagger'])
def test_no_other_component_does_better(name, f):
    rng = np.random.default_rng(0)
    D = lambda q, p: (p * DIVERGENCES[f](q / p)).sum(-1)
    for beta in (0.1, 0.3, 0.6):
        p_d, p_g = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
        with jax.enable_x64(True):
            best = np.asarray(REWEIGHTINGS[name]()(p_d, p_g, beta).q)
        q = np.concatenate([best[None], rng.dirichlet(np.ones(6), 3000), best + 0.05 * (rng.dirichlet(np.ones(6), 3000) - best)])
        if name == 'star':
            values = D((1 - beta) * p_g + beta * q, p_d)
        else:
            rest = (p_d - beta * q) / (1 - beta)  # of P_d, which is left to P_g
            values = D(p_g, rest[(rest > 1e-12).all(-1)])
        assert len(values) > 100 and values[1:].min() >= values[0] - 1e-12


@pytest.mark.parametrize('name', ['star', 'dagger'])
def test_a_large_sample_in_float32_is_bisection_in_float64(name):
    rng = np.random.default_rng(1)
    ratios, beta, n = np.exp(rng.normal(0, 2, 64_000)), 0.2, 64_000
    share = {
        'star': lambda x: np.maximum(x - (1 - beta) * ratios, 0).mean(),
        'dagger': lambda x: -np.maximum(1 - x * (1 - beta) * ratios, 0).mean(),
    }[name]
    low, high, target = 0.0, 1e6, beta if name == 'star' else -beta
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < target else (low, middle)
    found = jax.jit(optimal_weights, static_argnums=2)(jnp.float32(ratios), beta, REWEIGHTINGS[name]())
    assert float(found.threshold) == pytest.approx(low, rel=1e-5)
    weights = low - (1 - beta) * ratios if name == 'star' else 1 - low * (1 - beta) * ratios
    np.testing.assert_allclose(found.q, np.maximum(weights, 0) / n / beta, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize('name', ['star', 'dagger', 'top_k'])
def test_what_looks_more_like_data_only_weighs_more(name):
    logits = jnp.array([3.0, -2, 0.5, 1, -1, 2, 0, -100])  # of D: "this is data"
    ratios = density_ratios(logits)
    np.testing.assert_allclose(ratios[:7], (1 - jax.nn.sigmoid(logits[:7])) / jax.nn.sigmoid(logits[:7]), rtol=1e-5)
    assert np.isinf(ratios[7])
    found = optimal_weights(ratios, 0.5, REWEIGHTINGS[name]())
    q = np.asarray(found.q)[np.argsort(logits)]
    assert bool(found.found) and (np.diff(q) >= 0).all() and q[0] == 0 and q[-1] > q[2]


def test_top_k_and_bagging():
    ratios = jnp.array([3.0, 1, 4, 1.5, 9])
    for share, q in ((0.5, (1, 1, 0, 1, 0)), (0.2, (0, 1, 0, 0, 0)), (1.0, (1, 1, 1, 1, 1))):
        found = optimal_weights(ratios, 0.5, build(REWEIGHTINGS, f'top_k:share={share}'))
        np.testing.assert_allclose(found.q, np.array(q) / sum(q), rtol=1e-6)
        assert float(found.threshold) == max(r for r, kept in zip(ratios, q, strict=True) if kept)
    np.testing.assert_allclose(optimal_weights(ratios, 0.5, REWEIGHTINGS['bagging']()).q, np.full(5, 0.2))
    with pytest.raises(InputError, match='share must be above 0'):
        build(REWEIGHTINGS, 'top_k:share=0')


@pytest.mark.parametrize(
    ('name', 'ratios'),
    [
        ('dagger', [0, 0, 1, 2]),  # theorem 2 wants P_d(dP_g = 0) below beta
        ('dagger', [np.inf, np.inf, np.inf, 1]),
        ('star', [np.inf] * 4),
        ('star', [1, np.nan, 1, 2]),
        ('dagger', [1, np.nan, 1, 2]),
    ],
)
def test_without_a_lambda_the_weights_are_equal_and_it_says_so(name, ratios):
    found = optimal_weights(jnp.array(ratios), 0.4, REWEIGHTINGS[name]())
    assert not found.found
    np.testing.assert_allclose(found.q, UNIFORM)


def test_a_classifier_gives_the_ratio_of_the_densities():
    real, fake = jax.random.normal(KEY, (2500, 1)), 1 + jax.random.normal(jax.random.key(1), (2500, 1))
    network = networks.MLP((1,), squeeze=True)
    fit = lambda key: boosting.fit_classifier(
        network, real, fake, key, steps=1500, optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 1500))
    )
    x = jnp.linspace(-2, 3, 1201)[:, None]
    logits = jax.jit(lambda key: fit(key)(x))(KEY)
    # N(0, 1) against N(1, 1): log p_d / p_g = 1/2 - x. Within .075 for keys 0 to 3; of one batch, over and over, .2 to .5.
    np.testing.assert_allclose(logits, 0.5 - x[:, 0], atol=0.15)
    again, other, part = (jax.jit(lambda key, x: fit(key)(x))(*a) for a in ((KEY, x), (jax.random.key(5), x), (KEY, x[:7])))
    np.testing.assert_array_equal(logits, again)
    np.testing.assert_allclose(part, logits[:7], rtol=1e-5)  # an example is judged alone
    assert (other != logits).any()
    with pytest.raises(ValueError, match='one logit per example'):
        boosting.fit_classifier(networks.MLP((1,)), real, fake, KEY, steps=1)


def test_batch_norm_in_the_classifier_sees_both_kinds_at_once():
    # Of two constants each kind alone would be normalised to nothing, and no classifier could tell them apart.
    real, fake = jnp.ones((50, 1)), jnp.zeros((50, 1))
    network = networks.MLP((4, 1), squeeze=True, norm='batch', activation=nn.tanh)
    fit = lambda: boosting.fit_classifier(network, real, fake, KEY, steps=300, optimizer=optax.adam(0.05))
    of_real, of_fake = jax.jit(lambda: (fit()(real)[0], fit()(fake)[0]))()
    assert float(of_real) > 2 and float(of_fake) < -2


def points(component, n, key):
    """Components of these tests: a point each, with a little noise."""
    return component['mean'] + 0.01 * jax.random.normal(key, (n, 1))


def booster(components, **options):
    classifier = networks.MLP((16, 1), squeeze=True, activation=nn.tanh)
    options = {'classifier_steps': 400, 'optimizer': optax.adam(0.02)} | options
    return boosting.adagan(points, classifier, components=components, **options)


COMPONENT = {'mean': jax.ShapeDtypeStruct((1,), jnp.float32)}


def filled(weights, components=None):
    ensemble = booster(len(weights)).init(COMPONENT, 8)
    means = jnp.arange(len(weights), dtype=jnp.float32)[:, None] if components is None else components
    return ensemble.replace(size=jnp.int32(len(weights)), components={'mean': means}, weights=jnp.array(weights))


@pytest.mark.parametrize(
    ('mixing', 'expected'), [('uniform', [0.2] * 5), ('constant:beta=0.5', [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2])]
)
def test_weights_of_the_components(mixing, expected):
    boost = booster(5, mixing=build(MIXINGS, mixing))
    ensemble = boost.init(COMPONENT, 3)
    np.testing.assert_allclose(ensemble.data_weights, np.full(3, 1 / 3))
    for i in range(5):
        ensemble = boost.append(ensemble, {'mean': jnp.full(1, float(i))})
        assert int(ensemble.size) == i + 1 and float(ensemble.weights.sum()) == pytest.approx(1, abs=1e-6)
        assert (np.asarray(ensemble.weights[i + 1 :]) == 0).all()
    np.testing.assert_allclose(ensemble.weights, expected, rtol=1e-6)
    np.testing.assert_array_equal(ensemble.components['mean'][:, 0], np.arange(5))
    with pytest.raises(InputError, match='beta must be above 0 and below 1'):
        build(MIXINGS, 'constant:beta=1')


def test_samples_of_the_mixture_have_the_components_shares():
    weights = [0.5, 0.3, 0.2, 0.0]
    ensemble = filled(weights, jnp.array([[0.0], [1], [2], [jnp.nan]]))  # what has no weight is never drawn
    samples = np.asarray(jax.jit(booster(4).sample, static_argnums=1)(ensemble, 5500, KEY))
    assert samples.shape == (5500, 1) and np.isfinite(samples).all()
    shares = np.bincount(np.round(samples[:, 0]).astype(int), minlength=4) / 5500
    np.testing.assert_allclose(shares, weights, atol=4 * np.sqrt(0.25 / 5500))
    noise = samples[:, 0] - np.round(samples[:, 0])
    assert len(np.unique(noise)) > 5000 and noise.std() == pytest.approx(0.01, rel=0.1)  # blocks have keys of their own


# Three modes, of which a component that collapses has one: the mode that weighs most.
MODES = np.array([-1.0, 0, 1])
DATA = np.asarray(MODES[np.arange(300) % 3][:, None] + 0.01 * np.random.default_rng(0).normal(size=(300, 1)), np.float32)


def collapsed(trained=None, stop=None):
    def train(weights, number, key):
        if number == stop:
            raise KeyboardInterrupt
        if trained is not None:
            trained.append(number)
        mass = np.stack([np.asarray(weights)[..., i::3].sum(-1) for i in range(3)], -1)
        noise = 1e-3 * (jax.vmap(jax.random.normal) if key.shape else jax.random.normal)(key)
        return {'mean': jnp.float32(MODES[mass.argmax(-1)] + noise)[..., None]}

    return train


def modes(ensemble):
    return np.round(np.asarray(ensemble.components['mean'])[..., 0])


@pytest.mark.parametrize('reweighting', ['star', 'dagger', 'top_k'])
@pytest.mark.slow
def test_components_that_collapse_cover_every_mode_together(reweighting, tmp_path):
    told = []
    boost = booster(3, reweighting=REWEIGHTINGS[reweighting]())
    ensemble = runs.boost(boost, collapsed(), COMPONENT, DATA, KEY, directory=tmp_path, report=told.append)
    assert sorted(modes(ensemble)) == [-1, 0, 1] and told == []
    np.testing.assert_allclose(ensemble.weights, [THIRD] * 3, rtol=1e-6)
    if reweighting == 'star':  # two of three modes met, of weight 1/2 each: lambda is 1, and all weight is on the third
        assert float(ensemble.data_weights.reshape(-1, 3)[:, int(modes(ensemble)[2]) + 1].sum()) > 0.9


def test_bagging_repeats_itself(tmp_path):
    boost = booster(3, reweighting=REWEIGHTINGS['bagging']())
    assert len(set(modes(runs.boost(boost, collapsed(), COMPONENT, DATA, KEY, directory=tmp_path)))) == 1


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_a_stopped_run_goes_on_at_its_component_bit_for_bit(tmp_path):
    boost, trained, told = booster(4), [], []
    go = lambda name, **options: runs.boost(
        boost, collapsed(trained, **options), COMPONENT, DATA, KEY, directory=tmp_path / name, report=told.append
    )
    straight = go('straight')
    assert trained == [0, 1, 2, 3]
    trained.clear()
    for stop, message in ((0, 'stopped; earlier saves'), (2, 'stopped at step 2, which is saved')):
        with pytest.raises(Interrupted, match=message):
            go('stopped', stop=stop)
    assert_same_bits(go('stopped'), straight)
    assert trained == [0, 1, 2, 3] and 'after component 2 of 4' in told[0]
    assert_same_bits(go('stopped'), straight)
    assert trained == [0, 1, 2, 3]  # a finished one is read back
    other = runs.boost(boost, collapsed(), COMPONENT, DATA, jax.random.key(7), directory=tmp_path / 'other')
    assert (np.asarray(other.components['mean']) != np.asarray(straight.components['mean'])).any()


@pytest.mark.slow
def test_seeds_at_once_are_the_seeds_alone(tmp_path):
    keys, boost = jax.random.split(KEY, 2), booster(3)
    both = runs.boost(boost, collapsed(), COMPONENT, DATA, keys, directory=tmp_path / 'both')
    assert both.weights.shape == (2, 3) and both.data_weights.shape == (2, 300)
    for i, key in enumerate(keys):
        alone = runs.boost(boost, collapsed(), COMPONENT, DATA, key, directory=tmp_path / str(i))
        np.testing.assert_allclose(both.components['mean'][i], alone.components['mean'], atol=1e-6)
        np.testing.assert_allclose(both.data_weights[i], alone.data_weights, atol=1e-4)


@pytest.mark.slow
def test_data_that_cannot_be_weighted_are_reported(tmp_path):
    told, exploding = [], booster(2, optimizer=optax.sgd(jnp.nan), classifier_steps=2)
    for i, keys in enumerate((KEY, jax.random.split(KEY, 3))):
        ensemble = runs.boost(exploding, collapsed(), COMPONENT, DATA, keys, directory=tmp_path / str(i), report=told.append)
        assert np.atleast_2d(ensemble.found).tolist() == [[True, False]] * keys.size
        np.testing.assert_allclose(ensemble.data_weights, np.full((*keys.shape, 300), 1 / 300), rtol=1e-6)
    no = 'component 2: no lambda found{}; its data have equal weights'
    assert told == [no.format(''), no.format(' in 3 of 3 seeds')]


def small_game(minibatches=1):
    game = games.adversarial(
        networks.MLP((4, 1)), networks.MLP((4, 1), squeeze=True), objectives.non_saturating(), latent=latents.normal(2)
    )
    optimizer = optax.sgd(0.05)
    trainer = gan_jax.trainer(game, Optimizers(optimizer, optimizer, minibatches))
    return game, trainer, runs.component_trainer(trainer, DATA, steps=7, batch_size=8)


@pytest.mark.parametrize('minibatches', [1, 2])
def test_a_component_is_trained_on_what_has_weight(minibatches):
    _, trainer, train = small_game(minibatches)
    trained = train(jnp.zeros(300).at[0].set(1), 0, KEY)
    state = trainer.init(DATA[:1], named(KEY, 'init'))
    batch, step = jnp.broadcast_to(DATA[0], ((2, 8, 1) if minibatches == 2 else (8, 1))), jax.jit(trainer.step)
    for _ in range(7):
        state, _ = step(state, batch)
    for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(state.generator.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_game_is_boosted_with_several_seeds(tmp_path):
    game, trainer, train = small_game()
    boost = boosting.adagan(
        lambda variables, n, key: game.play(variables, jnp.zeros(n), key, train=False)[0],
        networks.MLP((4, 1), squeeze=True),
        components=2,
        classifier_steps=5,
    )
    component = jax.eval_shape(lambda: trainer.init(DATA[:1], KEY).generator.variables)
    keys = jax.random.split(KEY, 2)
    ensemble = runs.boost(boost, train, component, DATA, keys, directory=tmp_path)
    kernels = ensemble.components['params']['Dense_0']['kernel']
    assert kernels.shape == (2, 2, 2, 4) and len(np.unique(kernels)) == 32  # all fresh
    samples = jax.jit(jax.vmap(lambda e, key: boost.sample(e, 10, key)))(ensemble, keys)
    assert samples.shape == (2, 10, 1) and np.isfinite(samples).all()
    both, weights = train(np.full((2, 300), 1 / 300), 0, keys), np.full(300, 1 / 300)
    for i in range(2):  # seeds at once are the seeds alone
        close(jax.tree.map(lambda x, i=i: x[i], both), train(weights, 0, keys[i]))


@pytest.mark.slow
def test_a_weighted_feed_draws_by_weight():
    weights = np.array([0.1, 0, 0.4, 0.2, 0.3, 0])
    feed = data.weighted({'x': np.arange(6)}, weights, 5000)
    draw = lambda feed, step, key=KEY: np.asarray(jax.jit(feed.draw)(feed.data, key, jnp.int32(step))['x'])
    counts = np.bincount(draw(feed, 3), minlength=6)
    np.testing.assert_allclose(counts / 5000, weights, atol=4 * np.sqrt(0.25 / 5000))
    assert counts[1] == counts[5] == 0
    np.testing.assert_array_equal(draw(feed, 3), draw(data.weighted({'x': np.arange(6)}, 7 * weights, 5000), 3))
    assert (draw(feed, 3) != draw(feed, 4)).any()
    assert (draw(feed, 3) != draw(feed, 3, jax.random.key(1))).any()
    stacked = data.weighted(np.arange(6), weights, 10, minibatches=2)
    single = data.weighted(np.arange(6), weights, 10)
    expected = [single.draw(single.data, KEY, jnp.int32(i)) for i in (4, 5)]
    np.testing.assert_array_equal(stacked.draw(stacked.data, KEY, jnp.int32(2)), expected)
    whole = data.weighted(np.arange(6), weights, 20)
    parts = jax.vmap(lambda _: whole.draw(whole.data, KEY, jnp.int32(1)), axis_name=parallel.AXIS)(jnp.arange(4))
    np.testing.assert_array_equal(parts.ravel(), whole.draw(whole.data, KEY, jnp.int32(1)))
    images = np.full((2, 3, 3, 1), 255, np.uint8)
    assert data.weighted(images, np.ones(2), 4).draw((images, data.share_edges(np.ones(2))), KEY, jnp.int32(0)).max() == 1


def test_small_weights_of_a_large_set_are_kept():
    weights = np.random.default_rng(0).random(100_000)
    shares = np.diff(np.asarray(data.share_edges(weights), np.float64), prepend=0) / 2**31
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=2.0**-31)
    rows = np.asarray(data.share_edges(np.stack([weights, weights[::-1]])))
    np.testing.assert_array_equal(rows[0], data.share_edges(weights))
    for wrong in ([0.0, 0], [1, -1], [1, np.nan], [[1, 1], [0, 0]]):
        with pytest.raises(ValueError, match='finite and at least 0'):
            data.share_edges(np.array(wrong))
    with pytest.raises(ValueError, match='3 examples require as many weights, got 2'):
        data.weighted(np.arange(3), np.ones(2), 4)


def test_random_mixtures():
    # Variances from the authors' code: 15 over 3, 3, 8, 20, 10 for one to five modes in the plane, over 3 modes^2 for more.
    for modes, variance in {1: 5, 2: 5, 3: 15 / 8, 4: 0.75, 5: 1.5, 7: 15 / 147, 10: 0.05}.items():
        mixture = data.mixture(f'gmm:modes={modes},seed=4')
        assert mixture.centres.shape == (modes, 2) and np.abs(mixture.centres).max() <= 15
        np.testing.assert_allclose(mixture.stds, np.full(modes, np.sqrt(variance)))
    centres = [data.mixture(f'gmm:modes=400,seed={seed}').centres for seed in (0, 0, 1)]
    assert (centres[0] == centres[1]).all() and (centres[0] != centres[2]).all()
    np.testing.assert_allclose(centres[0].std(0), 30 / np.sqrt(12), rtol=0.1)
    np.testing.assert_allclose(centres[0].mean(0), 0, atol=2)
    for wrong, message in (
        ('gmm:sides=2', "no setting 'sides'"),
        ('gmm:modes=0', 'modes must be from 1 to 10000, not 0'),
        ('gm', 'known: ring_unrolled'),
    ):
        with pytest.raises(InputError, match=message):
            data.mixture(wrong)
