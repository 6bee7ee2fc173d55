"""The loop: many steps in a call, a progress bar, logs, pictures, checkpoints; it stops cleanly and goes on bit for bit."""

import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError, Interrupted
from gan_jax.runs import pictures
from gan_jax.runs.checkpoints import Checkpoints
from gan_jax.runs.directory import RunDirectory
from gan_jax.training import TrainState
from gan_jax.typing import Metrics

Advance = Callable[[TrainState, int], tuple[TrainState, Metrics]]
"""`(state, n) -> (state, metrics)`: takes n steps; each metric is `[n, ...]`."""

CALL_STEPS = 200
"""Most steps in one device call."""
_CALL_SECONDS = 1.0
"""About how long one device call should take: progress, Ctrl-C and SIGTERM wait for it."""


class Callback(NamedTuple):
    """Something to do every so many steps, at step 0, and at the end; within the loop it may not change the state."""

    every: int
    call: Callable[[int, TrainState], None]
    """`(step, state)`"""


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
    keep: int = 3,
) -> TrainState:
    """Trains to `steps` and returns the last state, having saved it; resumes first if the run says so.

    Writes `metrics.jsonl` (means over the steps since the line before), TensorBoard events, `losses.png` and `checkpoints/`.
    SIGINT and SIGTERM save, and raise `Interrupted`. Raises `InputError` if the run cannot be resumed or the disk is full.
    """
    with Checkpoints(run.path / 'checkpoints', keep=keep) as checkpoints:
        step = 0
        if run.resume:
            state = checkpoints.restore(state)
            step = _step(state)
            if step > steps:
                raise InputError(f'{run.path} is at step {step} already, and --steps {steps} is before that')
            run.rewind(step)
            print(f'resumed {run.path} at step {step}')
        with _Signals() as signals, _Log(run, step, steps, batch_size) as log:
            if step == 0:
                for callback in callbacks:
                    callback.call(0, state)
            events = [log_every, checkpoint_every, *(callback.every for callback in callbacks)]
            chunk = 1
            while step < steps and not signals.received:
                n = min(chunk, steps - step, *(every - step % every for every in events))
                start = time.perf_counter()
                state, metrics = advance(state, n)
                log.add({name: np.asarray(value) for name, value in metrics.items()})
                step += n
                chunk = max(1, min(2 * chunk, CALL_STEPS, math.ceil(n * _CALL_SECONDS / (time.perf_counter() - start))))
                if step % log_every == 0 or step == steps:
                    log.write(step)
                for callback in callbacks:
                    if step % callback.every == 0 or step == steps:
                        callback.call(step, state)
                if step % checkpoint_every == 0 and step != steps:
                    checkpoints.save(step, state)
            if signals.received and step < steps:
                log.write(step)
            if step not in checkpoints.steps():
                checkpoints.save(step, state)
    if rows := run.read_log():
        pictures.save_figure(run.path / 'losses.png', pictures.loss_curves(rows))
    if signals.received:
        raise Interrupted(signals.received, step)
    return state


def _step(state: TrainState) -> int:
    return int(np.ravel(np.asarray(state.step))[0])  # a state of several seeds has a row of equal steps


class _Signals:
    """Notes SIGINT and SIGTERM instead of dying of them; a second one is not held back."""

    received: int = 0

    def __enter__(self) -> '_Signals':
        self._before: dict[int, Any] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:  # not in the main thread: signals are someone else's
            pass
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        signal.signal(signum, self._before[signum])

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Log:
    """The progress bar, `metrics.jsonl` and TensorBoard events."""

    def __init__(self, run: RunDirectory, step: int, steps: int, batch_size: int) -> None:
        self._run, self._first, self._steps, self._batch_size = run, step, steps, batch_size
        self._rows: list[dict[str, np.ndarray]] = []

    def __enter__(self) -> '_Log':
        from tensorboardX import SummaryWriter
        from tqdm import tqdm

        self._writer = SummaryWriter(str(self._run.path / 'tensorboard'), purge_step=self._first + 1)
        quiet = not sys.stderr.isatty()
        self._bar = tqdm(
            total=self._steps, initial=self._first, unit='step', dynamic_ncols=True, mininterval=30 if quiet else 0.2
        )
        self._time = time.perf_counter()
        return self

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        self._rows.append(metrics)
        count = len(next(iter(metrics.values())))
        seconds = self._bar.format_dict['elapsed']
        rate = (self._bar.n + count - self._first) / seconds if seconds else 0.0
        self._bar.set_postfix(
            D=f'{float(metrics["discriminator_loss"][-1].mean()):.3f}',
            G=f'{float(metrics["generator_loss"][-1].mean()):.3f}',
            images=f'{rate * self._batch_size:.0f}/s',
            refresh=False,
        )
        self._bar.update(count)

    def write(self, step: int) -> None:
        if not self._rows:
            return
        now = time.perf_counter()
        columns = {name: np.concatenate([row[name] for row in self._rows]) for name in self._rows[0]}
        values = {name: float(column.mean()) for name, column in columns.items()}
        count = len(next(iter(columns.values())))
        rate = count * self._batch_size / (now - self._time)
        self._rows, self._time = [], now
        for name, value in {**values, 'images_per_second': rate}.items():
            self._writer.add_scalar(name, value, step)
        self._run.log(step, {**values, 'images_per_second': round(rate, 1)})

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._writer.close()
