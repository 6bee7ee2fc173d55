"""One Gaussian fitted to a mixture of Gaussians on a line, under every f-divergence (Nowozin, Cseke and Tomioka 2016).

    python -m experiments.f_gan

Every fit is computed twice: exactly, by quadrature in float64, and adversarially from samples, with the generator mu + sigma z
and a tanh network as the variational function V.

Expected: both fits agree, and the bound that V reaches is the divergence, except for Jeffrey's, which requires V to fall like
-q/p in the tails. KL and Pearson cover both modes (large sigma, 1.52 and 1.58); reverse KL and Neyman seek one (small sigma, .77
and .72). 3 min 30 s on a CPU shared with other jobs, 95 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

import gan_jax
from experiments.shared.clock import clocked
from gan_jax import compilation, data, games, latents, networks, runs
from gan_jax.divergences import DIVERGENCES, Divergence, quadrature
from gan_jax.errors import InputError
from gan_jax.objectives import f_gan
from gan_jax.optimizers import Optimizers
from gan_jax.penalties import annealing, r1, scheduled
from gan_jax.ranges import (
    BatchSize,
    Coordinate,
    Count,
    DeviationAbove0,
    Rate,
    Samples,
    SeedCount,
    ShareAbove0,
    SomeNames,
    Weight,
    Width,
)
from gan_jax.registry import build
from gan_jax.runs import pictures
from gan_jax.runs.training import check as study_check
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """One Gaussian fitted to a mixture under every f-divergence, exactly and adversarially."""

    name: str = 'f_gan'
    divergences: SomeNames = tuple(DIVERGENCES)
    """Divergences to compare, written NAME or NAME:setting=value, as in alpha:a=0.5 or jensen_shannon_weighted:pi=0.1."""
    weights: tuple[ShareAbove0, ...] = (0.3, 0.7)
    """Weights of the mixture's modes."""
    means: tuple[Coordinate, ...] = (-1.8, 1.2)
    """Means of the mixture's modes."""
    stds: tuple[DeviationAbove0, ...] = (0.5, 0.7)
    """Standard deviations of the mixture's modes."""
    start: tuple[Coordinate, DeviationAbove0] = (0.0, 2.0)
    """The generator's mu and sigma at step 0."""
    seeds: SeedCount = 5
    steps: Count = 3000
    batch_size: BatchSize = 256
    learning_rate: Rate = 1e-2
    """Learning rate of V, decayed to 0 by a cosine."""
    generator_rate: Rate = 2e-2
    """Learning rate of the generator, likewise decayed."""
    gamma: Weight = 0.05
    """Weight of R1 on V at step 0, which decays to a hundredth; 0 for the plain game."""
    width: Width = 32
    """Width of V's hidden layers."""
    samples: Samples = 100_000
    """Number of points on which the bound is estimated."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, over which rates decay; divergences can be added."""
        values = super().identity() | {'decay_steps': self.steps}
        del values['divergences']
        return values


class WeightedMixture(NamedTuple):
    """P, a mixture of Gaussians on a line; each field is `[modes]`."""

    weights: Any
    means: Any
    stds: Any

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        w, m, s = map(np.asarray, self)
        mean = w @ m
        return float(mean), float(np.sqrt(w @ (s**2 + (m - mean) ** 2)))

    def log_density(self, x: Array) -> Array:
        """log p at points `[n]`, `[n]`."""
        w, m, s = map(jnp.asarray, self)
        return jax.nn.logsumexp(jnp.log(w) + norm.logpdf(x[:, None], m, s), 1)

    def sample(self, key: Key, n: int) -> Array:
        """Draws `[n, 1]`."""
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.categorical(mode_key, jnp.log(jnp.asarray(self.weights)), shape=(n,))
        return (jnp.asarray(self.means)[mode] + jnp.asarray(self.stds)[mode] * jax.random.normal(noise_key, (n,)))[:, None]


class GaussianGenerator(nn.Module):
    """The generator of Q: z -> mu + sigma z."""

    mu: float
    sigma: float

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        mu = self.param('mu', nn.initializers.constant(self.mu), ())
        log_sigma = self.param('log_sigma', nn.initializers.constant(math.log(self.sigma)), ())
        return mu + jnp.exp(log_sigma) * z


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Fits under every divergence and prints the table. Raises `InputError` for options that cannot work.

    Returns the table as name -> figures, of which the adversarial ones are `[seeds]`.
    """
    check(config)
    mixture = WeightedMixture(config.weights, config.means, config.stds)
    studies = {text: study(config, build(DIVERGENCES, text), mixture) for text in config.divergences}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results: dict[str, dict[str, Any]] = {}
    for text, one in studies.items():
        print(f'{text}: {config.seeds} seeds')
        part = runs.part(config, text)
        with clocked(part) as clock:
            best = exact(build(DIVERGENCES, text), mixture)
            fits = fitted(runs.train(part, one), mixture)
            with jax.enable_x64(True):
                value = compilation.jit(jax.vmap(on_grid(build(DIVERGENCES, text), mixture)))
                at_fits = value(jnp.stack([jnp.array(fits['mu_hat']), jnp.log(jnp.array(fits['sigma_hat']))], 1))
        results[text] = {**best, **fits, 'value_hat': at_fits.tolist(), 'seconds': clock.seconds}
    picture = run.path / 'fits.png'
    pictures.save_figure(picture, draw(mixture, results))
    runs.write_json(run.path / 'results.json', results)
    print(report(config, mixture, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


def check(config: Config) -> None:
    """Raises `InputError` for options that do not describe a mixture or a run."""
    config.check()
    if not len(config.weights) == len(config.means) == len(config.stds) >= 1:
        raise InputError('--weights, --means and --stds must be as many as the mixture has modes')
    if abs(sum(config.weights) - 1) > 1e-6:
        raise InputError(f'--weights must sum to 1, got {config.weights}')


def on_grid(divergence: Divergence, mixture: WeightedMixture) -> Any:
    """`(mu, log sigma) -> D_f(P||Q)` by quadrature; call it in float64."""
    mean, std = mixture.moments()
    x = jnp.linspace(mean - 10 * std, mean + 10 * std, round(1000 * std / min(mixture.stds)) + 1)
    log_p = mixture.log_density(x)

    return lambda theta: quadrature(divergence, log_p, norm.logpdf(x, theta[0], jnp.exp(theta[1])), x)


_WALL = 1e3
"""Larger than log(1 + the largest float)."""


def exact(divergence: Divergence, mixture: WeightedMixture, starts: Sequence[tuple[float, float]] = ()) -> dict[str, float]:
    """The least D_f(P||Q) and its mu and sigma: the best result of L-BFGS from several starts (mu, sigma).

    By default it starts from every mode and from the moments of the mixture. Raises `InputError` if the divergence is infinite,
    or exceeds float64, for every Gaussian that it tries.
    """
    from scipy.optimize import minimize

    mean, std = mixture.moments()
    starts = starts or [*zip(mixture.means, mixture.stds, strict=True), (mean, std), (mean, std / 2)]
    bounds = [(mean - 5 * std, mean + 5 * std), (math.log(min(mixture.stds) / 5), math.log(5 * std))]
    with jax.enable_x64(True):
        value, zero = on_grid(divergence, mixture), divergence.f(jnp.ones(()))
        # log(1 + D_f) has the same minima; far from them, chi-squared exceeds all bounds.
        loss = compilation.jit(jax.value_and_grad(lambda theta: jnp.log1p(value(theta) - zero)))

        def pair(theta: np.ndarray) -> tuple[float, np.ndarray]:
            f, gradient = map(np.asarray, loss(jnp.asarray(theta)))
            # L-BFGS stops at an infinity; a finite wall makes its line search step back.
            return (float(f), gradient) if np.isfinite(f) and np.isfinite(gradient).all() else (_WALL, np.zeros(2))

        options = {'ftol': 1e-15, 'gtol': 1e-9}
        found = [
            minimize(pair, (m, math.log(s)), jac=True, method='L-BFGS-B', bounds=bounds, options=options).x for m, s in starts
        ]
        best = min(found, key=lambda theta: pair(theta)[0])
        if pair(best)[0] == _WALL:
            raise InputError(
                'a divergence is infinite or exceeds float64 for every Gaussian near the mixture; choose another setting'
            )
        least = math.expm1(pair(best)[0]) + float(zero)
    return {'value': least, 'mu': float(best[0]), 'sigma': math.exp(best[1])}


def study(config: Config, divergence: Divergence, mixture: WeightedMixture) -> runs.Study:
    """A Gaussian against V, under one divergence."""
    V = networks.MLP((config.width, config.width, 1), activation=nn.tanh, squeeze=True)
    # Without R1, V saturates everywhere under total variation: bound 0, no gradient. R1 fades, and its bias with it.
    penalty = scheduled(r1(config.gamma), factor=annealing(0.01, max(2, config.steps)))
    objective = f_gan(divergence)
    game = games.adversarial(GaussianGenerator(*config.start), V, objective, latent=latents.normal(1), penalties=[penalty])
    adam = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, config.steps), b1=0.5)
    players = Optimizers(adam(config.generator_rate), adam(config.learning_rate))
    feed = data.generated(lambda key: mixture.sample(key, 1)[0], config.batch_size)
    trainer = gan_jax.trainer(game, players, ema_decay=0.99)
    return runs.Study(game, trainer, feed, jnp.zeros((1, 1)), data=(objective, V, game, config.samples), side_by_side=True)


def fitted(trained: runs.Trained, mixture: WeightedMixture) -> dict[str, list[float]]:
    """mu and sigma of every seed, averaged over the last steps, and the bound that V reaches there on new samples.

    They are NaN for a seed that has diverged.
    """
    objective, V, game, count = trained.study.data

    @compilation.jit
    def bound(state: gan_jax.TrainState, key: Key) -> Array:
        real_key, fake_key = jax.random.split(key)
        real = mixture.sample(real_key, count)
        fake = gan_jax.sample(game, state, count, fake_key)
        logits = [jnp.asarray(V.apply({'params': state.discriminator.params}, x)) for x in (real, fake)]
        return -objective.discriminator(*logits).mean()

    def figures(one: runs.Trained) -> tuple[float, float, float]:
        params = one.state.ema['params']
        return float(params['mu']), float(jnp.exp(params['log_sigma'])), float(bound(one.state, one.key('end')))

    each = [figures(trained.seed(i)) if ok else (math.nan,) * 3 for i, ok in enumerate(trained.finite)]
    return dict(zip(('mu_hat', 'sigma_hat', 'bound'), map(list, zip(*each, strict=True)), strict=True))


def by_sigma(results: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The results in order of sigma, widest exact fit first."""
    return sorted(results.items(), key=lambda item: -item[1]['sigma'])


def draw(mixture: WeightedMixture, results: dict[str, dict[str, Any]]) -> Any:
    """A panel for each divergence, from the widest exact fit to the narrowest, and one with every sigma."""
    from matplotlib.figure import Figure

    columns = min(4, len(results) + 1)
    rows = -(-(len(results) + 1) // columns)
    figure = Figure(figsize=(2.7 * columns, 1.8 * rows + 0.4), layout='constrained')
    mean, std = mixture.moments()
    x = np.linspace(mean - 3.5 * std, mean + 3.5 * std, 400)
    density = np.exp(np.asarray(mixture.log_density(jnp.asarray(x))))
    ordered = by_sigma(results)
    first = None
    for i, (name, result) in enumerate(ordered):
        ax = figure.add_subplot(rows, columns, i + 1, sharex=first, sharey=first)
        first = first or ax
        shade = ax.fill_between(x, density, color='0.85', lw=0)
        for m, s in zip(result['mu_hat'], result['sigma_hat'], strict=True):
            (fit,) = ax.plot(x, norm.pdf(x, m, s), color='C0', lw=1, alpha=0.7)
        (best,) = ax.plot(x, norm.pdf(x, result['mu'], result['sigma']), color='C3', lw=1.4, ls='--')
        ax.set_title(f'{name.replace("_", " ")}: σ = {result["sigma"]:.2f}', fontsize=9)
        ax.set(yticks=[])
        ax.tick_params(labelsize=7)
        ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.set_ylim(0, 1.05 * max(density.max(), *(0.4 / r['sigma'] for r in results.values())))
    labels = ['data, P', 'best Gaussian, by quadrature', f'adversarial fits, {len(result["mu_hat"])} seeds']
    figure.legend([shade, best, fit], labels, loc='outside upper center', ncols=3, frameon=False, fontsize=9)
    ax = figure.add_subplot(rows, columns, len(ordered) + 1)
    for y, (name, result) in enumerate(ordered):
        ax.plot(result['sigma_hat'], [y] * len(result['sigma_hat']), 'o', color='C0', ms=4, mew=0, alpha=0.5)
        ax.plot(result['sigma'], y, '|', color='C3', ms=9, mew=1.5)
        ax.text(0.02, y, name.replace('_', ' '), transform=ax.get_yaxis_transform(), fontsize=6.5, va='center')
    low, high = ax.get_xlim()
    ax.set(xlim=(low - 0.8 * (high - low), high), yticks=[], xticks=[tick for tick in ax.get_xticks() if low < tick < high])
    ax.invert_yaxis()
    ax.set_title('σ of every fit', fontsize=9)
    ax.tick_params(labelsize=7)
    ax.spines[['top', 'right', 'left']].set_visible(False)
    return figure


def report(config: Config, mixture: WeightedMixture, results: dict[str, dict[str, Any]]) -> str:
    """The end table, from the widest exact fit to the narrowest."""
    cell = functools.partial(runs.spread, digits=3)

    rows: list[tuple] = [('divergence', 'D_f(P||Q*)', 'D_f(P||Q^)', 'bound', 'mu*', 'mu^', 'sigma*', 'sigma^', 's')]
    for name, r in by_sigma(results):
        values = f'{r["value"]:.3f}', cell(r['value_hat']), cell(r['bound'])
        fits = f'{r["mu"]:.3f}', cell(r['mu_hat']), f'{r["sigma"]:.3f}', cell(r['sigma_hat'])
        rows.append((name, *values, *fits, f'{r["seconds"]:.0f}'))
    mean, std = mixture.moments()
    title = f'Mixture of mean {mean:.3f} and standard deviation {std:.3f}; * exact optimum, ^ adversarial fit'
    return runs.table(rows, title=f'{title}: {config.seeds} seeds, {config.steps} steps, mean +- 95 % interval')


if __name__ == '__main__':
    runs.run_main(main, Config)
