"""Whether a run is still finite: looked at where its numbers come to the host anyway."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.errors import Diverged

ADVICE = 'a lower learning rate or a penalty may help'


def check_losses(metrics: Mapping[str, np.ndarray], step: int, what: str = 'the run') -> None:
    """Raises `Diverged` if a loss of the steps `step + 1`, `step + 2`, ... is not finite; metrics are `[steps, ...]`.

    Losses are the metrics whose names end with 'loss'. Of several seeds each has its own.
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
    """Raises `Diverged` if a number of the state after `step` steps is not finite: its losses come a step later."""
    if not is_finite(state):
        raise Diverged(f'{what} diverged: the state after step {step} is not finite')


def is_finite(tree: Any) -> bool:
    """Whether every number is one. Reads the arrays on the host."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in leaves)


def by_seed(tree: Any) -> tuple[bool, ...]:
    """Of each seed whether every number is one; leaves are `[seeds, ...]`. Reads the arrays on the host."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return tuple(all(bool(np.isfinite(leaf[i]).all()) for leaf in leaves) for i in range(len(leaves[0])))


class Survivors:
    """Which seeds of a run have not diverged. One that has is told once, and does not stop the others.

    A run of one seed, and one without a finite seed, raise `Diverged`.
    """

    def __init__(self, seeds: int) -> None:
        self.finite = (True,) * seeds

    @property
    def first(self) -> int:
        """The number of the first that has not diverged."""
        return self.finite.index(True)

    def note_losses(self, metrics: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Looks at metrics of the steps `step + 1`, ..., `[steps]` or `[steps, seeds]`, and returns those of finite seeds."""
        if len(self.finite) == 1:
            check_losses(metrics, step)
            return dict(metrics)
        for number in np.flatnonzero(self.finite):
            try:
                check_losses({name: value[:, number] for name, value in metrics.items()}, step, f'seed {number}')
            except Diverged as error:
                self._lose(int(number), error)
        return {name: value[:, np.array(self.finite)] for name, value in metrics.items()}

    def note_state(self, state: Any, step: int) -> None:
        """Looks at the state after `step` steps; of several seeds its leaves are `[seeds, ...]`."""
        if len(self.finite) == 1:
            return check_state(state, step)
        for number, ok in enumerate(by_seed(state)):
            if self.finite[number] and not ok:
                self._lose(number, Diverged(f'seed {number} diverged: its state after step {step} is not finite'))
        return None

    def _lose(self, number: int, error: Diverged) -> None:
        self.finite = tuple(ok and i != number for i, ok in enumerate(self.finite))
        if not any(self.finite):
            raise Diverged(f'every seed diverged, the last: {error}')
        print(f'{error}; the others go on')
