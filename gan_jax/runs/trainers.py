"""From a step and its data to `advance(state, n)`, which `fit` calls."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.feeds import Feed, to_float
from gan_jax.runs.loop import CALL_STEPS, Advance
from gan_jax.training import Step, TrainState, many_steps
from gan_jax.typing import Batch, Metrics


def resident_trainer(step: Step, feed: Feed, runner: Callable[..., Callable]) -> Advance:
    """Data on the device: up to `CALL_STEPS` steps in one call, batches drawn inside."""
    many = runner(many_steps(step, feed.draw, CALL_STEPS), batch_axis=None)

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        state, rows = many(state, feed.data, jnp.int32(n))
        return state, {name: np.asarray(row)[:n] for name, row in rows.items()}

    return advance


def stream_trainer(
    step: Step, batches: Callable[[int], Iterator[Batch]], runner: Callable[..., Callable], *, stacked: bool = False
) -> Advance:
    """Data from disk: `batches(start)` gives batches `start`, `start + 1`, ...; one call a step, none waited for.

    `stacked` says that batches are `[minibatches, batch, ...]`.
    """
    run = runner(lambda state, batch: step(state, jax.tree.map(to_float, batch)), batch_axis=1 if stacked else 0)
    iterator: Iterator[Any] | None = None

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        nonlocal iterator
        if iterator is None:
            iterator = batches(int(state.step))
        rows = []
        for _ in range(n):
            state, metrics = run(state, next(iterator))
            rows.append(metrics)
        return state, jax.tree.map(lambda *m: jnp.stack(m), *rows)

    return advance
