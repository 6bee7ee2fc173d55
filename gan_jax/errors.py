"""The exceptions that speak to the person at the keyboard."""


class InputError(ValueError):
    """What was asked for cannot be done. The message is one line that says what is wrong, and what would do instead."""


def one_line(error: BaseException) -> str:
    """What an exception says, in one line of at most 200 characters, after its kind."""
    message = ' '.join(str(error).split())
    return f'{type(error).__name__}: {message[:200]}' if message else type(error).__name__


class Diverged(InputError):
    """Training has left the finite numbers; nothing that is not finite was saved."""


class Interrupted(BaseException):
    """A signal asked the program to stop. Like `KeyboardInterrupt` it passes by whoever catches errors."""

    def __init__(self, signum: int, step: int | None = None) -> None:
        """`step` is that of the state which was saved, if one was."""
        saved = 'stopped; what was saved before is whole'
        super().__init__(saved if step is None else f'stopped at step {step}, which is saved: --resume goes on from there')
        self.signum = signum
