"""StyleGAN2's experiment: its generator in halves, and the truncation of its styles."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import stylegan2


def test_truncation_0_draws_the_average_style_and_1_changes_nothing():
    config = stylegan2.Config(size=8, width=2, latent_size=3, batch_size=8, mapping_layers=1)
    game, generator = config.make_game(8, 1), config.generator(8, 1)
    variables = jax.jit(lambda key: game.init(jnp.zeros((1, 8, 8, 1)), key)[0])(jax.random.key(0))
    weights = generator.weights({**variables, 'styles': {'mapping': {'mean': jnp.array([0.5, -1.0, 2.0])}}})
    assert set(weights) == {'params', 'constants', 'styles'}  # the state of the path lengths is for training alone
    z = jax.random.normal(jax.random.key(1), (4, 3))
    draw = lambda styles: np.asarray(jax.jit(styles.generate)(weights, z, jnp.zeros(4, jnp.int32)))
    whole, mean = draw(generator.styles), generator.styles.mean(weights)
    average = generator.styles.synthesise(weights, jnp.broadcast_to(mean, (4, 3)), None)
    assert whole.shape == (4, 8, 8, 1) and np.abs(whole - average).max((1, 2, 3)).min() > 1e-3
    np.testing.assert_allclose(draw(generator.styles.truncated(0)), average, atol=1e-6)
    np.testing.assert_array_equal(draw(generator.styles.truncated(1)), whole)
    between = mean + 0.3 * (generator.styles.of(weights, z) - mean)
    expected = generator.styles.synthesise(weights, between, None)
    np.testing.assert_allclose(draw(generator.styles.truncated(0.3)), expected, atol=1e-5)
