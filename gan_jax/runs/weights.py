"""The networks of a run without the rest of its state, to sample from them or to start another run from them."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from gan_jax.errors import InputError, one_line
from gan_jax.files import write_whole
from gan_jax.runs import checksums
from gan_jax.training import TrainState
from gan_jax.typing import Variables

_SEPARATOR = '.'
"""Separates the names in a path; names of Flax's wrappers (`WeightNorm`) contain slashes."""


def saved_steps(path: pathlib.Path) -> list[int]:
    """The steps of the checkpoints of the run at `path`, oldest first."""
    return sorted(int(folder.name) for folder in (path / 'checkpoints').glob('*') if folder.name.isdigit())


def read_checkpoint(
    path: pathlib.Path, pick: Callable[[dict[str, Any]], dict[str, Any]], step: int | None = None
) -> tuple[int, dict[str, Any]]:
    """Reads a part of a checkpoint of the run at `path`; returns its step and the part, on the first device.

    The part is read without the shapes or the code of the rest. Raises `InputError` if there is no checkpoint, none of that step,
    or one that cannot be read.

    Args:
        path: directory of the run.
        pick: maps the state as nested dicts to the part, which omits some of their entries.
        step: the step; by default the newest.
    """
    import orbax.checkpoint as ocp

    logging.getLogger('absl').setLevel(logging.ERROR)
    steps = saved_steps(path)
    if not steps:
        raise InputError(f'{path} has no checkpoint yet')
    if step is not None and step not in steps:
        raise InputError(f'{path} has no checkpoint of step {step}; available steps are {", ".join(map(str, steps))}')
    step = steps[-1] if step is None else step
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    folder = (path / 'checkpoints' / str(step)).absolute()
    noted = checksums.noted(folder.parent)
    if step in noted and (damage := checksums.damage(folder, noted[step])):
        raise InputError(f'checkpoint {step} of {path} is damaged: {damage}')
    folder /= 'default'
    try:
        with ocp.PyTreeCheckpointer() as reader:
            saved = pick(reader.metadata(folder).item_metadata.tree)
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), saved)
            restore_args = ocp.checkpoint_utils.construct_restore_args(like, jax.tree.map(lambda _: device, like))
            options = ocp.args.PyTreeRestore(item=like, restore_args=restore_args, partial_restore=True)
            return step, jax.block_until_ready(reader.restore(folder, args=options))
    except Exception as error:  # reading a damaged file may raise anything
        raise InputError(f'checkpoint {step} of {path} cannot be read: {one_line(error)}') from error


def save_weights(file: pathlib.Path, weights: Variables, step: int) -> None:
    """Writes the Flax variables of a step as safetensors, each array under its path, such as `params.Dense_0.kernel`."""
    from safetensors import numpy as safetensors

    flat = traverse_util.flatten_dict(dict(weights), sep=_SEPARATOR)
    arrays = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    write_whole(file, safetensors.save(arrays, metadata={'step': str(step)}))


def load_weights(file: pathlib.Path) -> tuple[int, Variables]:
    """Reads the step and the variables that `save_weights` wrote. Raises `InputError` for a file that cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, 'numpy') as saved:
            arrays = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
            return int((saved.metadata() or {})['step']), traverse_util.unflatten_dict(arrays, sep=_SEPARATOR)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f'cannot read {file}: {error}') from error


def start_from(state: TrainState, path: pathlib.Path) -> TrainState:
    """The state at step 0 with the networks of the newest checkpoint of the run at `path`.

    The parameters and statistics of both players and the generator's average are from that run. The step, the random keys, the
    optimizers and all counts of updates during training are new, and therefore every schedule starts anew. Raises `InputError` if
    there is no checkpoint, or if the shapes of its networks differ.
    """
    players = ('generator', 'discriminator')

    def networks(tree: dict[str, Any]) -> dict[str, Any]:
        return {'ema': tree['ema']} | {p: {part: tree[p].get(part) or {} for part in ('params', 'state')} for p in players}

    _, found = read_checkpoint(path, networks)
    changed: dict[str, Any] = {'ema': _with_values(state.ema, found['ema'], path)}
    for name in players:
        player = getattr(state, name)
        fresh = {collection: player.state[collection] for collection in _COUNTS if collection in player.state}
        own = {collection: value for collection, value in player.state.items() if collection not in fresh}
        changed[name] = dataclasses.replace(
            player,
            params=_with_values(player.params, found[name]['params'], path),
            state={**_with_values(own, {k: v for k, v in found[name]['state'].items() if k not in _COUNTS}, path), **fresh},
        )
    return dataclasses.replace(state, **changed)


_COUNTS = ('progress', 'pool', 'paths')
"""Collections that belong to the course of a run: counts of updates, the state of an augmentation, previous images, and
the mean length of paths."""


def _with_values(like: Variables, found: Variables, path: pathlib.Path) -> Variables:
    """`found`, placed on the devices of `like`. Raises `InputError` unless their names and shapes agree."""
    ours, theirs = (traverse_util.flatten_dict(dict(tree), sep=_SEPARATOR) for tree in (like, found))
    for name in {**ours, **theirs}:
        shapes = [list(tree[name].shape) if name in tree else 'nothing' for tree in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise InputError(f'the networks of {path} differ from those of this run: {name} is {shapes[0]}, not {shapes[1]}')
    moved = {name: jax.device_put(np.asarray(theirs[name]), array.sharding) for name, array in ours.items()}
    return traverse_util.unflatten_dict(moved, sep=_SEPARATOR)
