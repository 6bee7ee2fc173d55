"""Checks that a run is still finite, at points where its numbers reach the host anyway."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import Diverged

ADVICE = 'a lower learning rate or a penalty may help'


def check_losses(metrics: Mapping[str, np.ndarray], step: int, what: str = 'the run') -> None:
    """Raises `Diverged` if a loss of the steps `step + 1`, `step + 2`, ... is not finite; metrics are `[steps, ...]`.

    Losses are the metrics whose names end with 'loss'. With several seeds, each seed is one entry of a row.
    """
    losses = {name: np.asarray(value) for name, value in metrics.items() if name.endswith('loss')}
    bad = {name: ~np.isfinite(value.reshape(len(value), -1)) for name, value in losses.items()}
    firsts = {name: int(rows.any(1).argmax()) for name, rows in bad.items() if rows.any()}
    if firsts:
        name = min(firsts, key=firsts.__getitem__)
        row = bad[name][firsts[name]]
        value = losses[name].reshape(len(losses[name]), -1)[firsts[name]][row.argmax()]
        where = f' in {np.count_nonzero(row)} of {len(row)} seeds' if len(row) > 1 else ''
        raise Diverged(f'{what} diverged: {name.replace("_", " ")} is {value} at step {step + firsts[name] + 1}{where}')


def check_state(state: Any, step: int, what: str = 'the run') -> None:
    """Raises `Diverged` if the state after `step` steps contains non-finite numbers, which reach the losses only a step later."""
    if not is_finite(state):
        raise Diverged(f'{what} diverged: the state after step {step} is not finite')


def is_finite(tree: Any) -> bool:
    """Whether every number of a pytree is finite. Reads the arrays on the host."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in leaves)


def by_seed(tree: Any) -> tuple[bool, ...]:
    """For each seed, whether every number is finite; leaves are `[seeds, ...]`. Reads the arrays on the host."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return tuple(all(bool(np.isfinite(leaf[i]).all()) for leaf in leaves) for i in range(len(leaves[0])))


def first_of(tree: Any) -> int:
    """The row of the first seed whose numbers are all finite, with leaves `[seeds, ...]`; 0 if there is no such seed."""
    rows = by_seed(tree)
    return rows.index(True) if any(rows) else 0


class Survivors:
    """Tracks which seeds of a run have not diverged. A seed that diverges is reported once and does not stop the others.

    Raises `Diverged` if the run has only one seed and it diverges, or if every seed has diverged.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        """Tracks `count` seeds: `seed`, `seed + 1`, ..."""
        self._seed = seed
        self._lost: dict[int, int] = {}
        """Row -> the first step whose metrics exclude it."""
        self.finite = (True,) * count

    @property
    def first(self) -> int:
        """The row of the first seed that has not diverged."""
        return self.finite.index(True)

    def note_losses(self, metrics: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Checks metrics of the steps `step + 1`, ..., `[steps]` or `[steps, seeds]`, and returns them with NaN for lost seeds.

        The metrics of a seed are NaN from the step at which it diverged. Raises `Diverged` as described for the class.
        """
        if len(self.finite) == 1:
            check_losses(metrics, step)
            return dict(metrics)
        losses = [np.asarray(value) for name, value in metrics.items() if name.endswith('loss')]
        bad = ~np.isfinite(np.stack(losses)).all(0)
        for row in np.flatnonzero(bad.any(0) & self.finite):
            try:
                check_losses({name: value[:, row] for name, value in metrics.items()}, step, f'seed {self._seed + row}')
            except Diverged as error:
                self._lose(int(row), step + int(bad[:, row].argmax()) + 1, error)
        steps = step + 1 + np.arange(len(bad))[:, None]
        gone = steps >= np.array([self._lost.get(row, np.inf) for row in range(len(self.finite))])
        return {name: np.where(gone, np.nan, value) for name, value in metrics.items()}

    def note_state(self, state: Any, step: int) -> None:
        """Checks the state after `step` steps, whose leaves are `[seeds, ...]` if there are several seeds.

        Raises `Diverged` as described for the class.
        """
        if len(self.finite) == 1:
            return check_state(state, step)
        for row, ok in enumerate(by_seed(state)):
            if self.finite[row] and not ok:
                message = f'seed {self._seed + row} diverged: its state after step {step} is not finite'
                self._lose(row, step + 1, Diverged(message))
        return None

    def _lose(self, row: int, step: int, error: Diverged) -> None:
        self._lost[row] = step
        self.finite = tuple(ok and i != row for i, ok in enumerate(self.finite))
        if not any(self.finite):
            raise Diverged(f'every seed diverged; the last one: {error}')
        print(f'{error}; the others continue')
