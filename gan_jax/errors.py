"""The exceptions that speak to the person at the keyboard."""


class InputError(ValueError):
    """What was asked for cannot be done. The message is one line that says what is wrong, and what would do instead."""


def one_line(error: BaseException) -> str:
    """What an exception says, in one line of at most 200 characters, after its kind."""
    message = ' '.join(str(error).split())
    return f'{type(error).__name__}: {message[:200]}' if message else type(error).__name__


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f'stopped at step {step}, which is saved: --resume goes on from there')
        self.signum = signum
