"""InfoGAN's experiment: what a row and a column of its picture are, how categories are matched, and how a sampler draws them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick

import gan_jax
from experiments import infogan
from gan_jax import runs

CONFIG = infogan.Config(categories=3, continuous=2, latent_size=4, width=2, kernel_size=2)


def nobody() -> gan_jax.TrainState:
    player = gan_jax.Player({}, {}, ())
    return gan_jax.TrainState(jnp.int32(0), jax.random.key(0), player, player, {})


@pytest.mark.parametrize('continuous', [0, 2])
def test_a_row_of_the_picture_is_a_category_and_a_column_a_continuous_code(continuous):
    config = infogan.Config(categories=3, continuous=continuous, latent_size=4)
    told = lambda weights, z, category: jnp.concatenate([z, category[:, None].astype(z.dtype)], -1)
    generator = runs.Generator(config.generator(8, 1).latent, told, tuple('abc'), (1 / 3,) * 3)
    rows = infogan.rows(config, generator, nobody(), jax.random.key(1)).reshape(3, infogan.COLUMNS, -1)
    np.testing.assert_array_equal(rows[..., -1], np.arange(3)[:, None] * np.ones(infogan.COLUMNS))
    np.testing.assert_array_equal(rows[1:, :, :-1], np.broadcast_to(rows[:1, :, :-1], rows[1:, :, :-1].shape))
    if continuous:
        np.testing.assert_allclose(rows[0, :, 0], np.linspace(-1, 1, infogan.COLUMNS), atol=1e-6)
        assert len(np.unique(np.asarray(rows[0, :, 1:]), axis=0)) == 1
    else:
        assert len(np.unique(rows[0, :, 0])) == infogan.COLUMNS


def test_the_sampler_draws_what_the_game_plays():
    # A latent of the game, cut after its category, gives the same image.
    game, generator = CONFIG.make_game(8, 1), CONFIG.generator(8, 1)
    g, _ = quick(game.init)(jnp.zeros((1, 8, 8, 1)), jax.random.key(0))
    play, _ = quick(lambda g: game.play(g, jnp.zeros(5), jax.random.key(1), train=False))(g)
    z = play.latents[:, 3:]
    assert z.shape[1:] == jax.eval_shape(generator.latent, jax.random.key(0)).shape
    np.testing.assert_allclose(quick(generator.generate)(g, z, play.latents[:, :3].argmax(1)), play.examples, atol=1e-6)
    assert generator.conditions == ('0', '1', '2') and sum(generator.shares) == pytest.approx(1)


def test_categories_are_matched_to_classes_one_to_one():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert infogan.accuracy(np.array([2, 2, 2, 0, 0, 1]), labels) == 1
    # Category 1 has most of classes 0 and 1, and can be one of them: 3 of class 0, and the single example of class 2.
    assert infogan.accuracy(np.array([1, 1, 1, 1, 1, 0]), labels) == pytest.approx(4 / 6)
    assert infogan.accuracy(np.array([5, 5, 5, 3, 3, 0]), labels) == 1  # more categories than classes
