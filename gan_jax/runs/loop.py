"""The training loop: many steps per call, a progress bar, logs, pictures and checkpoints, clean stops and exact resumption."""

import functools
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_jax import finite, hosts, interruptions, placement
from gan_jax.errors import Diverged, InputError, Interrupted
from gan_jax.runs import pictures
from gan_jax.runs.checkpoints import Checkpoints
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.logs import Log, Silent
from gan_jax.runs.weights import start_from
from gan_jax.training import TrainState
from gan_jax.typing import Metrics

Advance = Callable[[TrainState, int], tuple[TrainState, Metrics]]
"""`(state, n) -> (state, metrics)`; takes n steps and returns metrics `[n, ...]` each."""

CALL_STEPS = 200
"""Largest number of steps in one device call."""
_CALL_SECONDS = 1.0
"""Approximate target duration of a device call, which progress, Ctrl-C and SIGTERM must wait for."""


class Callback(NamedTuple):
    """Called at step 0, every `every` steps and after the last; must not modify the state."""

    every: int | tuple[int, ...]
    """The interval in steps, or the steps at which it is called, in ascending order."""
    call: Callable[[int, TrainState], None]
    """`(step, state)`"""
    together: bool = False
    """Whether all processes call it, because it computes on all devices; otherwise only process 0 does."""

    def due(self, step: int, steps: int) -> bool:
        """Whether it is called at `step` of a run of `steps` steps."""
        if isinstance(self.every, tuple):
            return step in self.every
        return step % self.every == 0 or step == steps

    def wait(self, step: int) -> float:
        """The number of steps until it is called again."""
        if isinstance(self.every, tuple):
            return min((other - step for other in self.every if other > step), default=math.inf)
        return self.every - step % self.every


def fit(
    advance: Advance,
    state: TrainState,
    run: RunDirectory,
    *,
    steps: int,
    batch_size: int,
    log_every: int = 50,
    checkpoint_every: int = 1000,
    callbacks: Sequence[Callback] = (),
    keep: int | None = 3,
    survivors: finite.Survivors | None = None,
) -> TrainState:
    """Trains to `steps` and returns the final state, which it saves; if the run says so, it resumes first.

    Writes `metrics.jsonl` (means over the steps since the previous line), TensorBoard events, `losses.png` and `checkpoints/`.
    Raises `Interrupted` after SIGINT, SIGTERM or SIGHUP, when the state has been saved. Raises `InputError` if the run cannot be
    resumed or the disk is full.

    Raises `Diverged` if a loss is not finite, or if the state is not finite when it is due to be drawn or saved, so the newest
    checkpoint is always finite.

    Args:
        advance: takes training steps.
        state: the initial state.
        run: the directory of the run.
        steps: the step at which training ends.
        batch_size: number of examples in a step, for the logged throughput.
        log_every: interval of the log, in steps.
        checkpoint_every: interval of the checkpoints, in steps.
        callbacks: see `Callback`.
        keep: number of checkpoints to keep; None to keep all.
        survivors: required for several seeds, so that one that diverges does not stop the others. Metrics are then
            `[steps, seeds]`, and the log contains the means over the finite seeds.
    """
    survivors = survivors or finite.Survivors(1)
    with Checkpoints(run.path / 'checkpoints', keep=keep) as checkpoints:
        state, step, rewound = _resumed(state, run, checkpoints, steps) if run.resume else (state, 0, False)
        if len(survivors.finite) > 1:
            survivors.note_state(state, step)  # a resumed run may have lost some seeds before
        logging = Log(run, step, steps, batch_size, log_every) if hosts.leads() else Silent()
        with interruptions.noted() as signals, logging as log:
            try:
                first = [callback for callback in callbacks if step == 0 and callback.due(0, steps)]
                if rewound and 0 < step == steps:  # a shorter run, of which this is the last step now
                    first = [callback for callback in callbacks if callback.due(step, steps) > callback.due(step, steps + 1)]
                _call(first, step, placement.local(state) if first else state)
                chunk, stop = 1, 0
                whole: Any = None  # the state on the devices of this process, if it has been gathered
                while step < steps:
                    until = [every - step % every for every in (log_every, checkpoint_every)]
                    n = int(min(chunk, steps - step, *until, *(callback.wait(step) for callback in callbacks)))
                    stop, n = _settled(signals.received, n)
                    if stop:
                        break
                    start = time.perf_counter()
                    state, metrics = advance(state, n)
                    metrics = {name: np.asarray(value) for name, value in metrics.items()}
                    log.add(survivors.note_losses(metrics, step))
                    step += n
                    chunk = max(1, min(2 * chunk, CALL_STEPS, math.ceil(n * _CALL_SECONDS / (time.perf_counter() - start))))
                    due = [callback for callback in callbacks if callback.due(step, steps)]
                    saves = step % checkpoint_every == 0 and step != steps
                    whole = placement.local(state) if due or saves else None
                    if whole is not None:
                        survivors.note_state(whole, step)
                    if step % log_every == 0 or step == steps:
                        log.write(step)
                    _call(due, step, whole)
                    if saves:
                        _save(checkpoints, log, step, state)
                    checkpoints.note()
                log.write(step)
                if step not in checkpoints.steps():
                    survivors.note_state(placement.local(state) if whole is None else whole, step)
                    _save(checkpoints, log, step, state)
            except Diverged as error:
                checkpoints.wait()
                saved = checkpoints.steps()
                kept = f'{run.path} contains the finite state of step {saved[-1]}' if saved else 'nothing has been saved yet'
                hosts.agreed(lambda: _draw_losses(run))
                raise Diverged(f'{error}; {kept}; {finite.ADVICE}') from None
        stop, _ = _settled(stop or signals.received, 0)
    hosts.agreed(lambda: _draw_losses(run))
    if stop:
        raise Interrupted(stop, step)
    return state


def _settled(signum: int, n: int) -> tuple[int, int]:
    """The signal that any process has received, and the number of steps that process 0 will take in the next call."""
    rows = hosts.gathered([signum, n])
    return int(rows[:, 0].max()), int(rows[0, 1])


def _call(callbacks: Sequence[Callback], step: int, state: TrainState) -> None:
    """Calls the callbacks with a local state; with several processes, the others wait for process 0."""
    if not callbacks:
        return
    for callback in callbacks:
        if callback.together:
            callback.call(step, state)
        else:
            hosts.agreed(functools.partial(callback.call, step, state))
    hosts.agreed(lambda: None)


def _resumed(state: TrainState, run: RunDirectory, checkpoints: Checkpoints, steps: int) -> tuple[TrainState, int, bool]:
    """The state and step of the newest checkpoint, or the initial ones if the run was stopped before its first checkpoint.

    Also whether the run had gone further.
    """
    if checkpoints.empty:
        print(f'{run.path} was stopped before its first checkpoint and starts again')
        run.rewind(-1)
        return (state if run.init_from is None else start_from(state, pathlib.Path(run.init_from))), 0, False
    state = checkpoints.restore(state)
    step = _step(state)
    if step > steps:
        raise InputError(f'{run.path} is already at step {step}; --steps must not be less, got {steps}')
    rewound = run.rewind(step)
    print(f'resumed {run.path} at step {step}')
    return state, step, rewound


def _draw_losses(run: RunDirectory) -> None:
    if rows := run.read_log():
        pictures.save_figure(run.path / 'losses.png', pictures.loss_curves(rows))


def _save(checkpoints: Checkpoints, log: Log | Silent, step: int, state: TrainState) -> None:
    log.keep(step, checkpoints.steps())
    checkpoints.save(step, state)


def _step(state: TrainState) -> int:
    return int(np.ravel(np.asarray(state.step))[0])  # the state of several seeds has a vector of equal steps
