"""The optimal discriminator for two known densities (Goodfellow et al. 2014, proposition 1 and theorem 1).

    python -m experiments.optimal_discriminator

A network trained against a fixed generator is compared with D* = p / (p + q), and its value V(D) with -log 4 + 2 JSD(p, q), the
value V(D*), both by quadrature.

Expected: V(D) approaches V(D*) from below to within 4e-4, and D differs from D* by .004 or less on average. 53 s on a CPU shared
with other jobs, 29 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments.shared.clock import clocked
from gan_jax import compilation, data, finite, games, networks, runs
from gan_jax.divergences import DIVERGENCES, quadrature
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import Optimizers
from gan_jax.ranges import BatchSize, Coordinate, Count, Positive, SomeNames, Width
from gan_jax.registry import Table
from gan_jax.runs import pictures
from gan_jax.runs.training import check as study_check
from gan_jax.typing import Array


class Pair(NamedTuple):
    """The densities of data and model on a line."""

    p: data.Mixture
    q: data.Mixture


def gaussians(mu: float) -> Pair:
    """N(0, 1) and N(mu, 1), for which the optimal logit is linear: mu^2 / 2 - mu x."""
    return Pair(normal(0, 1), normal(mu, 1))


def scales(mu: float) -> Pair:
    """N(0, 1) and N(0, 2^2), for which the optimal logit is a parabola."""
    return Pair(normal(0, 1), normal(0, 2))


def mixture(mu: float) -> Pair:
    """Two bumps, and one Gaussian with the same mean and variance."""
    return Pair(data.Mixture(np.array([[-2.0], [2.0]]), np.array([0.7, 0.7])), normal(0, math.sqrt(4.49)))


def normal(mean: float, std: float) -> data.Mixture:
    """N(mean, std^2), as a mixture with a single component."""
    return data.Mixture(np.array([[float(mean)]]), np.array([float(std)]))


PAIRS = Table('pair', {'gaussians': gaussians, 'scales': scales, 'mixture': mixture})
"""Name -> `pair(mu)`."""


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """A discriminator of two known densities, compared with the optimal one."""

    name: str = 'optimal_discriminator'
    pairs: SomeNames = tuple(PAIRS)
    """Pairs of densities: gaussians, scales, mixture."""
    mu: Coordinate = 2.0
    """Distance between the means of the pair gaussians."""
    steps: Count = 3000
    batch_size: BatchSize = 1024
    learning_rate: Positive = 3e-3
    """Initial learning rate, decayed to 0 by a cosine."""
    width: Width = 64
    """Width of D's hidden layers."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, over which the learning rate decays; pairs can be added."""
        values = super().identity() | {'decay_steps': self.steps}
        del values['pairs']
        return values


class Identity(nn.Module):
    """A generator whose samples are its latents; it has no parameters."""

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        return z


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Trains on every pair, prints the table, and returns it: pair -> V(D), V(D*), gap, mean |D - D*|, slope, intercept.

    Raises `InputError` for options that cannot work.
    """
    config.check()
    studies = {name: study(config, PAIRS[name](config.mu)) for name in config.pairs}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results, curves = {}, {}
    for name, one in studies.items():
        print(f'{name}:')
        part = runs.part(config, name)
        with clocked(part) as clock:
            trained = runs.train(part, one)
            results[name] = runs.judged(trained, evaluate) | {'mu': config.mu if name == 'gaussians' else None}
        results[name]['seconds'] = clock.seconds
        curves[name] = curves_of(trained.seed(trained.shown))
    picture = run.path / 'discriminators.png'
    pictures.save_figure(picture, draw({name: runs.means(x) for name, x in results.items()}, curves))
    runs.write_json(run.path / 'results.json', results)
    print(report(config, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


class Known(NamedTuple):
    """A pair on a grid, and the function to D's logits there."""

    x: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    logits: Callable[[gan_jax.TrainState], Array]


def study(config: Config, pair: Pair) -> runs.Study:
    """The training of D on one pair, with V(D) logged over training."""
    discriminator = networks.MLP((config.width, config.width, 1), activation=nn.silu, squeeze=True)
    game = games.adversarial(Identity(), discriminator, OBJECTIVES['minimax'](), latent=pair.q.sample)
    players = Optimizers(optax.set_to_zero(), optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)))
    x = grid(pair)
    points = jnp.asarray(x, jnp.float32)[:, None]
    logits = compilation.jit(lambda state: discriminator.apply(state.discriminator.variables, points))
    known = Known(x, log_density(pair.p, x), log_density(pair.q, x), logits)

    def note(run: runs.RunDirectory) -> runs.Callback:
        def call(step: int, state: gan_jax.TrainState) -> None:
            first = state if config.seeds == 1 else jax.tree.map(lambda x: x[finite.first_of(state)], state)
            run.log(step, {'value': value(known.log_p, known.log_q, np.asarray(logits(first), np.float64), x)}, LOG)

        return runs.Callback(max(1, config.steps // 60), call)

    feed = data.generated(pair.p.sample, config.batch_size)
    trainer = gan_jax.trainer(game, players)
    return runs.Study(game, trainer, feed, jnp.zeros((1, 1)), notes=(note,), data=known, side_by_side=True)


LOG = 'values.jsonl'
"""V(D) of the first seed over training."""


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The row of the pair in the table."""
    known: Known = trained.study.data
    return compare(known.log_p, known.log_q, np.asarray(known.logits(trained.state), np.float64), known.x)


def curves_of(trained: runs.Trained) -> dict[str, np.ndarray]:
    """The curves of the pair's panels."""
    x, log_p, log_q, logits = trained.study.data
    rows = trained.read_log(LOG)
    curves = {'x': x, 'p': np.exp(log_p), 'q': np.exp(log_q), 'D*': sigmoid(log_p - log_q)}
    curves['D'] = sigmoid(np.asarray(logits(trained.state), np.float64))
    return curves | {name: np.array([row[name] for row in rows]) for name in ('step', 'value')}


def grid(pair: Pair) -> np.ndarray:
    """Points that cover all mass of both densities in float64, `[n]`."""
    centres, stds = (np.concatenate(parts) for parts in zip(*pair, strict=True))
    reach = 10 * stds.max()
    return np.linspace(centres.min() - reach, centres.max() + reach, 8001)


def log_density(mixture: data.Mixture, x: np.ndarray) -> np.ndarray:
    """log density of a mixture on the line, at points `[n]`."""
    z = (x[:, None] - mixture.centres[:, 0]) / mixture.stds
    return np.logaddexp.reduce(-(z**2) / 2 - np.log(mixture.stds * len(mixture.stds) * math.sqrt(2 * math.pi)), axis=1)


def value(log_p: np.ndarray, log_q: np.ndarray, logit: np.ndarray, x: np.ndarray) -> float:
    """V(D) = E_p[log D] + E_q[log(1 - D)] by the trapezoidal rule (Goodfellow et al. 2014, eq. 3).

    Args:
        log_p: log p on the grid, `[n]`.
        log_q: log q on the grid, `[n]`.
        logit: D's logits on the grid, `[n]`.
        x: The grid, `[n]`.
    """
    integrand = np.exp(log_p) * np.logaddexp(0, -logit) + np.exp(log_q) * np.logaddexp(0, logit)
    return -float(np.trapezoid(integrand, x))


def optimal_value(log_p: np.ndarray, log_q: np.ndarray, x: np.ndarray) -> float:
    """V(D*) = -log 4 + 2 JSD(p, q) (Goodfellow et al. 2014, theorem 1), on a grid x."""
    with jax.enable_x64(True):
        jsd = quadrature(DIVERGENCES['jensen_shannon_weighted'](), jnp.asarray(log_p), jnp.asarray(log_q), jnp.asarray(x))
        return -math.log(4) + 2 * float(jsd)


def compare(log_p: np.ndarray, log_q: np.ndarray, logit: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """The figures of the table for a discriminator's logits on the grid. Means are under (p + q) / 2.

    Args:
        log_p: log p on the grid, `[n]`.
        log_q: log q on the grid, `[n]`.
        logit: D's logits on the grid, `[n]`.
        x: The grid, `[n]`.
    """
    best, weight = optimal_value(log_p, log_q, x), (np.exp(log_p) + np.exp(log_q)) / 2
    mean = lambda f: float(np.trapezoid(weight * f, x))
    centre = mean(x)
    slope = mean((x - centre) * logit) / mean((x - centre) ** 2)
    reached = value(log_p, log_q, logit, x)
    return {
        'value': reached,
        'optimal_value': best,
        'gap': best - reached,
        'distance': mean(np.abs(sigmoid(logit) - sigmoid(log_p - log_q))),
        'slope': slope,
        'intercept': mean(logit) - slope * centre,
    }


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-logit), without overflow."""
    return np.exp(-np.logaddexp(0, -logit))


def draw(results: dict[str, dict[str, Any]], curves: dict[str, dict[str, np.ndarray]]) -> Any:
    """D and D* with both densities above V(D) over training, in one column for each pair."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(curves), 5), layout='constrained')
    axes = figure.subplots(2, len(curves), squeeze=False)
    for (name, c), (top, bottom) in zip(curves.items(), axes.T, strict=True):
        shown = c['p'] + c['q'] > 1e-3
        x = c['x'][shown]
        for density, color in (('p', 'C0'), ('q', 'C1')):
            top.fill_between(x, c[density][shown], color=color, alpha=0.25, lw=0, label=density)
        top.plot(x, c['D*'][shown], color='k', lw=3, alpha=0.35, label='D* = p / (p + q)')
        top.plot(x, c['D'][shown], color='C3', lw=1.2, label='D, learned')
        top.set(title=name, xlabel='x', ylim=(0, 1.02), xlim=(x[0], x[-1]))
        best = results[name]['optimal_value']
        bottom.axhline(best, color='k', lw=3, alpha=0.35, label='V(D*) = -log 4 + 2 JSD')
        bottom.plot(c['step'], c['value'], color='C3', lw=1.2, label='V(D)')
        bottom.set(xlabel='step', ylim=(best - 0.025, best + 0.0025))  # only the end of the way
        bottom.ticklabel_format(useOffset=False)
        for ax in (top, bottom):
            ax.spines[['top', 'right']].set_visible(False)
    for ax in axes[:, 0]:
        ax.legend(frameon=False, fontsize=8)
    return figure


def report(config: Config, results: dict[str, dict[str, Any]]) -> str:
    """The end table."""
    seeds = f'; means over {config.seeds} seeds' if config.seeds > 1 else ''
    rows: list[tuple] = [('pair', 'V(D)', 'V(D*)', 'gap', 'mean |D - D*|', 'slope', 'theory', 'intercept', 'theory', 's')]
    for name, found in results.items():
        result = runs.means(found)
        numbers = [
            f'{result["value"]:.6f}',
            f'{result["optimal_value"]:.6f}',
            f'{result["gap"]:.1e}',
            f'{result["distance"]:.4f}',
        ]
        line = ['-'] * 4
        if (mu := found['mu']) is not None:
            line = [f'{number:.3f}' for number in (result['slope'], -mu, result['intercept'], mu**2 / 2)]
        rows.append((name, *numbers, *line, f'{found["seconds"]:.0f}'))
    return runs.table(rows, title=f'{config.steps} steps of batch {config.batch_size}; all values by quadrature{seeds}')


if __name__ == '__main__':
    runs.run_main(main, Config)
