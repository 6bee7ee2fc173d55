"""Inference via optimisation: closed forms, basins, and failures that stay where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import inversion, latents, networks


def inverted(generate, targets, size, *, key=0, **options):
    search = lambda targets: inversion.invert(generate, targets, latents.normal(size), jax.random.key(key), **options)
    return jax.jit(search)(targets)


def test_a_linear_generator_is_inverted_by_least_squares():
    with jax.enable_x64(True):
        A = jax.random.normal(jax.random.key(0), (5, 12), jnp.float64)
        targets = jax.random.normal(jax.random.key(1), (7, 12), jnp.float64)
        found = inverted(lambda z: z @ A, targets, 5, tolerance=1e-9)
        z = np.linalg.lstsq(np.asarray(A).T, np.asarray(targets).T, rcond=None)[0].T
        np.testing.assert_allclose(found.latents, z, atol=1e-7)
        np.testing.assert_allclose(found.reconstructions, z @ A, atol=1e-7)
        np.testing.assert_allclose(found.errors, ((z @ np.asarray(A) - targets) ** 2).mean(1), rtol=1e-9)
        np.testing.assert_allclose(found.starts, np.tile(found.errors[:, None], 3), rtol=1e-9)  # a convex problem


def test_a_generator_finds_its_own_samples_again_and_no_others():
    network = networks.MLP((32, 12), activation=jnp.tanh)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    generate = lambda z: network.apply(variables, z)
    own = generate(jax.random.normal(jax.random.key(1), (6, 3)))
    foreign = own + jax.random.normal(jax.random.key(2), own.shape)
    found = inverted(generate, jnp.concatenate([own, foreign]), 3, restarts=8, steps=200)
    assert float(found.errors[:6].max()) < 1e-6
    # 12 - 3 of the 12 directions of a unit disturbance are off the surface: 0.75 on average.
    assert 0.2 < float(found.errors[6:].mean()) < 1.2 and float(found.errors[6:].min()) > 0.05
    np.testing.assert_allclose(found.reconstructions, generate(found.latents), atol=1e-6)
    targets = jnp.concatenate([own, foreign])
    np.testing.assert_allclose(found.errors, jnp.square(found.reconstructions - targets).mean(1), rtol=1e-5, atol=1e-9)


def test_of_two_basins_the_better_is_kept():
    # (z^2 - 1)^2 + .3 (z - 1)^2 = |G(z) - x|^2: minima at z = 1, where it is 0, and near -1, where it is not.
    generate = lambda z: jnp.concatenate([z**2, jnp.sqrt(0.3) * z], 1)
    target = jnp.array([[1.0, np.sqrt(0.3)]])
    one = inverted(generate, jnp.tile(target, (16, 1)), 1, restarts=1)
    trapped = np.asarray(one.latents[:, 0]) < 0
    assert 0 < trapped.sum() < 16 and (np.asarray(one.errors)[trapped] > 0.4).all()
    many = inverted(generate, target, 1, restarts=16)
    assert float(many.errors[0]) < 1e-8 and float(many.starts.max()) > 0.4
    assert float(many.errors[0]) == float(many.starts.min())
    np.testing.assert_allclose(many.latents, 1, atol=1e-3)


@pytest.mark.slow
def test_starts_depend_on_key_and_row_alone():
    generate = lambda z: jnp.sin(3 * z)
    targets = jax.random.uniform(jax.random.key(3), (7, 2), minval=-2, maxval=2)
    whole, blocks, part = (
        inverted(generate, x, 2, steps=5, block=block) for x, block in ((targets, 256), (targets, 3), (targets[:4], 2))
    )
    np.testing.assert_allclose(whole.starts, blocks.starts, atol=1e-5)
    np.testing.assert_allclose(whole.starts[:4], part.starts, atol=1e-5)
    assert np.ptp(np.asarray(whole.starts), axis=1).max() > 1e-3
    other = inverted(generate, targets, 2, key=1, steps=5)
    assert (np.abs(np.asarray(other.starts - whole.starts)) > 1e-3).any()


def test_a_search_that_breaks_down_loses():
    # log has no value at the starts below 0.
    found = inverted(jnp.log, jnp.full((8, 1), 0.5), 1, restarts=4)
    starts = np.asarray(found.starts)
    broken = np.isinf(starts)
    assert 5 < broken.sum() < 27 and (starts[~broken] < 1e-6).all()
    alive = ~broken.all(1)
    np.testing.assert_allclose(np.asarray(found.latents)[alive], np.exp(0.5), rtol=1e-3)
    assert np.isinf(np.asarray(found.errors)[~alive]).all()


def test_what_cannot_be_searched_is_refused():
    for option in ('restarts', 'steps', 'memory', 'block'):
        with pytest.raises(ValueError, match=f'at least 1 of each.*{option}=0'):
            inversion.invert(lambda z: z, jnp.zeros((2, 3)), latents.normal(3), jax.random.key(0), **{option: 0})
    with pytest.raises(ValueError, match=r'shape \(3,\), but the targets have shape \(4,\)'):
        inversion.invert(lambda z: z, jnp.zeros((2, 4)), latents.normal(3), jax.random.key(0))


def test_shares_of_the_best():
    errors = jnp.array([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 1.0], [3.0, 3.0, 3.0, 9.0]])
    np.testing.assert_allclose(inversion.best_shares(errors), [4 / 12, 7 / 12, 1 / 12])
