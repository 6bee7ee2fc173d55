"""The memory of this machine, and one line for what does not fit into it: the system ends a process that finds out by itself."""

import os
import pathlib

from gan_jax.errors import InputError

_CONTROL_GROUP = pathlib.Path('/sys/fs/cgroup/memory.max')


def available() -> int | None:
    """The bytes of memory that a process may have: the machine's, or its container's if that has less; None if unknown."""
    if not hasattr(os, 'sysconf'):  # Windows does not report it
        return None
    machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        return min(machine, int(_CONTROL_GROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return machine


def require(need: float, what: str, advice: str, have: int | None = None) -> None:
    """Raises `InputError` for `what`, in the plural, if it requires more bytes than there are.

    Args:
        need: number of bytes.
        what: what requires them.
        advice: what to do instead.
        have: number of bytes that there are; by default those of this machine.
    """
    have = available() if have is None else have
    if have is not None and need > have:
        raise InputError(f'{what} require {need / 1e9:,.0f} GB, and this machine has {have / 1e9:,.0f} GB: {advice}')
