"""InfoGAN: what the bound adds to both losses, and that it makes codes recognisable."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import augmentations, codes, games, latents, networks, objectives

CODES = [codes.categorical(3), codes.uniform(weight=0.25)]


def make(codes=CODES, **options) -> gan_jax.Game:
    parameters = sum(code.parameters for code in codes)
    judge = networks.AuxiliaryDiscriminator(networks.MLP((8, 1), squeeze=True, activation=nn.tanh), parameters)
    return games.info_gan(
        networks.MLP((8, 2)), judge, objectives.non_saturating(), codes=codes, latent=latents.normal(2), **options
    )


def test_both_losses_are_the_games_less_the_weighted_bounds():
    game, plain = make(), make(codes=[code._replace(weight=0.0) for code in CODES])
    batch, keys = jax.random.normal(jax.random.key(0), (16, 2)), jax.random.split(jax.random.key(1), 3)
    g, d = game.init(batch, keys[0])
    play, _ = game.play(g, batch, keys[1])
    judge = networks.AuxiliaryDiscriminator(networks.MLP((8, 1), squeeze=True, activation=nn.tanh), 4)
    q = judge.apply(d, play.examples)[1]
    first, second = codes.information(CODES, play.latents, q).mean(1)
    for name in ('discriminator_loss', 'generator_loss'):
        (loss, found), (base, _) = (jax.jit(getattr(one, name))(d, play, batch, keys[2]) for one in (game, plain))
        assert float(base - loss) == pytest.approx(float(first + 0.25 * second), abs=1e-5)
        metrics = found[1] if name == 'discriminator_loss' else found
        key = 'information' if name == 'discriminator_loss' else 'generator_information'
        assert float(metrics[key]) == pytest.approx(float(first + second), abs=1e-5)


def test_the_examples_are_those_of_the_latents():
    game = make()
    batch = jax.random.normal(jax.random.key(0), (16, 2))
    g, _ = game.init(batch, jax.random.key(1))
    play, _ = game.play(g, batch, jax.random.key(2))
    np.testing.assert_allclose(play.examples, networks.MLP((8, 2)).apply(g, play.latents), rtol=1e-5)
    np.testing.assert_array_equal(play.latents[:, :3].sum(1), 1)


def test_categories_become_the_modes():
    centres = jnp.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    optimizer, game = optax.adam(3e-3, 0.5), make(codes=[codes.categorical(3)])
    state = gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 2)), jax.random.key(0))
    step = gan_jax.make_train_step(game, optimizer, optimizer)

    def body(state, key):
        mode_key, noise_key = jax.random.split(key)
        batch = centres[jax.random.randint(mode_key, (64,), 0, 3)] + 0.2 * jax.random.normal(noise_key, (64, 2))
        return step(state, batch)

    state, metrics = jax.jit(lambda state: jax.lax.scan(body, state, jax.random.split(jax.random.key(1), 1000)))(state)
    # At most log 3 = 1.0986, where examples show their category and Q reads it.
    assert 0.95 < float(metrics['information'][-50:].mean()) < np.log(3)
    play = gan_jax.sample(game, state, 600, jax.random.key(2))
    category = np.asarray(play.latents[:, :3].argmax(1))
    means = np.stack([np.asarray(play.examples)[category == k].mean(0) for k in range(3)])
    distance = np.linalg.norm(means[:, None] - np.asarray(centres), axis=-1)
    assert sorted(distance.argmin(1)) == [0, 1, 2] and distance.min(1).max() < 0.6


def test_what_is_refused():
    with pytest.raises(ValueError, match='InfoGAN requires at least one code'):
        make(codes=[])
    with pytest.raises(ValueError, match='packing joins examples of different codes'):
        make(augmentation=augmentations.packing(2))
