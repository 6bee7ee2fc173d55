"""Step time, images per second, compile time and peak memory of a game; the same network in PyTorch beside it. Metrics, too.

    python -m experiments.benchmark --game dcgan --size 32 --width 64 --batch-size 64 --against torch
    python -m experiments.benchmark --game unrolled_ring --unroll-steps 0 2 32
    python -m experiments.benchmark --suite --against torch --json suite.json
    python -m experiments.benchmark --suite --compare suite.json
    python -m experiments.benchmark --metric frechet --repetitions 3

Timings are medians over repetitions. Games run each candidate in a separate process, and candidates take turns, so that a busy
machine slows all of them equally.
"""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

import jax

from experiments.benchmark import metrics, suite
from experiments.benchmark.timing import median_seconds
from experiments.benchmark.worker import Framework, Work
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.networks import dcgan
from gan_jax.ranges import (
    BatchSize,
    Checked,
    Compared,
    FileToWrite,
    KernelSize,
    Range,
    Several,
    Side,
    UnrollSteps,
    Width,
    refuse_given,
)


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """How fast a train step is."""

    game: Literal['dcgan', 'unrolled_ring'] = 'dcgan'
    size: Side = 32
    """Images: height and width."""
    channels: Annotated[int, Range(1, 1024)] = 3
    width: Width = 64
    kernel_size: KernelSize = 5
    batch_size: BatchSize = 64
    unroll_steps: Annotated[tuple[UnrollSteps, ...], Several(1)] = (0,)
    """One row for each; compile times compare them."""
    against: Literal['nothing', 'torch'] = 'nothing'
    """torch: the same network and step in PyTorch, channels-last, if it is installed."""
    suite: bool = False
    """Time every workload of the suite, at its own fixed sizes, instead of --game."""
    only: tuple[str, ...] = ()
    """Of the suite, the workloads with one of these in their names."""
    json: Annotated[pathlib.Path, FileToWrite()] | None = None
    """Where the suite's figures are written."""
    compare: pathlib.Path | None = None
    """The --json of an earlier suite, to which the times are compared."""
    metric: Literal['frechet', 'inception'] | None = None
    """Instead of a game: the Frechet distance by several routes, or the Inception network beside torch-fidelity's."""
    dimension: Width = 2048
    """Of features, for --metric frechet."""
    samples: Compared = 5000
    """In each of the two sets, for --metric frechet."""
    repetitions: Annotated[int, Range(1, 100_000)] = 7
    steps: Annotated[int, Range(1, 1_000_000)] = 3
    """Steps in one scanned call, and in one timing of the others."""


def main(config: Config) -> Any:
    """Prints the table and returns its figures."""
    check(config)
    if config.suite:
        return run_suite(config)
    return time_metric(config) if config.metric else time_game(config)


def check(config: Config) -> None:
    """Refuses options that nothing would read."""
    of_images, of_features = ('size', 'channels', 'kernel_size'), ('dimension', 'samples')
    of_games = ('game', *of_images, 'width', 'unroll_steps', 'steps')
    if config.suite:
        refuse_given(
            config, *of_games, *of_features, 'batch_size', 'metric', because='is not for --suite, which has its own sizes'
        )
        return
    if config.only or config.json or config.compare:
        raise InputError('--only, --json and --compare are for --suite')
    if config.metric is None:
        refuse_given(config, *of_features, because='is for --metric frechet')
        if config.game != 'dcgan':
            refuse_given(config, *of_images, because='is of images, and --game unrolled_ring has none')
        return
    others = ('batch_size',) if config.metric == 'frechet' else of_features
    refuse_given(config, *of_games, 'against', *others, because=f'is not for --metric {config.metric}')


def run_suite(config: Config) -> dict[str, list[dict[str, Any]]]:
    earlier = suite.load(config.compare) if config.compare else {}
    found = suite.run(config.repetitions, config.against == 'torch', config.only)
    suite.report(found, earlier)
    if config.json:
        suite.save(config.json, found)
    return found


def time_game(config: Config) -> list[dict[str, Any]]:
    """Times one game at the sizes of the command line: each number of unrolled steps, in one program and by a call each."""
    settings: dict[str, Any] = {'width': config.width, 'batch_size': config.batch_size}
    if config.game == 'dcgan':
        dcgan.stages(config.size)
        settings |= {'size': config.size, 'channels': config.channels, 'kernel_size': config.kernel_size}
    frameworks: list[Framework] = ['jax, plain', 'jax']
    if config.against == 'torch':
        suite.check_torch()
        frameworks.append('torch')
    works = [
        Work(framework, config.game, {**settings, 'unroll_steps': k}, config.steps)
        for k in config.unroll_steps
        for framework in frameworks
    ]
    timed = suite.time_works(works, config.repetitions)
    rows = [{**row, 'name': _label(config, work)} for work, row in timed]
    theirs = {work.settings['unroll_steps']: row['seconds'] for work, row in timed if work.framework == 'torch'}
    table: list[tuple] = [('', 'ms / step', 'images / s', 'compile, s', 'peak memory, GB', 'of PyTorch')]
    for (work, _), row in zip(timed, rows, strict=True):
        share = f'{row["seconds"] / theirs[work.settings["unroll_steps"]]:.2f}' if theirs else ''
        figures = (f'{1e3 * row["seconds"]:.1f}', f'{row["images"] / row["seconds"]:.0f}', f'{row["compile_seconds"]:.1f}')
        table.append((row['name'], *figures, f'{row["peak_bytes"] / 1e9:.2f}', share))
    what = f'size {config.size}, kernel {config.kernel_size}, ' if config.game == 'dcgan' else ''
    title = f'{config.game}, {what}width {config.width}, batch {config.batch_size}, {jax.default_backend()}'
    print(runs.table(table, title=title))
    return rows


def _label(config: Config, work: Work) -> str:
    k = work.settings['unroll_steps']
    names = {'jax': 'JAX, scanned step', 'jax, plain': 'JAX, plain step', 'torch': 'PyTorch, channels-last'}
    return names[work.framework] + (f', K = {k}' if k or len(config.unroll_steps) > 1 else '')


def time_metric(config: Config) -> list[dict[str, Any]]:
    """Times the candidates for one metric, and shows that they compute the same number."""
    frechet = config.metric == 'frechet'
    settings = {'dimension': config.dimension, 'samples': config.samples} if frechet else {'batch_size': config.batch_size}
    candidates = metrics.candidates(config.metric or '', **settings)
    values = {name: run() for name, run in candidates.items()}  # the first call compiles
    times = median_seconds(candidates, config.repetitions)
    rows = [{'name': name, 'seconds': times[name], 'value': values[name]} for name in candidates]
    first = rows[0]['seconds']
    table: list[tuple] = [('', 'seconds', 'of the first', 'value')]
    table += [(r['name'], f'{r["seconds"]:.3f}', f'{r["seconds"] / first:.2f}', f'{r["value"]:.9g}') for r in rows]
    what = (
        f'd = {config.dimension}, {config.samples} samples each'
        if frechet
        else f'a batch of {config.batch_size}, mean of the features'
    )
    print(runs.table(table, title=f'{config.metric}, {what}'))
    return rows


if __name__ == '__main__':
    runs.run_main(main, Config)
