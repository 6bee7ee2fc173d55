"""Several processes on this machine that train one run, as users start them in as many terminals."""

import os
import pathlib
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]


class Ended(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float
    """From the start of all to the end of this one."""


def run(command, count, devices, *, timeout=400, cwd=None):
    """Runs `python COMMAND --coordinator ... --process i` in `count` processes with as many CPU devices each, to their end."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    flags = [flag for flag in os.environ.get('XLA_FLAGS', '').split() if 'device_count' not in flag]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith('_proxy')},  # JAX warns of them
        'XLA_FLAGS': ' '.join([*flags, f'--xla_force_host_platform_device_count={devices}']),
        'PYTHONPATH': os.pathsep.join(map(str, (ROOT, ROOT / 'tests', ROOT / 'tests/runs'))),
    }
    places = ['--coordinator', f'localhost:{port}', '--processes', str(count)]
    start = time.monotonic()
    started = [
        subprocess.Popen(
            [sys.executable, *command, *places, '--process', str(i)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd or ROOT,
        )
        for i in range(count)
    ]  # fmt: skip

    def to_its_end(process):
        out, err = process.communicate(timeout=timeout)
        return Ended(process.returncode, out, err, time.monotonic() - start)

    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(to_its_end, started))
    finally:
        for process in started:
            process.kill()


def succeeded(command, count, devices, **options):
    """The same, of processes that must end well."""
    ended = run(command, count, devices, **options)
    assert [process.code for process in ended] == [0] * count, [process.err[-3000:] for process in ended]
    return ended
