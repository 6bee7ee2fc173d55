"""Times one workload in a separate process, so that its peak memory is that of the workload alone.

    python -m experiments.benchmark.worker '{"framework": "jax", "name": "dcgan", "settings": {"size": 32}, "steps": 3}'

The process writes JSON, one line at a time: `{"steps", "images", "compile_seconds"}` once it is ready, the duration of a call in
seconds for every line of its input, and `{"peak_bytes"}` at the end of its input.
"""

import contextlib
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Literal, NamedTuple

from experiments.benchmark.timing import Timed, seconds
from gan_jax import compilation
from gan_jax.errors import InputError

Framework = Literal['jax', 'jax, plain', 'torch', 'torch, compiled']
"""`jax` takes its steps in one program and `jax, plain` with one call per step; `torch, compiled` uses `torch.compile`."""


class Work(NamedTuple):
    """A workload for one process."""

    framework: Framework
    name: str
    settings: dict[str, Any]
    steps: int = 1
    """Number of steps in one timing."""


def build(work: Work) -> Timed:
    """The workload, warmed up. Raises `ImportError` if PyTorch, or the package that computes the metric, is not installed."""
    from experiments.benchmark import metrics

    if work.name in metrics.METRICS:
        run = (metrics.ours if work.framework == 'jax' else metrics.theirs)(work.name, **work.settings)
        return Timed(run, 1, work.settings.get('batch_size', 0), seconds(run))
    if work.framework.startswith('jax'):
        from experiments.benchmark import steps

        training = steps.STEPS[work.name](**work.settings)
        return steps.timed(training, work.steps, scanned=work.framework == 'jax')
    from experiments.benchmark import torch_steps

    step = torch_steps.STEPS[work.name](**work.settings)
    return torch_steps.timed(step, work.steps, compiled=work.framework != 'torch')


class Worker:
    """A process that times a workload on request."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        assert process.stdin and process.stdout
        self._input, self._output, self._errors = process.stdin, process.stdout, errors
        self._facts = self._read()

    def _read(self) -> Any:
        line = self._output.readline()
        if not line:
            self._errors.seek(0)
            raise InputError((self._errors.read().strip().splitlines() or ['the timing process has died'])[-1])
        return json.loads(line)

    def time(self) -> float:
        """The duration of a step, in seconds. Raises `InputError` if the process has died."""
        print(file=self._input, flush=True)
        return self._read() / self._facts['steps']

    def end(self) -> dict[str, Any]:
        """Everything the process reported apart from the timings."""
        self._input.close()
        return {**self._facts, **self._read()}


@contextlib.contextmanager
def worker(work: Work) -> Iterator[Worker]:
    """A process that is ready to time and ends with the block.

    Raises `InputError` with the last line of its errors if it fails.
    """
    command = [sys.executable, '-m', 'experiments.benchmark.worker', json.dumps(work._asdict())]
    root, pipe = pathlib.Path(__file__).parents[2], subprocess.PIPE
    with (
        tempfile.TemporaryFile('w+') as errors,
        subprocess.Popen(command, cwd=root, text=True, bufsize=1, stdin=pipe, stdout=pipe, stderr=errors) as process,
    ):
        try:
            yield Worker(process, errors)
        finally:
            process.kill()


def main(work: Work) -> None:
    """Serves the other process."""
    compilation.configure(cache=False)  # compile times are measured, and steps are compiled as for long runs
    with contextlib.redirect_stdout(sys.stderr):
        timed = build(work)
    say = lambda value: print(json.dumps(value), flush=True)
    say({'steps': timed.steps, 'images': timed.images, 'compile_seconds': timed.compile_seconds})
    for _ in sys.stdin:
        say(seconds(timed.run))
    say({'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


if __name__ == '__main__':
    main(Work(**json.loads(sys.argv[1])))
