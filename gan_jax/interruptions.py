"""SIGINT, SIGTERM and SIGHUP end a program with one line, after it has saved what is worth saving."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from gan_jax.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))
_PATIENCE = 5.0
"""Seconds that a program has to finish after a signal."""

Handler = Callable[[int, FrameType | None], None]


class Noted:
    """What `noted` has received: the number of the signal, or 0."""

    received: int = 0


_holding = 0


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Within the block the program may take as long as it needs after a signal, for example to finish a save."""
    global _holding
    _holding += 1
    try:
        yield
    finally:
        _holding -= 1


@contextlib.contextmanager
def noted() -> Iterator[Noted]:
    """Within the block the first signal is only recorded, for the caller to save and stop; a second one is not intercepted."""
    signals = Noted()
    before: dict[int, Any] = {}

    def note(signum: int, frame: FrameType | None) -> None:
        signals.received = signum
        signal.signal(signum, before[signum])

    with unhurried(), _handlers(note, before):
        yield signals


@contextlib.contextmanager
def raised(give_up: Callable[[int], Any]) -> Iterator[None]:
    """Within the block a signal raises `Interrupted`.

    The exception may come late, because the interpreter handles signals between its own instructions and not during a long call
    such as a compilation or a program on the device. It may also be lost, like any exception in a destructor or a C++ callback.
    Therefore, if the block has not ended 5 seconds later, a thread calls `give_up(signum)`, which must end the process; `noted`
    and `unhurried` extend that time.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    with _handlers(interrupt, {}), _watch(give_up):
        yield


@contextlib.contextmanager
def _handlers(handler: Handler, before: dict[int, Any]) -> Iterator[None]:
    """Within the block signals go to this handler; `before` records the previous ones."""
    _set(handler, before)
    try:
        yield
    finally:
        for number, previous in before.items():
            if previous is not None:  # None: the handler was not installed from Python
                signal.signal(number, previous)


def _set(handler: Handler, before: dict[int, Any]) -> None:
    """Installs the handler and records the previous one. A process that ignores SIGHUP (`nohup`) continues to ignore it."""
    terminal = [fd for fd in (1, 2) if _is_terminal(fd)]

    def handle(signum: int, frame: FrameType | None) -> None:
        if signum == getattr(signal, 'SIGHUP', None):
            _let_go(terminal)
        handler(signum, frame)

    try:
        for number in SIGNALS:
            if not (number == getattr(signal, 'SIGHUP', None) and signal.getsignal(number) == signal.SIG_IGN):
                before[number] = signal.getsignal(number)
                signal.signal(number, handle)
    except ValueError:  # not in the main thread, which alone may handle signals
        before.clear()


def end_while_starting() -> None:
    """Ends a program of this project with one line if a signal arrives before its `main`, while modules are being imported.

    Does nothing if anything else imports the library: `sys.argv[0]` is '-m' only until Python has found the module that
    `python -m` runs, and finding it imports the packages that contain it.
    """
    if sys.argv[:1] != ['-m']:
        return
    name = sys.orig_argv[-len(sys.argv)].rpartition('-m')[2]  # '-m' and the name may be one argument
    if name.partition('.')[0] not in ('experiments', 'gan_jax'):
        return

    def end(signum: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f'python -m {name}: {Interrupted(signum)}\n'.encode())
        os._exit(128 + signum)

    _set(end, {})


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _let_go(terminal: list[int]) -> None:
    """Redirects a terminal that has hung up to the null device, because writing to it would be an error."""
    for fd in terminal:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, fd)
        os.close(nowhere)


@contextlib.contextmanager
def _watch(give_up: Callable[[int], Any]) -> Iterator[None]:
    """Calls `give_up` if the block does not end in time after a signal."""
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    over = threading.Event()

    def wait() -> None:
        while heard := ear.recv(64):
            for signum in set(heard) & set(SIGNALS):
                end = time.monotonic() + _PATIENCE
                while not over.wait(0.05):
                    if _holding:
                        end = time.monotonic() + _PATIENCE
                    elif time.monotonic() > end:
                        give_up(signum)
                        return

    try:
        before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    except ValueError:  # not in the main thread
        ear.close()
        mouth.close()
        yield
        return
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        mouth.close()
        thread.join(1)
        ear.close()
