"""How several processes end: if one dies or fails, the others end within a minute, in one line that names it.

JAX notices a dead process late, and then ends the others with a page of text. Here each process leaves signs of life with JAX's
coordination service; process 0 checks all of them, and tells the others which one is missing.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from typing import Any

import jax

from gan_jax.errors import one_line

PATIENCE = 25.0
"""Seconds without a sign of life after which a process counts as dead."""
BEAT = 1.0
"""Seconds between two signs of life."""
_GRACE = 3.0
"""Seconds in which this process may end like another one that has ended, and print its message itself."""
_OWN = re.compile('RESOURCE_EXHAUSTED|INVALID_ARGUMENT|UNIMPLEMENTED|NOT_FOUND|OUT_OF_RANGE')
"""The statuses of errors of this process. Another process that has died causes, for example, UNAVAILABLE and INTERNAL."""
_ALIVE, _LOST = 'gan_jax/alive/', 'gan_jax/lost/'
_AGAIN = '--resume goes on from the newest checkpoint'
_watch: 'Watch | None' = None


def watch(client: Any, index: int, count: int) -> None:
    """Starts the watch in process `index` of `count`, through a client of the coordination service."""
    global _watch
    _watch = Watch(client, index, count)
    _watch.start()


class Watch(threading.Thread):
    """Leaves signs of life of this process, and ends it when another one has died."""

    def __init__(self, client: Any, index: int, count: int) -> None:
        super().__init__(daemon=True, name='liveness')
        self._client, self._index = client, index
        self._beat, self._why = 0, ''
        self._code: int | None = None
        self._seen = {i: (-1, time.monotonic()) for i in range(count)}
        """Process -> (number of its newest sign, time at which that was first seen)."""
        self.over = threading.Event()
        self.sign()

    def sign(self, code: int | None = None, why: str = '') -> None:
        """Leaves a sign of life, or with an exit code a sign that this process ends."""
        if code is not None:
            self._code, self._why = code, why
        self._beat += 1
        text = json.dumps([self._beat, socket.gethostname(), self._code, self._why])
        self._client.key_value_set(f'{_ALIVE}{self._index}', text, allow_overwrite=True)

    def run(self) -> None:
        reached = time.monotonic()
        while not self.over.wait(BEAT):
            lost = None
            try:
                self.sign()
                lost = self._look() if self._index == 0 else self._listen()
                reached = time.monotonic()
            except jax.errors.JaxRuntimeError:  # a network may fail for a moment
                if (silence := time.monotonic() - reached) > PATIENCE:
                    of = 'process 0, which coordinates the others, has not been reached'
                    lost = 1, f'{of} for {silence:.0f} s; {_AGAIN}'
            if lost and not self.over.wait(_GRACE) and self._code is None:
                code, line = lost
                with contextlib.suppress(OSError):
                    print(line, file=sys.stderr, flush=True)
                leave(code, line)

    def all_live(self, seconds: float) -> bool:
        """Whether within this time every other process leaves a new sign of life, and none ends."""
        end = time.monotonic() + seconds
        before: dict[int, int] = {}
        while time.monotonic() < end:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                beats = {i: beat for i, (beat, _, code, _) in self._signs().items() if i != self._index and code is None}
                before = before or beats
                if len(beats) == len(self._seen) - 1 and all(beats[i] > beat for i, beat in before.items()):
                    return True
            time.sleep(BEAT / 4)
        return False

    def others_run(self) -> bool:
        """Whether a process other than process 0 has neither ended nor died. Called in process 0."""
        silent = lambda i: time.monotonic() - self._seen[i][1] > PATIENCE
        return any(code is None and i and not silent(i) for i, (_, _, code, _) in self._signs().items())

    def _signs(self) -> dict[int, tuple[int, str, int | None, str]]:
        entries = self._client.key_value_dir_get(_ALIVE)
        return {int(key.rpartition('/')[2]): tuple(json.loads(text)) for key, text in entries}

    def _look(self) -> tuple[int, str] | None:
        """The exit code and line for all, if a process has failed or died. Called in process 0."""
        now = time.monotonic()
        for index, (beat, host, code, why) in sorted(self._signs().items()):
            if beat != self._seen[index][0]:
                self._seen[index] = beat, now
            silence = now - self._seen[index][1]
            line = None
            if code:
                line = f'process {index} on {host} ended: {why}'
            elif code is None and silence > PATIENCE:
                code, line = 1, f'process {index} on {host} has died: no sign of it for {silence:.0f} s; {_AGAIN}'
            if code and line:
                self._client.key_value_set(f'{_LOST}line', json.dumps([code, line]), allow_overwrite=True)
                return code, line
        return None

    def _listen(self) -> tuple[int, str] | None:
        """What process 0 has found."""
        entries = self._client.key_value_dir_get(_LOST)
        return tuple(json.loads(entries[0][1])) if entries else None


def leave(code: int, why: str) -> None:
    """Ends this process at once and tells the others why, so that they end too. With a single process it returns."""
    if _watch is None:
        return
    with contextlib.suppress(Exception):
        _watch.sign(code, why)
        end = time.monotonic() + (0 if jax.process_index() else 10)  # the others need the service of process 0 to end
        while time.monotonic() < end and _watch.others_run():
            time.sleep(BEAT / 4)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def failed(error: BaseException) -> None:
    """Ends this process after an unexpected error. With a single process it returns.

    Communication with a process that has died fails too; then only the line about its death is printed.
    """
    if _watch is None:
        return
    if may_be_of_another(error) and not _watch.all_live(5 * BEAT):
        time.sleep(PATIENCE + _GRACE)  # if another process has died, the watch ends this one before that
    sys.excepthook(type(error), error, error.__traceback__)
    leave(1, one_line(error))


def may_be_of_another(error: BaseException) -> bool:
    """Whether an error, or the one that caused it, may be the consequence of the death of another process."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, jax.errors.JaxRuntimeError):
        found = found.__cause__
    return found is not None and not _OWN.match(str(found)) and 'callback' not in str(found)


def close() -> None:
    """Records that this process has finished, and ends the watch. Called when all processes have finished."""
    if _watch is not None:
        _watch.sign(0)
        _watch.over.set()
