"""The compiled training steps of a study: on data that are on the device or read as required, for one or several seeds."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gan_jax import compilation, memory, parallel, placement
from gan_jax.data.feeds import Feed, Joined, Stream
from gan_jax.errors import InputError
from gan_jax.keys import named
from gan_jax.runs import seeds
from gan_jax.runs.loop import CALL_STEPS, Advance
from gan_jax.runs.options import TrainOptions, check_fit
from gan_jax.runs.study import Study
from gan_jax.training import Game, TrainState, many_steps
from gan_jax.typing import Batch, Key, Metrics


def check_share(study: Study, rows: int) -> None:
    """Raises `InputError` if the game cannot be played on `rows` examples, the share of one device."""
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *np.shape(x)[1:]), jnp.result_type(x)), study.example)
    if study.game is not None:
        leaves, structure = jax.tree.flatten(batch)
        if problem := _problem(study.game, structure, *leaves):
            raise InputError(problem)


@functools.lru_cache(maxsize=16)
def _problem(game: Game, structure: Any, *leaves: jax.ShapeDtypeStruct) -> str | None:
    """Why the game cannot be played on such a batch. Remembered, since a mesh of several seeds asks for the same share again."""
    try:
        check_fit(game, jax.tree.unflatten(structure, leaves))
    except InputError as error:
        return str(error)
    return None


def seeds_grid(config: TrainOptions, study: Study) -> Mesh:
    """The devices of a run of several seeds; with more devices than seeds, several devices share the batch of each seed."""

    def fits(rows: int) -> bool:
        try:
            check_share(study, rows)
        except InputError:
            return False
        return True

    return placement.grid(config.seeds, config.batch_size, fits)


def first_state(config: TrainOptions, study: Study, keys: Key) -> TrainState:
    """The state at step 0 for root keys `[seeds]`; for several seeds its leaves are `[seeds, ...]`.

    Raises `InputError` for a state that does not fit into the memory of this machine.
    """
    one: Callable = lambda key, example: study.trainer.init(example, named(key, 'init'))
    if config.seeds == 1:
        init, key = compilation.jit(one), keys[0]
    else:  # one after another, since `vmap` would batch every initialiser
        init, key = seeds.over_seeds(one, config.seeds, side_by_side=False), keys
    # `over_seeds` places what it is given, which must not be traced.
    shapes = jax.tree.leaves(jax.eval_shape(init if config.seeds == 1 else one, keys[0], study.example))
    need, what = config.seeds * sum(4 * math.prod(x.shape) for x in shapes), 'the parameters and the states of their optimizers'
    memory.require(need, what, 'choose smaller networks or images, or fewer --seeds')
    return init(key, study.example)


def advancing(config: TrainOptions, study: Study, keys: Key) -> Advance:
    """A function that takes training steps, on data that are on the device or read as required."""
    own = [study.feed.own(number, named(keys[number], 'data')) for number in range(config.seeds)]
    how = _resident if isinstance(study.feed, Feed) else _streamed
    return how(config, study, own)


def _resident(config: TrainOptions, study: Study, own: list[Any]) -> Advance:
    feed = study.feed
    assert isinstance(feed, Feed)
    many: Callable = many_steps(study.trainer.step, lambda data, step: feed.draw(data[0], data[1], step), CALL_STEPS)
    if config.seeds == 1:
        one: Callable = parallel.choose(config.runner)(many, batch_axis=None)
        held = placement.placed((feed.data, own[0]))  # once, and not in every call
        take = lambda state, n: one(state, held, n)
    else:
        each = lambda state, own, data, n: many(state, (data, own), n)
        mesh = seeds_grid(config, study)
        how: dict[str, Any] = {'owned': 2, 'side_by_side': _side_by_side(study), 'donate': True, 'mesh': mesh}
        every = seeds.over_seeds(each, config.seeds, **how)
        together, held = seeds.stacked(own), placement.placed(feed.data, mesh)
        take = lambda state, n: every(state, together, held, n)

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        state, rows = take(state, jnp.int32(n))
        rows = {name: np.asarray(row) for name, row in placement.local(rows).items()}
        return state, {name: row[:n] if config.seeds == 1 else row[:, :n].T for name, row in rows.items()}

    return advance


def _streamed(config: TrainOptions, study: Study, own: list[Any]) -> Advance:
    """Makes one call per step, without waiting for it."""
    stream = study.feed
    assert isinstance(stream, (Stream, Joined))
    step = lambda state, batch, own: study.trainer.step(state, stream.prepare(batch, own, state.step))
    axis = 0 if stream.minibatches == 1 else 1
    sizes = {'seeds': config.seeds, 'batch_size': config.batch_size}
    if config.seeds == 1:
        share, key = placement.share(None, **sizes), placement.placed(own[0])
        one: Callable = parallel.choose(config.runner)(step, batch_axis=axis)
        take = lambda state, batches: one(state, placement.assembled(batches[0], None, share, **sizes, axis=axis), key)
    else:
        mesh, axis = seeds_grid(config, study), axis + 1
        share = placement.share(mesh, **sizes)
        how: dict[str, Any] = {'owned': 3, 'side_by_side': _side_by_side(study), 'donate': True, 'mesh': mesh, 'split': (1, axis)}
        every = seeds.over_seeds(step, config.seeds, **how)
        together = seeds.stacked(own)
        joined = lambda batches: jax.tree.map(lambda *x: np.stack(x), *batches)
        take = lambda state, batches: every(
            state, placement.assembled(joined(batches), mesh, share, **sizes, axis=axis), together
        )
    reading: list[Iterator[Batch]] = []

    def advance(state: TrainState, n: int) -> tuple[TrainState, Metrics]:
        if not reading:
            start = int(np.ravel(np.asarray(state.step))[0])
            reading.extend(stream.batches(mine, start, share.rows) for mine in own[share.seeds])
        rows = []
        for _ in range(n):
            state, metrics = take(state, [next(batches) for batches in reading])
            rows.append(metrics)
        rows = placement.local(rows)
        return state, jax.tree.map(lambda *m: np.stack([np.asarray(x) for x in m]), *rows)

    return advance


def _side_by_side(study: Study) -> bool:
    return study.side_by_side or jax.default_backend() != 'cpu'
