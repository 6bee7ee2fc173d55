"""Times one workload in a separate process, so that its peak memory is that of the workload alone.

    python -m experiments.benchmark.worker '{"framework": "jax", "name": "dcgan", "settings": {"size": 32}, "steps": 3}'

The process says `{"steps", "images", "compile_seconds"}` once it is ready, answers every line of its input with the seconds of
a call, and at the end of its input says `{"peak_bytes"}`; one line of JSON each.
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
"""`jax` takes its steps in one program, and `jax, plain` by a call each; `torch, compiled` is by `torch.compile`."""


class Work(NamedTuple):
    """What a process times."""

    framework: Framework
    name: str
    settings: dict[str, Any]
    steps: int = 1
    """In a timing."""


def build(work: Work) -> Timed:
    """The workload, warmed up. Raises `ImportError` where PyTorch, or a package with its twin, is not installed."""
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
    """A process that times a workload when it is asked to."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        assert process.stdin and process.stdout
        self._input, self._output, self._errors = process.stdin, process.stdout, errors
        self._facts = self._read()

    def _read(self) -> Any:
        line = self._output.readline()
        if not line:
            self._errors.seek(0)
            raise InputError((self._errors.read().strip().splitlines() or ['the timing process died'])[-1])
        return json.loads(line)

    def time(self) -> float:
        """The seconds of a step."""
        print(file=self._input, flush=True)
        return self._read() / self._facts['steps']

    def end(self) -> dict[str, Any]:
        """All that the process said beside the timings."""
        self._input.close()
        return {**self._facts, **self._read()}


@contextlib.contextmanager
def worker(work: Work) -> Iterator[Worker]:
    """A process that is ready to time, and ends with the block. Raises `InputError` with its last words if it cannot."""
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
    """Answers the other process."""
    compilation.configure(cache=False)  # compile times are measured, and steps compiled as for long runs
    with contextlib.redirect_stdout(sys.stderr):
        timed = build(work)
    say = lambda value: print(json.dumps(value), flush=True)
    say({'steps': timed.steps, 'images': timed.images, 'compile_seconds': timed.compile_seconds})
    for _ in sys.stdin:
        say(seconds(timed.run))
    say({'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


if __name__ == '__main__':
    main(Work(**json.loads(sys.argv[1])))
