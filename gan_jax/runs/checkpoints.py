"""Checkpoints by Orbax: asynchronous, the newest few kept, restored bit for bit."""

import json
import logging
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from gan_jax.errors import InputError
from gan_jax.files import write_whole

_SIZES = 'sizes.json'
_MARGIN = 1.5
"""Free space asked for before a save, in sizes of the state."""


class Checkpoints:
    """The checkpoints of one run, in `directory`, named by step."""

    def __init__(self, directory: pathlib.Path, *, keep: int = 3) -> None:
        logging.getLogger('absl').setLevel(logging.ERROR)
        self._directory = directory.absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any) -> None:
        """Begins to save; returns as soon as the state may be overwritten. Raises `InputError` if the disk has no room."""
        need = _MARGIN * sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._directory).free
        if free < need:
            raise InputError(
                f'the disk is full: a checkpoint needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free in {self._directory}; '
                'the earlier checkpoints are whole, so make room and --resume'
            )
        if step in self._manager.all_steps():
            return
        self.wait()
        copy = jax.tree.map(jnp.copy, state)  # the next step's donation must not reach what is still being written
        self._guard(lambda: self._manager.save(step, args=ocp.args.StandardSave(copy)))

    def wait(self) -> None:
        """Returns when all saves are on disk, and notes the sizes of their files."""
        self._guard(self._manager.wait_until_finished)
        sizes = {str(step): _sizes(self._directory, step) for step in self._manager.all_steps()}
        write_whole(self._directory / _SIZES, json.dumps(sizes).encode())

    def restore(self, like: Any, report: Callable[[str], None] = print) -> Any:
        """The newest whole checkpoint, in the shape of `like` and on its devices, whichever ones it was saved from.

        Says so if a newer one was cut short, and removes that. Raises `InputError` if there is none, or if the newest cannot be
        read for another reason, such as other shapes; nothing is removed then.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, 'sharding', None)), like)
        for step in reversed(self.steps()):
            try:
                check_whole(self._directory, step)
            except OSError as error:
                report(f'checkpoint {step} is damaged and was removed: {error}')
                self._manager.delete(step)
                continue
            try:
                return jax.block_until_ready(self._manager.restore(step, args=ocp.args.StandardRestore(abstract)))
            except Exception as error:  # whatever a damaged file, or one of another state, makes of the reader
                reason = str(error).strip().split('\n')[0][:120]
                folder = self._directory / str(step)
                raise InputError(
                    f'checkpoint {step} cannot be read: {reason}; without {folder} an earlier one is used'
                ) from error
        raise InputError(f'nothing to resume: {self._directory} holds no whole checkpoint')

    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, oldest first."""
        return sorted(self._manager.all_steps())

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the saves, so that what was begun is whole, and lets go of the directory."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            if 'No space left' in str(error) or 'RESOURCE_EXHAUSTED' in str(error):
                raise InputError(
                    f'the disk is full: no checkpoint could be written in {self._directory}; the earlier ones are whole'
                ) from error
            raise


def check_whole(directory: pathlib.Path, step: int) -> None:
    """Finds a checkpoint that was cut short before Orbax's reader does, which is long about it. Raises `OSError` for one."""
    noted = directory / _SIZES
    expected = json.loads(noted.read_text()).get(str(step)) if noted.exists() else None
    if expected is not None and _sizes(directory, step) != expected:
        raise OSError('its files are not of the size they were written in')


def _sizes(directory: pathlib.Path, step: int) -> dict[str, int]:
    folder = directory / str(step)
    return {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob('*')) if file.is_file()}
