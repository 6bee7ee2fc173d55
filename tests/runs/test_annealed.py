"""`--anneal`: each schedule acts where it says, by the images that D has been shown, and what nothing would read is refused."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
from gan_jax import augmentations, runs
from gan_jax.errors import InputError
from gan_jax.penalties import Scheduled

# Of 10 steps that show D 2 * 8 images each: 160 images in all.
OPTIONS = runs.GameOptions(
    name='r', steps=10, batch_size=8, optimizers='adam:learning_rate=0.1,beta1=0.0', discriminator_steps=2, generator_steps=3
)


def with_(*texts, **others):
    config = dataclasses.replace(OPTIONS, anneal=texts, **others)
    config.check()
    return config


def test_gamma_follows_the_images_and_multiplies_the_other_decay():
    config = with_('gamma:end=0.5,images=80,shape=linear', penalties=('r1',), penalty_every=2)
    (penalty,) = config.rules()[1]
    assert isinstance(penalty, Scheduled) and penalty.every == 2
    np.testing.assert_allclose([penalty.factor(n) for n in (0, 5, 10, 20)], [1, 0.75, 0.5, 0.5])  # 8 images an update
    both = dataclasses.replace(config, penalty_decay=0.01).rules()[1][0]
    assert float(both.factor(jnp.int32(19))) == pytest.approx(0.005)
    (whole,) = with_('gamma:end=0.5,shape=linear', penalties=('r1',)).rules()[1]
    assert float(whole.factor(10)) == pytest.approx(0.75)  # of 20 updates


@pytest.mark.parametrize('player', ['generator', 'discriminator'])
def test_rates_and_beta2_follow_the_images(player):
    config = with_('learning_rate:end=0,images=64,shape=linear', 'beta2:start=0.5,end=0.9,images=64,shape=linear')
    optimizer = getattr(config.players(), player)
    state, gradients, v = optimizer.init(jnp.zeros(())), np.random.default_rng(0).normal(size=12), 0.0
    for t, g in enumerate(gradients):
        images = 16 * (t // 3) if player == 'generator' else 8 * t
        rate, beta2 = 0.1 * (1 - min(images / 64, 1)), 0.5 + 0.4 * min(images / 64, 1)
        v = beta2 * v + (1 - beta2) * g**2
        expected = -rate * g / (np.sqrt(v / (1 - beta2 ** (t + 1))) + 1e-8)  # Adam without momentum, and its bias correction
        update, state = optimizer.update(jnp.float32(g), state, jnp.zeros(()))
        assert float(update) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_probability_of_augmentations_follows_the_images():
    config = with_('probability:end=1,images=80,shape=linear', augmentations=('diff_augment:policy=cutout',))
    schedule = config.annealed().of_discriminator('probability')
    augment = augmentations.diff_augment('cutout', schedule)
    state, x, keys = augment.init(), jnp.ones((400, 4, 4, 1)), jax.random.split(jax.random.key(0), 400)
    apply, shares = jax.jit(augment.apply), []
    for _ in range(11):
        shares.append(float((apply(state, x, keys) == 0).any((1, 2, 3)).mean()))
        state = augment.update(state, jnp.zeros(8))
    np.testing.assert_allclose(shares, np.arange(11) / 10, atol=0.08)
    assert shares[0] == 0 and apply._cache_size() == 1


def counting() -> gan_jax.Game:
    """G's parameter is the number of its updates under SGD of rate 1."""
    init = lambda batch, key: ({'params': jnp.zeros(())}, {'params': jnp.zeros(())})
    return gan_jax.Game(
        init,
        lambda variables, batch, key, *, train=True: (variables['params'], {}),
        lambda variables, play, batch, key: (0 * variables['params'], ({}, {})),
        lambda variables, play, batch, key: (-play, {}),
    )


def test_the_half_life_of_the_average_follows_the_images():
    config = with_('half_life:start=0,end=160,images=160,shape=linear', discriminator_steps=1, generator_steps=1)
    decay = config.annealed().decay()
    trainer = gan_jax.trainer(counting(), gan_jax.optimizers.Optimizers(optax.sgd(1.0), optax.sgd(1.0)), ema_decay=decay)
    state, average = trainer.init(jnp.zeros((8, 1)), jax.random.key(0)), 0.0
    step = jax.jit(trainer.step)
    for t in range(10):
        state, _ = step(state, jnp.zeros((8, 1)))
        now = 0.5 ** (8 / max(8 * t, 1e-8))  # R3GAN's: .5^(batch / half-life), of images 8 t
        average = now * average + (1 - now) * (t + 1)
        np.testing.assert_allclose(state.ema['params'], average, rtol=1e-5)
    assert with_().annealed().decay() is None


def test_schedules_over_the_whole_run_make_its_length_part_of_it():
    whole, fixed = (with_(f'beta2{images}', name='r') for images in ('', ':images=1e6'))
    assert whole.identity()['decay_steps'] == 10 and 'decay_steps' not in fixed.identity()
    assert with_().identity()['anneal'] == []


@pytest.mark.parametrize(
    ('texts', 'others', 'message'),
    [
        (('gamma',), {}, '--anneal gamma requires --penalties'),
        (('learning_rate',), {'schedule': 'cosine:end=0.1'}, 'replaces --schedule cosine:end=0.1: give --schedule constant'),
        (('half_life',), {'ema_decay': 0.9}, '--ema-decay is replaced by --anneal half_life'),
        (('beta2',), {'optimizers': 'wgan'}, r'--anneal beta2 requires --optimizers with a beta2 .* adam or .* or ttur'),
        (('beta2',), {'optimizers': 'adam:beta2=0.9'}, '--anneal beta2 requires --optimizers'),
        (('probability',), {}, '--anneal probability requires --augmentations .*diff_augment'),
        (('probability',), {'augmentations': ('diff_augment:probability=0.5',)}, 'requires --augmentations'),
        (('beta2', 'beta2:end=0.5'), {}, '--anneal names beta2 twice'),
        (('beta',), {}, 'did you mean beta2'),
    ],
)
def test_what_nothing_would_read_is_refused(texts, others, message):
    with pytest.raises(InputError) as refused:
        with_(*texts, **others)
    assert re.search(message, str(refused.value)) and len(str(refused.value).splitlines()) == 1


def test_schedules_of_extragradient_updates_fall_once_a_step():
    """An optimizer counts two updates a step, of which the one that looks ahead is at the rate of the other."""
    rates: list[list[float]] = []
    for extragradient in (False, True):
        config = with_(
            'learning_rate:end=0,shape=linear', optimizers='sgd:learning_rate=1', discriminator_steps=1, generator_steps=1
        )
        config = dataclasses.replace(config, extragradient=extragradient)
        optimizer = config.players().generator
        state, found = optimizer.init(jnp.zeros(())), []
        for _ in range(4):
            for _ in range(2 if extragradient else 1):
                update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
                found.append(float(update))
        rates.append(found)
    assert rates[1] == [rate for rate in rates[0] for _ in range(2)] and len(set(rates[0])) == 4
