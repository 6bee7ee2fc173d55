"""Adversarial flow models: points and times of the flow, both losses, sampling in steps, and the map that they learn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import augmentations, games, latents, networks, penalties
from gan_jax.games.adversarial_flow import flow


class Shift(nn.Module):
    """A generator that moves by `a (s - t)`, or by `a` in a single step."""

    @nn.compact
    def __call__(self, x, *times, train=True):
        a = self.param('a', nn.initializers.constant(2.0), ())
        return x + a * ((times[0] - times[1])[:, None] if times else 1)


class Linear(nn.Module):
    """A discriminator `b (x + 10 t)`."""

    @nn.compact
    def __call__(self, x, *times, train=True):
        b = self.param('b', nn.initializers.constant(0.5), ())
        return b * (x[:, 0] + (10 * times[0] if times else 0))


def make(**options) -> gan_jax.Game:
    return games.adversarial_flow(Shift(), Linear(), latent=latents.normal(1), **options)


def test_points_are_on_the_flow_between_noise_and_data():
    game = make(steps=4)
    batch = jnp.full((400, 1), 7.0)
    g, _ = game.init(batch, jax.random.key(0))
    play, _ = game.play(g, batch, jax.random.key(1))
    t = np.asarray(play.times)
    np.testing.assert_allclose(np.unique(t), [0, 0.25, 0.5, 0.75])
    s = t + 0.25
    z = (np.asarray(play.sources)[:, 0] - (1 - s) * 7) / s
    np.testing.assert_allclose(play.targets[:, 0], (1 - t) * 7 + t * z, atol=1e-4)
    assert abs(z.mean()) < 0.2 and 0.85 < z.std() < 1.15
    np.testing.assert_allclose(play.examples, play.sources + 2 / 4, atol=1e-5)


def test_both_losses():
    for steps in (1, 4):
        game = make(steps=steps, transport_weight=0.3, centring_weight=0.2)
        batch = jax.random.normal(jax.random.key(2), (64, 1)) + 3
        g, d = game.init(batch, jax.random.key(0))
        play, _ = game.play(g, batch, jax.random.key(1))
        if steps == 1:
            np.testing.assert_array_equal(play.targets, batch)
            assert play.times is None
        t = 0 if play.times is None else np.asarray(play.times)
        real, fake = (0.5 * (np.asarray(x)[:, 0] + 10 * t) for x in (play.targets, play.examples))
        loss, (_, metrics) = game.discriminator_loss(d, play, batch, jax.random.key(3))
        centring = np.square(real + fake).mean()
        assert float(loss) == pytest.approx(np.logaddexp(0, fake - real).mean() + 0.2 * centring, rel=1e-4)
        assert float(metrics['centring']) == pytest.approx(centring, rel=1e-4)
        loss, metrics = game.generator_loss(d, play, batch, jax.random.key(3))
        cost = (2 / steps) ** 2 * steps  # |G(x) - x|^2 / w, with w = 1 / steps
        assert float(metrics['transport_cost']) == pytest.approx(cost, rel=1e-4)
        assert float(loss) == pytest.approx(np.logaddexp(0, real - fake).mean() + 0.3 * cost, rel=1e-4)


def test_penalties_are_multiplied_by_the_length_of_a_step():
    one = lambda critic, real, fake, key: jnp.full(len(real), 3.0)
    for penalty in (one, penalties.scheduled(one)):
        game = make(steps=4, penalties=[penalty])
        batch = jnp.ones((8, 1))
        g, d = game.init(batch, jax.random.key(0))
        play, _ = game.play(g, batch, jax.random.key(1))
        _, (_, metrics) = game.discriminator_loss(d, play, batch, jax.random.key(3))
        assert float(metrics['penalty']) == pytest.approx(3 / 4)


def test_the_weight_of_the_cost_can_follow_the_updates():
    game = make(transport_weight=lambda updates: 0.5 ** updates.astype(float))
    batch = jnp.ones((4, 1))
    g, d = game.init(batch, jax.random.key(0))
    play, _ = game.play(g, batch, jax.random.key(1))
    base, _ = make(transport_weight=0.0).generator_loss(d, play, batch, jax.random.key(2))
    for weight in (1, 0.5, 0.25):
        loss, metrics = game.generator_loss(d, play, batch, jax.random.key(2))
        assert float(loss - base) == pytest.approx(weight * float(metrics['transport_cost']), rel=1e-4)
        _, (state, _) = game.discriminator_loss(d, play, batch, jax.random.key(3))
        d = {**d, **state}


def test_samples_take_every_step():
    class Recorded(nn.Module):
        @nn.compact
        def __call__(self, x, s, t, *, train=True):
            return 10 * x + (4 * s + t)[:, None]  # a polynomial in 10 whose digits are the times

    x = flow(Recorded(), {}, jnp.zeros((2, 1)), jax.random.key(0), steps=2)
    # From 1 to 1/2, 4.5, and from 1/2 to 0, 2.
    np.testing.assert_allclose(x, np.full((2, 1), 47.0))
    game = make(steps=4)
    g, _ = game.init(jnp.zeros((1, 1)), jax.random.key(0))
    play, _ = game.play(g, jnp.zeros(5), jax.random.key(1), train=False)
    np.testing.assert_allclose(play.examples, play.sources + 2, rtol=1e-5)


class Affine(nn.Module):
    """A generator `a z + b` that starts as a decreasing map."""

    @nn.compact
    def __call__(self, z, *, train=True):
        return self.param('a', nn.initializers.constant(-0.5), ()) * z + self.param('b', nn.initializers.zeros, ())


class Square(nn.Module):
    """A discriminator `u x + v x^2`, enough for Gaussians."""

    @nn.compact
    def __call__(self, x, *, train=True):
        u, v = (self.param(name, nn.initializers.zeros, ()) for name in 'uv')
        return u * x[:, 0] + v * jnp.square(x[:, 0])


def trained(weights, steps=1500):
    """The slope and the offset of the generator after `steps` steps with each of the weights in turn."""
    optimizer, state = optax.adam(1e-2, 0.0, 0.9), None
    for i, weight in enumerate(weights):
        game = games.adversarial_flow(Affine(), Square(), latent=latents.normal(1), transport_weight=weight)
        state = state or gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, 1)), jax.random.key(0))
        step = gan_jax.make_train_step(game, optimizer, optimizer, ema_decay=0.99)
        body = lambda state, key, step=step: step(state, 3 + 2 * jax.random.normal(key, (256, 1)))
        run = jax.jit(lambda state, keys, body=body: jax.lax.scan(body, state, keys)[0])
        state = run(state, jax.random.split(jax.random.key(i), steps))
    return [float(state.ema['params'][name]) for name in 'ab']


def test_between_gaussians_the_map_is_the_increasing_one():
    # From N(0, 1) to N(3, 4), both 3 + 2 z and 3 - 2 z are maps, and only the first has the least cost. A plain GAN keeps the
    # sign that it started with. A weight moves the results towards the noise, but once it has chosen the map it can fall to 0.
    np.testing.assert_allclose(trained([0.0]), [-2, 3], atol=0.25)
    np.testing.assert_allclose(trained([0.05, 0.0]), [2, 3], atol=0.25)


def test_what_is_refused():
    for options, message in (
        ({'steps': 0}, 'a flow must have at least 1 step, got 0'),
        ({'transport_weight': -1.0}, 'weights must be at least 0, got transport_weight=-1.0'),
        ({'steps': 2, 'augmentation': augmentations.packing(2)}, 'packing joins points at different times'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    wide = games.adversarial_flow(networks.MLP((2,)), Linear(), latent=latents.normal(1))
    with pytest.raises(ValueError, match=r'must have the same shape, got \(2,\), \(1,\) and \(1,\)'):
        wide.init(jnp.zeros((1, 1)), jax.random.key(0))
