"""What the writers and readers of checkpoints have to say, hundreds of lines at times, goes to a file."""

import contextlib
import logging
import pathlib
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

NAME = 'writers.log'
_LOGGERS = ('absl', 'asyncio')


@contextlib.contextmanager
def kept_from_terminal(file: pathlib.Path) -> Iterator[None]:
    """Within it, errors that are logged, and those that end a thread, are kept; afterwards they are appended to the file.

    They are written last because a disk that was full has room again when what could not be saved has been removed. Where it has
    none they are dropped. After an error, what threads of C++ print later, when what they wrote for is gone, is kept as well.
    """
    texts: list[str] = []
    handler = _Keeper(texts)
    hooks = sys.excepthook, threading.excepthook
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    # The writers are C++ that calls the first hook on its own threads; whatever ends the program comes after this block.
    sys.excepthook = lambda kind, error, trace: texts.append(''.join(traceback.format_exception(kind, error, trace)))
    threading.excepthook = lambda args: texts.append(''.join(traceback.format_exception(*args[:3])))
    try:
        yield
    finally:
        threading.excepthook = hooks[1]
        sys.excepthook = _of_main_thread(hooks[0], file) if texts else hooks[0]
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        _append(file, texts)


def _append(file: pathlib.Path, texts: list[str]) -> None:
    if texts:
        with contextlib.suppress(OSError), open(file, 'a') as out:
            out.write('\n'.join(texts) + '\n')


def _of_main_thread(hook: Any, file: pathlib.Path) -> Any:
    def late(kind: Any, error: Any, trace: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            hook(kind, error, trace)
        else:
            _append(file, traceback.format_exception(kind, error, trace))

    return late


class _Keeper(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._texts = texts

    def emit(self, record: Any) -> None:
        self._texts.append(self.format(record))
