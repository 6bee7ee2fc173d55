"""One cell of `experiments.mode_collapse`: every seed of a method trains in one program, is counted over time, and resumes."""

import dataclasses
import io
import json
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.mode_collapse.methods import Trial
from experiments.mode_collapse.problems import Problem, Scores
from experiments.shared import seeds
from gan_jax import boosting, compilation, runs
from gan_jax.boosting import Ensemble
from gan_jax.typing import Array, Key

CHOOSING = 2500
"""Samples that the best checkpoint is chosen on, which no score is reported of."""
CLASSIFIER_STEPS = 2000


class Cell(NamedTuple):
    """A method on a data set."""

    problem: Problem
    trial: Trial
    seeds: int
    batch_size: int
    samples: int
    evaluations: int


@dataclasses.dataclass(frozen=True)
class CellOptions(runs.GameOptions):
    """What makes two runs of a cell the same."""

    settings: str = ''


def check(cell: Cell) -> None:
    """Raises `InputError` for shapes that do not fit, such as a batch and its packs, before anything is compiled."""
    source, trial, game = cell.problem.source(cell.batch_size, 1), cell.trial, cell.trial.game
    trial.options.train_step(game, unroll_steps=trial.unroll_steps)
    runs.check_fit(game, jax.eval_shape(source.draw, source.shared, jax.random.key(0), jnp.int32(0)))


def prepare(cell: Cell) -> seeds.Seeds:
    """All seeds of the cell's game. Raises `InputError` for what does not go together."""
    trial, observe = cell.trial, cell.problem.observer()
    return seeds.prepare(
        trial.options,
        trial.game,
        cell.problem.source(cell.batch_size, trial.options.minibatches),
        seeds=cell.seeds,
        samples=CHOOSING + cell.samples,
        unroll_steps=trial.unroll_steps,
        observe=lambda play, key: observe(trial.pick(play, key)),
    )


def train(cell: Cell, path: pathlib.Path) -> dict[str, Any]:
    """Trains the cell in its directory, from where it was stopped, and returns its figures, as JSON has them."""
    options = CellOptions(
        **{field.name: getattr(cell.trial.options, field.name) for field in dataclasses.fields(runs.GameOptions)}
        | {'name': path.name, 'runs_dir': str(path.parent)},
        settings=json.dumps([cell.trial.settings, cell.batch_size, cell.seeds, cell.samples]),
    )
    file = path / 'config.json'
    begun = file.exists() and runs.read_json(file) == options.identity()
    saved = any(step.name.isdigit() for step in path.glob('checkpoints/*'))  # and not one that was being written
    run = runs.RunDirectory(dataclasses.replace(options, resume=begun and saved, overwrite=not (begun and saved)))
    log = _Log(cell, run.path)
    diverged = _boost(cell, run, log) if cell.trial.components > 1 else _fit(cell, run, log)
    settings = json.loads(json.dumps(cell.trial.settings))
    return {'settings': settings, 'diverged': diverged.tolist()} | log.result()


def _fit(cell: Cell, run: runs.RunDirectory, log: '_Log') -> np.ndarray:
    seeds, trial = prepare(cell), cell.trial
    finite = compilation.jit(jax.vmap(lambda state: all_finite((state.generator.params, state.discriminator.params))))

    @compilation.jit
    def show(state: gan_jax.TrainState) -> Array:
        first = jax.tree.map(lambda x: x[0], state)
        key = jax.random.key(trial.options.seed)
        return trial.pick(gan_jax.sample(trial.game, first, jnp.zeros(cell.problem.shown), key, ema=False), key)

    def evaluate(step: int, state: gan_jax.TrainState) -> None:
        if step:
            log.write(step, seeds.sample(state), finite(state), show(state))

    steps = trial.options.steps
    state = runs.fit(
        seeds.advance,
        seeds.state,
        run,
        steps=steps,
        batch_size=cell.batch_size * trial.options.minibatches * cell.seeds,
        log_every=max(1, steps // 50),
        checkpoint_every=max(1, steps // 10),
        callbacks=[runs.Callback(max(1, steps // cell.evaluations), evaluate)],
        keep=1,
        may_diverge=True,
    )
    return ~np.asarray(finite(state))


def _boost(cell: Cell, run: runs.RunDirectory, log: '_Log') -> np.ndarray:
    """AdaGAN: each component is a game of its own, and the mixtures of the first 1, 2, ... are its history."""
    problem, trial, observe = cell.problem, cell.trial, cell.problem.observer()
    game, options, players = trial.game, trial.options, trial.options.players()
    init_key, data_key, sample_key = jax.random.split(jax.random.key(options.seed), 3)
    source = problem.source(trial.settings['examples'], 1)
    examples = compilation.jit(source.draw)(source.shared, data_key, jnp.int32(0))

    def init(key: Key) -> gan_jax.TrainState:
        return gan_jax.init(game, players.generator, players.discriminator, examples[:1], key)

    booster = boosting.adagan(
        lambda variables, key, n: game.play(variables, jnp.zeros(n), key, train=False)[0],
        problem.classifier,
        components=trial.components,
        classifier_steps=min(CLASSIFIER_STEPS, options.steps),
    )
    train_one = runs.component_trainer(
        init,
        options.train_step(game),
        examples,
        steps=options.steps,
        batch_size=cell.batch_size,
        minibatches=options.minibatches,
    )

    def train_component(key: Key, weights: Array, number: int) -> Any:
        component = jax.block_until_ready(train_one(key, weights, number))
        log.note_time()
        return component

    component = jax.eval_shape(lambda: init(init_key).generator.variables)
    keys = jax.random.split(init_key, cell.seeds)
    ensembles = runs.boost(booster, train_component, component, examples, keys, run.path / 'checkpoints')

    def observed_of(ensemble: Ensemble, key: Key) -> Array:
        block = lambda key, n: observe(booster.sample(ensemble, key, n))
        return seeds.in_blocks(block, key, CHOOSING + cell.samples)

    @compilation.jit
    def look(ensembles: Ensemble, number: Array) -> tuple[Array, Array, Array]:
        first = jnp.arange(trial.components) < number
        # Those that come later are left out: what is not a number there would count here too.
        there = lambda x: jnp.where(first.reshape(1, -1, *[1] * (x.ndim - 2)), x, 0)
        components = jax.tree.map(there, ensembles.components)
        weights = jnp.broadcast_to(first / number, ensembles.weights.shape)
        ensembles = dataclasses.replace(ensembles, components=components, weights=weights)
        shown = booster.sample(jax.tree.map(lambda x: x[0], ensembles), sample_key, problem.shown)
        observed = jax.vmap(observed_of)(ensembles, jax.random.split(sample_key, cell.seeds))
        return observed, jax.vmap(all_finite)(ensembles.components), shown

    for number in range(1, trial.components + 1):
        observed, finite, shown = look(ensembles, number)
        log.write(number * options.steps, observed, finite, shown)
    return ~np.asarray(finite)


def all_finite(tree: Any) -> Array:
    """Whether every number is one."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


class _Log:
    """What was counted at each evaluation, on disk, so that a cell that was stopped has its history."""

    def __init__(self, cell: Cell, path: pathlib.Path) -> None:
        self._problem, self._path = cell.problem, path
        self._score = compilation.jit(jax.vmap(cell.problem.score))
        self._clock = path / 'seconds.json'
        self._before = runs.read_json(self._clock) if self._clock.exists() else 0.0
        self._start = time.perf_counter()

    def note_time(self) -> None:
        """Training takes as long as all its sessions together, compilation included."""
        seconds = self._before + time.perf_counter() - self._start
        runs.write_whole(self._clock, json.dumps(round(seconds, 2)).encode())

    def write(self, step: int, observed: Array, finite: Array, shown: Array) -> None:
        """Scores of `observed [seeds, CHOOSING + samples, ...]`, and what seed 0 makes."""
        row = {
            'step': step,
            'chosen': self._scores(observed[:, :CHOOSING], finite),
            'reported': self._scores(observed[:, CHOOSING:], finite),
        }
        out = io.BytesIO()
        np.save(out, np.asarray(shown))
        runs.write_whole(self._path / f'shown/{step:07d}.npy', out.getvalue())
        self.note_time()
        runs.write_whole(self._path / f'evaluations/{step:07d}.json', json.dumps(row, allow_nan=False).encode())

    def _scores(self, observed: Array, finite: Array) -> dict[str, list]:
        """A seed that diverged covers nothing, whatever its samples are taken for."""
        scores: Scores = self._score(observed)
        worst = {'modes': 0, 'high_quality': 0, 'recognised': 0}
        return {name: listed(np.where(finite, value, worst.get(name, np.inf))) for name, value in scores.items()}

    def result(self) -> dict[str, Any]:
        """Scores at the last step and at each seed's best, and all of them over time."""
        rows = [runs.read_json(file) for file in sorted(self._path.glob('evaluations/[0-9]*.json'))]
        chosen, reported = (
            {name: np.stack([unlisted(row[which][name]) for row in rows]) for name in rows[0][which]}
            for which in ('chosen', 'reported')
        )
        best = np.argmax(np.asarray(self._problem.rank(chosen)), 0)
        seeds = np.arange(len(best))
        return {
            'seconds': runs.read_json(self._clock),
            'last': {name: listed(value[-1]) for name, value in reported.items()},
            'best': {name: listed(value[best, seeds]) for name, value in reported.items()},
            'best_step': [rows[i]['step'] for i in best],
            'steps': [row['step'] for row in rows],
            'over_time': {name: [listed(x) for x in value] for name, value in reported.items()},
        }


def listed(values: np.ndarray) -> list[float | None]:
    """For JSON, which has no infinity."""
    return [float(x) if np.isfinite(x) else None for x in values]


def unlisted(values: list[float | None]) -> np.ndarray:
    """The inverse: what was not finite is infinite."""
    return np.array([np.inf if x is None else x for x in values])
