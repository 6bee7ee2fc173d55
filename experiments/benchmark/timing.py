"""What is timed, and taking turns."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Timed(NamedTuple):
    """Something to be timed, warmed up already."""

    run: Callable[[], Any]
    """Returns once the work is done."""
    steps: int = 1
    """How many steps a call takes."""
    images: int = 0
    """Examples in a step; 0 where there are none."""
    compile_seconds: float = 0.0
    """Of the program, or of the first call where these are one."""


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(candidates: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """What each candidate says, such as how long it took, in turns: a busy machine then slows all of them alike."""
    said: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, candidate in candidates.items():
            said[name].append(candidate())
    return said


def median_seconds(candidates: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """The median time of a call of each, in turns."""
    timed = {name: functools.partial(seconds, run) for name, run in candidates.items()}
    return {name: float(np.median(times)) for name, times in take_turns(timed, repetitions).items()}
