"""Redirects the output of the readers and writers of checkpoints, which may be hundreds of lines, to a file."""

import contextlib
import logging
import pathlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

NAME = 'writers.log'
_TOO_LATE = 'Event loop is closed'
"""The message for a result that is no longer awaited."""
_LOGGERS = ('absl', 'asyncio')


@contextlib.contextmanager
def kept_from_terminal(file: pathlib.Path, of_a_thread: Callable[[BaseException], None] = lambda error: None) -> Iterator[None]:
    """Collects logged errors and errors that end a thread within the block, and appends them to the file at its end.

    They are written at the end because a full disk has room again when unfinished saves have been removed. If there is still no
    room they are discarded. After an error, later output of its threads and coroutines is collected as well.

    `of_a_thread` is called with an exception that a thread other than the main one has logged.
    """
    texts: list[str] = []
    handler = _Keeper(texts, of_a_thread)
    of_threads, of_destructors = threading.excepthook, sys.unraisablehook
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    threading.excepthook = lambda args: texts.append(''.join(traceback.format_exception(*args[:3])))
    sys.unraisablehook = _without_readers_and_writers(of_destructors, texts.append)
    try:
        yield
    finally:
        threading.excepthook = of_threads
        append = lambda text: _append(file, [text])
        sys.unraisablehook = _without_readers_and_writers(of_destructors, append) if texts else of_destructors
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        _append(file, texts)


def _append(file: pathlib.Path, texts: list[str]) -> None:
    if texts:
        with contextlib.suppress(OSError), open(file, 'a') as out:
            out.write('\n'.join(texts) + '\n')


def _without_readers_and_writers(hook: Any, keep: Callable[[str], None]) -> Any:
    """A hook for unraisable errors that collects those of Orbax's coroutines and TensorStore's threads."""

    def filtered(lost: Any) -> None:
        code = getattr(lost.object, 'cr_code', None)
        if str(lost.exc_value) == _TOO_LATE or (code is not None and 'orbax' in code.co_filename):
            keep(''.join(traceback.format_exception(lost.exc_type, lost.exc_value, lost.exc_traceback)))
        else:
            hook(lost)

    return filtered


class _Keeper(logging.Handler):
    def __init__(self, texts: list[str], of_a_thread: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._texts, self._of_a_thread = texts, of_a_thread

    def emit(self, record: Any) -> None:
        self._texts.append(self.format(record))
        if record.exc_info and record.exc_info[1] and threading.current_thread() is not threading.main_thread():
            self._of_a_thread(record.exc_info[1])
