"""The evaluations of a cell of `experiments.mode_collapse`, kept on disk so that an interrupted cell has its history."""

import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.mode_collapse.problems import Problem
from gan_jax import compilation, runs
from gan_jax.typing import AnyArray

WORST = {'modes': 0.0, 'high_quality': 0.0, 'recognised': 0.0}
"""Scores of a seed that has diverged; the scores that are not listed are infinite."""


class History:
    """The evaluations of a cell, in its directory."""

    choosing = 2500
    """Number of samples on which the best checkpoint is chosen, which enter no reported score."""

    def __init__(self, problem: Problem, path: pathlib.Path) -> None:
        self.problem, self.path = problem, path
        self._score = compilation.jit(jax.vmap(problem.score))

    def write(self, step: int, observed: AnyArray, finite: AnyArray, shown: AnyArray) -> None:
        """Writes the scores of `observed [seeds, choosing + samples, ...]`.

        Also writes what the first seed that has not diverged generates, from `shown [seeds, n, ...]`.
        """
        row = {
            'step': step,
            'chosen': self._scores(observed[:, : self.choosing], finite),
            'reported': self._scores(observed[:, self.choosing :], finite),
        }
        out = io.BytesIO()
        np.save(out, np.asarray(shown[int(np.argmax(finite))]))
        runs.write_whole(self.path / f'shown/{step:07d}.npy', out.getvalue())
        runs.write_whole(self.path / f'evaluations/{step:07d}.json', json.dumps(row, allow_nan=False).encode())

    def _scores(self, observed: AnyArray, finite: AnyArray) -> dict[str, list]:
        """Scores by name. A seed that has diverged covers nothing, whatever its samples are classified as."""
        scores = self._score(observed)
        return {name: listed(np.where(finite, value, WORST.get(name, np.inf))) for name, value in scores.items()}

    def result(self, moments: Sequence[int], seeds: int) -> dict[str, Any]:
        """Scores at the last step, at each seed's best evaluation, and over time.

        A moment without an evaluation was not reached by any seed: all had diverged.
        """
        nothing = {name: listed(np.full(seeds, WORST.get(name, np.inf))) for name in self.problem.columns}
        files = [self.path / f'evaluations/{step:07d}.json' for step in moments]
        rows = [runs.read_json(file) if file.exists() else {'chosen': nothing, 'reported': nothing} for file in files]
        chosen, reported = (
            {name: np.stack([unlisted(row[which][name]) for row in rows]) for name in nothing} for which in ('chosen', 'reported')
        )
        best = np.argmax(np.asarray(self.problem.rank(chosen)), 0)
        return {
            'last': {name: listed(value[-1]) for name, value in reported.items()},
            'best': {name: listed(value[best, np.arange(seeds)]) for name, value in reported.items()},
            'best_step': [moments[i] for i in best],
            'steps': list(moments),
            'over_time': {name: [listed(x) for x in value] for name, value in reported.items()},
        }


def listed(values: np.ndarray) -> list[float | None]:
    """A list for JSON, which has no infinity: values that are not finite become None."""
    return [float(x) if np.isfinite(x) else None for x in values]


def unlisted(values: list[float | None]) -> np.ndarray:
    """The inverse of `listed`: None becomes infinity."""
    return np.array([np.inf if x is None else x for x in values])
