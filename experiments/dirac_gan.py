"""The Dirac-GAN: which training converges, on two parameters (Mescheder, Geiger and Nowozin 2018, sections 2 to 4).

    python -m experiments.dirac_gan

The data are at 0, the generator has the single point theta, and D(x) = psi x. The vector field is the gradient of the library's
own objectives and penalties. A second table is of optimistic steps (Daskalakis et al. 2018) and extragradient steps (Korpelevich
1976; Gidel et al. 2019), and a third of these with Adam, by the library's train step.

Expected: the eigenvalues of its Jacobian at the equilibrium agree with theory to rounding, within 7e-16. R1, R2, the regulariser
of Roth et al. and instance noise converge; the unregularised games rotate or spiral outwards; WGAN-GP and DRAGAN, whose field is
discontinuous at psi = 0, end on a cycle. 40 s on one core of a CPU shared with other jobs.

Optimistic and extragradient steps of size h make the unregularised games converge, by a factor of 1 - (h a)^2 / 2 a step at
eigenvalues of +-i a, where simultaneous steps grow by 1 + (h a)^2 / 2: from 1.4 to 6e-5 in 2000 steps of Wasserstein's game.
Adam ends on a cycle, because its steps are about as long as its learning rate near the equilibrium, too: at a rate of .01,
simultaneous steps at a distance of .09, optimistic ones at .024, extragradient and alternating ones at .012.

The unregularised non-saturating game has the linear part of the minimax game and, beyond it, an attraction of third order,
r' = -r^3 / 16. Therefore n alternating steps of size h lead to r = (8 / hn)^(1/2), and simultaneous ones, which add h r / 8 to
r', stay at r = (2h)^(1/2).
"""

import cmath
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import compilation, optimizers, runs
from gan_jax.errors import InputError
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import Optimizers
from gan_jax.penalties import PENALTIES, Penalty
from gan_jax.ranges import Coordinate, Deviation, Range, Rate, Several, Weight
from gan_jax.runs import pictures
from gan_jax.typing import Array

Field = Callable[[Array], Array]
"""v of z = (theta, psi), both `[2]`: the direction in which each player's gradient descent moves."""
MODES = ('simultaneous', 'alternating', 'optimistic', 'extragradient')
"""Optimistic and extragradient steps are simultaneous ones that anticipate the opponent's."""


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    """The Dirac-GAN: eigenvalues at the equilibrium compared with theory, and the limits of gradient steps."""

    name: str = 'dirac_gan'
    gammas: Annotated[tuple[Weight, ...], Several(1)] = (0.5, 1.0, 2.0)
    """Weights of R1, R2 and the regulariser of Roth et al."""
    noises: Annotated[tuple[Deviation, ...], Several(1)] = (0.5, 1.0, 2.0)
    """Standard deviations of instance noise."""
    weight: Weight = 0.1
    """Weight of WGAN-GP and DRAGAN; the default is that of WGAN-GP's authors for points in the plane. At 1, theta comes to rest,
    but far from 0."""
    step_size: Annotated[float, Range(0, 100, above=True)] = 0.1
    """Size of the gradient steps."""
    adam_rate: Rate = 0.01
    """Learning rate of Adam in the third table."""
    steps: Annotated[int, Range(8, 10_000_000)] = 2000
    """Number of gradient steps."""
    start: tuple[Coordinate, Coordinate] = (1.0, 1.0)
    """Initial theta and psi."""


class Case(NamedTuple):
    """A regularised game. Near (0, 0), its field is theta' = a psi, psi' = -a theta - b psi, where (a, b) is `linear`."""

    objective: str
    regulariser: str
    strength: str
    field: Field
    linear: tuple[float, float] | None
    """None if the field is discontinuous at psi = 0."""


def field(objective: Objective, penalty: Penalty | None = None, noise: float = 0.0) -> Field:
    """`v(z) = (-dL_G / dtheta, -dL_D / dpsi)` at z = (theta, psi), with Gaussian noise on D's inputs.

    `noise` is its standard deviation. The expectation over the noise is computed by Gauss-Hermite quadrature, over the noise of
    the real and of the generated point.
    """
    nodes, weights = np.polynomial.hermite.hermgauss(21 if noise else 1)
    shifts, weights = math.sqrt(2) * noise * nodes, weights / weights.sum()
    shift_real, shift_fake = (shift.ravel() for shift in np.meshgrid(shifts, shifts))
    weights = np.outer(weights, weights).ravel()
    key = jax.random.key(0)  # any key: a linear critic has the same gradient at all random points

    def losses(theta: Array, psi: Array) -> tuple[Array, Array]:
        critic = lambda x: psi * x
        real, fake = 0 * theta + shift_real, theta + shift_fake
        discriminator = objective.discriminator(critic(real), critic(fake))
        if penalty is not None:
            discriminator += penalty(critic, real, fake, key)
        return objective.generator(critic(real), critic(fake)) @ weights, discriminator @ weights

    def v(z: Array) -> Array:
        theta, psi = z
        return -jnp.stack([jax.grad(lambda t: losses(t, psi)[0])(theta), jax.grad(lambda p: losses(theta, p)[1])(psi)])

    return v


def cases(config: Config) -> list[Case]:
    """The cases to compare. The linear part of both logistic objectives has a = f'(0) = 1/2, that of Wasserstein has a = 1."""

    def each(label: str, name: str, b: Callable[[float], float]) -> list[tuple[str, str, float | None, dict[str, Any]]]:
        return [(label, f'gamma = {gamma:g}', b(gamma), {'penalty': PENALTIES[name](gamma)}) for gamma in config.gammas]

    def jumping(label: str, name: str) -> tuple[str, str, float | None, dict[str, Any]]:
        return label, f'weight = {config.weight:g}', None, {'penalty': PENALTIES[name](config.weight)}

    some = [('none', '', 0.0, {}), *each('R1', 'r1', lambda gamma: gamma), jumping('WGAN-GP', 'wgan_gp')]
    every = [
        *some,
        *each('R2', 'r2', lambda gamma: gamma),
        *each('Roth', 'roth', lambda gamma: gamma / 2),  # D = 1/2 at psi = 0: two terms of psi^2 / 4 each
        # E[softplus(psi e)] = log 2 + sigma^2 psi^2 / 8 + ..., once for the real and once for the generated point.
        *(('noise', f'sigma = {sigma:g}', sigma**2 / 2, {'noise': sigma}) for sigma in config.noises),
        jumping('DRAGAN', 'dragan'),
    ]
    return [
        Case(name, regulariser, strength, field(OBJECTIVES[name](), **options), None if b is None else (a, b))
        for name, a, regularisers in (('minimax', 0.5, every), ('non_saturating', 0.5, every), ('wasserstein', 1.0, some))
        for regulariser, strength, b, options in regularisers
    ]


def main(config: Config) -> list[dict[str, Any]]:
    """Analyses every case, prints the table, and returns its rows. Raises `InputError` for options that cannot work."""
    if config.start == (0, 0):
        raise InputError(f'--start must be a point other than the equilibrium (0, 0), got {config.start}')
    if config.resume:
        raise InputError('--resume does not apply to this experiment, which takes seconds; --overwrite repeats it')
    run = runs.RunDirectory(config)
    start = time.perf_counter()
    with jax.enable_x64(True):
        listed = cases(config)
        measured = [analyse(case, config) for case in listed]
        of_adam = with_adam(config)
        picture = run.path / 'trajectories.png'
        pictures.save_figure(picture, draw(listed, [paths for _, paths in measured], config))
    rows = [row for row, _ in measured]
    runs.write_json(run.path / 'results.json', rows)
    print(report(config, rows, of_adam))
    print(f'{time.perf_counter() - start:.0f} s; picture {picture}, numbers {run.path / "results.json"}')
    return rows


def analyse(case: Case, config: Config) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row of the table, with complex numbers as pairs, and the trajectory `[steps + 1, 2]` of each mode."""
    h, v = config.step_size, jax.vmap(case.field)
    # A step consists of two half-steps along the unmasked entries of v. Alternating steps begin with the discriminator, as in
    # the library; simultaneous ones do nothing in the second half.
    masks = np.array([[[1, 1], [0, 0]], [[0, 1], [1, 0]]])

    @compilation.jit
    def compute(z: Array) -> tuple[Array, Array, Array]:
        origin = jnp.zeros(2)
        above, below = v(jnp.array([[0, 1e-9], [0, -1e-9]]))

        def half(z: Array, mask: Array) -> tuple[Array, Array]:
            return z + h * mask * v(z), z

        def ahead(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            z, before = carry  # of each mode; `before` is the direction of the optimistic step before
            optimistic, extra = z
            now = case.field(optimistic)
            steps = 2 * now - before, case.field(extra + h * case.field(extra))
            return (z + h * jnp.stack(steps), now), z

        path = jax.lax.scan(half, jnp.stack([z, z]), jnp.tile(masks.swapaxes(0, 1), (config.steps + 1, 1, 1)))[1]
        others = jax.lax.scan(ahead, (jnp.stack([z, z]), case.field(z)), None, config.steps + 1)[1]
        paths = jnp.concatenate([path[::2], others], 1).swapaxes(0, 1)
        return jnp.abs(above - below).max(), jax.jacfwd(case.field)(origin), paths

    jump, jacobian, paths = (np.asarray(value) for value in compute(jnp.array(config.start)))
    smooth = bool(jump < 1e-6)
    row: dict[str, Any] = {'objective': case.objective, 'regulariser': case.regulariser, 'strength': case.strength}
    row |= {'jump': float(jump), 'eigenvalues': pairs(np.linalg.eigvals(jacobian)) if smooth else None}
    row |= {'theory': case.linear and pairs(theory(*case.linear))}
    row |= {f'{name}_theory': case.linear and growth(name, theory(*case.linear), h) for name in MODES if name != 'alternating'}
    for name, path in zip(MODES, paths, strict=True):
        row[f'{name}_factor'] = float(np.abs(np.linalg.eigvals(map_of(name, jacobian, h))).max()) if smooth else None
        distance = np.linalg.norm(path, axis=1)
        row |= {f'{name}_distance': float(distance[-1]), f'{name}_outcome': outcome(distance)}
    return row, dict(zip(MODES, paths, strict=True))


def theory(a: float, b: float) -> tuple[complex, complex]:
    """The eigenvalues of [[0, a], [-a, -b]]; for a = 1/2, they are real from b = 1 on."""
    root = cmath.sqrt(b**2 / 4 - a**2)
    return -b / 2 + root, -b / 2 - root


def growth(mode: str, eigenvalues: Sequence[complex], h: float) -> float:
    """The largest factor, in one step of size h, of a mode near an equilibrium whose field has these eigenvalues w.

    1 + h w for simultaneous steps, 1 + h w + (h w)^2 for extragradient ones, and the roots of m^2 - (1 + 2 h w) m + h w for
    optimistic ones. For w = +-i a, the last two are smaller than 1 in modulus if h a is small: both are 1 - (h a)^2 / 2 + O(h^4).
    """
    if mode == 'optimistic':
        return max(abs(root) for w in eigenvalues for root in np.roots([1, -1 - 2 * h * w, h * w]))
    return max(abs(1 + h * w + ((h * w) ** 2 if mode == 'extragradient' else 0)) for w in eigenvalues)


def map_of(mode: str, jacobian: np.ndarray, h: float) -> np.ndarray:
    """The linear part of a step at the equilibrium: of z, and of (z, the z before) for optimistic steps."""
    identity, J = np.eye(2), h * jacobian
    if mode == 'alternating':  # the discriminator first, as in the library
        return (identity + np.diag([1, 0]) @ J) @ (identity + np.diag([0, 1]) @ J)
    if mode == 'optimistic':
        return np.block([[identity + 2 * J, -J], [identity, 0 * identity]])
    return identity + J + (J @ J if mode == 'extragradient' else 0)


def game(objective: Objective) -> gan_jax.Game:
    """The unregularised game of the library's train step."""

    def logits(psi: Array, theta: Array) -> tuple[Array, Array]:
        return 0 * psi, psi * theta

    return gan_jax.Game(
        lambda start, key: ({'params': start[0]}, {'params': start[1]}),
        lambda variables, batch, key, *, train=True: (variables['params'], {}),
        lambda variables, theta, batch, key: (objective.discriminator(*logits(variables['params'], theta)), ({}, {})),
        lambda variables, theta, batch, key: (objective.generator(*logits(variables['params'], theta)), {}),
    )


def trained(objective: Objective, players: Optimizers, start: Sequence[float], steps: int, **how: Any) -> np.ndarray:
    """The trajectory `[steps + 1, 2]` of the library's train step with its options `how`."""
    trainer = gan_jax.trainer(game(objective), players, **how)

    @compilation.jit
    def path(start: Array) -> Array:
        first = trainer.init(start, jax.random.key(0))
        both = lambda state: jnp.stack([state.generator.params, state.discriminator.params])
        return jax.lax.scan(lambda state, _: (trainer.step(state, start)[0], both(state)), first, None, steps + 1)[1]

    return np.asarray(path(jnp.array(start)))


def with_adam(config: Config) -> list[dict[str, Any]]:
    """Rows of the distance from the equilibrium that Adam ends at, the largest of the last quarter, without a regulariser."""
    rows = []
    for name in ('minimax', 'non_saturating', 'wasserstein'):
        row: dict[str, Any] = {'objective': name}
        adam, optimistic = (make(config.adam_rate, 0.0, 0.9) for make in (optimizers.adam, optimizers.optimistic_adam))
        options: dict[str, tuple[Optimizers, dict[str, bool]]] = {
            'simultaneous': (adam, {'simultaneous': True}),
            'alternating': (adam, {}),
            'optimistic': (optimistic, {'simultaneous': True}),
            'extragradient': (adam, {'extragradient': True}),
        }
        for mode, (players, how) in options.items():
            distance = np.linalg.norm(trained(OBJECTIVES[name](), players, config.start, config.steps, **how), axis=1)
            row[f'{mode}_distance'] = float(distance[-(len(distance) // 4) :].max())
        rows.append(row)
    return rows


def pairs(values: Any) -> list[tuple[float, float]]:
    """Complex numbers as (real, imaginary), sorted by decreasing imaginary part, then by decreasing real part."""
    return sorted(((float(value.real), float(value.imag)) for value in values), key=lambda z: (-z[1], -z[0]))


def outcome(distance: np.ndarray) -> str:
    """Whether a trajectory, given by its distances from the equilibrium, 'converges', 'diverges' or 'cycles'.

    It converges if the whole last quarter is within 1 % of the initial distance. It diverges if the last quarter reaches more
    than 1 % further out than the third, where a quarter spans several turns. Otherwise it cycles, or stays elsewhere.
    """
    third, last = distance[len(distance) // 2 :][: len(distance) // 4].max(), distance[-(len(distance) // 4) :].max()
    if last <= 0.01 * distance[0]:
        return 'converges'
    return 'cycles' if last <= 1.01 * third and last < np.inf else 'diverges'


def draw(listed: list[Case], paths: list[dict[str, np.ndarray]], config: Config) -> Any:
    """One panel per kind of case, at the middle of its strengths: the field, both trajectories and the equilibrium."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(case.objective for case in listed))
    kinds = list(dict.fromkeys(case.regulariser for case in listed))
    figure = Figure(figsize=(1.75 * len(kinds), 1.95 * len(names)), layout='constrained')
    axes = figure.subplots(len(names), len(kinds), sharex=True, sharey=True, squeeze=False)
    limit = 1.6 * max(map(abs, config.start))
    ticks = np.linspace(-limit, limit, 24)
    points = np.stack(np.meshgrid(ticks, ticks), -1)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, name in enumerate(names):
        for j, kind in enumerate(kinds):
            group = [(c, p) for c, p in zip(listed, paths, strict=True) if (c.objective, c.regulariser) == (name, kind)]
            if not group:
                continue
            case, path = group[len(group) // 2]
            v = np.asarray(compilation.jit(jax.vmap(case.field))(points.reshape(-1, 2))).reshape(points.shape)
            ax = axes[i, j]
            ax.set_axis_on()
            ax.streamplot(ticks, ticks, v[..., 0], v[..., 1], color='0.8', linewidth=0.6, arrowsize=0.6, density=0.55)
            for label, color in zip(MODES, ('C3', 'C0', 'C2', 'C4'), strict=True):
                if kind != 'none' and label not in ('simultaneous', 'alternating'):
                    continue
                ax.plot(*path[label].T, color=color, lw=0.9, label=f'{label} steps')
            ax.plot(*config.start, 'o', color='k', ms=3, label='start')
            ax.plot(0, 0, '*', color='k', ms=8, label='equilibrium')
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect='equal')
            ax.set_title(f'{kind} {case.strength}'.replace('gamma', 'γ').replace('sigma', 'σ').replace('weight', 'λ'), fontsize=9)
            lowest = not any((c.objective, c.regulariser) == (other, kind) for c in listed for other in names[i + 1 :])
            ax.set(xlabel='θ' if lowest else None)
            ax.locator_params(nbins=3)
            ax.tick_params(labelsize=7, labelbottom=lowest)
        axes[i, 0].set_ylabel(f'{name.replace("_", "-")}\nψ', fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc='center', bbox_to_anchor=(0.73, 0.2), frameon=False, fontsize=9)
    return figure


def report(config: Config, rows: list[dict[str, Any]], of_adam: list[dict[str, Any]]) -> str:
    """The end tables."""

    def complexes(values: list[tuple[float, float]] | None) -> str:
        if values is None:
            return 'none'
        (re, im), (other, _) = values
        if im > 1e-6:
            return f'{re + 0.0:.4f} +- {im:.4f}i'
        return f'{re:.4f}, {other:.4f}'

    def number(value: float | None) -> str:
        return '-' if value is None else f'{value:.6f}'

    table: list[tuple] = [
        (
            'objective',
            'regulariser',
            'eigenvalues',
            'theory',
            'factor sim.',
            'theory',
            'factor alt.',
            'simultaneous',
            'alternating',
        )
    ]
    for row in rows:
        ends = [f'{row[f"{name}_outcome"]} {row[f"{name}_distance"]:.1e}' for name in MODES[:2]]
        numbers = [number(row[name]) for name in ('simultaneous_factor', 'simultaneous_theory', 'alternating_factor')]
        label = f'{row["regulariser"]} {row["strength"]}'.strip()
        table.append((row['objective'], label, complexes(row['eigenvalues']), complexes(row['theory']), *numbers, *ends))
    title = (
        f'Dirac-GAN: eigenvalues of the Jacobian at (0, 0), growth in one step of {config.step_size:g} there, '
        f'and distance from there after {config.steps} steps from {config.start}'
    )
    ahead = MODES[2:]
    anticipating: list[tuple] = [
        ('objective', 'regulariser', *(column for name in ahead for column in (f'factor {name}', 'theory')), *ahead)
    ]
    for row in rows:
        numbers = [number(row[f'{name}_{kind}']) for name in ahead for kind in ('factor', 'theory')]
        ends = [f'{row[f"{name}_distance"]:.1e}' for name in ahead]
        anticipating.append((row['objective'], f'{row["regulariser"]} {row["strength"]}'.strip(), *numbers, *ends))
    adam: list[tuple] = [('objective', *MODES)]
    adam += [(row['objective'], *(f'{row[f"{name}_distance"]:.1e}' for name in MODES)) for row in of_adam]
    titles = (
        title,
        'Optimistic and extragradient steps: growth in one step at (0, 0), and distance from there at the end',
        f'Adam at a rate of {config.adam_rate:g}, beta1 = 0 and beta2 = .9, without a regulariser: largest distance at the end',
    )
    return '\n'.join(runs.table(rows, title=title) for rows, title in zip((table, anticipating, adam), titles, strict=True))


if __name__ == '__main__':
    runs.run_main(main, Config)
