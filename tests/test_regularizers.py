"""Every regularizer: what all have in common, and its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import parallel, regularizers
from gan_jax.regularizers import REGULARIZERS, Heard

HEARD = Heard(*jax.random.normal(jax.random.key(0), (5, 8)))


@pytest.mark.parametrize('name', REGULARIZERS)
def test_common_contract(name):
    regularizer = REGULARIZERS[name]()
    step = jax.jit(lambda state: regularizer.update(state, HEARD.real, HEARD.fake))
    state = step(step(regularizer.init()))
    assert step._cache_size() <= 1  # none for a state without arrays
    acts = [regularizer.discriminator, regularizer.generator, regularizer.weights]
    assert any(acts) and (regularizer.generator is None or regularizer.move is not None)
    with jax.debug_nans(True):
        if regularizer.discriminator is not None:
            value = jax.jit(regularizer.discriminator)(state, HEARD)
            assert value.shape == (8,) and (value >= 0).all()
            np.testing.assert_allclose(regularizer.discriminator(state, HEARD), value, rtol=1e-5)
            for scale in (0.0, 1e4):
                far = jax.tree.map(lambda x, scale=scale: scale * x, HEARD)
                found = jax.grad(lambda heard: regularizer.discriminator(state, heard).sum())(far)
                assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
        examples, keys = jax.random.normal(jax.random.key(1), (8, 4, 4, 1)), parallel.example_keys(8, jax.random.key(2))
        if regularizer.generator is not None:
            for others in (examples, examples[::-1]):
                value, slope = jax.value_and_grad(lambda x, others=others: regularizer.generator(x, others).sum())(examples)
                assert np.isfinite(value) and np.isfinite(slope).all()
            assert regularizer.generator(examples, others).shape == (8,)
        if regularizer.move is not None:
            found = jax.jit(jax.vmap(regularizer.move))(examples[:, 0, :, 0], keys)
            assert found.shape == (8, 4) and found.dtype == examples.dtype and (found != examples[:, 0, :, 0]).any()
        if regularizer.change is not None:
            found = jax.jit(regularizer.change)(examples, keys)
            assert found.shape == examples.shape and found.dtype == examples.dtype and (found != examples).any()
        if regularizer.weights is not None:
            found = jax.jit(regularizer.weights)(jnp.int32(0), HEARD.fake)
            assert found.shape == (8,) and float(found.mean()) == pytest.approx(1)


@pytest.mark.parametrize('name', REGULARIZERS)
def test_one_device_and_many_agree(name):
    regularizer = REGULARIZERS[name]()

    def local(heard):
        state = regularizer.update(regularizer.init(), heard.real, heard.fake)
        state = parallel.pmean(regularizer.update(state, heard.real, heard.fake))  # as a step does
        term = jnp.zeros(()) if regularizer.discriminator is None else regularizer.discriminator(state, heard).mean()
        mean = regularizers.generator_mean([regularizer], jnp.square, jnp.int32(10**8), heard.fake, heard.fake)
        return state, parallel.pmean((term, mean))

    expected = local(HEARD)
    found = jax.vmap(local, axis_name=parallel.AXIS)(jax.tree.map(lambda x: x.reshape(4, 2), HEARD))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, np.full(4, b), rtol=1e-5, atol=1e-6)


def test_anchors_are_averages_without_bias_of_earlier_batches():
    # Tseng et al. 2021, eq. 3; the anchors after n batches are sum_i d^(n-1-i) x_i / sum_i d^(n-1-i), here with d = .8.
    lecam = regularizers.lecam(weight=2.0, decay=0.8, one_sided=False)
    logits = np.asarray(jax.random.normal(jax.random.key(1), (6, 2, 8)))
    state = lecam.init()
    for n, (real, fake) in enumerate(logits):
        share = 0.8 ** np.arange(n)[::-1]
        a_real, a_fake = ((logits[:n, side].mean(1) * share).sum() / max(share.sum(), 1) for side in (0, 1))
        expected = 2 * ((real - a_fake) ** 2 + (a_real - fake) ** 2) if n else np.zeros(8)
        np.testing.assert_allclose(lecam.discriminator(state, Heard(real, fake)), expected, rtol=1e-4, atol=1e-5)
        state = lecam.update(state, real, fake)


def test_anchors_of_a_decay_near_1_are_the_mean_of_all_batches():
    lecam = regularizers.lecam(decay=1 - 1e-9)
    state = lecam.init()
    for logit in (1.0, 2.0, 6.0):
        state = lecam.update(state, jnp.full(2, logit), jnp.full(2, -logit))
    np.testing.assert_allclose(state[:2], [3, -3], rtol=1e-5)


def test_lecam_is_one_sided_and_waits():
    lecam = regularizers.lecam(weight=1.0, decay=0.0, start=2)
    state, values = lecam.init(), []
    for _ in range(3):
        state = lecam.update(state, jnp.ones(2), -jnp.ones(2))
        values.append(np.asarray(lecam.discriminator(state, Heard(jnp.array([-3.0, 0]), jnp.array([3.0, 0])))).tolist())
    assert values == [[0, 0], [0, 2], [0, 2]]  # real below the generated examples' anchor costs nothing


def test_consistency_is_of_squares():
    r, f, cr, cf, n = map(np.asarray, HEARD)
    found = regularizers.bcr(real_weight=2.0, fake_weight=3.0).discriminator((), HEARD)
    np.testing.assert_allclose(found, 2 * (r - cr) ** 2 + 3 * (f - cf) ** 2, rtol=1e-5)
    endless = HEARD._replace(changed_fake=jnp.full(8, jnp.inf))
    found = regularizers.bcr(real_weight=2.0, fake_weight=0.0).discriminator((), endless)  # 0 times infinity is NaN
    np.testing.assert_allclose(found, 2 * (r - cr) ** 2, rtol=1e-5)
    zcr = regularizers.zcr(d_weight=2.0, g_weight=3.0)
    np.testing.assert_allclose(zcr.discriminator((), HEARD), 2 * (f - n) ** 2, rtol=1e-5)
    assert regularizers.zcr(d_weight=0.0).discriminator is None and regularizers.zcr(g_weight=0.0).generator is None
    x, y = np.asarray(jax.random.normal(jax.random.key(1), (2, 4, 3, 2)))
    np.testing.assert_allclose(zcr.generator(jnp.asarray(x), jnp.asarray(y)), -3 * ((x - y) ** 2).mean((1, 2)), rtol=1e-5)


def test_latents_move_by_their_deviation_and_images_by_their_policy():
    z = jax.random.normal(jax.random.key(0), (3000, 2))
    apart = jax.vmap(regularizers.zcr(deviation=0.1).move)(z, parallel.example_keys(3000, jax.random.key(1))) - z
    assert float(apart.std()) == pytest.approx(0.1, rel=0.05) and abs(float(apart.mean())) < 0.01
    images = jax.random.uniform(jax.random.key(0), (64, 4, 4, 1))
    changed = regularizers.bcr(policy='flip').change(images, parallel.example_keys(64, jax.random.key(1)))
    mirrored = (changed == images[:, :, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal(changed[~mirrored], images[~mirrored])
    assert 16 < int(mirrored.sum()) < 48


def test_the_best_k_are_kept_and_k_falls_to_its_floor():
    # Of 8 examples: 8 * .7^epoch rounded down, at least 8 * .3 rounded down.
    top = regularizers.top_k(decay=0.7, least=0.3, images=100)
    logits = jnp.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    kept = {}
    for epoch, expected in enumerate([8, 5, 3, 2, 2]):
        for shown in (100 * epoch, 100 * epoch + 99):
            weights = np.asarray(top.weights(jnp.int32(shown), logits))
            np.testing.assert_allclose(np.unique(weights)[-1], 8 / expected, rtol=1e-6)
            kept[epoch] = np.flatnonzero(weights).tolist()
    assert kept == {0: list(range(8)), 1: [0, 2, 4, 5, 7], 2: [4, 5, 7], 3: [5, 7], 4: [5, 7]}
    ties = top.weights(jnp.int32(300), jnp.zeros((8, 2)))  # with two logits for an example
    assert np.flatnonzero(ties).tolist() == [0, 1]


def test_the_mean_is_of_the_best_and_the_others_have_no_gradient():
    logits = jnp.array([0.5, -1.0, 2.0, 0.1])
    top = [regularizers.top_k(decay=0.5, least=0.5, images=1)]
    # A loss that compares every logit with their mean, as the relativistic average does.
    loss = lambda fake: jnp.square(fake - fake.mean() - 1)
    value = lambda fake: regularizers.generator_mean(top, loss, jnp.int32(5), fake, fake)
    np.testing.assert_allclose(value(logits), np.asarray(loss(logits))[[0, 2]].mean(), rtol=1e-6)
    gradient = np.asarray(jax.grad(value)(logits))
    assert (gradient[[1, 3]] == 0).all() and (gradient[[0, 2]] != 0).all()
    worst = regularizers.generator_mean(top, loss, jnp.int32(5), logits, -logits)  # of energies
    np.testing.assert_allclose(worst, np.asarray(loss(logits))[[1, 3]].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: regularizers.lecam(decay=1.0), 'decay must be at least 0 and below 1'),
        (lambda: regularizers.lecam(start=-1), 'start must be at least 0'),
        (lambda: regularizers.bcr(policy='flop'), "unknown transform 'flop'; did you mean flip"),
        (lambda: regularizers.zcr(deviation=0.0), 'deviation must be above 0'),
        (lambda: regularizers.top_k(least=0.0), 'least must be above 0'),
        (lambda: regularizers.mover([regularizers.zcr(), regularizers.zcr()]), 'one regularizer may move latents, not 2'),
    ],
)
def test_what_does_not_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
