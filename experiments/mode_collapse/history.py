"""What a cell of `experiments.mode_collapse` counts over training, on disk, so that a cell that was stopped has its history."""

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
"""Scores of a seed that diverged; others are infinite."""


class History:
    """The evaluations of a cell in its directory."""

    choosing = 2500
    """Samples that the best checkpoint is chosen on, which no score is reported of."""

    def __init__(self, problem: Problem, path: pathlib.Path) -> None:
        self.problem, self.path = problem, path
        self._score = compilation.jit(jax.vmap(problem.score))

    def write(self, step: int, observed: AnyArray, finite: AnyArray, shown: AnyArray) -> None:
        """Keeps scores of `observed [seeds, choosing + samples, ...]`, and what the first seed that has not diverged makes, of
        `shown [seeds, n, ...]`.
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
        """A seed that diverged covers nothing, whatever its samples are taken for."""
        scores = self._score(observed)
        return {name: listed(np.where(finite, value, WORST.get(name, np.inf))) for name, value in scores.items()}

    def result(self, moments: Sequence[int], seeds: int) -> dict[str, Any]:
        """Scores at the last step and at each seed's best, and all of them over time.

        A moment without an evaluation is one that no seed came to: all had diverged.
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
    """For JSON, which has no infinity."""
    return [float(x) if np.isfinite(x) else None for x in values]


def unlisted(values: list[float | None]) -> np.ndarray:
    """The inverse: what was not finite is infinite."""
    return np.array([np.inf if x is None else x for x in values])
