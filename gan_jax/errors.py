"""The one exception that speaks to the person at the keyboard."""


class InputError(ValueError):
    """What was asked for cannot be done. The message is one line that says what is wrong, and what would do instead."""
