"""Schedules over images: closed forms, R3GAN's values by default, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import schedules
from gan_jax.errors import InputError
from gan_jax.registry import build
from gan_jax.schedules import ANNEALED, Course, between

COUNTS = np.array([0, 25, 50, 75, 100, 1000])


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        # Half a cosine of 4 to 1 passes 4 - 3 sin^2(pi / 8) = 4 - 3 (1 - 1 / sqrt 2) / 2 at a quarter.
        ('cosine', [4, 4 - 1.5 * (1 - 0.5**0.5), 2.5, 4 - 1.5 * (1 + 0.5**0.5), 1, 1]),
        ('linear', [4, 3.25, 2.5, 1.75, 1, 1]),
        ('geometric', [4, 4 * 0.25**0.25, 2, 4 * 0.25**0.75, 1, 1]),
    ],
)
def test_every_shape_has_its_closed_form(shape, expected):
    schedule = between(4.0, 1.0, 100, shape=shape)
    np.testing.assert_allclose([schedule(n) for n in COUNTS], expected, rtol=1e-6)
    compiled = jax.jit(jax.vmap(schedule))
    np.testing.assert_allclose(compiled(jnp.asarray(COUNTS)), expected, rtol=1e-6)
    compiled(jnp.asarray(2 * COUNTS))
    assert compiled._cache_size() == 1
    np.testing.assert_allclose(between(1.0, 4.0, 100, shape=shape)(100), 4, rtol=1e-6)


def test_more_images_than_an_integer_holds():
    schedule = between(0.0, 1.0, 1e10, shape='linear')
    np.testing.assert_allclose(schedule(jnp.float32(5e9)), 0.5, rtol=1e-6)


def test_the_defaults_are_r3gans_on_cifar10():
    # Huang et al. 2024, the authors' train.py: preset CIFAR10. Rates from 2e-4 to 5e-5, gamma from .05 to .005.
    found = {name: tuple(build(ANNEALED, name))[:2] for name in ANNEALED}
    assert found == {
        'learning_rate': (1, 0.25),
        'gamma': (1, 0.1),
        'beta2': (0.9, 0.99),
        'probability': (0, 0.55),
        'half_life': (0, 5e6),
    }
    assert all(build(ANNEALED, name)[2:] == (None, 'cosine') for name in ANNEALED)
    course = build(ANNEALED, 'beta2:start=0.5,end=0.7,images=10,shape=linear')
    assert course == Course(0.5, 0.7, 10, 'linear')
    assert float(course.over(1e9)(5)) == pytest.approx(0.6)
    assert float(course._replace(images=None).over(100)(50)) == pytest.approx(0.6)


def test_a_value_counts_half_after_the_half_life():
    decay = schedules.decay_of_half_life(jnp.float32(1000), 10)
    assert float(decay**100) == pytest.approx(0.5, rel=1e-4)
    assert float(schedules.decay_of_half_life(jnp.float32(0), 64)) == 0


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('gama', "unknown schedule over images 'gama'; did you mean gamma"),
        ('gamma:end=2', 'end must be from 0 to 1, not 2'),
        ('beta2:end=1', 'end must be at least 0 and below 1, not 1'),
        ('gamma:images=0', 'images must be above 0'),
        ('gamma:shape=step', 'shape must be cosine or linear or geometric'),
        ('probability:shape=geometric', 'a geometric schedule needs values above 0'),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message):
        build(ANNEALED, text)


@pytest.mark.parametrize(
    ('arguments', 'shape', 'message'),
    [((1, 0, 0), 'cosine', 'more than 0 images'), ((1, 0, 5), 'geometric', 'above 0'), ((1, 0, 5), 'sine', "not 'sine'")],
)
def test_schedules_that_cannot_be_are_refused(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        between(*arguments, shape=shape)
