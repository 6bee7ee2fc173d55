"""Power-function averages: their weights in closed form, and reconstructions against averages taken during training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import averages

STEPS, EVERY = 400, 20


def weights(step: int, exponent: float) -> np.ndarray:
    """The weight of each of STEPS updates: the integral of (gamma + 1) s^gamma / t^(gamma + 1) over it."""
    return np.diff((np.minimum(np.arange(STEPS + 1), step) / step) ** (exponent + 1))


def test_widths_and_exponents():
    # EDM2, section 3.1: widths of .05, .1 and .15 have exponents of about 16.97, 6.94 and 3.56.
    for width, exponent in ((0.05, 16.97), (0.10, 6.94), (0.15, 3.56)):
        assert averages.exponent_of_width(width) == pytest.approx(exponent, abs=0.01)
        assert averages.width_of_exponent(averages.exponent_of_width(width)) == pytest.approx(width)
        s = np.arange(0.5, STEPS) / STEPS  # the standard deviation of the weights
        p = weights(STEPS, averages.exponent_of_width(width))
        assert np.sqrt(p @ s**2 - (p @ s) ** 2) == pytest.approx(width, rel=1e-3)
    assert averages.exponent_of_width(12**-0.5) == pytest.approx(0, abs=1e-9)
    for wrong in (0.0, 0.3, -0.1):
        with pytest.raises(ValueError, match=r'width must be above 0 and at most 0\.2886'):
            averages.exponent_of_width(wrong)


@pytest.fixture(scope='module')
def walk():
    """A random walk of 50 numbers, and snapshots of the averages of widths .05 and .1 along it."""
    path = np.cumsum(np.random.default_rng(0).normal(size=(STEPS, 50)), 0).astype(np.float32)
    values = lambda x, t: {'x': x, 'count': t}
    start = [averages.power_average(values(jnp.full(50, 9.0), jnp.int32(0)), width) for width in (0.05, 0.1)]

    def step(state, inputs):
        x, t = inputs
        state = [average.updated(values(x, t), t) for average in state]
        return state, state

    _, along = jax.jit(lambda start: jax.lax.scan(step, start, (path, jnp.arange(1, STEPS + 1))))(start)
    snapshots = [(t, jax.tree.map(lambda x, t=t: x[t - 1], a)) for t in range(EVERY, STEPS + 1, EVERY) for a in along]
    return path, snapshots


def made_of(snapshots, step, width):
    """The reconstruction from pairs of snapshots of the widths .05 and .1."""
    known = [(t, (0.05, 0.1)[number % 2]) for number, (t, _) in enumerate(snapshots)]
    return averages.reconstructed(known, lambda numbers: (snapshots[i][1].average for i in numbers), step, width)


def test_averages_have_the_weights_of_the_power_function(walk):
    path, snapshots = walk
    for t, average in snapshots:
        expected = weights(t, float(average.exponent)) @ path
        np.testing.assert_allclose(average.average['x'], expected, atol=1e-4)  # of values of about 20


# The relative error of the profile, which the docstring of `reconstructed` states for twenty pairs of snapshots.
@pytest.mark.parametrize(('width', 'of_weights'), [(0.03, 0.03), (0.05, 1e-6), (0.075, 0.003), (0.15, 0.007), (0.25, 0.065)])
def test_reconstructions_are_the_averages_of_other_widths(walk, width, of_weights):
    path, snapshots = walk
    expected = weights(STEPS, averages.exponent_of_width(width))
    steps, exponents = zip(*((t, float(a.exponent)) for t, a in snapshots), strict=True)
    shares = averages.coefficients(steps, exponents, STEPS, averages.exponent_of_width(width))
    found = sum(x * weights(t, gamma) for x, t, gamma in zip(shares, steps, exponents, strict=True))
    assert np.linalg.norm(found - expected) < of_weights * np.linalg.norm(expected)
    made = made_of(snapshots, STEPS, width)
    assert made['x'].dtype == np.float32 and made['count'] == STEPS
    np.testing.assert_allclose(made['x'], expected @ path, atol={0.03: 0.1, 0.25: 0.5}.get(width, 0.03))  # of a spread of 20


def test_reconstructions_before_the_end_use_no_later_snapshot(walk):
    path, snapshots = walk
    late = [(t, a._replace(average=jax.tree.map(lambda x: x * jnp.nan, a.average))) if t > 200 else (t, a) for t, a in snapshots]
    made = made_of(late, 200, 0.075)
    np.testing.assert_allclose(made['x'], weights(200, averages.exponent_of_width(0.075)) @ path, atol=0.05)
    with pytest.raises(ValueError, match='no snapshot of 10 updates or fewer'):
        made_of(snapshots, 10, 0.1)
