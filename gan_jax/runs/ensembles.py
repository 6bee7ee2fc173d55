"""Training of AdaGAN ensembles, one component after another, with a checkpoint after each."""

import pathlib
import signal
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.boosting import Booster, Ensemble
from gan_jax.data.feeds import share_edges, weighted
from gan_jax.errors import Interrupted
from gan_jax.keys import named
from gan_jax.runs.checkpoints import Checkpoints
from gan_jax.runs.loop import CALL_STEPS
from gan_jax.runs.seeds import over_seeds
from gan_jax.training import Trainer, TrainState, many_steps
from gan_jax.typing import AnyArray, Array, Key, Variables

TrainComponent = Callable[[Array, int, Key], Any]
"""`(data weights [n], number from 0, key) -> component`; trains a fresh component on the weighted data."""


def boost(
    booster: Booster,
    train_component: TrainComponent,
    component: Any,
    data: AnyArray,
    key: Key,
    *,
    directory: pathlib.Path,
    side_by_side: bool = True,
    report: Callable[[str], None] = print,
) -> Ensemble:
    """Implements algorithm 1 of Tolstikhin et al. 2017: trains components until the ensemble is full, and returns it.

    Continues from the contents of `directory`: an interrupted run repeats the component in progress and ends with bitwise
    identical results, and a finished one is read back. The caller must ensure that both are the same run (`RunDirectory`).

    Raises `Interrupted` if a signal stops it, and `InputError` if a checkpoint cannot be read or written.

    Args:
        booster: from `boosting.adagan`.
        train_component: a pure function of its arguments, so that a component can be trained again. It compiles its programs
            itself.
        component: a component, or its shapes by `jax.eval_shape`.
        data: `[n, ...]` as the classifier accepts them, or uint8 pixels.
        key: one key, or keys `[seeds]` to train as many ensembles at once. In the latter case, `train_component` receives weights
            `[seeds, n]` and keys `[seeds]`, and components and ensemble have a leading axis of seeds. All seeds share the data.
        directory: the directory of the checkpoints.
        side_by_side: how classifiers are trained for several seeds, as in `seeds.over_seeds`.
        report: receives a message if the run is resumed, and if the data could not be weighted and have equal weights instead.
    """
    seeds = key.shape

    def every(function: Callable) -> Callable:
        return over_seeds(function, seeds[0], owned=2, side_by_side=side_by_side) if seeds else compilation.jit(function)

    def keys_of(number: int) -> tuple[Key, Key]:
        own = jax.vmap(jax.random.fold_in, (0, None))(key, number) if seeds else jax.random.fold_in(key, number)
        return named(own, 'component'), named(own, 'classifier')

    append = every(booster.append)
    reweigh = every(lambda ensemble, key, data: booster.reweigh(ensemble, data, key))
    data = jnp.asarray(data)
    ensemble = jax.tree.map(lambda x: jnp.broadcast_to(x, (*seeds, *x.shape)), booster.init(component, len(data)))
    room = ensemble.weights.shape[-1]
    with Checkpoints(directory, keep=2) as checkpoints:
        if not checkpoints.empty:
            ensemble = checkpoints.restore(ensemble, report)
            report(f'resumed {directory} after component {_size(ensemble)} of {room}')
        for number in range(_size(ensemble), room):
            train_key, classifier_key = keys_of(number)
            try:
                ensemble = append(ensemble, train_component(ensemble.data_weights, number, train_key))
                if number + 1 < room:
                    ensemble = reweigh(ensemble, classifier_key, data)
                    _tell(ensemble, number + 1, report)
            except (KeyboardInterrupt, Interrupted) as stop:
                signum = stop.signum if isinstance(stop, Interrupted) else signal.SIGINT
                raise Interrupted(signum, number or None) from None
            checkpoints.save(number + 1, ensemble)
            checkpoints.wait()  # keeps this component intact, regardless of what stops the next one
    return ensemble


def component_trainer(
    trainer: Trainer,
    data: AnyArray,
    *,
    steps: int,
    batch_size: int,
    ema: bool = False,
    side_by_side: bool = True,
) -> TrainComponent:
    """A `train_component` for `boost`, which trains a fresh game on batches drawn by weight.

    Args:
        trainer: trainer of the game, such as `gan_jax.trainer` returns. Several seeds are trained in one program.
        data: `[n, ...]`, as passed to `boost`.
        steps: number of training steps of each component.
        batch_size: batch size of each component.
        ema: whether the component is the average of the generator's variables instead of the last ones.
        side_by_side: how several seeds are trained, as in `seeds.over_seeds`.
    """
    data = jnp.asarray(data)
    feed = weighted(data, np.ones(len(data)), batch_size, minibatches=trainer.minibatches)

    def first(key: Key, data: Array) -> TrainState:
        return trainer.init(data[:1], named(key, 'init'))

    def go(state: TrainState, key: Key, edges: Array, data: Array, n: Array) -> TrainState:
        draw = lambda shared, step: feed.draw(shared, key, step)
        return many_steps(trainer.step, draw, CALL_STEPS)(state, (data, edges), n)[0]

    programs: dict[int, tuple[Callable, Callable]] = {}
    """Programs by the number of seeds; 0 for a single key."""

    def compiled(count: int) -> tuple[Callable, Callable]:
        if not count:
            return compilation.jit(first), compilation.jit(go, cached=False, donate_argnums=0)
        begin = over_seeds(first, count, side_by_side=False)
        return begin, over_seeds(go, count, owned=3, side_by_side=side_by_side, donate=True)

    def train(weights: Array, number: int, key: Key) -> Variables:
        count = len(key) if key.shape else 0
        if count not in programs:
            programs[count] = compiled(count)
        begin, many = programs[count]
        state, edges, data_key = begin(key, data), share_edges(weights), named(key, 'data')
        for done in range(0, steps, CALL_STEPS):
            state = many(state, data_key, edges, data, jnp.int32(min(CALL_STEPS, steps - done)))
        return state.ema if ema else state.generator.variables

    return train


def _size(ensemble: Ensemble) -> int:
    return int(np.ravel(ensemble.size)[0])


def _tell(ensemble: Ensemble, number: int, report: Callable[[str], None]) -> None:
    found = np.atleast_2d(ensemble.found)[:, number]
    if not found.all():
        which = f' in {np.count_nonzero(~found)} of {len(found)} seeds' if len(found) > 1 else ''
        report(f'component {number + 1}: no lambda found{which}; its data have equal weights')
