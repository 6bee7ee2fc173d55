"""Exceptions whose messages are meant for the user."""

import contextlib
from collections.abc import Iterator


class InputError(ValueError):
    """The request is invalid. The message is one line: the problem and, where possible, a valid alternative."""


@contextlib.contextmanager
def told_to_user(about: str = '') -> Iterator[None]:
    """Raises an `InputError` with the same message, after `about` and a colon if it is given, for any `ValueError` within.

    For calls of functions whose arguments come from the user; `InputError` tells the command line to end in one line.
    """
    try:
        yield
    except ValueError as error:
        raise InputError(f'{about}: {error}' if about else str(error)) from error


def one_line(error: BaseException) -> str:
    """The type and message of an exception in one line, with at most 200 characters of the message."""
    message = ' '.join(str(error).split())
    return f'{type(error).__name__}: {message[:200]}' if message else type(error).__name__


class Diverged(InputError):
    """Training produced non-finite values. No non-finite state was saved."""


class Interrupted(BaseException):
    """A signal asked the program to stop. Like `KeyboardInterrupt`, it is not caught by `except Exception`."""

    def __init__(self, signum: int, step: int | None = None) -> None:
        """`step` is the step of the state that was saved, if one was."""
        saved = 'stopped; earlier saves are intact'
        super().__init__(saved if step is None else f'stopped at step {step}, which is saved; --resume continues from there')
        self.signum = signum
