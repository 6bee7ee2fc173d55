"""Restricts a run's directory to one process at a time by a lock that names its holder and ends with its process.

The processes of one run hold the lock together, through process 0, and must see the same directory.
"""

import contextlib
import errno
import os
import pathlib
import secrets
import socket
import time
import weakref
from collections.abc import Iterator

from gan_jax import hosts
from gan_jax.errors import InputError

try:
    import fcntl
except ImportError:  # not available on Windows
    fcntl = None  # type: ignore[assignment]

NAME = '.lock'
SHARED = '.shared'
"""Written by process 0 for the other processes of its run, which do not see it on another disk."""
_LATE = 5.0
"""Seconds after which a file that another host has written is expected on a network file system."""
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class Lock:
    """A lock on a directory, held as long as the object lives. Raises `InputError` if another process holds it.

    On a file system without locks, nothing is locked and no process is excluded.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._file = open(folder / NAME, 'ab+', buffering=0)  # noqa: SIM115  (unbuffered, in case the disk is full)
        weakref.finalize(self, self._file.close)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                return
            self._file.seek(0)
            holder = ' '.join(self._file.read(200).decode(errors='replace').split()) or 'another process'
            raise InputError(f'{folder} is in use by {holder}; wait until it has ended, or use another --name') from None
        self._file.truncate(0)
        holder = f'process {os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}\n'
        self._file.write(holder.encode())

    def is_of(self, folder: pathlib.Path) -> bool:
        """Whether this is still the lock that other processes find in the directory."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(folder / NAME))
        except OSError:
            return False


_own: 'weakref.WeakValueDictionary[pathlib.Path, Lock]' = weakref.WeakValueDictionary()


def lock(folder: pathlib.Path) -> Lock:
    """The lock on a directory, shared by all callers in this process. Raises `InputError` if another process holds it."""
    key = folder.resolve()
    found = _own.get(key)
    if found is None or not found.is_of(folder):
        found = _own[key] = Lock(folder)
    return found


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock on a directory within a block, such as one that reads its checkpoints.

    Raises `InputError` if another process holds the lock.
    """
    own = lock(folder)
    yield
    del own


def check_shared(folder: pathlib.Path) -> None:
    """Raises `InputError` in all processes of a run if one of them does not see this directory of process 0."""
    if hosts.count() == 1:
        return
    mark = folder / SHARED

    def write() -> bytes:
        token = secrets.token_bytes(16)
        mark.write_bytes(token)
        return token

    token = hosts.agreed(write)
    seen = hosts.shared((socket.gethostname(), _appears(mark, token)))
    hosts.agreed(mark.unlink)
    if unseen := [f'process {i} on {host}' for i, (host, found) in enumerate(seen) if not found]:
        raise InputError(f'{unseen[0]} does not see {folder}: --runs-dir must be on a disk that all processes share')


def _appears(file: pathlib.Path, content: bytes) -> bool:
    """Whether a file with this content appears in time."""
    end = time.monotonic() + _LATE
    while not (found := file.is_file() and file.read_bytes() == content) and time.monotonic() < end:
        time.sleep(0.1)
    return found
