"""The training of a study as the options specify, with pictures and scores; and loading what was trained."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gan_jax import compilation, finite, hosts, placement
from gan_jax.errors import Diverged, InputError
from gan_jax.keys import named, roots
from gan_jax.ranges import check_seeds
from gan_jax.runs import pictures, samples, seeds
from gan_jax.runs.advance import advancing, check_share, first_state, seeds_grid
from gan_jax.runs.checkpoints import newest_state
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.generators import Generator, Translator, describe, experiment_of, save_generator, save_translator
from gan_jax.runs.loop import Callback, fit
from gan_jax.runs.options import MethodOptions, TrainOptions
from gan_jax.runs.scores import sample_scores
from gan_jax.runs.study import Study
from gan_jax.runs.trained import Trained
from gan_jax.runs.weights import start_from
from gan_jax.training import TrainState
from gan_jax.typing import Key

SHOWN = 64
"""Number of images in a picture, unless a study defines its pictures."""


def train(config: TrainOptions, study: Study, *, run: RunDirectory | None = None) -> Trained:
    """Trains a study as the options specify, with pictures and scores, and saves its sampler.

    With several processes, each of them calls this, and has the whole state at the end.

    `run` is the directory of the run if it is already open. Raises `InputError` as `check` does, before anything is written, and
    otherwise as `RunDirectory` and `fit` do.
    """
    check(config, study)
    keys = roots(config.seed, config.seeds)
    init = first_state(config, study, keys)
    advance = advancing(config, study, keys)
    run = run or RunDirectory(config)  # only after all checks
    if config.init_from is not None and not config.resume:
        init = start_from(init, pathlib.Path(config.init_from))
    if study.generator is not None:
        describe(run, config, **study.known)
    survivors = finite.Survivors(config.seeds, config.seed)
    shown = lambda state: seeds.row(state, survivors.first) if config.seeds > 1 else state
    state = fit(
        advance,
        init,
        run,
        steps=config.steps,
        batch_size=config.batch_size * study.trainer.minibatches * config.seeds,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        keep=None if isinstance(config, MethodOptions) and config.ema_widths else 3,
        callbacks=[
            *(_callbacks(config, study, run, keys[0], shown) if isinstance(config, MethodOptions) else ()),
            *(note(run) for note in study.notes),
        ],
        survivors=survivors,
    )
    state = placement.local(state)

    def keep() -> None:
        if isinstance(study.generator, Generator):
            save_generator(run, study.generator, shown(state))
        elif isinstance(study.generator, Translator):
            save_translator(run, shown(state))
        samples.animate(run)

    hosts.agreed(keep)
    one = config.seeds == 1
    return Trained(config, study, run, run.path, state, keys[0] if one else keys, survivors.finite, programs={})


def check(config: TrainOptions, study: Study) -> None:
    """Raises `InputError` for incompatible networks, losses and batches, and for a run that cannot serve as a starting point.

    Nothing is compiled.
    """
    check_seeds(config.seed, config.seeds)
    if config.seeds == 1:
        placement.check_divisible(config.batch_size)
        rows = config.batch_size // len(placement.all_devices())
    else:
        rows = config.batch_size // seeds_grid(config, study).shape[placement.AXIS]
    parts = config.accumulate if isinstance(config, MethodOptions) else 1
    if rows % parts:
        raise InputError(f'--accumulate {parts} must divide the batch size of a device, {rows}')
    check_share(study, rows // parts)
    scored = study.judge is not None and isinstance(study.generator, Generator)
    if isinstance(config, MethodOptions) and config.score_every and not scored:
        raise InputError('--score-every requires a run that generates images and has labels to train a classifier on')
    if isinstance(config, MethodOptions) and config.ema_widths and study.generator is None:
        raise InputError('--ema-widths requires a run that generates or translates images, whose averages are used afterwards')
    if config.init_from is not None and not config.resume:
        if study.game is None:
            raise InputError('--init-from requires a game, and this is another model')
        one = jax.eval_shape(study.trainer.init, study.example, jax.random.key(0))
        every = lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype)
        start_from(one if config.seeds == 1 else jax.tree.map(every, one), pathlib.Path(config.init_from))


def _callbacks(
    config: MethodOptions, study: Study, run: RunDirectory, root: Key, shown: Callable[[TrainState], TrainState]
) -> list[Callback]:
    """Pictures and scores of the seed that is shown."""
    generator = study.generator
    show, found = study.show, []
    if show is None and isinstance(generator, Generator):
        show = lambda state, key: generator.sample(generator.weights(state.ema), SHOWN, key)
    if show is not None:
        program, key = compilation.jit(show), named(root, 'shown')
        picture = study.picture or samples.grid

        def draw(step: int, state: TrainState) -> None:
            made = picture(jax.tree.map(np.asarray, program(shown(state), key)))
            for path in (samples.frame_path(run, step), run.path / 'samples.png'):
                pictures.save(path, made)

        found.append(Callback(config.sample_every, draw))
    if config.score_every:
        assert study.judge is not None and isinstance(generator, Generator)  # ensured by `check`
        judge = hosts.in_turn(study.judge)
        weights = compilation.jit(generator.weights)
        score = sample_scores(
            run,
            lambda state, key: generator.sample(state.ema, 100, key),
            judge.extractor,
            judge.reference,
            named(root, 'scores'),
            every=config.score_every,
            samples=config.samples,
        )

        def call(step: int, state: TrainState) -> None:
            one = shown(state)
            score.call(step, dataclasses.replace(one, ema=weights(one.ema)))  # once, and not in every block

        found.append(score._replace(call=call))
    return found


def load(path: pathlib.Path, **changes: Any) -> Trained:
    """Loads the newest checkpoint of a run that has a generator, with its study and its data, for actions that require those.

    `changes` are options that a run does not store, such as `data_dir`. Raises `InputError` for a directory that is not a run, an
    experiment that does not exist, and a run without a checkpoint, and `Diverged` if no seed is finite.
    """
    module = experiment_of(path)
    config = module.Config.at(path, **changes)
    if not (path / 'checkpoints').is_dir():
        raise InputError(f'{path} has no checkpoint yet')
    study = module.study(config)
    keys = roots(config.seed, config.seeds)
    state = newest_state(path, first_state(config, study, keys))
    one = config.seeds == 1
    alive = (finite.is_finite(state),) if one else finite.by_seed(state)
    if not any(alive):
        raise Diverged(f'{path} has diverged: none of its states is finite')
    return Trained(config, study, None, path, state, keys[0] if one else keys, alive, programs={})
