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
