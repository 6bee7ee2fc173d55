"""Every f-divergence: f, f* and g_f of Nowozin et al. 2016 (table 6) once more in NumPy, closed forms, extremes, jit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import lambertw, wrightomega

import gan_jax
from gan_jax.divergences import DIVERGENCES, log_lambert_w, quadrature
from gan_jax.registry import build

EXTREME = jnp.array([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4])
CASES = [*DIVERGENCES, 'jensen_shannon_weighted:pi=0.3', 'alpha:a=0.5', 'alpha:a=-0.5', 'alpha:a=3.0']
every_case = pytest.mark.parametrize('case', CASES)


def softplus(x):
    return np.logaddexp(x, 0)


def weighted(pi):
    return (
        lambda u: pi * u * np.log(u) - (1 - pi + pi * u) * np.log(1 - pi + pi * u),
        lambda t: (1 - pi) * np.log((1 - pi) / (1 - pi * np.exp(t / pi))),
        lambda v: -pi * np.log(pi) - softplus(-v),
    )


def power(a):
    return (
        lambda u: (u**a - 1 - a * (u - 1)) / (a * (a - 1)),
        lambda t: np.maximum(t * (a - 1) + 1, 0) ** (a / (a - 1)) / a - 1 / a,
        (lambda v: v) if a > 1 else (lambda v: 1 / (1 - a) - softplus(-v)),
    )


def lambert_conjugate(t):
    w = lambertw(np.exp(1 - t)).real
    return w + 1 / w + t - 2


# f, f* and g_f as in Nowozin et al. 2016, tables 5 and 6.
REFERENCE = {
    'total_variation': (lambda u: abs(u - 1) / 2, lambda t: t, lambda v: np.tanh(v) / 2),
    'kl': (lambda u: u * np.log(u), lambda t: np.exp(t - 1), lambda v: v),
    'reverse_kl': (lambda u: -np.log(u), lambda t: -1 - np.log(-t), lambda v: -np.exp(-v)),
    'pearson': (lambda u: (u - 1) ** 2, lambda t: t**2 / 4 + t, lambda v: v),
    'neyman': (lambda u: (1 - u) ** 2 / u, lambda t: 2 - 2 * np.sqrt(1 - t), lambda v: 1 - np.exp(-v)),
    'squared_hellinger': (lambda u: (np.sqrt(u) - 1) ** 2, lambda t: t / (1 - t), lambda v: 1 - np.exp(-v)),
    'jeffrey': (lambda u: (u - 1) * np.log(u), lambert_conjugate, lambda v: v),
    'jensen_shannon': (
        lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
        lambda t: -np.log(2 - np.exp(t)),
        lambda v: np.log(2) - softplus(-v),
    ),
    'gan': (
        lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
        lambda t: -np.log(1 - np.exp(t)),
        lambda v: -softplus(-v),
    ),
    'jensen_shannon_weighted': weighted(0.5),
    'jensen_shannon_weighted:pi=0.3': weighted(0.3),
    'alpha': power(1.5),
    'alpha:a=0.5': power(0.5),
    'alpha:a=-0.5': power(-0.5),
    'alpha:a=3.0': power(3.0),
}

# Between N(1, 1) and N(0, 1): closed forms, the total variation as 2 Phi(1/2) - 1, Jensen-Shannon by quadrature in float64;
# alpha has (e^(a (a - 1) / 2) - 1) / (a (a - 1)).
VALUES = {
    'total_variation': 0.382925,
    'kl': 0.5,
    'reverse_kl': 0.5,
    'pearson': 1.718282,
    'neyman': 1.718282,
    'squared_hellinger': 0.235006,
    'jeffrey': 1.0,
    'jensen_shannon': 0.222843,
    'jensen_shannon_weighted:pi=0.3': 0.094910,
    'gan': -1.163451,
    'alpha': 0.606655,
    'jensen_shannon_weighted': 0.111421,
    'alpha:a=0.5': -4 * np.expm1(-1 / 8),
    'alpha:a=-0.5': 4 / 3 * np.expm1(3 / 8),
    'alpha:a=3.0': np.expm1(3) / 6,
}


def log_gaussian(x, mu, sigma=1.0):
    return -(((x - mu) / sigma) ** 2) / 2 - jnp.log(sigma * jnp.sqrt(2 * jnp.pi))


@every_case
def test_value_between_gaussians(case):
    # Between shifted Gaussians every divergence is symmetric: those of two widths tell P from Q.
    divergence, f = build(DIVERGENCES, case), REFERENCE[case][0]
    with jax.enable_x64(True):
        integral = jax.jit(partial(quadrature, divergence))
        x = jnp.linspace(-30, 30, 24_001)
        log_p, log_q, wide = log_gaussian(x, 1), log_gaussian(x, 0), log_gaussian(x, 0, 1.3)
        assert float(integral(log_p, log_q, x)) == pytest.approx(VALUES[case], abs=1e-6)
        wanted = np.trapezoid(np.exp(wide) * f(np.exp(log_p - wide)), x)
        assert float(integral(log_p, wide, x)) == pytest.approx(wanted, abs=1e-6)
        if case == 'kl':
            assert wanted == pytest.approx(np.log(1.3) + 2 / (2 * 1.69) - 0.5, abs=1e-6)


@every_case
def test_bound_is_tight_at_the_optimum_and_nowhere_else(case):
    divergence = build(DIVERGENCES, case)
    with jax.enable_x64(True):
        x = jnp.linspace(-30, 30, 24_001)
        log_p, log_q = log_gaussian(x, 1), log_gaussian(x, 0, 1.3)
        u = jnp.exp(log_p - log_q)
        bound = jax.jit(lambda T: jnp.trapezoid(jnp.exp(log_p) * T - jnp.exp(log_q) * divergence.conjugate(T), x))
        optimum = divergence.derivative(u)
        best = bound(optimum)
        assert best == pytest.approx(float(quadrature(divergence, log_p, log_q, x)), abs=1e-6)
        for ratio in (u * jnp.exp(0.3 * jnp.sin(3 * x)), 1.2 * u, 1.5 * jnp.sqrt(u), jnp.ones_like(u)):
            assert bound(divergence.derivative(ratio)) < best - 1e-5
        room = jnp.minimum(1, divergence.domain[1] - optimum)
        assert bound(optimum + 0.1 * room * jnp.sin(3 * x) ** 2) < best - 1e-5


@every_case
def test_conjugate_is_the_supremum(case):
    divergence, f = build(DIVERGENCES, case), REFERENCE[case][0]
    with jax.enable_x64(True):
        u = jnp.array([0.2, 0.5, 0.9, 1.0, 1.3, 2.0, 5.0])
        t = divergence.derivative(u)
        everywhere = np.exp(np.linspace(-8, 8, 200_001))
        supremum = [np.max(everywhere * slope - f(everywhere)) for slope in np.asarray(t)]
        np.testing.assert_allclose(divergence.conjugate(t), supremum, atol=1e-6)
        np.testing.assert_allclose(divergence.conjugate(t), u * t - divergence.f(u), atol=1e-12)


@every_case
def test_formulas_of_the_table(case):
    divergence, (f, conjugate, activation) = build(DIVERGENCES, case), REFERENCE[case]
    with jax.enable_x64(True):
        u, v = jnp.exp(jnp.linspace(-5, 5, 40)), jnp.linspace(-6, 6, 49)
        np.testing.assert_allclose(divergence.f(u), f(np.asarray(u)), rtol=1e-9, atol=1e-12)
        t = divergence.activation(v)
        np.testing.assert_allclose(t, activation(np.asarray(v)), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(divergence.conjugate(t), conjugate(np.asarray(t)), rtol=1e-9, atol=1e-9)
        exact = divergence.conjugate_activation(v)
        np.testing.assert_allclose(exact, divergence.conjugate(t), rtol=1e-9, atol=1e-9)
        low, high = divergence.domain
        far = divergence.activation(jnp.linspace(-15, 15, 61))
        assert (far > low).all() and (far < high).all() and (jnp.diff(far) > 0).all()
    np.testing.assert_allclose(divergence.conjugate_activation(v.astype(jnp.float32)), exact, rtol=1e-5, atol=1e-6)


@every_case
def test_derivative_and_threshold(case):
    divergence = build(DIVERGENCES, case)
    with jax.enable_x64(True):
        u = jnp.array([1e-3, 0.2, 0.9, 1.1, 3.0, 1e3])
        np.testing.assert_allclose(divergence.derivative(u), jax.vmap(jax.grad(divergence.f))(u), rtol=1e-9)
        assert float(divergence.derivative(jnp.array(1.0))) == pytest.approx(divergence.threshold, abs=1e-12)
        assert float(divergence.f(jnp.array(1.0))) == pytest.approx(-np.log(4) if case == 'gan' else 0, abs=1e-12)
        # The upper end of the domain is f'(infinity), and that of growth without end.
        slope, high = float(divergence.derivative(jnp.array(1e12))), divergence.domain[1]
        assert slope > 20 if high == np.inf else slope == pytest.approx(high, abs=1e-5)


@every_case
def test_extreme_outputs(case):
    divergence = build(DIVERGENCES, case)
    derivatives = lambda g: (g, jax.grad(g), jax.grad(jax.grad(g)))
    both = (*derivatives(divergence.activation), *derivatives(divergence.conjugate_activation))
    every = jax.vmap(lambda v: [g(v) for g in both])
    compiled = jax.jit(every)
    with jax.debug_nans(True):
        values = jnp.stack(every(EXTREME))
        assert values.dtype == jnp.float32 and np.isfinite(values).all()
        np.testing.assert_allclose(compiled(EXTREME), values, rtol=1e-5, atol=1e-6)
        assert np.isfinite(compiled(2 * EXTREME)).all()
    assert compiled._cache_size() == 1


def test_exponential_goes_on_as_its_tangent():
    with jax.enable_x64(True):
        guarded = DIVERGENCES['kl']().conjugate_activation
        for v, value, slope in ((30.9, 29.9, 29.9), (31.0, 30, 30)):
            np.testing.assert_allclose(jax.value_and_grad(guarded)(v), np.exp([value, slope]), rtol=1e-12)
        np.testing.assert_allclose(jax.value_and_grad(guarded)(41.0), np.exp(30) * np.array([11, 1]), rtol=1e-12)


@pytest.mark.parametrize('x64', [False, True])
def test_log_lambert_w(x64):
    slope = jax.grad(log_lambert_w)
    with jax.enable_x64(x64):
        rtol = 1e-13 if x64 else 1e-6
        s = jnp.concatenate([jnp.linspace(-1e4, 1e4, 2001), jnp.linspace(-30, 30, 2001)])
        log_w, first, second = jax.jit(jax.vmap(lambda s: [g(s) for g in (log_lambert_w, slope, jax.grad(slope))]))(s)
        np.testing.assert_allclose(log_w + jnp.exp(log_w), s, rtol=2 * rtol, atol=2 * rtol)
        W = wrightomega(np.asarray(s, float))  # W(e^s)
        np.testing.assert_allclose(log_w[s > -700], np.log(W[s > -700]), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(first, 1 / (1 + W), rtol=4 * rtol)
        np.testing.assert_allclose(second, -W / (1 + W) ** 3, rtol=1e3 * rtol, atol=1e-30)


@pytest.mark.parametrize(
    ('mu', 'sigma', 'value'), [(0.5, 1, 0.030311), (1, 1, 0.111421), (2, 1, 0.336831), (3, 1, 0.526777), (0, 2, 0.092733)]
)
def test_jensen_shannon_between_gaussians(mu, sigma, value):
    # By quadrature in float64. f-GAN's row is twice the divergence, and the weighted one at 1/2 the divergence itself.
    with jax.enable_x64(True):
        x = jnp.linspace(-25, 25, 20_001)
        densities = log_gaussian(x, 0), log_gaussian(x, mu, sigma)
        assert float(quadrature(DIVERGENCES['jensen_shannon'](), *densities, x)) == pytest.approx(2 * value, abs=2e-6)
        assert float(quadrature(DIVERGENCES['jensen_shannon_weighted'](), *densities, x)) == pytest.approx(value, abs=1e-6)


def bumps(x, *centres):
    """Log density of bumps of width 1, -inf elsewhere; the trapezoid rule is exact on them."""
    inside = sum((abs(x - centre) < 0.5) * (1 + np.cos(2 * np.pi * (x - centre))) for centre in centres)
    with np.errstate(divide='ignore'):
        return jnp.asarray(np.log(inside / len(centres)))


@every_case
def test_zero_densities(case):
    divergence = build(DIVERGENCES, case)
    with jax.enable_x64(True), jax.debug_nans(True):
        x = np.linspace(-2, 5, 701)
        f0, high = float(divergence.f(jnp.array(0.0))), divergence.domain[1]
        for p, q, value in [  # supports that are disjoint, and that share a half of each
            (bumps(x, 0), bumps(x, 3), f0 + high),
            (bumps(x, 0, 1), bumps(x, 1, 2), (f0 + float(divergence.f(jnp.array(1.0))) + high) / 2),
        ]:
            np.testing.assert_allclose(quadrature(divergence, p, q, jnp.asarray(x)), value, atol=1e-9)
        known = {'jensen_shannon': 2 * np.log(2), 'total_variation': 1, 'gan': 0, 'squared_hellinger': 2, 'kl': np.inf}
        if case in known:
            np.testing.assert_allclose(f0 + high, known[case], atol=1e-12)


@every_case
def test_quadrature_in_single_precision_and_its_gradient(case):
    # A grid so wide that densities and ratios underflow.
    divergence, f = build(DIVERGENCES, case), REFERENCE[case][0]

    def of_mean(mu):
        x = jnp.linspace(-100, 100, 20_001)
        return quadrature(divergence, log_gaussian(x, mu), log_gaussian(x, 0), x)

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(of_mean)(1.0)
    x = np.linspace(-12, 14, 20_001)
    p, q = (np.exp(-((x - mu) ** 2) / 2) / np.sqrt(2 * np.pi) for mu in (1.001, 0))
    slope = (np.trapezoid(q * f(p / q), x) - VALUES[case]) / 0.001
    np.testing.assert_allclose(value, VALUES[case], rtol=1e-4)
    np.testing.assert_allclose(gradient, slope, rtol=5e-3)  # the grid sees the kink of total variation


def test_refusals():
    with pytest.raises(gan_jax.InputError, match='did you mean jensen_shannon'):
        DIVERGENCES['jenson_shannon']
    for pi in (0, 1):
        with pytest.raises(ValueError, match='pi must be above 0 and below 1'):
            DIVERGENCES['jensen_shannon_weighted'](pi)
    for a in (0, 1.0):
        with pytest.raises(ValueError, match='neither 0 nor 1'):
            DIVERGENCES['alpha'](a)
    with pytest.raises(ValueError, match='the same shape'):
        quadrature(DIVERGENCES['kl'](), jnp.zeros(3), jnp.zeros((3, 1)), jnp.zeros(3))


@every_case
def test_the_undecided_output_is_where_the_ratio_is_one(case):
    divergence = build(DIVERGENCES, case)
    with jax.enable_x64(True):
        at = divergence.activation(jnp.float64(divergence.undecided))
        np.testing.assert_allclose(at, divergence.threshold, atol=1e-12)
        np.testing.assert_allclose(divergence.derivative(jnp.float64(1)), divergence.threshold, atol=1e-12)
