"""Every objective: shapes, extremes, jit, and the closed forms of methods card 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import penalties
from gan_jax.objectives import OBJECTIVES

EXTREME = jnp.array([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4])


@pytest.mark.parametrize('name', OBJECTIVES)
def test_common_contract(name):
    objective = OBJECTIVES[name]()
    for loss in objective:
        for shape in ((5,), (5, 3, 3)):
            real, fake = jax.random.normal(jax.random.key(0), (2, *shape))
            assert loss(real, fake).shape == shape
            np.testing.assert_allclose(jax.jit(loss)(real, fake), loss(real, fake), rtol=1e-6)
        with jax.debug_nans(True):
            value, gradient = jax.value_and_grad(lambda r, f, loss=loss: loss(r, f).sum(), (0, 1))(EXTREME, EXTREME[::-1])
        assert np.isfinite(value) and np.isfinite(np.stack(gradient)).all()
        compiled = jax.jit(lambda real, fake, loss=loss: loss(real, fake))
        for scale in (1.0, 2.0):
            compiled(scale * EXTREME, EXTREME)
        assert compiled._cache_size() == 1


@pytest.mark.parametrize('name', OBJECTIVES)
def test_shapes_that_would_broadcast_are_refused(name):
    for loss in OBJECTIVES[name]():
        with pytest.raises(ValueError, match='one shape'):
            loss(jnp.zeros((4, 1)), jnp.zeros(4))


def gaussian(x, mu):
    return np.exp(-((x - mu) ** 2) / 2) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize(('mu', 'value'), [(0.5, -1.325672), (1.0, -1.163451), (2.0, -0.712633), (3.0, -0.332740)])
def test_value_of_the_game_at_the_optimal_discriminator(mu, value):
    # V(D*) = -log 4 + 2 JSD between N(0, 1) and N(mu, 1), whose optimal logit is mu^2 / 2 - mu x.
    with jax.enable_x64(True):
        x = jnp.linspace(-12, 15, 20_001)
        logit = mu**2 / 2 - mu * x
        loss = OBJECTIVES['minimax']().discriminator
        on_real, on_fake = loss(logit, jnp.full_like(x, -1e9)), loss(jnp.full_like(x, 1e9), logit)
        integral = jnp.trapezoid(on_real * gaussian(x, 0) + on_fake * gaussian(x, mu), x)
        assert -float(integral) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ('name', 'slopes'),
    [('non_saturating', [0.264736, 0.602027, 1.550400]), ('minimax', [0.235264, 0.397973, 0.449600])],
)
def test_gradient_of_a_shifted_gaussian_under_a_frozen_optimal_discriminator(name, slopes):
    # Arjovsky and Bottou's identity tells the saturating from the non-saturating generator loss; at mu = .5, 1, 2.
    with jax.enable_x64(True):
        noise = jnp.linspace(-12, 12, 20_001)
        for mu, slope in zip([0.5, 1.0, 2.0], slopes, strict=True):

            def loss(shift, mu=mu):
                fake = mu**2 / 2 - mu * (noise + shift)
                each = OBJECTIVES[name]().generator(jnp.full_like(fake, 1e9), fake)
                return jnp.trapezoid(each * gaussian(noise, 0), noise)

            assert float(jax.grad(loss)(mu)) == pytest.approx(slope, abs=1e-6)


def test_minimax_is_zero_sum():
    objective = OBJECTIVES['minimax']()
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    np.testing.assert_array_equal(objective.generator(real, fake), -objective.discriminator(real, fake))


@pytest.mark.parametrize('batch', [1, 4])
def test_r1_of_a_linear_critic(batch):
    # gamma / 2 |a|^2 for any batch; a norm over the whole batch, or a missing half, fails this.
    a = jnp.array([[[0.3], [-1.2]], [[0.4], [0.0]]])
    real = jax.random.normal(jax.random.key(0), (batch, 2, 2, 1))
    penalty = penalties.r1(3.0)(lambda x: (a * x).sum((1, 2, 3)), real, real, jax.random.key(1))
    np.testing.assert_allclose(penalty, np.full(batch, 1.5 * 1.69), rtol=1e-6)
    with pytest.raises(ValueError, match='at least 0'):
        penalties.r1(-1.0)
