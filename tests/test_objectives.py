"""Every objective: what all have in common, and the closed forms of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gan_jax import objectives, parallel
from gan_jax.divergences import DIVERGENCES
from gan_jax.objectives import OBJECTIVES
from gan_jax.registry import build

EXTREME = jnp.array([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4])
softplus = lambda x: np.logaddexp(0, x)
relu = lambda x: np.maximum(x, 0)

# (name, settings) -> both losses again, in float64 numpy, as the papers print them.
REFERENCES = {
    ('minimax', ()): (lambda r, f: softplus(-r) + softplus(f), lambda r, f: -softplus(-r) - softplus(f)),
    ('minimax', (('smoothing', 0.1),)): (
        lambda r, f: -0.9 * special.log_expit(r) - 0.1 * special.log_expit(-r) - special.log_expit(-f),
        lambda r, f: 0.9 * special.log_expit(r) + 0.1 * special.log_expit(-r) + special.log_expit(-f),
    ),
    ('non_saturating', ()): (lambda r, f: softplus(-r) + softplus(f), lambda r, f: -special.log_expit(f)),
    ('non_saturating', (('smoothing', 0.25),)): (
        lambda r, f: -0.75 * special.log_expit(r) - 0.25 * special.log_expit(-r) - special.log_expit(-f),
        lambda r, f: -special.log_expit(f),
    ),
    ('wasserstein', ()): (lambda r, f: f - r, lambda r, f: r - f),
    ('least_squares', ()): (lambda r, f: ((r - 1) ** 2 + f**2) / 2, lambda r, f: (f - 1) ** 2 / 2),
    ('least_squares', (('a', -1), ('b', 1), ('c', 0))): (
        lambda r, f: ((r - 1) ** 2 + (f + 1) ** 2) / 2,
        lambda r, f: f**2 / 2,
    ),
    ('hinge', ()): (lambda r, f: relu(1 - r) + relu(1 + f), lambda r, f: -f),
    ('energy_margin', (('margin', 3.0),)): (lambda r, f: r + relu(3 - f), lambda r, f: f),
    ('relativistic', ()): (lambda r, f: -special.log_expit(r - f), lambda r, f: -special.log_expit(f - r)),
    ('relativistic_average', ()): (
        lambda r, f: -special.log_expit(r - f.mean()) - np.log1p(-special.expit(f - r.mean())),
        lambda r, f: -special.log_expit(f - r.mean()) - np.log1p(-special.expit(r - f.mean())),
    ),
    ('f_gan', (('divergence', 'gan'),)): (lambda r, f: softplus(-r) + softplus(f), lambda r, f: -softplus(-r) - softplus(f)),
    ('f_gan', (('divergence', 'kl'), ('non_saturating', True))): (lambda r, f: np.exp(f - 1) - r, lambda r, f: -f),
}
CASES = [(name, dict(settings)) for name, settings in REFERENCES]
CASES += [('f_gan', {'divergence': name}) for name in DIVERGENCES]
ids = lambda value: value if isinstance(value, str) else '-'.join(str(v) for v in value.values())


def test_every_objective_is_covered():
    assert {name for name, _ in CASES} == set(OBJECTIVES)


@pytest.mark.parametrize(('name', 'settings'), CASES, ids=ids)
def test_zero_sum_is_what_it_says(name, settings):
    objective = OBJECTIVES[name](**settings)
    real, fake = jax.random.normal(jax.random.key(3), (2, 50))
    opposite = np.allclose(objective.generator(real, fake), -objective.discriminator(real, fake))
    assert objective.zero_sum == opposite


@pytest.mark.parametrize(('name', 'settings'), CASES, ids=ids)
def test_common_contract(name, settings):
    objective = OBJECTIVES[name](**settings)
    for loss in objective[:2]:
        for shape in ((5,), (5, 3, 3)):
            real, fake = jax.random.normal(jax.random.key(0), (2, *shape))
            assert loss(real, fake).shape == shape
            np.testing.assert_allclose(jax.jit(loss)(real, fake), loss(real, fake), rtol=1e-5, atol=1e-6)
        with jax.debug_nans(True):
            value = lambda r, f, loss=loss: loss(r, f).sum()
            for real, fake in ((EXTREME, EXTREME[::-1]), (EXTREME, jnp.zeros(7)), (jnp.zeros(7), EXTREME)):
                for derivative in (value, jax.grad(value, (0, 1)), lambda r, f, v=value: jax.hessian(v, (0, 1))(r, f)):
                    assert all(np.isfinite(x).all() for x in jax.tree.leaves(derivative(real, fake)))
        compiled = jax.jit(lambda real, fake, loss=loss: loss(real, fake))
        for scale in (1.0, 2.0):
            compiled(scale * EXTREME, EXTREME)
        assert compiled._cache_size() == 1


@pytest.mark.parametrize(('name', 'settings'), CASES, ids=ids)
def test_one_device_and_many_agree(name, settings):
    real, fake = jax.random.normal(jax.random.key(0), (2, 8))
    weight = jnp.linspace(0.5, 1.5, 8)  # so that a gradient through a mean is not the same for everyone
    for loss in OBJECTIVES[name](**settings)[:2]:
        expected = jax.grad(lambda s, loss=loss: (weight * loss(s * real, s * fake)).mean())(1.3)

        def local(real, fake, weight, loss=loss):
            return parallel.pmean(jax.grad(lambda s: (weight * loss(s * real, s * fake)).mean())(1.3))

        found = jax.vmap(local, axis_name=parallel.AXIS)(*(x.reshape(4, 2) for x in (real, fake, weight)))
        np.testing.assert_allclose(found, np.full(4, expected), rtol=1e-5, atol=1e-6)
        split = jax.vmap(loss, axis_name=parallel.AXIS)(real.reshape(4, 2), fake.reshape(4, 2)).reshape(8)
        np.testing.assert_allclose(split, loss(real, fake), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('name', 'settings'), REFERENCES, ids=lambda v: v if isinstance(v, str) else ids(dict(v)))
def test_against_numpy(name, settings):
    with jax.enable_x64(True):
        real, fake = np.random.default_rng(0).normal(size=(2, 6, 2)) * 3
        for loss, reference in zip(OBJECTIVES[name](**dict(settings))[:2], REFERENCES[name, settings], strict=True):
            np.testing.assert_allclose(loss(jnp.asarray(real), jnp.asarray(fake)), reference(real, fake), rtol=1e-12)


@pytest.mark.parametrize('name', OBJECTIVES)
def test_shapes_that_would_broadcast_are_refused(name):
    for loss in OBJECTIVES[name]()[:2]:
        with pytest.raises(ValueError, match='the same shape'):
            loss(jnp.zeros((4, 1)), jnp.zeros(4))


@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('energy_margin', {'margin': 0.0}, 'margin must be above 0 and at most 1000000, not 0.0'),
        ('least_squares', {'a': 1.0}, 'a must be below b'),
        ('minimax', {'smoothing': 1.0}, 'smoothing must be at least 0 and below 1'),
        ('non_saturating', {'smoothing': -0.1}, 'smoothing must be at least 0 and below 1'),
        ('f_gan', {'divergence': 'kll'}, "unknown divergence 'kll'; did you mean kl"),
    ],
)
def test_impossible_settings_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        OBJECTIVES[name](**settings)


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


def test_value_of_the_game_on_three_points():
    # p = (.5, .5, 0), q = (0, .5, .5): D* = (1, .5, 0) and V = -log 2.
    with jax.enable_x64(True):
        p, q, logits = np.array([0.5, 0.5, 0]), np.array([0, 0.5, 0.5]), jnp.array([1e9, 0, -1e9])
        loss = OBJECTIVES['minimax']().discriminator
        on_real, on_fake = loss(logits, jnp.full(3, -1e9)), loss(jnp.full(3, 1e9), logits)
        value = -sum(np.where(p > 0, p * on_real, 0) + np.where(q > 0, q * on_fake, 0))
        assert value == pytest.approx(-np.log(2), abs=1e-12)


@pytest.mark.parametrize(
    ('name', 'slopes'),
    [('non_saturating', [0.264736, 0.602027, 1.550400]), ('minimax', [0.235264, 0.397973, 0.449600])],
)
def test_gradient_of_a_shifted_gaussian_under_a_frozen_optimal_discriminator(name, slopes):
    # Arjovsky and Bottou's identity tells the saturating from the non-saturating generator loss; at mu = .5, 1, 2. The two sum
    # to dKL / dmu = mu.
    with jax.enable_x64(True):
        noise = jnp.linspace(-12, 12, 20_001)
        for mu, slope in zip([0.5, 1.0, 2.0], slopes, strict=True):

            def loss(shift, mu=mu):
                fake = mu**2 / 2 - mu * (noise + shift)
                each = OBJECTIVES[name]().generator(jnp.full_like(fake, 1e9), fake)
                return jnp.trapezoid(each * gaussian(noise, 0), noise)

            assert float(jax.grad(loss)(mu)) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize('name', ['minimax', 'wasserstein', 'f_gan'])
def test_zero_sum(name):
    objective = OBJECTIVES[name]()
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    np.testing.assert_array_equal(objective.generator(real, fake), -objective.discriminator(real, fake))


def test_label_smoothing_moves_the_optimum_to_alpha_p_over_p_plus_q():
    # Salimans et al. 2016, section 3.4, with beta = 0. A two-sided smoothing, or half of it, has another optimum.
    with jax.enable_x64(True):
        loss, p, q = OBJECTIVES['non_saturating'](smoothing=0.1).discriminator, 0.7, 0.2
        best = 0.9 * p / (p + q)
        slope = jax.grad(lambda logit: p * loss(logit, jnp.zeros(())) + q * loss(jnp.zeros(()), logit))
        assert float(slope(jnp.log(best / (1 - best)))) == pytest.approx(0, abs=1e-12)


def test_least_squares_closed_forms():
    # Card 6: (0, 1, 1) at p = q has D* = .5 and losses .25 and .125; (-1, 1, 0) is half the integral of (p - q)^2 / (p + q).
    with jax.enable_x64(True):
        half = jnp.array([0.5])
        assert [float(loss(half, half)[0]) for loss in OBJECTIVES['least_squares']()[:2]] == [0.25, 0.125]
        x = jnp.linspace(-14, 16, 20_001)
        for mu, value in ((1.0, 0.204054), (2.0, 0.550400)):
            p, q = gaussian(x, 0), gaussian(x, mu)
            optimal = (p - q) / (p + q)  # (b p + a q) / (p + q)
            both = OBJECTIVES['least_squares'](a=-1, b=1, c=0)
            # 2 C(G) is Pearson's chi-squared of p + q from 2 q, C(G) the sum of (D - c)^2 / 2 over both.
            c = jnp.trapezoid((p + q) * both.generator(optimal, optimal), x)
            assert float(c) == pytest.approx(value, abs=1e-6)
        ends = jnp.array([1.0, -1.0])  # disjoint supports: D is b on data and a on the model
        assert float(both.generator(ends, ends).sum()) == 1


def test_wasserstein_of_gaussians_of_equal_variance_is_the_distance_of_their_means():
    with jax.enable_x64(True):
        x = jnp.linspace(-14, 16, 20_001)
        value = OBJECTIVES['wasserstein']().generator
        on_real, on_fake = value(-x, 0 * x), value(0 * x, -x)  # f(x) = -x is 1-Lipschitz, and optimal for mu > 0
        for mu in (0.5, 2.0):
            distance = jnp.trapezoid(on_real * gaussian(x, 0) + on_fake * gaussian(x, mu), x)
            assert float(distance) == pytest.approx(mu, abs=1e-6)


def test_wasserstein_of_parallel_lines_is_their_distance():
    # Arjovsky et al. 2017, example 1: W = |theta| while the Jensen-Shannon divergence is log 2; f(x) = sign(theta) x attains it.
    theta = -0.7
    critic = lambda x: -jnp.sign(theta) * x
    assert float(OBJECTIVES['wasserstein']().generator(critic(0.0), critic(theta))) == pytest.approx(abs(theta))


def test_hinge_and_margin_are_of_each_example():
    zero = jnp.zeros(1)
    assert [float(loss(zero, zero)[0]) for loss in OBJECTIVES['hinge']()[:2]] == [2, 0]
    # Card 8: energies 0 and 20 under a margin of 10 cost 5 each on average; the hinge of their mean would cost nothing.
    loss = OBJECTIVES['energy_margin'](margin=10).discriminator(jnp.zeros(2), jnp.array([0.0, 20.0]))
    np.testing.assert_array_equal(loss, [10, 0])
    loss = OBJECTIVES['hinge']().discriminator(jnp.array([0.0, 3.0]), jnp.array([-2.0, 0.0]))
    np.testing.assert_array_equal(loss, [1, 1])


@pytest.mark.parametrize('name', ['relativistic', 'relativistic_average'])
def test_relativistic_objectives_know_only_differences(name):
    terms = {'relativistic': 1, 'relativistic_average': 2}[name]
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    for loss in OBJECTIVES[name]()[:2]:
        np.testing.assert_allclose(loss(real + 3, fake + 3), loss(real, fake), rtol=1e-5)
        np.testing.assert_allclose(loss(jnp.zeros(2), jnp.zeros(2)), terms * np.log(2), rtol=1e-6)
    # One point for real and generated alike leaves the discriminator's parameters without an adversarial gradient.
    loss = OBJECTIVES[name]().discriminator
    assert float(jax.grad(lambda psi: loss(psi * jnp.ones(3), psi * jnp.ones(3)).sum())(0.4)) == pytest.approx(0, abs=1e-7)


def test_the_relativistic_generator_is_not_the_plain_one():
    # A peer overwrites it with the plain loss. Swapping the players' logits swaps the players' losses.
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    for name in ('relativistic', 'relativistic_average'):
        objective = OBJECTIVES[name]()
        np.testing.assert_allclose(objective.generator(real, fake), objective.discriminator(fake, real), rtol=1e-6)


def test_the_relativistic_average_is_over_the_whole_batch():
    # Two devices whose means differ: their own means would give log 2 everywhere.
    real, fake = jnp.array([[1.0], [3.0]]), jnp.array([[1.0], [3.0]])
    loss = objectives.relativistic_average().discriminator
    expected = softplus(2 - np.array([1.0, 3.0])) + softplus(np.array([1.0, 3.0]) - 2)
    np.testing.assert_allclose(jax.vmap(loss, axis_name=parallel.AXIS)(real, fake)[:, 0], expected, rtol=1e-6)


def test_f_gan_takes_a_divergence_of_ones_own_and_its_settings():
    real, fake = jax.random.normal(jax.random.key(0), (2, 6))
    named = objectives.f_gan('alpha', a=0.5).discriminator(real, fake)
    np.testing.assert_array_equal(objectives.f_gan(DIVERGENCES['alpha'](a=0.5)).discriminator(real, fake), named)
    assert not np.allclose(objectives.f_gan('alpha', a=1.5).discriminator(real, fake), named)


UNDECIDED = {
    'minimax': 0.0,
    'minimax:smoothing=0.2': np.log(0.8 / 1.2),  # D = (1 - s) / 2
    'non_saturating': 0.0,
    'hinge': 0.0,
    'least_squares': 0.5,
    'least_squares:a=-1,b=1,c=0': 0.0,
    'f_gan:divergence=kl': 1.0,
    'f_gan:divergence=reverse_kl': 0.0,
    'f_gan:divergence=jensen_shannon_weighted,pi=0.5': -np.log(np.sqrt(2) - 1),
    'f_gan:divergence=alpha,a=0.5': -np.log(np.exp(2) - 1),
    'f_gan:divergence=alpha,a=1.5': 0.0,
    'wasserstein': None,
    'relativistic': None,
    'relativistic_average': None,
    'energy_margin': None,
}


@pytest.mark.parametrize(('text', 'logit'), UNDECIDED.items())
def test_the_logit_of_an_undecided_discriminator(text, logit):
    objective = build(OBJECTIVES, text)
    if logit is None:
        assert objective.undecided is None
        return
    assert objective.undecided == pytest.approx(logit, abs=1e-6)
    # Where real and generated examples are the same, the best logit of all.
    of_both = lambda x: objective.discriminator(x[None], x[None])[0]
    assert abs(float(jax.grad(of_both)(jnp.float32(objective.undecided)))) < 1e-6


@pytest.mark.parametrize(('a', 'b'), [(1.0, 0.0), (1.0, 1.0), (0.5, -1.0)])
def test_high_logits_mean_real_in_least_squares(a, b):
    with pytest.raises(ValueError, match='a must be below b'):
        OBJECTIVES['least_squares'](a=a, b=b)
