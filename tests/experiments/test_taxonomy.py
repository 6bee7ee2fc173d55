"""The five models of the taxonomy: closed forms, and small cases in which every probability is counted."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from experiments.taxonomy import __main__ as taxonomy
from experiments.taxonomy import gan, gsn, images, made, rbm, toy, vae
from experiments.taxonomy.common import bernoulli_log_prob, every_vector, learner
from gan_jax.errors import InputError

RATE = optax.sgd(0.1)
UNITS = 4
DRAWS = 20_000


def louder(state, factor):
    """A state whose parameters are far from those of an untrained model, which is nearly uniform."""
    return state.replace(
        params=jax.tree.map(lambda x: factor * x + 0.3 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), state.params)
    )


def prepared(name):
    """A small model of four units, and a state that is far from uniform."""
    model, factor = {
        'vae': lambda: (vae.model(UNITS, hidden=6, latent=2, optimizer=RATE), 1.5),
        'made': lambda: (made.model(UNITS, hidden=(8, 8), optimizer=RATE), 2.0),
        'rbm': lambda: (rbm.model(np.full(UNITS, 0.4), hidden=3, optimizer=RATE, sampling_steps=40), 100.0),
        'gsn': lambda: (gsn.model(UNITS, hidden=6, optimizer=RATE, sampling_steps=12), 2.0),
    }[name]()
    return model, louder(jax.jit(model.init)(jax.random.key(0)), factor)


@pytest.mark.parametrize('name', ['vae', 'made', 'rbm', 'gsn'])
def test_samples_have_the_distribution_that_is_enumerated(name):
    # 20,000 draws of 16 vectors: a share is off by at most .0035 (one standard deviation), the total variation by .011 if all
    # shares are off by that. Uniform draws are off by more than .15: the test's own check.
    model, state = prepared(name)
    log_p = jax.jit(model.distribution)(state)
    assert float(jnp.exp(log_p).sum()) == pytest.approx(1, abs=2e-5)
    sample = jax.jit(model.sample, static_argnums=2)(state, jax.random.key(1), DRAWS)
    assert sample.pixels.shape == sample.probabilities.shape == (DRAWS, UNITS)
    p, counted = np.exp(log_p), toy.histogram(sample.pixels)
    assert abs(p - 1 / 16).sum() / 2 > 0.15
    assert abs(p - counted).sum() / 2 < 0.02
    np.testing.assert_allclose(sample.probabilities.mean(0), sample.pixels.mean(0), atol=0.015)  # 4 standard deviations
    if model.walk is not None:
        walk = jax.jit(model.walk)(state, jax.random.key(1))
        assert walk.shape == (model.passes + 1, UNITS) and (walk[0] == 0.5).all() and ((walk[1:] - 0.5) ** 2).min() > 0


@pytest.mark.parametrize('hidden', [(), (16, 24)])
def test_made_sums_to_one_over_all_vectors_of_twelve_units(hidden):
    with jax.enable_x64(True):
        model = made.model(12, hidden=hidden, optimizer=RATE)
        params = louder(jax.jit(model.init)(jax.random.key(2)), 3.0).params
        x = every_vector(12)
        network = made.MADE(hidden)
        logits = jax.jit(network.apply)(params, x)
        p = np.exp(np.asarray(bernoulli_log_prob(x, logits), np.float64))
        assert p.sum() == pytest.approx(1, abs=1e-6) and p.max() > 3 / 4096
        # Output i depends on inputs 1 to i - 1 alone, and the last one on every one of them.
        jacobian = jax.jit(jax.vmap(jax.jacobian(lambda x: network.apply(params, x))))(x[::97])
        assert (jnp.triu(jacobian) == 0).all() and (abs(jacobian).max(0)[-1, :-1] > 0).all()


def test_made_masks_by_hand():
    # Three pixels, hidden degrees 1 2 1: pixel 3 is seen by nobody, output 1 sees nobody.
    first, last = made.masks(3, (3,))
    np.testing.assert_array_equal(first, [[1, 1, 1], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(last, [[0, 1, 1], [0, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(made.masks(3, ())[0], np.triu(np.ones((3, 3)), 1))


def test_kl_of_gaussians():
    kl = vae.kl_to_standard_normal
    assert float(kl(jnp.ones(1), jnp.zeros(1))) == pytest.approx(0.5)  # the closed form at mu = 1, sigma = 1
    assert float(kl(jnp.zeros(3), jnp.zeros(3))) == 0
    # KL(N(0, e) || N(0, 1)) = (e - 2) / 2
    assert float(kl(jnp.zeros(1), jnp.ones(1))) == pytest.approx((np.e - 2) / 2)
    mu, log_variance = np.array([0.7, -1.2]), np.array([-1.5, 0.4])
    std = np.exp(log_variance / 2)
    z = np.linspace(-15, 15, 20001)[:, None]
    log_q = -((z - mu) ** 2) / (2 * std**2) - np.log(std) - np.log(2 * np.pi) / 2
    log_p = -(z**2) / 2 - np.log(2 * np.pi) / 2
    integral = (np.exp(log_q) * (log_q - log_p)).sum() * (z[1, 0] - z[0, 0])
    assert float(kl(jnp.asarray(mu), jnp.asarray(log_variance))) == pytest.approx(integral, rel=1e-5)


def test_bounds_of_the_vae_lie_below_the_likelihood_and_close_in():
    model, state = prepared('vae')
    # The encoder says N(.5, e^.7) whatever x is: wider than the prior, so that weights p(z) / q(z) are bounded.
    encoder = jax.tree.map(jnp.zeros_like, state.params['encoder'])
    encoder['params']['Dense_1']['bias'] = jnp.array([0.5, 0.5, 0.7, 0.7])
    state = state.replace(params={**state.params, 'encoder': encoder})
    exact = float(jax.jit(model.distribution)(state).mean())
    x = jnp.repeat(every_vector(UNITS), 200, 0)
    estimates = jax.jit(lambda state, key: {kind: f(state, x, key) for kind, f in model.evaluate.items()})(
        state, jax.random.key(3)
    )
    means = [estimates[f'bound, {kind}'].value for kind in ('50 importance samples', 'ELBO')]
    errors = [estimates[f'bound, {kind}'].standard_error for kind in ('50 importance samples', 'ELBO')]
    assert means[1] + 5 * errors[1] < means[0] < exact
    # The gap of k samples goes as variance / 2k: .02 nats and less at 50.
    assert exact - means[0] < 0.05 < exact - means[1]


def wild(d, hidden):
    keys = jax.random.split(jax.random.key(5), 3)
    shapes = ((d, hidden), (d,), (hidden,))
    return rbm.Parameters(*(1.5 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)))


def test_rbm_partition_function_by_brute_force():
    params = wild(5, 3)
    w, b, c = (np.asarray(p, np.float64) for p in params)
    v, h = np.asarray(every_vector(5), np.float64), np.asarray(every_vector(3), np.float64)
    joint = np.exp(v @ w @ h.T + (v @ b)[:, None] + h @ c)  # of every visible and hidden state
    assert float(rbm.log_partition(params)) == pytest.approx(np.log(joint.sum()), rel=1e-6)
    np.testing.assert_allclose(-rbm.free_energy(params, jnp.asarray(v, jnp.float32)), np.log(joint.sum(1)), rtol=1e-5)


@pytest.mark.slow
def test_annealed_partition_function():
    params = wild(6, 4)
    estimate = jax.jit(lambda key: rbm.annealed_log_partition(params, jnp.full(6, -0.5), key, temperatures=300, chains=256))
    value, error = estimate(jax.random.key(6))
    assert 0.001 < error < 0.1
    assert abs(value - rbm.log_partition(params)) < 4 * error
    # Along a path where nothing changes every weight is exact: independent units of the base's own biases.
    still = rbm.Parameters(jnp.zeros((6, 4)), jnp.full(6, -0.5), jnp.zeros(4))
    value, error = rbm.annealed_log_partition(still, still.visible, jax.random.key(7), temperatures=3, chains=4)
    assert float(value) == pytest.approx(6 * np.log1p(np.exp(-0.5)) + 4 * np.log(2), rel=1e-6) and float(error) < 1e-6


@pytest.mark.slow
def test_rbm_gradient_is_that_of_the_likelihood_when_the_chains_are_the_model():
    # With chains in the model's own distribution (each vector as often as its probability) the loss has the gradient of -log p.
    params = wild(4, 3)
    x, every = every_vector(4)[[1, 6, 11]], every_vector(4)
    log_likelihood = lambda params: (-rbm.free_energy(params, x) - rbm.log_partition(params)).mean()
    p = jax.nn.softmax(-rbm.free_energy(params, every))
    phases = lambda params: rbm.free_energy(params, x).mean() - p @ rbm.free_energy(params, every)
    exact, found = jax.grad(lambda params: -log_likelihood(params))(params), jax.grad(phases)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), exact, found)
    # And the step takes that gradient: with the chains as they are after one step, by hand.
    model = rbm.model(np.full(4, 0.5), hidden=3, optimizer=RATE, chains=5)
    state = model.init(jax.random.key(8)).replace(params=params)
    after, _ = jax.jit(model.step)(state, x)
    loss = lambda params: rbm.free_energy(params, x).mean() - rbm.free_energy(params, after.memory).mean()
    by_hand = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), by_hand, after.params)
    assert after.memory.shape == (5, 4) and (after.memory != state.memory).any()


def test_noise_leaves_pixels_with_the_probability_it_says():
    x = jnp.tile(jnp.array([0.0, 1.0]), (40_000, 1))
    share = gsn.corrupt(x, jax.random.key(9), 0.4).mean(0)
    np.testing.assert_allclose(share, [0.2, 0.8], atol=0.01)  # a coin in 40 % of the cases; 5 standard deviations


@pytest.mark.slow
def test_perfect_denoiser_keeps_the_data():
    # Where the posterior of x given its corruption factorises, the chain's distribution is the data's: independent pixels.
    # P(x = 1 | noisy) = q (1 - noise / 2) / (q (1 - noise / 2) + (1 - q) noise / 2) for noisy = 1, and so on.
    q, noise = 0.3, 0.4
    posterior = np.array([q * noise / 2, q * (1 - noise / 2)]) / (
        np.array([q * noise / 2, q * (1 - noise / 2)]) + (1 - q) * np.array([1 - noise / 2, noise / 2])
    )
    low, high = np.log(posterior) - np.log1p(-posterior)
    model = gsn.model(3, hidden=3, optimizer=RATE, noise=noise, sampling_steps=60)
    state = model.init(jax.random.key(0))
    # A tanh unit for each pixel, tanh(8 x - 4) = -1 or 1 but for 7e-4, then a line through both logits.
    dense = [{'kernel': 8 * jnp.eye(3), 'bias': jnp.full(3, -4.0)}]
    dense += [{'kernel': (high - low) / 2 * jnp.eye(3), 'bias': jnp.full(3, (high + low) / 2)}]
    state = state.replace(params={'params': {'Dense_0': dense[0], 'Dense_1': dense[1]}})
    p = np.exp(jax.jit(model.distribution)(state))
    truth = np.prod(np.where(every_vector(3) == 1, q, 1 - q), 1)
    np.testing.assert_allclose(p, truth, atol=1e-3)


def test_bars_and_stripes_are_twenty_two_images():
    p = toy.bars_and_stripes()
    assert p.sum() == 1 and (p > 0).sum() == 22
    # All dark: from three rows or four columns that are off. One row on: 1/2 of 1/8.
    assert p[0] == p[-1] == 1 / 16 + 1 / 32 and p[0b000000001111] == 1 / 16 and p[0b000100010001] == 1 / 32
    fit = toy.compare(p, np.full(4096, 1 / 4096))
    entropy = -(p[p > 0] @ np.log(p[p > 0]))
    assert fit.kl == pytest.approx(12 * np.log(2) - entropy) and fit.legal == pytest.approx(22 / 4096)
    assert fit.total_variation == pytest.approx(1 - 22 / 4096) and fit.patterns == 22
    one = np.zeros(4096)
    one[0] = 1
    assert toy.compare(p, one)[:1] == (np.inf,) and toy.compare(p, p)[:3] == (0, 0, 1)
    drawn = toy.histogram(jax.jit(toy.draw, static_argnums=1)(jax.random.key(0), 4000))
    assert drawn[p == 0].sum() == 0 and abs(drawn - p).sum() / 2 < 0.05


@pytest.mark.slow
def test_gan_samples_are_binary_and_come_from_its_averaged_generator():
    model = gan.model(6, hidden=4, latent=2, optimizer=RATE)
    state = model.init(jax.random.key(0))
    state, metrics = jax.jit(model.step)(state, every_vector(6)[:8])
    sample = model.sample(state, jax.random.key(1), 5)
    assert set(np.unique(sample.pixels)) <= {0, 1} and ((sample.probabilities > 0.5) == sample.pixels).all()
    still = model.sample(state.replace(generator=None), jax.random.key(1), 5)
    np.testing.assert_array_equal(still.probabilities, sample.probabilities)
    assert np.isfinite(list(metrics.values())).all() and not model.evaluate


def test_steps_are_a_function_of_the_key_and_their_number():
    init, step = learner(
        lambda key: (jnp.zeros(2), 0), lambda p, m, x, key: ((p - jax.random.normal(key)).sum() ** 2, m + 1), RATE
    )
    state, _ = step(init(jax.random.key(0)), None)
    other, _ = step(init(jax.random.key(0)), None)
    np.testing.assert_array_equal(state.params, other.params)
    again, _ = step(state.replace(params=jnp.zeros(2)), None)
    assert int(again.memory) == 2 and (again.params != state.params).all()  # another step, other noise


def test_binarisation():
    grey = np.repeat(np.array([0, 51, 255], np.uint8), 40_000).reshape(3, 200, 200, 1)
    pixels = images.binarise(grey, 0)
    assert pixels.shape == (3, 40_000) and pixels.dtype == bool
    np.testing.assert_allclose(pixels.mean(1), [0, 0.2, 1], atol=0.01)
    assert not pixels[0].any() and pixels[2].all() and (pixels[1] != images.binarise(grey, 1)[1]).any()
    np.testing.assert_array_equal(images.black_and_white(pixels)[2], grey[2])
    train, validation, test = images.load('digits', None, None)
    assert (len(train.grey), len(validation.grey), len(test.grey)) == (1198, 239, 360) and train.pixels.shape == (1198, 64)


def test_every_class_is_in_the_validation_set(tmp_path):
    for split in ('train', 'test'):
        for label in range(4):  # sub-folders are read one after the other
            (tmp_path / split / str(label)).mkdir(parents=True)
            for i in range(30):
                image = np.full((4, 4), 30 * label + i, np.uint8)
                Image.fromarray(image).save(tmp_path / split / str(label) / f'{i:02}.png')
    train, validation, test = images.load(str(tmp_path), 4, None)
    levels = [part.grey[:, 0, 0, 0].tolist() for part in (train, validation, test)]
    assert levels[2] == list(range(120))
    assert sorted(levels[0] + levels[1]) == levels[2] and levels[0] == sorted(levels[0]) and levels[1] == sorted(levels[1])
    for part in (train, validation):
        assert set(part.labels) == {0, 1, 2, 3}
        np.testing.assert_array_equal(part.labels, part.grey[:, 0, 0, 0] // 30)
    again = images.load(str(tmp_path), 4, None)[1]
    np.testing.assert_array_equal(again.pixels, validation.pixels)


SMALL = taxonomy.Config(
    dataset='digits', steps=3, hidden=4, latent_size=2, batch_size=8, importance_samples=2, gibbs_steps=3, denoising_steps=2,
    temperatures=2, samples=6, toy_steps=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'models': ()}, '--models must name at least one'),
        ({'models': ('vea',)}, "unknown model 'vea'; did you mean vae"),
        ({'steps': 0}, '--steps must be at least 1, not 0'),
        ({'samples': 1}, '--samples must be from 2 to 10000000'),
        ({'toy_steps': -1}, '--toy-steps must be at least 0'),
        ({'size': 2}, '--size must be from 4 to 1024'),
        ({'noise': 1.0}, '--noise must be above 0 and below 1, not 1.0'),
        ({'batch_size': 5000}, 'batch size 5000 is more than the 1198 examples'),
    ],
)
def test_bad_input(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        taxonomy.main(dataclasses.replace(SMALL, runs_dir=str(tmp_path), **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_taxonomy(tmp_path, capsys):
    config = dataclasses.replace(SMALL, runs_dir=str(tmp_path), toy_steps=2)
    part = taxonomy.main(dataclasses.replace(config, models=('vae', 'rbm')))
    results = taxonomy.main(dataclasses.replace(config, resume=True))
    assert list(results) == [*config.models, 'real']
    for name in ('vae', 'rbm'):  # measured again on one device, of replicas that must not have drifted apart
        likelihoods = (next(iter(figures[name]['likelihoods'].values())) for figures in (results, part))
        np.testing.assert_allclose(*likelihoods, rtol=1e-5)
        assert results[name]['recognised'] == part[name]['recognised']
    assert {name: result['passes'] for name, result in results.items() if name != 'real'} == {
        'vae': 1, 'made': 64, 'rbm': 3, 'gsn': 2, 'gan': 1,
    }  # fmt: skip
    assert {name for name, result in results.items() if result.get('likelihoods')} == {'vae', 'made', 'rbm'}
    assert results['made']['likelihoods'].keys() == {'exact'} and results['rbm']['likelihoods'].keys() == {'exact'}
    assert -200 < results['made']['likelihoods']['exact'][0] < -20
    assert set(results['gan']['toy']) == {'counted'} and set(results['gsn']['toy']) == {'counted', 'exact'}
    run = tmp_path / 'taxonomy'
    assert {path.name for path in run.iterdir()} == {
        'config.json', 'results.json', 'samples.png', 'chains.png', *(f'{name}.npz' for name in config.models),
    }  # fmt: skip
    assert json.loads((run / 'results.json').read_text())['gan'] == results['gan']
    out = capsys.readouterr().out
    assert 'digits, binarised, 3 steps of 8' in out and 'bars and stripes' in out
