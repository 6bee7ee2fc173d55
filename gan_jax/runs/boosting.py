"""The loop of AdaGAN: one component after another, a checkpoint after each."""

import pathlib
import signal
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, parallel
from gan_jax.boosting import Booster, Ensemble
from gan_jax.data.feeds import share_edges, to_float, weighted_rows
from gan_jax.errors import Interrupted
from gan_jax.runs.checkpoints import Checkpoints
from gan_jax.runs.loop import CALL_STEPS
from gan_jax.training import Step, TrainState, many_steps
from gan_jax.typing import AnyArray, Array, Key, Variables

TrainComponent = Callable[[Key, Array, int], Any]
"""`(key, data weights [n], number from 0) -> component`: trains a fresh component on the weighted data."""


def boost(
    booster: Booster,
    train_component: TrainComponent,
    component: Any,
    data: AnyArray,
    key: Key,
    directory: pathlib.Path,
    *,
    report: Callable[[str], None] = print,
) -> Ensemble:
    """Implements algorithm 1 of Tolstikhin et al. 2017: trains components until the ensemble is full, and returns it.

    Goes on from what `directory` holds: a run that was stopped takes up the component that it was at, and ends in the same bits.
    A finished one is read back. What makes two runs the same is the caller's business (`RunDirectory`).

    Args:
        booster: from `boosting.adagan`.
        train_component: a function of its arguments alone, so that a component can be trained again. It compiles what it needs.
        component: a component, or its shapes by `jax.eval_shape`.
        data: `[n, ...]`, as the classifier takes them, or uint8 pixels.
        key: one key, or `[seeds]` of as many ensembles at once: then `train_component` is given keys `[seeds]` and weights
            `[seeds, n]`, and components and ensemble have a leading axis of seeds. The data are the same for all.
        directory: of the checkpoints.
        report: is told of a resumed run, and of data that could not be weighted and have equal weights instead.
    """
    seeds = key.shape

    def compiled(function: Callable, *axes: int | None, out_axes: int = 0) -> Callable:
        return compilation.jit(jax.vmap(function, axes, out_axes) if seeds else function)

    component_keys = compiled(lambda key, number: jax.random.split(jax.random.fold_in(key, number)), 0, None, out_axes=1)
    append, reweigh = compiled(booster.append, 0, 0), compiled(booster.reweigh, 0, None, 0)
    data = jnp.asarray(data)
    ensemble = jax.tree.map(lambda x: jnp.broadcast_to(x, (*seeds, *x.shape)), booster.init(component, len(data)))
    room = ensemble.weights.shape[-1]
    with Checkpoints(directory, keep=2) as checkpoints:
        if not checkpoints.empty:
            ensemble = checkpoints.restore(ensemble, report)
            report(f'resumed {directory} after component {_size(ensemble)} of {room}')
        for number in range(_size(ensemble), room):
            train_key, classifier_key = component_keys(key, number)
            try:
                ensemble = append(ensemble, train_component(train_key, ensemble.data_weights, number))
                if number + 1 < room:
                    ensemble = reweigh(ensemble, data, classifier_key)
                    _tell(ensemble, number + 1, report)
            except (KeyboardInterrupt, Interrupted) as stop:
                signum = stop.signum if isinstance(stop, Interrupted) else signal.SIGINT
                raise Interrupted(signum, number or None) from None
            checkpoints.save(number + 1, ensemble)
            checkpoints.wait()  # whatever stops the next component finds this one whole
    return ensemble


def component_trainer(
    init: Callable[[Key], TrainState],
    step: Step,
    data: AnyArray,
    *,
    steps: int,
    batch_size: int,
    minibatches: int = 1,
    ema: bool = False,
) -> TrainComponent:
    """A `train_component` for `boost`: a fresh game, trained for so many steps on batches drawn by weight.

    Args:
        init: `key -> state` of a game at step 0, such as a call of `gan_jax.init`.
        step: from `make_train_step`, for one device; several seeds train in one program.
        data: `[n, ...]`, as given to `boost`.
        steps: and `batch_size`, `minibatches`: of each component; `minibatches` is as many as the step takes.
        ema: the component is the average of the generator's variables, not the last ones.
    """
    data = jnp.asarray(data)

    def draw(feed: tuple[Array, Array, Key], number: Array) -> Array:
        examples, edges, key = feed
        keys = parallel.example_keys(jax.random.fold_in(key, number), minibatches * batch_size)
        batch = to_float(examples[weighted_rows(edges, keys)])
        return batch if minibatches == 1 else batch.reshape(minibatches, batch_size, *batch.shape[1:])

    one = many_steps(step, draw, CALL_STEPS)
    train_one = compilation.jit(one, cached=False, donate_argnums=0)
    train_all = compilation.jit(jax.vmap(one, (0, (None, 0, 0), None)), cached=False, donate_argnums=0)
    init_one, init_all = compilation.jit(init), compilation.jit(jax.vmap(init))
    split_all = jax.vmap(jax.random.split, out_axes=1)

    def train(key: Key, weights: Array, number: int) -> Variables:
        split, first, many = (split_all, init_all, train_all) if key.shape else (jax.random.split, init_one, train_one)
        init_key, data_key = split(key)
        state, feed = first(init_key), (data, share_edges(weights), data_key)
        for done in range(0, steps, CALL_STEPS):
            state, _ = many(state, feed, jnp.int32(min(CALL_STEPS, steps - done)))
        return state.ema if ema else state.generator.variables

    return train


def _size(ensemble: Ensemble) -> int:
    return int(np.ravel(ensemble.size)[0])


def _tell(ensemble: Ensemble, number: int, report: Callable[[str], None]) -> None:
    found = np.atleast_2d(ensemble.found)[:, number]
    if not found.all():
        which = f' in {np.count_nonzero(~found)} of {len(found)} seeds' if len(found) > 1 else ''
        report(f'component {number + 1}: no lambda found{which}; its data have equal weights')
