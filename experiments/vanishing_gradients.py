"""The generator's gradient as the discriminator improves (Arjovsky and Bottou 2017, section 2, figures 2 and 3).

    python -m experiments.vanishing_gradients

The generator remains untrained: a curve in the plane, apart from the data, which are a ring of Gaussians. Only D trains, from
scratch, for each objective. At moments on a log scale, the gradient of L_G with respect to theta is measured on many batches.

Expected: as D becomes perfect, the saturating gradient (minimax) decreases in proportion to D's loss, by three orders of
magnitude. The non-saturating gradient grows thirtyfold, as does its deviation from batch to batch. Those of Wasserstein, and of
minimax with noise on D's inputs, keep their size; with clipping, once the weights have grown to the limit. 2 min on a CPU shared
with other jobs, 46 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import gan_jax
from experiments.shared.clock import clocked
from gan_jax import compilation, data, games, keys, latents, networks, runs
from gan_jax.augmentations import Augmentation, instance_noise
from gan_jax.errors import InputError
from gan_jax.keys import named
from gan_jax.objectives import Objective, minimax, non_saturating, wasserstein
from gan_jax.optimizers import Optimizers, clip_weights
from gan_jax.penalties import Penalty, wgan_gp
from gan_jax.ranges import BatchSize, Count, Deviation, Positive, SeedCount, SomeNames, Weight, Width
from gan_jax.registry import Table
from gan_jax.runs import pictures, seeds
from gan_jax.runs.training import check as study_check
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """The norm of the generator's gradient while only the discriminator trains."""

    name: str = 'vanishing_gradients'
    cases: SomeNames = ('minimax', 'non_saturating', 'minimax_noise', 'wasserstein_gp', 'wasserstein_clipping')
    """Cases to compare."""
    data: str = 'ring_unrolled'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan or grid_wgan_gp."""
    seeds: SeedCount = 5
    steps: Count = 5000
    """Steps of D."""
    batch_size: BatchSize = 128
    learning_rate: Positive = 1e-3
    """Adam's rate in D."""
    latent_size: Width = 1
    """Size of the latents, which are uniform on [-1, 1)."""
    width: Width = 64
    """Width of the hidden layers."""
    sigma: Deviation = 0.5
    """Standard deviation of the noise on D's inputs, in minimax_noise."""
    weight: Weight = 10.0
    """Weight of WGAN-GP's penalty."""
    clip: Positive = 0.1
    """WGAN's bound on every weight."""
    minibatches: Count = 32
    """Number of minibatches on which gradients and losses are measured."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, because the last moment is the last step; cases can be added."""
        values = super().identity() | {'steps': self.steps}
        del values['cases']
        return values


class Variant(NamedTuple):
    """A way to train D, and the loss that G would descend."""

    objective: Objective
    penalties: Sequence[Penalty] = ()
    augmentation: Augmentation | None = None
    optimizer: optax.GradientTransformation = optax.identity()
    """Applied after D's Adam."""
    logistic: bool = True
    """Whether D's outputs are logits."""


def cases(config: Config) -> dict[str, Variant]:
    """The cases of the options. Raises `InputError` for an unknown name."""
    known = Table(
        'case',
        {
            'minimax': Variant(minimax()),
            'non_saturating': Variant(non_saturating()),
            'minimax_noise': Variant(minimax(), augmentation=instance_noise(config.sigma)),
            'wasserstein_gp': Variant(wasserstein(), [wgan_gp(config.weight)], logistic=False),
            'wasserstein_clipping': Variant(wasserstein(), optimizer=clip_weights(config.clip), logistic=False),
        },
    )
    return {name: known[name] for name in config.cases}


def moments(steps: int) -> list[int]:
    """1, 2, 5, 10, ... and the last step."""
    powers = [10**k for k in range(int(math.log10(steps)) + 1)]
    return sorted({m * power for power in powers for m in (1, 2, 5) if m * power < steps} | {steps})


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Trains every D, prints the table, and returns it: case -> measurements, each `[moments, seeds]`. Raises `InputError`."""
    config.check()
    mixture = data.mixture(config.data)
    if mixture.centres.shape[1] != 2:
        raise InputError(f'{config.data} is not in the plane, which this experiment requires; ring_unrolled is')
    studies = {name: study(config, mixture, case) for name, case in cases(config).items()}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results: dict[str, dict[str, Any]] = {}
    for name, one in studies.items():
        print(f'{name}: {config.seeds} seeds')
        part = runs.part(config, name)
        with clocked(part) as clock:
            trained = runs.train(part, one)
        rows = [row for row in trained.read_log(LOG) if row['step'] in moments(config.steps)]
        measured = {key: np.array([row[key] for row in rows])[:, trained.finite] for key in rows[0] if key != 'step'}
        results[name] = measured | {'seconds': clock.seconds}
        results[name]['diverged'] = np.flatnonzero(~np.array(trained.finite)) + config.seed
    picture = run.path / 'gradients.png'
    pictures.save_figure(picture, draw(config, results))
    listed = {name: {key: np.asarray(value).tolist() for key, value in result.items()} for name, result in results.items()}
    runs.write_json(run.path / 'results.json', {'moments': moments(config.steps), **listed})
    print(report(config, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


LOG = 'gradients.jsonl'
"""Measurements of a case at every moment, `[seeds]` each."""


def generator_gradient(
    game: gan_jax.Game, state: gan_jax.TrainState, real: Array, play_key: Key, see_key: Key
) -> tuple[Array, Array]:
    """The gradient of L_G with respect to theta, all parameters in one vector, and the points at which it was taken.

    Args:
        game: The game.
        state: Its state.
        real: Real examples, `[n, ...]`.
        play_key: Key of the generator's play.
        see_key: Key of the augmentation of D's inputs.
    """

    def loss(params: Any) -> tuple[Array, Array]:
        play, _ = game.play({'params': params, **state.generator.state}, real, play_key)
        return game.generator_loss(state.discriminator.variables, play, real, see_key)[0], play

    gradient, play = jax.grad(loss, has_aux=True)(state.generator.params)
    return ravel_pytree(gradient)[0], play


def study(config: Config, mixture: data.Mixture, case: Variant) -> runs.Study:
    """D against a fixed generator, with measurements at every moment."""
    generator = networks.MLP((config.width, config.width, 2))
    D = networks.MLP((config.width, config.width, 1), squeeze=True)

    def game_of(objective: Objective, penalties: Sequence[Penalty] = ()) -> gan_jax.Game:
        latent = latents.uniform(config.latent_size)
        return games.adversarial(generator, D, objective, latent=latent, penalties=penalties, augmentation=case.augmentation)

    above = lambda real, fake: jnp.float32(real > fake)
    game, bare, ranks = game_of(case.objective, case.penalties), game_of(case.objective), game_of(Objective(above, above))
    players = Optimizers(optax.set_to_zero(), optax.chain(optax.adam(config.learning_rate), case.optimizer))

    def measure(state: gan_jax.TrainState, root: Key) -> dict[str, Array]:
        """The measurements of one state.

        They are the norms of the gradient's mean and of its standard deviation over batches, D's loss without penalty, and how
        often D ranks a real point above a generated one.
        """
        each = jax.random.split(named(root, 'batches'), (config.minibatches, config.batch_size))
        batches = jax.vmap(jax.vmap(mixture.sample))(each)

        def one(real: Array, key: Key) -> dict[str, Array]:
            play_key, see_key = jax.random.split(key)
            gradient, fake = generator_gradient(game, state, real, play_key, see_key)
            loss, ranked = (g.discriminator_loss(state.discriminator.variables, fake, real, see_key)[0] for g in (bare, ranks))
            return {'gradient': gradient, 'loss': loss, 'ranked': ranked}

        values = jax.vmap(one)(batches, jax.random.split(named(root, 'measured'), config.minibatches))
        gradients = values.pop('gradient')
        norms = {'gradient': jnp.linalg.norm(gradients.mean(0)), 'deviation': jnp.linalg.norm(gradients.std(0))}
        return norms | {name: value.mean() for name, value in values.items()}

    every = compilation.jit(jax.vmap(measure))

    def note(run: runs.RunDirectory) -> runs.Callback:
        own = keys.roots(config.seed, config.seeds)

        def call(step: int, state: gan_jax.TrainState) -> None:
            found = every(seeds.every(state, config.seeds), own)
            run.log(step, {name: np.asarray(value, np.float64).tolist() for name, value in found.items()}, LOG)

        return runs.Callback(tuple(moments(config.steps)), call)

    feed = data.generated(mixture.sample, config.batch_size)
    return runs.Study(game, gan_jax.trainer(game, players), feed, jnp.zeros((1, 2)), notes=(note,), side_by_side=True)


def draw(config: Config, results: dict[str, dict[str, Any]]) -> Any:
    """The gradient's norm over D's steps on the left (median and range of the seeds), and over D's loss on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    steps = moments(config.steps)
    for i, ((name, result), case) in enumerate(zip(results.items(), cases(config).values(), strict=True)):
        gradient = result['gradient']
        left.plot(steps, np.median(gradient, 1), color=f'C{i}', lw=1.5, marker='o', ms=3, label=name.replace('_', ' '))
        left.fill_between(steps, gradient.min(1), gradient.max(1), color=f'C{i}', alpha=0.15, lw=0)
        if case.logistic:
            right.plot(result['loss'].ravel(), gradient.ravel(), 'o', color=f'C{i}', ms=3, mew=0, alpha=0.6)
    logistic = [results[name]['loss'] for name, case in cases(config).items() if case.logistic]
    worst, best = 2 * math.log(2), min([loss[loss > 0].min(initial=1) for loss in logistic], default=1)
    right.plot([worst, best], [worst, best], color='0.6', lw=1, ls='--', zorder=0, label="in proportion to D's loss")
    right.legend(frameon=False, fontsize=8, loc='lower left')
    left.set(xscale='log', yscale='log', xlabel='steps of D', ylabel='norm of the gradient of $L_G$ in θ')
    right.set(xscale='log', xlabel="D's loss (2 log 2 at chance); perfect to the right")
    right.invert_xaxis()
    left.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.grid(alpha=0.2, lw=0.5)
        ax.spines[['top', 'right']].set_visible(False)
    return figure


def report(config: Config, results: dict[str, dict[str, Any]]) -> str:
    """The end table: medians over the seeds."""
    steps = moments(config.steps)
    middle = len(steps) // 2
    rows: list[tuple] = [
        (
            'case',
            *(f'|grad| at {steps[i]}' for i in (0, middle, -1)),
            'last / first',
            *(f'std at {steps[i]}' for i in (0, -1)),
            "D's loss",
            'real above fake, %',
            's',
        )
    ]
    for name, result in results.items():
        gradient = result['gradient']
        norms = [f'{np.median(gradient[i]):.2e}' for i in (0, middle, -1)]
        deviations = [f'{np.median(result["deviation"][i]):.2e}' for i in (0, -1)]
        ratio, loss, ranked = (np.median(v) for v in (gradient[-1] / gradient[0], result['loss'][-1], result['ranked'][-1]))
        rows.append((name, *norms, f'{ratio:.2e}', *deviations, f'{loss:.2e}', f'{100 * ranked:.1f}', f'{result["seconds"]:.0f}'))
    return runs.table(rows, title=f'{config.data}, median of {config.seeds} seeds; G fixed, {config.steps} steps of D')


if __name__ == '__main__':
    runs.run_main(main, Config)
