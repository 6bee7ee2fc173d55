"""Progress of a training run: the progress bar, `metrics.jsonl` and TensorBoard events."""

import functools
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import read_json, write_whole
from gan_jax.runs.directory import RunDirectory

_PARTIAL = 'partial_means.json'
_SHORT = {'discriminator_loss': 'D', 'generator_loss': 'G', 'loss': 'loss'}
"""Metrics that the progress bar shows, if they exist."""


def _means(rows: np.ndarray) -> np.ndarray:
    """Means over the seeds that have not diverged, `[steps, seeds] -> [steps]`."""
    return np.asarray((np.mean if rows.shape[1] == 1 else np.nanmean)(rows, 1, dtype=np.float64))


class Silent:
    """Replaces `Log` in all processes except process 0."""

    def __enter__(self) -> 'Silent':
        return self

    def __exit__(self, *_: object) -> None: ...

    def add(self, metrics: dict[str, np.ndarray]) -> None: ...

    def write(self, step: int) -> None: ...

    def keep(self, step: int, saved: Iterable[int]) -> None: ...


class Log:
    """Logs the means of metrics; each line covers the steps since the last line at a multiple of `every`.

    The partial means at a checkpoint are saved with it, and a resumed run continues from them. Its lines are therefore those of
    an uninterrupted run, except for `images_per_second`.
    """

    def __init__(self, run: RunDirectory, step: int, steps: int, batch_size: int, every: int) -> None:
        self._run, self._first, self._steps, self._batch_size, self._every = run, step, steps, batch_size, every
        self._count, self._sums = self._kept(step) if step % every else (0, {})
        self._taken = 0

    def __enter__(self) -> 'Log':
        from tqdm import tqdm

        self._purged = self._first + (0 if self._count else 1)
        quiet = not sys.stderr.isatty()
        self._bar = tqdm(
            total=self._steps, initial=self._first, unit='step', dynamic_ncols=True, mininterval=30 if quiet else 0.2
        )
        self._time = time.perf_counter()
        return self

    @functools.cached_property
    def _writer(self) -> Any:
        # Not before it is needed: where PyTorch is installed this imports it, which takes seconds.
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(self._run.path / 'tensorboard'), purge_step=self._purged)

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        """Adds metrics of one or more steps, `[steps, ...]`."""
        if self._count and not self._taken and self._bar.n == self._first:  # the line where the run was stopped is not final
            self._run.write_log([row for row in self._run.read_log() if row['step'] < self._first])
        count = len(next(iter(metrics.values())))
        for name, value in metrics.items():
            total = self._sums.get(name, 0.0)
            for mean in _means(value.reshape(count, -1)).tolist():
                total += mean  # sequentially, so that the sum does not depend on where a run was stopped
            self._sums[name] = total
        self._count, self._taken = self._count + count, self._taken + count
        seconds = self._bar.format_dict['elapsed']
        rate = (self._bar.n + count - self._first) / seconds if seconds else 0.0
        losses = {name: value for name, value in metrics.items() if name in _SHORT}
        shown = {_SHORT[name]: f'{_means(value[-1:].reshape(1, -1))[0]:.3f}' for name, value in losses.items()}
        self._bar.set_postfix(shown | {'images': f'{rate * self._batch_size:.0f}/s'}, refresh=False)
        self._bar.update(count)

    def write(self, step: int) -> None:
        """Writes the line of this step if any steps were taken since the last line."""
        if not self._taken:
            return
        now = time.perf_counter()
        rate = self._taken * self._batch_size / (now - self._time)
        values = {name: total / self._count for name, total in self._sums.items()}
        self._taken, self._time = 0, now
        if step % self._every == 0:
            self._count, self._sums = 0, {}
        for name, value in {**values, 'images_per_second': rate}.items():
            self._writer.add_scalar(name, value, step)
        self._run.log(step, {**values, 'images_per_second': round(rate, 1)})

    def keep(self, step: int, saved: Iterable[int]) -> None:
        """Saves the partial means with the checkpoint of this step, and retains those of the `saved` checkpoints."""
        before = self._all_kept()
        kept = {str(other): before[str(other)] for other in saved if str(other) in before}
        if self._count:
            kept[str(step)] = {'count': self._count, 'sums': self._sums}
        if kept != before:
            write_whole(self._run.path / _PARTIAL, json.dumps(kept).encode())

    def _kept(self, step: int) -> tuple[int, dict[str, float]]:
        try:
            found = self._all_kept()[str(step)]
            return int(found['count']), {str(name): float(total) for name, total in found['sums'].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return 0, {}

    def _all_kept(self) -> dict[str, Any]:
        file = self._run.path / _PARTIAL
        try:
            found = read_json(file) if file.exists() else {}
        except InputError:  # the means then start from zero
            found = {}
        return found if isinstance(found, dict) else {}

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if '_writer' in vars(self):
            self._writer.close()
