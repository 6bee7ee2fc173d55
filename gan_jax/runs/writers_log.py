"""What the writers and readers of checkpoints have to say, hundreds of lines at times, goes to a file."""

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
"""What is said of a result that nobody waits for any more."""
_LOGGERS = ('absl', 'asyncio')


@contextlib.contextmanager
def kept_from_terminal(file: pathlib.Path) -> Iterator[None]:
    """Within it, errors that are logged, and those that end a thread, are kept; afterwards they are appended to the file.

    They are written last because a disk that was full has room again when what could not be saved has been removed. Where it has
    none they are dropped. After an error, what their threads and coroutines still say later is kept as well.
    """
    texts: list[str] = []
    handler = _Keeper(texts)
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
    """A hook for errors that nobody can be told of, which keeps those of Orbax's coroutines and TensorStore's threads."""

    def filtered(lost: Any) -> None:
        code = getattr(lost.object, 'cr_code', None)
        if str(lost.exc_value) == _TOO_LATE or (code is not None and 'orbax' in code.co_filename):
            keep(''.join(traceback.format_exception(lost.exc_type, lost.exc_value, lost.exc_traceback)))
        else:
            hook(lost)

    return filtered


class _Keeper(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._texts = texts

    def emit(self, record: Any) -> None:
        self._texts.append(self.format(record))
