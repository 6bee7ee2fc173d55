"""A run of a second, for tests that start several processes: `python small_run.py FLAGS`."""

import dataclasses
import json
import os
import pathlib
import resource
import signal
from typing import NamedTuple

import numpy as np
from test_loop import small_study

from gan_jax import data, hosts, liveness, runs
from gan_jax.errors import InputError
from gan_jax.metrics import feature_moments, over_processes


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    name: str = 'r'
    batch_size: int = 8
    checkpoint_every: int = 2
    streamed: bool = False
    receives: str = ''
    """SIGNAL:process:step, such as KILL:1:3: what the process gets after the step; FULL is a limit of 0 bytes for its files."""
    refuses: int = -1
    """The process that refuses to begin."""

    free = (*runs.TrainOptions.free, 'streamed', 'receives', 'refuses')


class Recorded(NamedTuple):
    """Appends which rows are read to a file of this process."""

    points: np.ndarray
    file: pathlib.Path

    def __len__(self):
        return len(self.points)

    def read(self, rows):
        with open(self.file, 'a') as file:
            file.write(f'{rows}\n')
        return self.points[rows]


def main(config):
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    source = Recorded(points, pathlib.Path(config.runs_dir) / f'rows_{hosts.index()}.jsonl') if config.streamed else points
    feed = data.feed(source, config.batch_size)

    def note(run):
        name, process, at = config.receives.split(':')

        def call(step, state):
            if (step, hosts.index()) != (int(at), int(process)):
                return
            if name == 'FULL':
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            else:
                os.kill(os.getpid(), getattr(signal, f'SIG{name}'))

        return runs.Callback(1, call, together=True)

    study = small_study()._replace(feed=feed, notes=(note,) if config.receives else ())
    if config.refuses == hosts.index():
        raise InputError('no, thank you')
    trained = runs.train(config, study)
    figures = runs.report(trained, lambda one: {'sum': float(sum(np.abs(one.plays(4)).ravel()))})
    print(hosts.index(), trained.steps, figures)
    share = feature_moments(points[hosts.index() :: hosts.count()].astype(np.float64) + 100)
    print('merged', json.dumps([np.asarray(x).tolist() for x in over_processes(share)]))


if __name__ == '__main__':
    liveness.PATIENCE = 15.0  # seconds of silence: less than usual, and enough where other tests compile beside this one
    runs.run_main(main, Config)
