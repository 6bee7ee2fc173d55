"""Stabilisers that are optax transforms, and the papers' presets."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax import optimizers
from gan_jax.errors import InputError
from gan_jax.optimizers import OPTIMIZERS
from gan_jax.registry import build

PARAMS = {'w': jnp.array([0.5, -0.003, 0.0]), 'b': jnp.float32(-2.0)}
GRADIENT = {'w': jnp.array([1.0, -1.0, 0.5]), 'b': jnp.float32(-1.0)}
TRANSFORMS = {
    'clip_weights': optimizers.clip_weights,
    'historical_averaging': optimizers.historical_averaging,
    'average_parameters': optimizers.average_parameters,
    'orthogonal_regularization': optimizers.orthogonal_regularization,
    'clip_gradients': optimizers.clip_gradients,
    'optimism': optimizers.optimism,
}


def run(optimizer, params, gradient, steps):
    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)


@pytest.mark.parametrize('name', TRANSFORMS)
def test_common_contract(name):
    transform = TRANSFORMS[name]()
    update = jax.jit(lambda g, s, p: transform.update(g, s, p))
    state = transform.init(PARAMS)
    eager = transform.update(GRADIENT, state, PARAMS)
    for a, b in zip(jax.tree.leaves(update(GRADIENT, state, PARAMS)), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    update(jax.tree.map(lambda x: 2 * x, GRADIENT), eager[1], PARAMS)
    assert update._cache_size() == 1
    huge = jax.tree.map(lambda x: 1e4 * x, PARAMS)
    through = jax.grad(lambda p: sum(x.sum() for x in jax.tree.leaves(transform.update(GRADIENT, state, p)[0])))
    assert all(np.isfinite(x).all() for p in (PARAMS, huge) for x in jax.tree.leaves(through(p)))


def test_orthogonal_regularization_is_the_gradient_of_the_papers_sum():
    rng = np.random.default_rng(0)
    kernels = {'conv': rng.normal(size=(3, 3, 2, 4)), 'dense': rng.normal(size=(2, 3))}

    def value(kernels):
        products = [(W := x.reshape(-1, x.shape[-1])).T @ W * (1 - np.eye(x.shape[-1])) for x in kernels.values()]
        return 0.3 * sum((product**2).sum() for product in products)

    params = {name: {'kernel': jnp.asarray(x), 'bias': jnp.ones(x.shape[-1])} for name, x in kernels.items()}
    params['told'] = {'embedding': jnp.ones((3, 2))}
    gradient = jax.tree.map(jnp.ones_like, params)
    transform = optimizers.orthogonal_regularization(0.3)
    found, _ = transform.update(gradient, transform.init(params), params)
    for name, x in kernels.items():
        for i in (0, x.size - 1):
            step = 1e-5 * (np.arange(x.size) == i).reshape(x.shape)
            up, down = (value({**kernels, name: moved}) for moved in (x + step, x - step))
            np.testing.assert_allclose(found[name]['kernel'].ravel()[i], 1 + (up - down) / 2e-5, rtol=1e-4)
    np.testing.assert_array_equal(found['told']['embedding'], 1)
    np.testing.assert_array_equal(found['conv']['bias'], 1)
    wide = {'kernel': jnp.ones((2, 300))}  # without a matrix of 300 x 300
    traced = jax.make_jaxpr(lambda params: transform.update(params, transform.init(params), params)[0])(wide)
    assert max(variable.aval.size for equation in traced.eqns for variable in equation.outvars) == 600
    orthogonal = {'kernel': 2 * jnp.eye(3)}  # filters of length 2 are left alone
    np.testing.assert_array_equal(
        transform.update(orthogonal, transform.init(orthogonal), orthogonal)[0]['kernel'], 2 * np.eye(3)
    )


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_presets_descend_and_can_be_unrolled(name):
    for optimizer in OPTIMIZERS[name]()[:2]:

        def end(x, optimizer=optimizer):
            (params, _), _ = run(optimizer, {'x': x}, jax.grad(lambda p: jnp.square(p['x']).sum()), 3)
            return params['x'].sum()

        with jax.debug_nans(True):
            assert np.isfinite(jax.grad(end)(jnp.array([0.005, 0.0]))).all()
        assert float(end(jnp.array([0.005]))) < 0.005


def test_what_the_papers_say():
    steps = {name: OPTIMIZERS[name]().discriminator_steps for name in OPTIMIZERS}
    assert steps == dict.fromkeys(OPTIMIZERS, 1) | {'wgan': 5, 'wgan_gp': 5}

    def second(optimizer):
        """Two updates under gradients 1 and 1/2."""
        state = optimizer.init(jnp.zeros(()))
        first, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        return float(first), float(optimizer.update(jnp.full((), 0.5), state, jnp.zeros(()))[0])

    def adam(rate, b1, b2):
        m, v = b1 * (1 - b1) + (1 - b1) / 2, b2 * (1 - b2) + (1 - b2) / 4
        return -rate, -rate * (m / (1 - b1**2)) / np.sqrt(v / (1 - b2**2))

    rms = (-5e-5 / np.sqrt(0.01), -5e-5 * 0.5 / np.sqrt(0.99 * 0.01 + 0.01 / 4))
    first, after = adam(1e-4, 0.5, 0.9)
    expected = {
        'adam': [adam(2e-4, 0.5, 0.999)] * 2,
        'optimistic_adam': [(first, 2 * after - first)] * 2,  # Daskalakis et al. 2018, algorithm 1
        'sgd': [(-0.01, -0.005)] * 2,
        'unrolled': [adam(1e-4, 0.5, 0.999)] * 2,
        'wgan': [rms] * 2,
        'wgan_gp': [adam(1e-4, 0.0, 0.9)] * 2,
        'ttur': [adam(1e-4, 0.0, 0.9), adam(3e-4, 0.0, 0.9)],
        'improved_gan': [adam(3e-3, 0.5, 0.999)] * 2,
    }
    for name, players in expected.items():
        for optimizer, values in zip(OPTIMIZERS[name]()[:2], players, strict=True):
            np.testing.assert_allclose(second(optimizer), values, rtol=1e-4)
    # Improved GAN's 1e-8 stands under the root: of a first gradient of 1e-4 the step is the rate times 1 / sqrt(2).
    optimizer = optimizers.improved_gan().generator
    step, _ = optimizer.update(jnp.float32(1e-4), optimizer.init(jnp.float32(0)), jnp.float32(0))
    assert float(step) == pytest.approx(-3e-3 / np.sqrt(2), rel=1e-4)


@pytest.mark.parametrize('limit', [0.5, 100.0])
def test_clipped_gradients_are_optax_s_and_can_be_unrolled_from_0(limit):
    expected, _ = optax.clip_by_global_norm(limit).update(GRADIENT, optax.EmptyState())
    found, _ = optimizers.clip_gradients(limit).update(GRADIENT, optax.EmptyState())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    slope = jax.grad(lambda x: optimizers.clip_gradients(limit).update({'x': x}, optax.EmptyState())[0]['x'].sum())
    np.testing.assert_array_equal(slope(jnp.zeros(2)), [1, 1])  # and not NaN, as optax's


def test_clipped_weights_stay_within_the_limit():
    optimizer = optax.chain(optax.sgd(0.3), optimizers.clip_weights(0.01))
    _, path = run(optimizer, PARAMS, lambda p: jax.tree.map(lambda x: jnp.sin(40 * x) + 0.1, p), 50)
    assert all(float(jnp.abs(x).max()) <= 0.01 * (1 + 1e-6) for x in jax.tree.leaves(path))
    assert all(len(np.unique(np.asarray(x))) > 2 for x in jax.tree.leaves(path))  # and they do move


def test_clipping_is_of_the_parameters_after_the_update():
    updates, _ = optimizers.clip_weights(0.1).update(
        {'x': jnp.array([0.3, -0.01])}, optax.EmptyState(), {'x': jnp.array([0.0, 0.05])}
    )
    np.testing.assert_allclose(updates['x'], [0.1, -0.01], rtol=1e-6)


def test_historical_averaging_pulls_to_the_mean_of_all_parameters_so_far():
    transform = optimizers.historical_averaging(0.5)
    state, seen = transform.init(jnp.zeros(())), []
    for value in (1.0, 4.0, -2.0):
        seen.append(value)
        gradient, state = transform.update(jnp.full((), 0.25), state, jnp.full((), value))
        assert float(gradient) == pytest.approx(0.25 + 2 * 0.5 * (value - np.mean(seen)), abs=1e-6)


def test_historical_averaging_finds_the_equilibrium_that_descent_orbits():
    # Salimans et al. 2016, section 3.3: min over x, max over y of (f(x) - 1)(y - 1), f(x) = x below 0 and x^2 above; at (1, 1).
    def field(p):
        x, y = p['x'], p['y']
        f = lambda x: jnp.where(x < 0, x, x * x)
        return {'x': (y - 1) * jax.grad(f)(x), 'y': -(f(x) - 1)}

    start = {'x': jnp.array(1.5), 'y': jnp.array(1.5)}
    distance = lambda path: np.hypot(path['x'] - 1, path['y'] - 1)
    _, plain = run(optax.sgd(0.01), start, field, 6000)
    _, averaged = run(optax.chain(optimizers.historical_averaging(0.5), optax.sgd(0.01)), start, field, 6000)
    assert distance(plain)[-1000:].min() > 0.3
    assert distance(averaged)[-1] < 0.02


def test_average_parameters_is_the_train_steps_average():
    optimizer = optax.chain(optax.sgd(0.1), optimizers.average_parameters(0.9))
    (params, state), path = run(optimizer, PARAMS, lambda p: jax.tree.map(lambda x: x + 1, p), 30)
    expected = PARAMS['w']
    for t, w in enumerate(path['w']):
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * w
    np.testing.assert_allclose(state[1].average['w'], expected, rtol=1e-5, atol=1e-6)
    plain, _ = run(optax.sgd(0.1), PARAMS, lambda p: jax.tree.map(lambda x: x + 1, p), 30)
    np.testing.assert_array_equal(plain[0]['w'], params['w'])


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: optimizers.clip_weights(0.0), 'limit must be above 0, not 0.0'),
        (lambda: optimizers.historical_averaging(-1.0), 'weight must be from 0 to 1000000, not -1.0'),
        (lambda: optimizers.average_parameters(1.5), 'decay must be from 0 to 1'),
        (lambda: optimizers.adam(-1e-3), 'learning_rate must be at least 0, not -0.001'),
        (lambda: optimizers.wgan(-1e-3), 'learning_rate must be at least 0, not -0.001'),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_schedules_end_where_they_say():
    # Zhu et al. 2017: a constant rate for the first half of the epochs, then linearly to 0.
    factor = build(optimizers.SCHEDULES, 'linear:start=0.5')(200)
    np.testing.assert_allclose([factor(n) for n in (0, 99, 100, 150, 199, 200, 300)], [1, 1, 1, 0.5, 0.01, 0, 0], atol=1e-6)
    np.testing.assert_allclose([optimizers.linear()(4)(n) for n in range(5)], [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose([optimizers.cosine(0.1)(4)(n) for n in (0, 2, 4, 9)], [1, 0.55, 0.1, 0.1], rtol=1e-6)
    assert optimizers.constant()(4)(100) == 1
    for text in ('linear:start=1', 'linear:end=2', 'cosine:end=-1', 'step'):
        with pytest.raises(InputError):
            build(optimizers.SCHEDULES, text)
