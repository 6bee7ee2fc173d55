"""How long a part of an experiment has taken over all sessions."""

import contextlib
import pathlib
import time
from collections.abc import Iterator

from gan_jax import hosts, runs


class Clock:
    """Seconds, including compilation and the sessions before this one."""

    def __init__(self, before: float) -> None:
        self._before, self._start = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds until now."""
        return round(self._before + time.perf_counter() - self._start, 2)


@contextlib.contextmanager
def clocked(config: runs.Options) -> Iterator[Clock]:
    """A clock of the run or part of these options that goes on from where the last session left it, kept in `seconds.json`."""
    folder = pathlib.Path(config.runs_dir, config.name)
    file = folder / 'seconds.json'
    clock = Clock(hosts.agreed(lambda: float(runs.read_json(file)) if file.exists() else 0.0))
    try:
        yield clock
    finally:
        if folder.is_dir():
            runs.write_json(file, clock.seconds)
