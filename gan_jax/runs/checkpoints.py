"""Orbax checkpoints: saved asynchronously, limited to the newest few, and restored exactly or not at all."""

import contextlib
import functools
import logging
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import hosts, interruptions, liveness, placement
from gan_jax.errors import InputError, one_line
from gan_jax.runs import checksums, lock, writers_log

_MARGIN = 1.5
"""Free space required before a save, in multiples of the size of the state."""
_ASIDE = 'damaged_'
"""Prefix of the new names of files and folders that are named like checkpoints but are not intact checkpoints."""
_UNFINISHED = '*.orbax-checkpoint-tmp'


def _orbax() -> Any:
    """Imports Orbax on demand: the import takes an eighth of the time of `--help`, which does not require it."""
    import orbax.checkpoint

    return orbax.checkpoint


def newest_state(run: pathlib.Path, like: Any) -> Any:
    """Restores the newest intact checkpoint of the run at `run`, under its lock, as `Checkpoints.restore` does.

    Raises `InputError` as `Checkpoints.restore` does, and if another process holds the lock.
    """
    own = lock.held(run) if hosts.leads() else contextlib.nullcontext()
    with own, Checkpoints(run / 'checkpoints') as checkpoints:
        return checkpoints.restore(like)


class Checkpoints:
    """The checkpoints of one run in `directory`, named by step. The hash of every file is recorded when it is written.

    With several processes, each of them calls every method and writes the arrays on its devices; process 0 does the rest. A
    process that cannot write ends all of them, which would otherwise wait for its part for 20 minutes.
    """

    def __init__(self, directory: pathlib.Path, *, keep: int | None = 3) -> None:
        logging.getLogger('absl').setLevel(logging.ERROR)
        self._directory = directory.absolute()
        self._stack = contextlib.ExitStack()
        self._options = _orbax().CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._noted = True
        hosts.agreed(self._prepare)
        self._open()

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        self._set_strays_aside()

    def _open(self) -> None:
        self._manager = _orbax().CheckpointManager(self._directory, options=self._options)

    def save(self, step: int, state: Any) -> None:
        """Starts to save and returns as soon as the state may be overwritten. Raises `InputError` if the disk is full."""
        hosts.agreed(lambda: self._check_room(_MARGIN * sum(leaf.nbytes for leaf in jax.tree.leaves(state))))
        if step in self._manager.all_steps():
            return
        self.wait()
        copy = jax.tree.map(jnp.copy, _global(state))  # the next step donates the state, which must not affect this one
        self._noted = False
        self._guard(lambda: self._manager.save(step, args=_orbax().args.StandardSave(copy)))

    def _check_room(self, need: float) -> None:
        free = shutil.disk_usage(self._directory).free
        if free < need:
            raise InputError(
                f'the disk is full: a checkpoint requires {need / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free in '
                f'{self._directory}; earlier checkpoints are intact, so make room and use --resume'
            )

    def wait(self) -> None:
        """Waits until all saves are on disk and their checksums are recorded. Raises `InputError` if the disk is full."""
        self._guard(self._manager.wait_until_finished)
        if hosts.leads():
            checksums.note(self._directory, self.steps())
        self._noted = True

    def note(self) -> None:
        """Records the checksums of a save that has finished in the meantime, without waiting for one that has not."""
        if not self._noted and not self._manager.is_saving_in_progress():
            self.wait()

    def restore(self, like: Any, report: Callable[[str], None] = print) -> Any:
        """The newest intact checkpoint, with the structure and the devices of `like`, regardless of the devices that saved it.

        Newer checkpoints whose files have changed since they were written are reported and renamed. Raises `InputError` if there
        is no checkpoint, or if the newest cannot be read for another reason, such as different shapes.
        """
        given, like = like, _global(like)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, 'sharding', None)), like)
        noted = hosts.agreed(lambda: checksums.noted(self._directory, report))
        for step in reversed(self.steps()):
            folder = self._directory / str(step)
            damage = hosts.agreed(functools.partial(checksums.damage, folder, noted[step])) if step in noted else None
            state = None if damage else self._read(step, abstract)
            if state is not None:
                damage = _of_another_step(state, step)
            if damage is None:
                self._noted = False
                return state if given is like else placement.local(state)
            report(f'checkpoint {step} is damaged and has been renamed to {self._set_aside(folder)}: {damage}')
        if self._aside():
            raise InputError(f'{self._directory} contains only damaged checkpoints; use --overwrite to start again')
        raise InputError(f'nothing to resume: {self._directory} does not contain an intact checkpoint')

    def _read(self, step: int, abstract: Any) -> Any:
        folder = self._directory / str(step)
        reason, cause = _difference(folder / 'default', abstract), None
        if reason is None:
            try:
                return jax.block_until_ready(self._manager.restore(step, args=_orbax().args.StandardRestore(abstract)))
            except Exception as error:  # reading a damaged file may raise anything
                logging.getLogger('absl').exception('checkpoint %d cannot be read', step)
                reason, cause = str(error).strip().split('\n')[0][:120], error
        raise InputError(f'checkpoint {step} cannot be read: {reason}; remove {folder} to use an earlier one') from cause

    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, oldest first."""
        return sorted(self._manager.all_steps())

    @property
    def empty(self) -> bool:
        """Whether nothing has ever been saved; a damaged checkpoint counts as saved."""
        return hosts.agreed(lambda: not self.steps() and not self._aside())

    def _aside(self) -> list[pathlib.Path]:
        return list(self._directory.glob(f'{_ASIDE}*'))

    def _set_strays_aside(self) -> None:
        """Renames other files and folders that are named like checkpoints: Orbax saves no steps before the newest of them."""
        known = checksums.noted(self._directory, lambda text: None)
        for path in self._directory.iterdir():
            saved = path.is_dir() and ((path / '_CHECKPOINT_METADATA').exists() or path.name in map(str, known))
            if path.name.isdecimal() and not saved:
                print(f'{path} is not a checkpoint and has been renamed to {self._rename(path)}')

    def _set_aside(self, folder: pathlib.Path) -> str:
        name = hosts.agreed(lambda: self._rename(folder))
        self._manager.close()
        self._open()
        return name

    def _rename(self, path: pathlib.Path) -> str:
        name, number = f'{_ASIDE}{path.name}', 1
        while (self._directory / name).exists():
            name, number = f'{_ASIDE}{path.name}_{number}', number + 1
        os.replace(path, self._directory / name)
        return name

    def _remove_unfinished(self) -> None:
        for folder in self._directory.glob(_UNFINISHED) if hosts.leads() else ():
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> 'Checkpoints':
        name = writers_log.NAME if hosts.leads() else f'{hosts.index()}_{writers_log.NAME}'
        self._stack.enter_context(writers_log.kept_from_terminal(self._directory / name, self._end_all))
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the saves, so that those in progress are completed, and releases the directory."""
        with self._stack, interruptions.unhurried():
            try:
                self.wait()
            finally:
                self._manager.close()
                self._remove_unfinished()

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            self._end_all(error)
            self._remove_unfinished()
            if _of_full_disk(error):
                raise self._full() from error
            raise

    def _end_all(self, error: BaseException) -> None:
        """With several processes, ends all of them after an error of this one alone, in a line."""
        if hosts.count() == 1 or liveness.may_be_of_another(error):
            return
        line = str(self._full()) if _of_full_disk(error) else f'cannot write a checkpoint: {one_line(error)}'
        self._remove_unfinished()
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)
        liveness.leave(2, line)

    def _full(self) -> InputError:
        return InputError(f'the disk is full: cannot write a checkpoint in {self._directory}; earlier checkpoints are intact')


def _of_full_disk(error: BaseException) -> bool:
    return any(sign in str(error) for sign in ('No space left', 'RESOURCE_EXHAUSTED', 'quota exceeded'))


def _global(state: Any) -> Any:
    """Replicates a state of local arrays over all processes, which Orbax writes and reads together."""
    if hosts.count() == 1 or not any(getattr(x, 'is_fully_addressable', True) for x in jax.tree.leaves(state)):
        return state
    return placement.placed(state)


def _difference(folder: pathlib.Path, like: Any) -> str | None:
    """The first array that a checkpoint lacks or has in another shape; Orbax would start to read before it detects this."""
    try:
        with _orbax().PyTreeCheckpointer() as reader:
            theirs = _shapes(reader.metadata(folder).item_metadata.tree)
    except Exception:  # reading the checkpoint will report the error
        return None
    ours = _shapes(like)
    keys = {name for name, shape in ours.items() if shape is None}  # random keys are saved as their underlying integers
    for name in {**ours, **theirs}:
        if name not in ours or name not in theirs or (name not in keys and ours[name] != theirs[name]):
            there, here = (list(tree[name] or ()) if name in tree else 'nothing' for tree in (theirs, ours))
            return f'it contains a different state: {name} is {there} there and {here} here'
    return None


def _shapes(tree: Any) -> dict[str, tuple[int, ...] | None]:
    """The shapes of arrays by path, None for random keys."""
    arrays = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, 'shape'))
    is_key = lambda x: x.dtype is not None and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): None if is_key(x) else tuple(x.shape)
        for path, x in arrays
        if hasattr(x, 'shape')
    }


def _of_another_step(state: Any, step: int) -> str | None:
    """Describes the mismatch if a state that counts its steps belongs to a step other than that of its folder."""
    found = getattr(state, 'step', None)
    if found is None or int(np.ravel(np.asarray(found))[0]) == step:
        return None
    return f'it contains the state of step {int(np.ravel(np.asarray(found))[0])}'
