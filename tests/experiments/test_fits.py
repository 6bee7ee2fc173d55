"""Fits by f-divergences and vanishing gradients: closed forms, order, and what the command lines say to bad input."""

import json
import math
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from experiments.f_gan import __main__ as f_gan
from experiments.f_gan.fits import WeightedMixture, exact
from experiments.vanishing_gradients import __main__ as vanishing_gradients
from experiments.vanishing_gradients.measured import generator_gradient
from gan_jax import games, latents, networks, objectives, runs
from gan_jax.divergences import DIVERGENCES
from gan_jax.runs import run_main

MIXTURE = WeightedMixture(*(getattr(f_gan.Config(), name) for name in ('weights', 'means', 'stds')))


@pytest.fixture(scope='module')
def best():
    return {name: exact(DIVERGENCES[name](), MIXTURE) for name in DIVERGENCES}


def test_kl_matches_moments(best):
    """The Gaussian nearest in KL(P||Q) has the mean and the variance of P; for the default mixture .3 and 2.308."""
    mean, std = 0.3 * -1.8 + 0.7 * 1.2, math.sqrt(0.3 * (0.25 + 3.24) + 0.7 * (0.49 + 1.44) - 0.3**2)
    assert MIXTURE.moments() == pytest.approx((mean, std), abs=1e-12)
    assert (best['kl']['mu'], best['kl']['sigma']) == pytest.approx((mean, std), abs=1e-6)
    log_q = lambda x: -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    x = np.random.default_rng(0).choice(2, 200_000, p=MIXTURE.weights)
    x = np.array(MIXTURE.means)[x] + np.array(MIXTURE.stds)[x] * np.random.default_rng(1).normal(size=len(x))
    sampled = np.asarray(MIXTURE.log_density(jnp.asarray(x))) - log_q(x)
    assert best['kl']['value'] == pytest.approx(sampled.mean(), abs=5 * sampled.std() / math.sqrt(len(x)))


def test_kl_covers_and_reverse_kl_seeks_a_mode(best):
    sigma = {name: fit['sigma'] for name, fit in best.items()}
    assert sigma['pearson'] > sigma['alpha'] > sigma['kl'] > sigma['jensen_shannon'] > sigma['jeffrey'] > 1.3
    assert 0.7 < sigma['neyman'] < sigma['reverse_kl'] < 0.8  # the wider mode's is .7
    assert best['reverse_kl']['mu'] == pytest.approx(1.2, abs=0.1)


def test_divergences_that_differ_by_a_scale_and_a_constant_have_one_optimum(best):
    for name in ('jensen_shannon_weighted', 'gan'):
        assert best[name]['mu'] == pytest.approx(best['jensen_shannon']['mu'], abs=1e-5)
        assert best[name]['sigma'] == pytest.approx(best['jensen_shannon']['sigma'], abs=1e-5)
    assert best['gan']['value'] + math.log(4) == pytest.approx(best['jensen_shannon']['value'], abs=1e-9)
    assert 2 * best['jensen_shannon_weighted']['value'] == pytest.approx(best['jensen_shannon']['value'], abs=1e-9)


@pytest.mark.parametrize('name', DIVERGENCES)
def test_one_gaussian_is_recovered(name):
    fit = exact(DIVERGENCES[name](), WeightedMixture((1.0,), (1.0,), (0.7,)), starts=[(0.0, 1.5), (2.0, 0.4)])
    assert (fit['mu'], fit['sigma']) == pytest.approx((1.0, 0.7), abs=1e-5)
    assert fit['value'] == pytest.approx(-math.log(4) if name == 'gan' else 0, abs=1e-9)


@pytest.fixture(scope='module')
def easy(tmp_path_factory):
    """An adversarial fit of one Gaussian from a start beside it and too wide."""
    path = tmp_path_factory.mktemp('f_gan')
    config = f_gan.Config(
        runs_dir=str(path),
        divergences=('kl', 'reverse_kl'),
        weights=(1.0,),
        means=(1.0,),
        stds=(0.7,),
        start=(0.0, 1.5),
        seeds=2,
        steps=600,
        batch_size=128,
        width=16,
        samples=20_000,
    )
    return f_gan.main(config), path / 'f_gan'


@pytest.mark.parametrize('name', ['kl', 'reverse_kl'])
@pytest.mark.slow
def test_adversarial_fit_gets_there(easy, name):
    result = easy[0][name]
    np.testing.assert_allclose(result['mu_hat'], 1.0, atol=0.12)
    np.testing.assert_allclose(result['sigma_hat'], 0.7, atol=0.12)
    np.testing.assert_allclose(result['bound'], result['value_hat'], atol=0.03)
    assert max(result['value_hat']) < 0.05  # at the start 1.2 and 4.3


def test_bound_is_the_divergence(tmp_path):
    """Of a generator that stays, KL(N(1, .7^2) || N(0, 1.5^2)) = log(1.5 / .7) + (.49 + 1) / 4.5 - .5."""
    one = WeightedMixture((1.0,), (1.0,), (0.7,))
    options = {'seeds': 1, 'steps': 600, 'batch_size': 128, 'width': 16, 'samples': 20_000}
    config = f_gan.Config(runs_dir=str(tmp_path), start=(0.0, 1.5), generator_rate=0.0, **options)
    result = f_gan.fitted(runs.train(config, f_gan.study(config, DIVERGENCES['kl'](), one)), one)
    assert (result['mu_hat'][0], result['sigma_hat'][0]) == pytest.approx((0.0, 1.5))
    assert result['bound'][0] == pytest.approx(math.log(1.5 / 0.7) + 1.49 / 4.5 - 0.5, abs=0.03)


@pytest.mark.slow
def test_f_gan_leaves_its_files(easy):
    results, path = easy
    assert {file.name for file in path.iterdir()} - {'.lock'} == {'config.json', 'fits.png', 'results.json', 'kl', 'reverse_kl'}
    assert json.loads((path / 'results.json').read_text()) == results
    with Image.open(path / 'fits.png') as picture:
        assert min(picture.size) > 100


@pytest.fixture(scope='module')
def vanishing(tmp_path_factory):
    path = tmp_path_factory.mktemp('vanishing_gradients')
    config = vanishing_gradients.Config(
        runs_dir=str(path),
        seeds=2,
        steps=1000,
        batch_size=32,
        learning_rate=5e-3,
        width=32,
        minibatches=4,
        sigma=1.0,
    )
    return config, vanishing_gradients.main(config), path / 'vanishing_gradients'


@pytest.mark.slow
def test_saturating_gradients_vanish_and_others_do_not(vanishing):
    _, results, _ = vanishing
    ratio = {name: result['gradient'][-1] / result['gradient'][0] for name, result in results.items()}
    assert (ratio['minimax'] < 0.1).all() and (ratio['non_saturating'] > 5).all()
    for name in ('wasserstein_gp', 'minimax_noise'):
        assert (ratio[name] > 0.1).all() and (ratio[name] < 10).all()
    assert (ratio['wasserstein_clipping'] > 0.5).all() and (results['wasserstein_clipping']['gradient'] < 5).all()
    for name in ('loss', 'ranked'):  # the same D, to the last bit
        np.testing.assert_array_equal(results['minimax'][name], results['non_saturating'][name])
    assert (results['minimax']['ranked'][-1] > 0.99).all() and (results['minimax']['loss'][-1] < 0.05).all()
    assert (results['minimax_noise']['loss'][-1] > 0.3).all()


@pytest.mark.slow
def test_saturating_gradients_are_in_proportion_to_the_loss(vanishing):
    """|grad| <= E[sigma(l) |dl/dtheta|], where E[sigma(l)] is below D's loss: the two fall together."""
    _, results, _ = vanishing
    gradient, loss = (results['minimax'][name][-4:] for name in ('gradient', 'loss'))
    assert (loss.max(0) / loss.min(0) > 20).all()
    assert ((gradient / loss).max(0) / (gradient / loss).min(0) < 10).all()


def test_weights_of_the_two_logistic_gradients():
    """On one D, d L_G / d theta is -E[sigma(l) dl/dtheta] for the saturating and -E[sigma(-l) dl/dtheta] for the other loss."""
    generator, D = networks.MLP((2,)), networks.MLP((8, 1), squeeze=True)
    make = lambda objective: games.adversarial(generator, D, objective, latent=latents.uniform(3))
    both = make(objectives.minimax()), make(objectives.non_saturating())
    still, real = optax.set_to_zero(), jnp.ones((64, 2))

    @jax.jit
    def compute(key, play_key, see_key):
        state = gan_jax.init(both[0], still, still, real, key)
        play = lambda params: both[0].play({'params': params}, real, play_key)[0]
        logits = lambda params: D.apply(state.discriminator.variables, play(params))
        jacobian = jax.tree.leaves(jax.jacrev(logits)(state.generator.params))
        jacobian = jnp.concatenate([leaf.reshape(len(real), -1) for leaf in jacobian], 1)
        found = [generator_gradient(game, state, real, play_key, see_key)[0] for game in both]
        return logits(state.generator.params), jacobian, found

    logit, jacobian, found = jax.device_get(compute(*jax.random.split(jax.random.key(0), 3)))
    weight = 1 / (1 + np.exp(-logit))
    assert np.ptp(weight) > 0.1
    for gradient, w in zip(found, (weight, 1 - weight), strict=True):
        np.testing.assert_allclose(gradient, -(w[:, None] * jacobian).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_vanishing_gradients_leaves_its_files(vanishing, capsys):
    config, results, path = vanishing
    assert {file.name for file in path.iterdir()} >= {'config.json', 'gradients.png', 'results.json', 'minimax'}
    written = json.loads((path / 'results.json').read_text())
    assert written['moments'] == vanishing_gradients.moments(1000) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    np.testing.assert_allclose(written['minimax']['gradient'], results['minimax']['gradient'])
    assert results['minimax']['gradient'].shape == (10, 2)
    with Image.open(path / 'gradients.png') as picture:
        assert min(picture.size) > 100
    assert 'last / first' in vanishing_gradients.report(config, results)


@pytest.mark.parametrize(('steps', 'expected'), [(1, [1]), (10, [1, 2, 5, 10]), (7, [1, 2, 5, 7]), (1000, [1, 1000])])
def test_moments(steps, expected):
    moments = vanishing_gradients.moments(steps)
    assert set(expected) <= set(moments) and moments == sorted(moments) and moments[-1] == steps


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('experiment', 'flags', 'message'),
    [
        (f_gan, ['--steps', '0'], '--steps must be at least 1'),
        (f_gan, ['--divergences', 'reverse_lk'], "unknown divergence 'reverse_lk'; did you mean reverse_kl"),
        (f_gan, ['--divergences', 'kl', 'alpha:a=1'], 'a must be neither 0 nor 1'),
        (f_gan, ['--divergences', 'kl:pi=.5'], "has no setting 'pi'"),
        (f_gan, ['--start', '0', '-1'], '--start must be above 0'),
        (f_gan, ['--stds', '0.5', '-0.7'], '--stds must be above 0'),
        (f_gan, ['--weights', '0.5', '0.7'], 'sum to 1'),
        (f_gan, ['--weights', '1'], 'as many as the mixture has modes'),
        (f_gan, ['--means', '0', 'nan'], '--means must be from -1000 to 1000, not nan'),
        (f_gan, ['--gamma', '-1'], '--gamma must be from 0 to 1000000'),
        (vanishing_gradients, ['--steps', '0'], '--steps must be at least 1'),
        (vanishing_gradients, ['--cases', 'minmax'], "unknown case 'minmax'; did you mean minimax"),
        (vanishing_gradients, ['--sigma', '-1'], '--sigma must be from 0 to 1000'),
        (vanishing_gradients, ['--clip', '0'], '--clip must be above 0'),
        (vanishing_gradients, ['--weight', '-1'], '--weight must be from 0 to 1000000'),
        (vanishing_gradients, ['--data', 'ring'], "unknown mixture 'ring'"),
        (vanishing_gradients, ['--data', 'madgan_1d'], 'not in the plane'),
        (vanishing_gradients, ['--resume'], 'nothing to resume'),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, experiment, flags, message):
    monkeypatch.setattr(sys, 'argv', ['experiment', '--runs-dir', str(tmp_path / 'runs'), *flags])
    with pytest.raises(SystemExit) as stop:
        run_main(experiment.main, experiment.Config)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(line.splitlines()) == 1 and re.search(message, line)
    assert not list(tmp_path.iterdir())
