"""Experiments that compare with theory: the Dirac-GAN's eigenvalues, and the optimal discriminator's value."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.dirac_gan import __main__ as dirac_gan
from experiments.dirac_gan import adam, fields, steps
from experiments.optimal_discriminator import __main__ as optimal_discriminator
from experiments.optimal_discriminator import densities
from gan_jax import optimizers
from gan_jax.augmentations import instance_noise
from gan_jax.errors import InputError
from gan_jax.objectives import OBJECTIVES
from gan_jax.penalties import PENALTIES
from gan_jax.runs.directory import read_log

LOGISTIC = ('minimax', 'non_saturating')


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def eigenvalues(objective, penalty=None, noise=0.0):
    v = fields.field(OBJECTIVES[objective](), penalty, noise)
    return sort(np.linalg.eigvals(jax.jit(jax.jacfwd(v))(jnp.zeros(2))))


def sort(values):
    return np.array(sorted(values, key=lambda z: (round(z.imag, 6), z.real)))


def both_roots(centre, square):
    root = np.sqrt(complex(square))
    return sort([centre + root, centre - root])


# Mescheder et al. 2018, section 4.1, for R1 and R2. Roth's is psi^2 / 2 where D = 1/2, so its gamma counts half; instance noise
# has the same linear part at sigma^2 = gamma. At a double eigenvalue rounding comes out under a square root.
THEORY = {
    'r1': lambda s: both_roots(-s / 2, s**2 / 4 - 1 / 4),
    'r2': lambda s: both_roots(-s / 2, s**2 / 4 - 1 / 4),
    'roth': lambda s: both_roots(-s / 4, s**2 / 16 - 1 / 4),
    'noise': lambda s: both_roots(-(s**2) / 4, s**4 / 16 - 1 / 4),
}


@pytest.mark.parametrize('strength', [0.5, 1.0, 2.0])
@pytest.mark.parametrize('regulariser', THEORY)
def test_eigenvalues_of_regularised_games(x64, regulariser, strength):
    expected = THEORY[regulariser](strength)
    tolerance = 1e-7 if abs(expected[0] - expected[1]) < 1e-9 else 1e-12
    for objective in LOGISTIC:
        if regulariser == 'noise':
            found = eigenvalues(objective, noise=strength)
        else:
            found = eigenvalues(objective, PENALTIES[regulariser](strength))
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_the_critical_gamma_of_r1_is_1(x64):
    for gamma, turns in [(0.5, True), (0.99, True), (1.0, False), (1.01, False), (2.0, False)]:
        imaginary = np.abs(eigenvalues('minimax', PENALTIES['r1'](gamma)).imag)
        assert (imaginary > 0.05).all() if turns else (imaginary < 1e-7).all()


def test_bare_games_turn_and_simultaneous_steps_of_them_grow(x64):
    for objective, frequency in [('minimax', 0.5), ('non_saturating', 0.5), ('wasserstein', 1.0)]:
        np.testing.assert_allclose(eigenvalues(objective), [-1j * frequency, 1j * frequency], atol=1e-12)
        v = fields.field(OBJECTIVES[objective]())
        growth = jax.jit(lambda h, v=v: jax.jacfwd(lambda z: z + h * v(z))(jnp.zeros(2)))
        for h in (0.1, 0.5):
            found = np.abs(np.linalg.eigvals(growth(h)))
            np.testing.assert_allclose(found, np.sqrt(1 + (h * frequency) ** 2), rtol=1e-12)


def test_fields_away_from_the_equilibrium(x64):
    theta, psi = np.array([[0.7, -1.1, 2.0], [1.3, 0.4, -0.5]])
    sigmoid = lambda t: 1 / (1 + np.exp(-t))
    psi_prime, slope = -theta * sigmoid(psi * theta), 0.6 * (abs(psi) - 1) * np.sign(psi)
    closed = [
        ('minimax', None, psi * sigmoid(psi * theta), psi_prime),
        ('minimax', PENALTIES['wgan_gp'](0.3), psi * sigmoid(psi * theta), psi_prime - slope),
        ('minimax', PENALTIES['dragan'](0.3), psi * sigmoid(psi * theta), psi_prime - slope),
        ('non_saturating', None, psi * sigmoid(-psi * theta), psi_prime),
        ('wasserstein', None, psi, -theta),
    ]
    for objective, penalty, *expected in closed:
        v = jax.jit(jax.vmap(fields.field(OBJECTIVES[objective](), penalty)))
        np.testing.assert_allclose(v(jnp.stack([theta, psi], 1)).T, expected, rtol=1e-12)


def test_quadrature_over_the_noise_is_the_mean_over_the_librarys_noise():
    sigma, theta, psi = 0.8, 0.7, -0.9
    keys = [jax.random.split(jax.random.key(seed), 200_000) for seed in range(2)]
    noise, objective = instance_noise(sigma), OBJECTIVES['non_saturating']()

    def losses(theta, psi):
        real, fake = (
            psi * noise.apply(jnp.int32(0), jnp.full((len(k), 1), x), k) for x, k in zip((0.0, theta), keys, strict=True)
        )
        return jnp.stack([objective.generator(real, fake).mean(), objective.discriminator(real, fake).mean()])

    sampled = -jnp.diag(jnp.stack(jax.jit(jax.jacrev(losses, (0, 1)))(theta, psi), 1))
    # A standard error is below (2 (sigma^2 + theta^2) / 200000)^(1/2) = .004.
    np.testing.assert_allclose(fields.field(objective, noise=sigma)(jnp.array([theta, psi])), sampled, atol=0.008)


MODES = ('simultaneous', 'optimistic', 'extragradient')


@pytest.mark.parametrize('objective', ['minimax', 'wasserstein'])
def test_factors_of_steps_that_look_ahead(objective):
    """1 + i h a, the roots of m^2 - (1 + 2 i h a) m + i h a, and 1 + i h a - (h a)^2 at eigenvalues of +-i a."""
    h, a = 0.1, {'minimax': 0.5, 'wasserstein': 1.0}[objective]
    jacobian = np.array([[0, a], [-a, 0]])
    optimistic = np.abs(np.roots([1, -1 - 2j * h * a, 1j * h * a])).max()
    expected = [(1 + (h * a) ** 2) ** 0.5, optimistic, (1 - (h * a) ** 2 + (h * a) ** 4) ** 0.5]
    for mode, factor in zip(MODES, expected, strict=True):
        assert steps.growth(mode, [1j * a, -1j * a], h) == pytest.approx(factor, rel=1e-12)
        found = np.abs(np.linalg.eigvals(steps.map_of(mode, jacobian, h))).max()
        assert found == pytest.approx(factor, rel=1e-12) and (factor < 1) == (mode != 'simultaneous')
    assert expected[1] == pytest.approx(1 - (h * a) ** 2 / 2, abs=1e-4)


def test_the_trajectories_are_those_of_the_librarys_train_step(x64):
    config = dirac_gan.Config(gammas=(1.0,), noises=(1.0,), steps=50)
    case = next(case for case in fields.cases(config) if (case.objective, case.regulariser) == ('minimax', 'none'))
    paths, objective = steps.analyse(case, config)[1], OBJECTIVES['minimax']()
    for mode, how in {
        'simultaneous': {'simultaneous': True},
        'alternating': {},
        'optimistic': {'simultaneous': True},
        'extragradient': {'extragradient': True},
    }.items():
        players = optimizers.sgd(config.step_size, optimistic=mode == 'optimistic')
        found = adam.trained(objective, players, config.start, 50, **how)
        np.testing.assert_allclose(found, paths[mode], rtol=1e-9, atol=1e-9)


@pytest.fixture(scope='module')
def dirac(tmp_path_factory):
    path = tmp_path_factory.mktemp('dirac')
    rows = dirac_gan.main(dirac_gan.Config(runs_dir=str(path), gammas=(1.0,), noises=(1.0,)))
    return path / 'dirac_gan', {(row['objective'], row['regulariser']): row for row in rows}


@pytest.mark.slow
def test_dirac_gan_converges_where_it_should(dirac):
    _, rows = dirac
    assert len(rows) == 2 * 7 + 3
    for (objective, regulariser), row in rows.items():
        outcomes = row['simultaneous_outcome'], row['alternating_outcome']
        if regulariser in ('R1', 'R2', 'Roth', 'noise'):
            assert outcomes == ('converges', 'converges') and row['simultaneous_distance'] < 1e-6
        elif regulariser == 'none':
            assert outcomes == ('cycles' if objective == 'non_saturating' else 'diverges', 'cycles')
        else:
            assert outcomes == ('cycles', 'cycles') and row['alternating_distance'] > 0.5
        if regulariser in ('WGAN-GP', 'DRAGAN'):  # psi' jumps from -2 weight to 2 weight
            assert row['eigenvalues'] is None and row['theory'] is None and row['jump'] == pytest.approx(0.4)
        else:
            np.testing.assert_allclose(row['eigenvalues'], row['theory'], atol=1e-7)
            assert row['simultaneous_factor'] == pytest.approx(row['simultaneous_theory'], rel=1e-7)
        if row['theory']:
            for mode in ('optimistic', 'extragradient'):
                assert row[f'{mode}_factor'] == pytest.approx(row[f'{mode}_theory'], rel=1e-7)
                assert row[f'{mode}_factor'] < 1 and row[f'{mode}_outcome'] in ('converges', 'cycles')
    for mode in ('optimistic', 'extragradient'):  # (1 - (h a)^2 / 2)^2000 of 2^(1/2), a = 1
        assert rows['wasserstein', 'none'][f'{mode}_distance'] == pytest.approx(2**0.5 * np.exp(-10), rel=0.2)
        assert rows['wasserstein', 'none'][f'{mode}_outcome'] == 'converges'
    assert rows['minimax', 'none']['simultaneous_factor'] == pytest.approx((1 + 0.1**2 / 4) ** 0.5, rel=1e-12)
    assert rows['minimax', 'none']['alternating_factor'] == pytest.approx(1, rel=1e-12)
    # r' = -r^3 / 16, and simultaneous steps add h r / 8: see the experiment's docstring.
    assert rows['non_saturating', 'none']['simultaneous_distance'] == pytest.approx(0.2**0.5, rel=0.02)
    assert rows['non_saturating', 'none']['alternating_distance'] == pytest.approx((8 / 200) ** 0.5, rel=0.02)


@pytest.mark.slow
def test_dirac_gan_leaves_its_picture_and_numbers(dirac):
    path, _ = dirac
    assert {file.name for file in path.iterdir()} - {'.lock'} == {'config.json', 'results.json', 'trajectories.png'}
    assert json.loads((path / 'results.json').read_text())[0]['theory'] == [[0, 0.5], [0, -0.5]]


def test_wgan_gp_leaves_the_equilibrium(x64):
    config = dirac_gan.Config(start=(0.01, 0.01), gammas=(1.0,), noises=(1.0,))
    chosen = [case for case in fields.cases(config) if case.regulariser == 'WGAN-GP']
    assert len(chosen) == 3
    for case in chosen:
        paths = steps.analyse(case, config)[1]
        for path in (paths['simultaneous'], paths['alternating']):
            assert np.linalg.norm(path[1000:], axis=1).min() > 0.5


def test_what_counts_as_convergence():
    t = np.arange(1001)
    assert steps.outcome(np.exp(-t / 100)) == 'converges'
    assert steps.outcome(np.exp(t / 1000)) == 'diverges'
    assert steps.outcome(2 + np.sin(t / 10)) == 'cycles'
    assert steps.outcome(np.where(t < 900, 1, np.nan)) == 'diverges'
    assert steps.outcome(np.where(t < 300, 1, np.inf)) == 'diverges'


def on_a_grid(name, mu=2.0):
    pair = densities.PAIRS[name](mu)
    x = densities.grid(pair)
    return *(densities.log_density(density, x) for density in pair), x


@pytest.mark.parametrize(('mu', 'expected'), [(0.5, -1.325672), (1.0, -1.163451), (2.0, -0.712633), (3.0, -0.332740)])
def test_value_at_the_optimum_of_two_gaussians(mu, expected):
    # -log 4 + 2 JSD, by scipy's adaptive quadrature; as in test_objectives.
    log_p, log_q, x = on_a_grid('gaussians', mu)
    assert densities.optimal_value(log_p, log_q, x) == pytest.approx(expected, abs=1e-6)
    row = densities.compare(log_p, log_q, mu**2 / 2 - mu * x, x)
    found = [row[name] for name in ('gap', 'distance', 'slope', 'intercept')]
    np.testing.assert_allclose(found, [0, 0, -mu, mu**2 / 2], atol=1e-9)


@pytest.mark.parametrize('name', densities.PAIRS)
def test_no_discriminator_is_above_the_optimal_one(name):
    log_p, log_q, x = on_a_grid(name)
    np.testing.assert_allclose([np.trapezoid(np.exp(log), x) for log in (log_p, log_q)], 1, rtol=1e-12)
    best = densities.optimal_value(log_p, log_q, x)
    assert densities.value(log_p, log_q, log_p - log_q, x) == pytest.approx(best, abs=1e-12)
    random = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0, 10.0):
        for base in (0 * x, log_p - log_q):
            logit = base + scale * np.interp(x, random.uniform(x[0], x[-1], 30).cumsum(), random.normal(size=30))
            row = densities.compare(log_p, log_q, logit + scale * random.normal(), x)
            assert row['value'] < best and row['gap'] > 0


def test_optimal_discriminator(tmp_path, capsys):
    config = optimal_discriminator.Config(runs_dir=str(tmp_path), pairs=('scales', 'mixture'), steps=2, batch_size=8, width=4)
    results = optimal_discriminator.main(config)
    assert set(results) == {'scales', 'mixture'}
    path = tmp_path / 'optimal_discriminator'
    for name, row in results.items():
        values = {log['step']: log['value'] for log in read_log(path / name, optimal_discriminator.LOG)}
        assert set(values) == {0, 1, 2} and values[2] == row['value']
        assert max(values.values()) < row['optimal_value'] and np.isfinite(list(values.values())).all()
    assert (path / 'discriminators.png').exists() and set(json.loads((path / 'results.json').read_text())) == set(results)
    assert 'mean |D - D*|' in capsys.readouterr().out
    # Scales: JSD(N(0, 1), N(0, 4)) = .092733.
    assert results['scales']['optimal_value'] == pytest.approx(-np.log(4) + 2 * 0.092733, abs=2e-6)


@pytest.mark.slow
def test_a_discriminator_learns_the_logit_of_two_gaussians(tmp_path):
    config = optimal_discriminator.Config(
        runs_dir=str(tmp_path), pairs=('gaussians',), mu=1.0, steps=300, batch_size=256, width=16, learning_rate=1e-2
    )
    row = optimal_discriminator.main(config)['gaussians']
    assert 0 < row['gap'] < 2e-3 and row['distance'] < 0.02
    assert row['slope'] == pytest.approx(-1, abs=0.15) and row['intercept'] == pytest.approx(0.5, abs=0.15)
    again = optimal_discriminator.main(dataclasses.replace(config, resume=True))['gaussians']
    assert again['value'] == row['value']
    assert len(read_log(tmp_path / 'optimal_discriminator/gaussians', optimal_discriminator.LOG)) == 61


@pytest.mark.parametrize(
    ('experiment', 'options', 'message'),
    [
        (dirac_gan, {'gammas': (1.0, -0.5)}, '--gammas must be from 0 to 1000000, not -0.5'),
        (dirac_gan, {'gammas': ()}, 'at least one'),
        (dirac_gan, {'noises': (-1.0,)}, '--noises must be from 0 to 1000'),
        (dirac_gan, {'weight': float('nan')}, '--weight must be from 0 to 1000000, not nan'),
        (dirac_gan, {'steps': 0}, '--steps must be from 8 to 10000000, not 0'),
        (dirac_gan, {'step_size': 0.0}, '--step-size must be above 0'),
        (dirac_gan, {'start': (0.0, 0.0)}, 'other than the equilibrium'),
        (optimal_discriminator, {'pairs': ('gausians',)}, "unknown pair 'gausians'; did you mean gaussians"),
        (optimal_discriminator, {'pairs': ()}, 'at least one'),
        (optimal_discriminator, {'steps': 0}, 'at least 1'),
        (optimal_discriminator, {'mu': float('inf')}, '--mu must be from -1000 to 1000, not inf'),
        (optimal_discriminator, {'learning_rate': 0.0}, '--learning-rate must be above 0'),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path, experiment, options, message):
    with pytest.raises(InputError, match=message) as error:
        experiment.main(experiment.Config(runs_dir=str(tmp_path), **options))
    assert len(str(error.value).splitlines()) == 1 and not list(tmp_path.iterdir())
