"""Timing functions, and alternating between candidates."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Timed(NamedTuple):
    """A function to be timed, already warmed up."""

    run: Callable[[], Any]
    """Returns once the work is done."""
    steps: int = 1
    """Number of steps in a call."""
    images: int = 0
    """Number of examples in a step; 0 if there are none."""
    compile_seconds: float = 0.0
    """Time to compile the program, or of the first call where the two cannot be separated."""


def seconds(function: Callable[[], Any]) -> float:
    """The duration of one call, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(candidates: Mapping[str, Callable[[], float]], repetitions: int, rest: float = 0.0) -> dict[str, list[float]]:
    """Calls the candidates in turns, `repetitions` times, and returns the values of each.

    A value is typically a duration: when candidates alternate, a busy machine slows all of them alike.

    Args:
        candidates: functions by name.
        repetitions: the number of calls of each.
        rest: seconds before each call. The threads of another process that has just worked, such as OpenMP's under PyTorch, go on
            waiting for work for some 200 ms, in a loop that occupies their core.
    """
    said: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, candidate in candidates.items():
            time.sleep(rest)
            said[name].append(candidate())
    return said


def median_seconds(candidates: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """The median duration of a call of each candidate, in seconds, measured in turns."""
    timed = {name: functools.partial(seconds, run) for name, run in candidates.items()}
    return {name: float(np.median(times)) for name, times in take_turns(timed, repetitions).items()}
