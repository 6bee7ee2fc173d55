"""A cell of `experiments.mode_collapse`: all seeds of one method, trained in one program, evaluated over time, resumable."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.mode_collapse import methods, problems
from experiments.mode_collapse.history import History
from experiments.mode_collapse.methods import METHODS, Setting, Trial
from experiments.mode_collapse.problems import Problem
from experiments.shared.clock import clocked
from gan_jax import boosting, compilation, hosts, keys, runs
from gan_jax.boosting import Ensemble
from gan_jax.errors import Diverged, told_to_user
from gan_jax.games.judgement import apply_network
from gan_jax.networks.stacked_mnist import stacked_networks
from gan_jax.ranges import BatchSize, Count, Rate, SeedCount, Share
from gan_jax.registry import build
from gan_jax.runs import seeds
from gan_jax.runs.advance import first_state
from gan_jax.runs.checkpoints import newest_state
from gan_jax.typing import Array, Key

CLASSIFIER_STEPS = 2000
BLOCK = 5000
"""Number of examples that one seed draws at a time."""


@dataclasses.dataclass(frozen=True)
class Config(runs.GameOptions, problems.ProblemOptions):
    """A method on a data set: the recipe's options, with the changes of the method."""

    method: str = 'gan'
    learning_rate: Rate = 1e-3
    """Learning rate of methods that bring their own optimizer."""
    recipe_batch_size: BatchSize | None = None
    """The recipe's batch size, if the method has changed it."""
    seeds: SeedCount = 10
    evaluations: Count = 20
    """Number of evaluations over training; AdaGAN is evaluated at the end of each component."""
    ema_decay: Share = 0.0
    """Decay of the averaged generator, which draws the samples; 0 draws with the present one."""

    def generator(self, size: int) -> runs.Generator:
        """How to draw from the trained generator of stacked digits."""
        network, _ = stacked_networks(self.networks, size)
        generate = lambda weights, z, _: apply_network(network, weights, z, train=False)[0]
        latent = problems.stacked_latent(self.networks, self.latent_size)
        return runs.Generator(latent, generate, prior='uniform' if self.networks == 'veegan' else 'normal')


class Cell(NamedTuple):
    """The `data` of a cell's study."""

    problem: Problem
    trial: Trial
    moments: tuple[int, ...]
    """The steps after which the seeds are evaluated."""


def trial_of(config: Config, problem: Problem) -> Trial:
    """The method of the options. Raises `InputError` for one that the data set does not support."""
    batch_size = config.recipe_batch_size or config.batch_size
    setting = Setting(problem.networks, problem.latent, batch_size, config.learning_rate, problem.unrolled)
    with told_to_user():
        return build(METHODS, config.method)(setting)


def changed(recipe: Config, problem: Problem) -> Config:
    """The recipe's options with the changes of its method. Raises `InputError` for combinations that cannot work."""
    config = dataclasses.replace(recipe, recipe_batch_size=recipe.batch_size, **trial_of(recipe, problem).changes)
    config.check()
    return config


def study(config: Config, problem: Problem | None = None) -> runs.Study:
    """The run for these options, which include the method's changes. `problem` is that of the options, if it exists already."""
    problem = problem or problems.make(config)
    trial = trial_of(config, problem)
    game = trial.game(config)
    part = max(1, config.steps // trial.components)  # steps for which each component is trained
    every = max(1, config.steps // config.evaluations)
    moments = sorted({*range(every, config.steps, every), config.steps})
    if trial.components > 1:
        moments = [number * part for number in range(1, trial.components + 1)]
    cell = Cell(problem, trial, tuple(moments))
    size = problem.example.shape[1]
    return runs.Study(
        game,
        dataclasses.replace(config, steps=part).trainer(game),
        problem.feed(config.batch_size, config.minibatches),
        problem.example,
        generator=config.generator(size) if problem.images and trial.generator is not None else None,
        known={'size': size},
        notes=(lambda run: count(config, cell, game, run),),
        data=cell,
        side_by_side=not problem.images,
    )


def count(config: Config, cell: Cell, game: gan_jax.Game, run: runs.RunDirectory) -> runs.Callback:
    """A callback that counts the modes of every seed at the cell's moments."""
    observe, history = cell.problem.observer(), History(cell.problem, run.path)
    sample_keys = keys.named(keys.roots(config.seed, config.seeds), 'evaluations')

    def look(state: gan_jax.TrainState, key: Key) -> tuple[Array, Array, Array]:
        def examples(key: Key, n: int) -> Array:
            return cell.trial.pick(gan_jax.sample(game, state, n, key), key)

        observed = in_blocks(lambda key, n: observe(examples(key, n)), key, History.choosing + config.samples)
        players = state.generator.params, state.discriminator.params
        return observed, all_finite(players), examples(keys.named(key, 'shown'), cell.problem.shown)

    every = runs.over_seeds(look, config.seeds, owned=2, side_by_side=not cell.problem.images)
    return runs.Callback(
        cell.moments, lambda step, state: history.write(step, *every(seeds.every(state, config.seeds), sample_keys))
    )


def train(config: Config, study: runs.Study) -> dict[str, Any]:
    """Trains the cell, or resumes it, and returns its figures, which are also written to `results.json`.

    If every seed diverges, that is a result as well.
    """
    run, cell = runs.RunDirectory(config), study.data
    with clocked(config) as clock:
        try:
            finite = boost(config, study, run) if cell.trial.components > 1 else runs.train(config, study, run=run).finite
        except Diverged as error:
            print(error)
            finite = (False,) * config.seeds
    results = {'settings': cell.trial.settings, 'diverged': [not ok for ok in finite], 'seconds': clock.seconds}
    counted = hosts.agreed(lambda: History(cell.problem, run.path).result(cell.moments, config.seeds))
    results = json.loads(json.dumps(results)) | counted
    runs.write_whole(run.path / 'results.json', (json.dumps(results, allow_nan=False) + '\n').encode())
    return results


def boost(config: Config, study: runs.Study, run: runs.RunDirectory) -> tuple[bool, ...]:
    """Trains AdaGAN. Each component is a separate game, and the mixtures of the first 1, 2, ... components are its history.

    Returns which seeds are finite.
    """
    game, (problem, trial, moments) = study.game, study.data
    assert game is not None
    observe, history = problem.observer(), History(problem, run.path)
    roots = keys.roots(config.seed, config.seeds)
    feed = problem.feed(methods.BOOSTED, 1)
    examples = compilation.jit(feed.draw)(feed.data, keys.named(roots[0], 'boosted'), jnp.int32(0))
    booster = boosting.adagan(
        lambda variables, n, key: game.play(variables, jnp.zeros(n), key, train=False)[0],
        problem.classifier,
        components=trial.components,
        classifier_steps=min(CLASSIFIER_STEPS, moments[0]),
    )
    how: dict[str, Any] = {'side_by_side': study.side_by_side}
    train_component = runs.component_trainer(study.trainer, examples, steps=moments[0], batch_size=config.batch_size, **how)
    component = jax.eval_shape(lambda: study.trainer.init(examples[:1], roots[0]).generator.variables)
    boosted = keys.named(roots, 'boosting')
    ensembles = runs.boost(booster, train_component, component, examples, boosted, directory=run.path / 'checkpoints', **how)

    def look(ensemble: Ensemble, key: Key, number: Array) -> tuple[Array, Array, Array]:
        first = jnp.arange(trial.components) < number
        # Later components are set to 0, so that NaN in them has no effect here.
        there = lambda x: jnp.where(first.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
        components = jax.tree.map(there, ensemble.components)
        ensemble = dataclasses.replace(ensemble, components=components, weights=first / number)
        observed = in_blocks(lambda key, n: observe(booster.sample(ensemble, n, key)), key, History.choosing + config.samples)
        return observed, all_finite(components), booster.sample(ensemble, problem.shown, keys.named(key, 'shown'))

    every = runs.over_seeds(look, config.seeds, owned=2, **how)
    finite: Any = ()
    for number, step in enumerate(moments, 1):
        observed, finite, shown = every(ensembles, keys.named(roots, 'evaluations'), jnp.int32(number))
        history.write(step, observed, finite, shown)
    return tuple(np.asarray(finite).tolist())


def path_of(config: Config) -> pathlib.Path:
    """The directory of a cell."""
    return pathlib.Path(config.runs_dir, config.name)


def restored(config: Config, study: runs.Study) -> gan_jax.TrainState:
    """The last state of all seeds of a trained cell, with leaves `[seeds, ...]`."""
    like = first_state(config, study, keys.roots(config.seed, config.seeds))
    return seeds.every(newest_state(path_of(config), like), config.seeds)


def in_blocks(block: Callable[[Key, int], Array], key: Key, n: int) -> Array:
    """n examples `[n, ...]` by `block(key, m)`, with `m <= BLOCK` examples at a time."""
    if n <= BLOCK:
        return block(key, n)
    rows = jax.lax.map(lambda key: block(key, BLOCK), jax.random.split(key, -(-n // BLOCK)))
    return rows.reshape(-1, *rows.shape[2:])[:n]


def all_finite(tree: Any) -> Array:
    """Whether every number is finite."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()
