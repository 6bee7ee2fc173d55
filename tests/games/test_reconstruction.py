"""VQGAN's loss: the weight's formula, which gradients flow where, what happens when D starts, and one's own training step."""

import re
import textwrap

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import close, normal

import gan_jax
from gan_jax import features, games, networks, objectives, optimizers, parallel
from gan_jax.errors import InputError
from gan_jax.games import differences, reconstruction
from gan_jax.games.judgement import PROGRESS
from gan_jax.metrics.extractors import EXTRACTORS, Extractor, Outputs

KEY = jax.random.key(0)
IMAGES = normal(1, 8, 2)


class Tokenizer(nn.Module):
    """A quantised autoencoder `[n, 2] -> (reconstruction, codes, loss)` whose last layer is linear."""

    @nn.compact
    def __call__(self, x, *, train=True):
        z, codes, loss = networks.VectorQuantizer(5)(nn.Dense(3)(x))
        return nn.Dense(2, name='last')(jnp.tanh(nn.Dense(4)(z))), codes, loss


class Linear(nn.Module):
    """Logits `x . w`."""

    @nn.compact
    def __call__(self, x, *, train=True):
        return x @ self.param('w', nn.initializers.normal(), (x.shape[-1],))


def vqgan(**options):
    return games.vqgan(Tokenizer(), Linear(), **{'last_layer': ('last',), **options})


# The weight.


def test_the_weight_is_the_papers_formula():
    rng = np.random.default_rng(0)
    rec, adv = ({'kernel': rng.normal(size=(3, 2)), 'bias': rng.normal(size=2)} for _ in range(2))
    norm = lambda tree: np.sqrt(sum((leaf**2).sum() for leaf in tree.values()))
    with jax.enable_x64(True):
        found = reconstruction.adaptive_weight(*jax.tree.map(jnp.asarray, (rec, adv)))
        np.testing.assert_allclose(found, norm(rec) / (norm(adv) + 1e-6), rtol=1e-12)
    zero = jax.tree.map(jnp.zeros_like, rec)
    assert float(reconstruction.adaptive_weight(rec, zero)) == 1e4  # the authors' limit
    assert float(reconstruction.adaptive_weight(rec, zero, largest=jnp.inf)) == pytest.approx(norm(rec) / 1e-6, rel=1e-5)
    for half in (jnp.float16, jnp.bfloat16):  # whose squares overflow and vanish
        same = [jnp.full((300, 300), 2, half)] * 2
        tiny = [jnp.full(10, 1e-5, half)] * 2
        length = float(tiny[0][0]) * 10**0.5
        for gradients, expected in ((same, 1.0), (tiny, length / (length + 1e-6))):
            found = reconstruction.adaptive_weight(*gradients)
            assert found.dtype == jnp.float32 and float(found) == pytest.approx(expected, rel=1e-5)
    assert float(reconstruction.adaptive_weight(zero, adv)) == 0
    with jax.debug_nans(True):  # a constant, whose derivative is 0 even where a norm has none
        slope = jax.grad(lambda s: reconstruction.adaptive_weight(jax.tree.map(lambda x: s * x, zero), zero))(1.0)
    assert float(slope) == 0


def test_the_weight_in_the_game_by_hand():
    """The last layer is x' = h W + b. With L_rec = mean |x - x'| and L_G = -mean(x' . v), gradients at W and b are explicit."""
    game = vqgan(objective_weight=0.3, code_weight=0.0)
    g, d = game.init(IMAGES, KEY)
    v = np.asarray(d['params']['w'], np.float64)
    play, _ = game.play(g, IMAGES, KEY)
    made, x = np.asarray(play.reconstruction, np.float64), np.asarray(IMAGES, np.float64)
    layer = jax.tree.map(lambda p: np.asarray(p, np.float64), g['params']['last'])
    _, inside = Tokenizer().apply(g, IMAGES, capture_intermediates=True, mutable=['intermediates'])
    h = np.tanh(np.asarray(inside['intermediates']['Dense_1']['__call__'][0], np.float64))
    np.testing.assert_allclose(h @ layer['kernel'] + layer['bias'], made, atol=1e-5)
    of_rec = np.sign(made - x) / x.size
    of_adv = np.broadcast_to(-v / len(x), x.shape)
    gradients = [(h.T @ g, g.sum(0)) for g in (of_rec, of_adv)]
    norms = [np.sqrt(sum((part**2).sum() for part in gradient)) for gradient in gradients]
    weight = 0.3 * norms[0] / (norms[1] + 1e-6)

    def loss(params):
        play, _ = game.play({'params': params}, IMAGES, KEY)
        return game.generator_loss(d, play, IMAGES, KEY)

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(g['params'])
    assert float(metrics['adversarial_weight']) == pytest.approx(weight, rel=1e-5)
    assert float(value) == pytest.approx(np.abs(made - x).mean() - weight * (made @ v).mean(), rel=1e-5)
    for name, rec, adv in zip(('kernel', 'bias'), *gradients, strict=True):
        np.testing.assert_allclose(gradient['last'][name], rec + weight * adv, atol=1e-6)
    # At the last layer the adversarial part is therefore 0.3 times as long as the other, and cannot dominate a step.
    assert weight * norms[1] == pytest.approx(0.3 * norms[0], rel=1e-3)  # but for epsilon


def test_the_weight_of_the_kernel_alone():
    game = vqgan(last_layer=('last', 'kernel'))
    g, d = game.init(IMAGES, KEY)
    play, _ = game.play(g, IMAGES, KEY)
    (gradient,) = play.back(jnp.ones_like(IMAGES))
    assert gradient.shape == g['params']['last']['kernel'].shape
    assert float(game.generator_loss(d, play, IMAGES, KEY)[1]['adversarial_weight']) > 0


def test_without_a_last_layer_the_weight_is_fixed():
    game = vqgan(last_layer=None, objective_weight=0.3)
    g, d = game.init(IMAGES, KEY)
    play, _ = game.play(g, IMAGES, KEY)
    assert play.back is None
    assert float(game.generator_loss(d, play, IMAGES, KEY)[1]['adversarial_weight']) == pytest.approx(0.3)


# Gradient flow.


def gradients(game, g, d):
    def loss(params):
        play, _ = game.play({'params': params}, IMAGES, KEY)
        return game.generator_loss(d, play, IMAGES, KEY)[0]

    return jax.grad(loss)(g['params'])


def test_the_adversarial_gradient_passes_the_codes_and_leaves_the_codebook():
    with_d, without = vqgan(), vqgan(objective_weight=0.0)
    g, d = with_d.init(IMAGES, KEY)
    a, b = gradients(with_d, g, d), gradients(without, g, d)
    np.testing.assert_allclose(a['VectorQuantizer_0']['codebook'], b['VectorQuantizer_0']['codebook'], atol=1e-7)
    assert float(jnp.abs(a['VectorQuantizer_0']['codebook']).max()) > 1e-3  # which the codebook's loss moves
    assert float(jnp.abs(a['Dense_0']['kernel'] - b['Dense_0']['kernel']).max()) > 1e-3  # the encoder, through the codes
    assert float(jnp.abs(a['last']['kernel'] - b['last']['kernel']).max()) > 1e-3


def simple(**options):
    """An adversary, its player, and a linear autoencoder as a function of its parameters."""
    critic = reconstruction.adversary(Linear(), optax.sgd(0.1), **options)
    params = {'inner': normal(2, 2, 3), 'last': normal(3, 3, 2)}

    def loss(params, judge, key=KEY):
        decode = lambda last: (jnp.tanh(IMAGES @ params['inner']) @ last, 'others')
        plain = lambda made: jnp.square(IMAGES - made).mean()
        return critic.loss(judge, IMAGES, decode, params['last'], plain, key)

    return critic, critic.init(IMAGES, KEY), params, loss


def test_each_side_learns_from_its_own_loss_alone():
    critic, judge, params, loss = simple()
    variables = lambda judge: loss(params, judge)[0]
    assert all(not leaf.any() for leaf in jax.tree.leaves(jax.grad(variables, allow_int=True)(judge).params))
    of_made = jax.grad(lambda made: critic.update(judge, IMAGES, made, KEY)[0].params['w'].sum())(IMAGES + 1)
    assert not of_made.any()
    updated, metrics = critic.update(judge, IMAGES, IMAGES + 1, KEY)
    assert (updated.params['w'] != judge.params['w']).all() and float(metrics['discriminator_loss']) > 0


def test_an_adversary_is_the_game():
    """The same numbers from `adversary` in one's own step and from `games.vqgan`."""
    game = vqgan(code_weight=2.0)
    g, d = game.init(IMAGES, KEY)
    critic = reconstruction.adversary(Linear(), optax.sgd(0.1))
    judge = critic.init(IMAGES, KEY).replace(params=d['params'])

    def loss(params):
        model = lambda last: Tokenizer().apply({'params': {**params, 'last': last}}, IMAGES)
        decode = lambda last: (model(last)[0], model(last)[2])
        plain = lambda made: jnp.abs(IMAGES - made).mean()
        value, (_, codebook, _) = critic.loss(judge, IMAGES, decode, params['last'], plain, KEY)
        return value + 2 * codebook.mean()

    close(jax.grad(loss)(g['params']), gradients(game, g, d))


def test_many_devices_are_one():
    critic, judge, params, _ = simple()

    def step(images):
        decode = lambda last: (jnp.tanh(images @ params['inner']) @ last, None)
        plain = lambda made: jnp.square(images - made).mean()
        _, (made, _, metrics) = critic.loss(judge, images, decode, params['last'], plain, KEY)
        return metrics['adversarial_weight'], critic.update(judge, images, made, KEY)[0].params

    expected = step(IMAGES)
    found = jax.vmap(step, axis_name=parallel.AXIS)(IMAGES.reshape(4, 2, 2))
    close(found, jax.tree.map(lambda x: jnp.stack([x] * 4), expected), atol=1e-5)


# The start.


def run(game, steps, optimizer=None):
    optimizer = optimizer or optax.sgd(0.1)
    states = [gan_jax.init(game, optimizer, optimizer, IMAGES, KEY)]
    step = jax.jit(gan_jax.make_train_step(game, optimizer, optimizer))
    for _ in range(steps):
        states.append(step(states[-1], IMAGES)[0])
    return states


def moved(states):
    """The step after which the parameters of D first differ from those at initialisation."""
    first = states[0].discriminator.params['w']
    return next(i for i, state in enumerate(states) if not np.array_equal(state.discriminator.params['w'], first))


def test_before_the_start_the_autoencoder_is_alone_and_the_discriminator_learns():
    delayed, alone, at_once = (run(vqgan(**o), 5) for o in ({'start': 3}, {'objective_weight': 0.0}, {}))
    equal = lambda a, b: all(map(np.array_equal, jax.tree.leaves(a.generator.params), jax.tree.leaves(b.generator.params)))
    same = list(map(equal, delayed, alone))
    assert same == [True] * 4 + [False] * 2  # the steps 0, 1 and 2 are without D
    assert moved(delayed) == 1 and int(delayed[3].discriminator.state[PROGRESS]['updates']) == 3
    assert not np.array_equal(at_once[1].generator.params['last']['kernel'], alone[1].generator.params['last']['kernel'])


def test_a_waiting_discriminator_learns_nothing_until_the_start():
    assert moved(run(vqgan(start=3, discriminator_waits=True), 5)) == 4


@pytest.mark.parametrize(('idle', 'expected'), [(0, 1.0), (9, 1.579)])
def test_the_first_step_of_adam_after_waiting_is_too_large(idle, expected):
    # Adam counts idle updates: m = (1 - b1) g / (1 - b1^n), v = (1 - b2) g^2 / (1 - b2^n) with n = idle + 1, so that m / sqrt(v)
    # is (1 - b1) / (1 - b1^n) sqrt((1 - b2^n) / (1 - b2)): 1 for n = 1, and 1.579 for n = 10, b1 = .5 and b2 = .999.
    adam = optax.adam(1e-3, 0.5, 0.999, eps=1e-12)
    states = run(vqgan(start=idle, discriminator_waits=idle > 0), idle + 1, adam)
    step = np.abs(states[-1].discriminator.params['w'] - states[0].discriminator.params['w']) / 1e-3
    n = idle + 1
    assert 0.5 / (1 - 0.5**n) * np.sqrt((1 - 0.999**n) / 1e-3) == pytest.approx(expected, abs=1e-3)
    np.testing.assert_allclose(step, expected, rtol=1e-3)


def test_reconstructions_survive_the_start():
    """The complaint is that everything collapses. Here the difference stays as it was before the discriminator's term."""
    x = jnp.concatenate([normal(4, 64, 1), normal(4, 64, 1) ** 2], 1) / 2
    game = games.vqgan(Tokenizer(), networks.MLP((16, 1), squeeze=True), last_layer=('last',), start=150)
    optimizer = optax.adam(1e-2, 0.5, 0.9)
    step = gan_jax.many_steps(gan_jax.make_train_step(game, optimizer, optimizer), lambda data, _: data, 300)
    _, metrics = jax.jit(step)(gan_jax.init(game, optimizer, optimizer, x, KEY), x, 300)
    loss = np.asarray(metrics['reconstruction_loss'])
    assert loss[149] < 0.6 * loss[0] and loss[-50:].mean() < 1.25 * loss[149]
    weight = np.asarray(metrics['adversarial_weight'])
    assert (weight[:150] == 0).all() and (weight[150:] > 0).all()


def test_anticipated_updates_do_not_bring_the_start_forward():
    """G looks three updates of D ahead, and the term still enters after two that are taken."""
    trainer = gan_jax.trainer(vqgan(start=2), optimizers.sgd(0.1), unroll_steps=3)
    state, step, weights = trainer.init(IMAGES, KEY), jax.jit(trainer.step), []
    for _ in range(4):
        state, metrics = step(state, IMAGES)
        weights.append(float(metrics['adversarial_weight']))
    assert weights[:2] == [0, 0] and min(weights[2:]) > 0


def test_feature_losses_begin_with_the_term_and_have_no_weight():
    options = {'feature_losses': [features.feature_matching()], 'objective_weight': 0.5, 'last_layer': None}
    judge, value = networks.MLP((3, 1), squeeze=True), {}
    for start in (0, 1):
        game = games.vqgan(Tokenizer(), judge, start=start, **options)
        g, d = game.init(IMAGES, KEY)
        play, _ = game.play(g, IMAGES, KEY)
        value[start], metrics = game.generator_loss(d, play, IMAGES, KEY)
    assert float(metrics['feature_loss']) > 0
    adversarial = -judge.apply({'params': d['params']}, play.reconstruction).mean()
    assert float(value[0] - value[1]) == pytest.approx(float(adversarial / 2 + metrics['feature_loss']), rel=1e-4)


# One's own step.


def test_the_docstrings_step_runs():
    found = re.search(r'\n\n( +critic = .*?)\n\n +All three', reconstruction.adversary.__doc__, re.DOTALL)
    code = textwrap.dedent(found.group(1))
    assert len([line for line in code.splitlines() if line]) <= 13

    class Model:
        """A flax model that returns reconstructions and the codebook's loss."""

        @staticmethod
        def apply(variables, images):
            flat = images.reshape(len(images), -1)
            made, _, loss = tokenizer.apply(variables, flat)
            return made.reshape(images.shape), loss.mean()

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x):
            z, codes, loss = networks.VectorQuantizer(8)(nn.Dense(4)(x))
            return nn.Dense(64, name='last')(z), codes, loss

    tokenizer = Wide()
    images = jnp.tanh(normal(5, 4, 8, 8, 1))
    names = {'jax': jax, 'jnp': jnp, 'optax': optax, 'networks': networks, 'adversary': reconstruction.adversary}
    names |= {'images': images, 'key': KEY, 'model': Model, 'optimizer': optax.adam(1e-2)}
    exec(code.replace('start=1000', 'start=2'), names)
    params = tokenizer.init(KEY, images.reshape(4, -1))['params']
    opt_state, judge, step, values = names['optimizer'].init(params), names['judge'], jax.jit(names['step']), []
    for i in range(6):
        params, opt_state, judge, value = step(params, opt_state, judge, images, jax.random.key(i))
        values.append(float(value))
    assert step._cache_size() == 1 and np.isfinite(values).all() and values[2] < values[0]
    assert int(judge.state[PROGRESS]['updates']) == 6
    assert not np.array_equal(judge.params['Conv_0']['kernel'], names['judge'].params['Conv_0']['kernel'])


# Perceptual terms, and what is refused.


def test_a_perceptual_term_in_closed_form():
    # |a / |a| - b / |b||^2 = 2 - 2 cos.
    term = differences.perceptual(EXTRACTORS['pixels'](), weight=3.0)
    a, b = normal(6, 4, 2, 2, 1), normal(7, 4, 2, 2, 1)
    flat = [np.asarray(x, np.float64).reshape(4, -1) for x in (a, b)]
    cosine = (flat[0] * flat[1]).sum(1) / np.linalg.norm(flat[0], axis=1) / np.linalg.norm(flat[1], axis=1)
    np.testing.assert_allclose(term(a, b), 3 * (2 - 2 * cosine), rtol=1e-5)
    np.testing.assert_allclose(term(a, 7 * a), 0, atol=1e-6)
    with jax.debug_nans(True):
        assert jnp.isfinite(jax.grad(lambda b: term(a, b).sum())(jnp.zeros_like(b))).all()


def test_a_perceptual_term_of_lpips_is_lpips():
    """Its features are normalised at every position, and are not normalised as a whole again."""
    scaled = Extractor('scaled', lambda x: Outputs(x.reshape(len(x), -1)), distances=True)
    a, b = normal(6, 4, 2, 2, 1), normal(7, 4, 2, 2, 1)
    expected = 3 * np.square(np.asarray(a) - np.asarray(b)).sum((1, 2, 3))
    np.testing.assert_allclose(differences.perceptual(scaled, weight=3.0)(a, b), expected, rtol=1e-5)


def test_a_perceptual_term_in_the_game():
    squares = Extractor('squares', lambda x: Outputs(x**2))
    game = vqgan(differences=[differences.squared_difference, differences.perceptual(squares, 0.5)])
    g, d = game.init(IMAGES, KEY)
    play, _ = game.play(g, IMAGES, KEY)
    made = np.asarray(play.reconstruction, np.float64)
    unit = lambda x: x**2 / np.linalg.norm(x**2, axis=1, keepdims=True)
    x = np.asarray(IMAGES, np.float64)
    expected = ((made - x) ** 2).mean() + 0.5 * ((unit(made) - unit(x)) ** 2).sum(1).mean()
    assert float(game.generator_loss(d, play, IMAGES, KEY)[1]['reconstruction_loss']) == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r'there is no layer decoder/last; the layers are .*last'):
        games.vqgan(Tokenizer(), Linear()).init(IMAGES, KEY)
    with pytest.raises(ValueError, match='at least one difference'):
        vqgan(differences=())
    for wrong in ({'start': -1}, {'objective_weight': -0.1}, {'largest_weight': 0.0}, {'discriminator_waits': True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            vqgan(**wrong)
        with pytest.raises(ValueError, match=next(iter(wrong))):
            reconstruction.adversary(Linear(), optax.sgd(0.1), **wrong)
    with pytest.raises(InputError, match='can be differentiated; mine runs on the host'):
        differences.perceptual(Extractor('mine', lambda x: Outputs(x), on_host=True))
    with pytest.raises(ValueError, match='must have the same shape'):
        differences.squared_difference(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    assert objectives.hinge().undecided == 0
