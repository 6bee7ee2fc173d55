"""Checkpoints by Orbax: asynchronous, the newest few kept, restored bit for bit or not at all."""

import contextlib
import functools
import logging
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import hosts, interruptions, placement
from gan_jax.errors import InputError
from gan_jax.runs import checksums, lock, writers_log

_MARGIN = 1.5
"""Free space asked for before a save, in sizes of the state."""
_ASIDE = 'damaged_'
"""Begins the name of what lay in a checkpoint's place and is not one."""
_UNFINISHED = '*.orbax-checkpoint-tmp'


def _orbax() -> Any:
    """Orbax, whose import takes an eighth of the time of `--help`, which needs none."""
    import orbax.checkpoint

    return orbax.checkpoint


def newest_state(run: pathlib.Path, like: Any) -> Any:
    """The newest whole checkpoint of the run at `run`, as `Checkpoints.restore` has it, under its lock."""
    own = lock.held(run) if hosts.leads() else contextlib.nullcontext()
    with own, Checkpoints(run / 'checkpoints') as checkpoints:
        return checkpoints.restore(like)


class Checkpoints:
    """The checkpoints of one run, in `directory`, named by step. The hash of every file is noted when it is written.

    Of several processes each calls every method, and writes the arrays that its devices hold; process 0 does the rest.
    """

    def __init__(self, directory: pathlib.Path, *, keep: int = 3) -> None:
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
        """Begins to save; returns as soon as the state may be overwritten. Raises `InputError` if the disk has no room."""
        hosts.agreed(lambda: self._check_room(_MARGIN * sum(leaf.nbytes for leaf in jax.tree.leaves(state))))
        if step in self._manager.all_steps():
            return
        self.wait()
        copy = jax.tree.map(jnp.copy, _global(state))  # the next step's donation must not reach what is still being written
        self._noted = False
        self._guard(lambda: self._manager.save(step, args=_orbax().args.StandardSave(copy)))

    def _check_room(self, need: float) -> None:
        free = shutil.disk_usage(self._directory).free
        if free < need:
            raise InputError(
                f'the disk is full: a checkpoint needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free in {self._directory}; '
                'the earlier checkpoints are whole, so make room and --resume'
            )

    def wait(self) -> None:
        """Returns when all saves are on disk and their sums are noted."""
        self._guard(self._manager.wait_until_finished)
        if hosts.leads():
            checksums.note(self._directory, self.steps())
        self._noted = True

    def note(self) -> None:
        """Notes the sums of a save that has come to its end since; waits for none."""
        if not self._noted and not self._manager.is_saving_in_progress():
            self.wait()

    def restore(self, like: Any, report: Callable[[str], None] = print) -> Any:
        """The newest whole checkpoint, in the shape of `like` and on its devices, whichever ones it was saved from.

        A newer one whose files are not those that were written is reported, and renamed. Raises `InputError` if there is none, or
        if the newest cannot be read for another reason, such as other shapes.
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
            report(f'checkpoint {step} is damaged and was renamed to {self._set_aside(folder)}: {damage}')
        if self._aside():
            raise InputError(f'{self._directory} has damaged checkpoints only; --overwrite starts again')
        raise InputError(f'nothing to resume: {self._directory} holds no whole checkpoint')

    def _read(self, step: int, abstract: Any) -> Any:
        folder = self._directory / str(step)
        reason, cause = _difference(folder / 'default', abstract), None
        if reason is None:
            try:
                return jax.block_until_ready(self._manager.restore(step, args=_orbax().args.StandardRestore(abstract)))
            except Exception as error:  # whatever a damaged file makes of the reader
                logging.getLogger('absl').exception('checkpoint %d cannot be read', step)
                reason, cause = str(error).strip().split('\n')[0][:120], error
        raise InputError(f'checkpoint {step} cannot be read: {reason}; without {folder} an earlier one is used') from cause

    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, oldest first."""
        return sorted(self._manager.all_steps())

    @property
    def empty(self) -> bool:
        """Whether nothing was ever saved: a damaged checkpoint is one that was."""
        return hosts.agreed(lambda: not self.steps() and not self._aside())

    def _aside(self) -> list[pathlib.Path]:
        return list(self._directory.glob(f'{_ASIDE}*'))

    def _set_strays_aside(self) -> None:
        """Gives other names to files and folders that are named like checkpoints: Orbax saves none before the newest of them."""
        known = checksums.noted(self._directory, lambda text: None)
        for path in self._directory.iterdir():
            saved = path.is_dir() and ((path / '_CHECKPOINT_METADATA').exists() or path.name in map(str, known))
            if path.name.isdecimal() and not saved:
                print(f'{path} is not a checkpoint, and was renamed to {self._rename(path)}')

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
        self._stack.enter_context(writers_log.kept_from_terminal(self._directory / name))
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the saves, so that what was begun is whole, and lets go of the directory."""
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
            self._remove_unfinished()
            if any(sign in str(error) for sign in ('No space left', 'RESOURCE_EXHAUSTED', 'quota exceeded')):
                raise InputError(
                    f'the disk is full: no checkpoint could be written in {self._directory}; the earlier ones are whole'
                ) from error
            raise


def _global(state: Any) -> Any:
    """The state as arrays of all processes, which Orbax writes and reads together; as it is, if it is that already."""
    if hosts.count() == 1 or not any(getattr(x, 'is_fully_addressable', True) for x in jax.tree.leaves(state)):
        return state
    return placement.placed(state)


def _difference(folder: pathlib.Path, like: Any) -> str | None:
    """The first array that a checkpoint has in another shape, or not at all; Orbax would begin to read before it sees that."""
    try:
        with _orbax().PyTreeCheckpointer() as reader:
            theirs = _shapes(reader.metadata(folder).item_metadata.tree)
    except Exception:  # what is wrong with it is seen when it is read
        return None
    ours = _shapes(like)
    keys = {name for name, shape in ours.items() if shape is None}  # random keys are saved as the numbers they are made of
    for name in {**ours, **theirs}:
        if name not in ours or name not in theirs or (name not in keys and ours[name] != theirs[name]):
            there, here = (list(tree[name] or ()) if name in tree else 'nothing' for tree in (theirs, ours))
            return f'it is of another state: {name} is {there} there and {here} here'
    return None


def _shapes(tree: Any) -> dict[str, tuple[int, ...] | None]:
    """The shapes of arrays by their paths, None for random keys."""
    arrays = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, 'shape'))
    is_key = lambda x: x.dtype is not None and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return {
        jax.tree_util.keystr(path, simple=True, separator='.'): None if is_key(x) else tuple(x.shape)
        for path, x in arrays
        if hasattr(x, 'shape')
    }


def _of_another_step(state: Any, step: int) -> str | None:
    """Says so, if a state that counts its steps is of another one than its folder."""
    found = getattr(state, 'step', None)
    if found is None or int(np.ravel(np.asarray(found))[0]) == step:
        return None
    return f'it holds the state of step {int(np.ravel(np.asarray(found))[0])}'
