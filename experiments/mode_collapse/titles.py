"""The names of the directories and of the published values of a data set."""

import re

from experiments.mode_collapse.problems import STACKED, ProblemOptions


def folder(config: ProblemOptions) -> str:
    """Name of the directory that holds the runs on a data set."""
    return re.sub(r'[^\w.=+-]', '_', config.data + (f'_{config.networks}' if config.data == STACKED else ''))


def of_digits(config: ProblemOptions) -> str:
    """Describes the stacked digits in titles; empty for the standard MNIST."""
    if config.data != STACKED or (config.digits == 'mnist' and config.size in (None, 28)):
        return ''
    return f' of {config.digits}' + (f' at {config.size} pixels' if config.size else '')


def published_under(config: ProblemOptions) -> str:
    """The key of published values for the data set; empty if there are none, as for stacks of other digits than MNIST's."""
    if config.data != STACKED:
        return config.data
    return '' if of_digits(config) else config.networks
