"""Measures the step time, compile time and peak memory of games and metrics, next to the same computation in PyTorch.

    python -m experiments.benchmark --game dcgan --size 32 --width 64 --batch-size 64 --against torch
    python -m experiments.benchmark --game unrolled_ring --unroll-steps 0 2 32
    python -m experiments.benchmark --suite --against torch --json suite.json
    python -m experiments.benchmark --suite --compare suite.json
    python -m experiments.benchmark --penalties none r1+r2 r1_r2 finite_r1+finite_r2 r1_r2@8 --batch-size 32
    python -m experiments.benchmark --metric frechet --repetitions 3

Timings are medians over repetitions. Each candidate game runs in a separate process, and candidates take turns, so that a busy
machine slows all of them equally.

Expected: with `--suite --against torch --repetitions 5 --only GAN pix2pix ring` on 2 quiet cores of an AMD EPYC with AVX-512, the
geometric mean over eleven train steps of our time divided by that of PyTorch 2.14.1 was .71. PyTorch's networks compute the same
functions layer by layer; here a convolution beside a resampling is one convolution.
"""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

import jax

from experiments.benchmark import metrics, steps, suite
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
    Names,
    Range,
    Several,
    Side,
    UnrollSteps,
    Width,
    refuse_given,
)


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Speed of a train step or a metric."""

    game: Literal['dcgan', 'unrolled_ring'] = 'dcgan'
    """The game to time."""
    size: Side = 32
    """Height and width of the images."""
    channels: Annotated[int, Range(1, 1024)] = 3
    """Channels of the images."""
    width: Width = 64
    """Width of the networks."""
    kernel_size: KernelSize = 5
    """Side of the convolution kernels."""
    batch_size: BatchSize = 64
    """Real examples in a minibatch."""
    unroll_steps: Annotated[tuple[UnrollSteps, ...], Several(1)] = (0,)
    """Numbers of unrolled steps, one row each; their compile times show the cost of unrolling."""
    against: Literal['nothing', 'torch'] = 'nothing'
    """With torch, the same network and step also run in PyTorch, channels-last; PyTorch must be installed."""
    suite: bool = False
    """Time every workload of the suite at its own fixed sizes, instead of --game."""
    penalties: Names = ()
    """Time R3GAN's step under each of these instead of --game: none, or penalties joined by plus signs; with @8 at the end, only
    at every 8th update of D. Their effect on modes is measured by experiments.ring --sweep."""
    only: tuple[str, ...] = ()
    """Restrict the suite to workloads whose names contain one of these."""
    json: Annotated[pathlib.Path, FileToWrite()] | None = None
    """File that receives the suite's figures."""
    compare: pathlib.Path | None = None
    """The --json file of an earlier suite, to which the times are compared."""
    metric: (
        Literal['frechet', 'kernel_subsets', 'precision_recall', 'density_coverage', 'kernel_gaussian', 'neighbours', 'inception']
        | None
    ) = None
    """Time a metric instead of a game, by several routes and next to torch-fidelity, prdc or scikit-learn where they are
    installed; inception is the network of FID."""
    dimension: Width = 2048
    """Number of features, for any --metric but inception."""
    samples: Compared = 5000
    """Samples in each of the two sets, for any --metric but inception."""
    repetitions: Annotated[int, Range(1, 100_000)] = 7
    """Number of timings, of which the median is reported."""
    steps: Annotated[int, Range(1, 1_000_000)] = 3
    """Steps in one scanned call, and in one timing of the other candidates."""


def main(config: Config) -> Any:
    """Prints the table and returns its figures. Raises `InputError` for options that do not apply."""
    check(config)
    if config.suite:
        return run_suite(config)
    if config.penalties:
        return time_penalties(config)
    return time_metric(config) if config.metric else time_game(config)


def check(config: Config) -> None:
    """Raises `InputError` for options that would be ignored."""
    others: tuple[str, ...]
    of_images, of_features = ('size', 'channels', 'kernel_size'), ('dimension', 'samples')
    of_games = ('game', *of_images, 'width', 'unroll_steps', 'steps')
    if config.suite:
        others = (*of_games, *of_features, 'batch_size', 'metric', 'penalties')
        refuse_given(config, *others, because='does not apply to --suite, which has its own sizes')
        return
    if config.only or config.json or config.compare:
        raise InputError('--only, --json and --compare require --suite')
    if config.penalties:
        others = ('game', 'channels', 'width', 'kernel_size', 'unroll_steps', 'against', 'metric', *of_features)
        refuse_given(config, *others, because='does not apply to --penalties, which are timed on the networks of R3GAN')
        for text in config.penalties:
            steps.penalties_of(text)
        return
    if config.metric is None:
        refuse_given(config, *of_features, because='requires a --metric of features')
        if config.game != 'dcgan':
            refuse_given(config, *of_images, because='applies to images, which --game unrolled_ring does not have')
        return
    others = of_features if config.metric == 'inception' else ('batch_size',)
    if config.samples < metrics.LEAST.get(config.metric, 2):
        raise InputError(f'--metric {config.metric} requires --samples of at least {metrics.LEAST[config.metric]}')
    refuse_given(config, *of_games, 'against', *others, because=f'does not apply to --metric {config.metric}')


def run_suite(config: Config) -> dict[str, list[dict[str, Any]]]:
    """Times the suite, prints its table and returns its rows by workload."""
    earlier = suite.load(config.compare) if config.compare else {}
    found = suite.run(config.repetitions, config.against == 'torch', config.only)
    if config.json:
        suite.save(config.json, found)
    suite.report(found, earlier)
    return found


def time_game(config: Config) -> list[dict[str, Any]]:
    """Times one game for each number of unrolled steps, both as one scanned program and with one call per step."""
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
    table: list[tuple] = [('', 'ms / step', 'images / s', 'compile, s', 'peak memory, GB', 'vs. PyTorch')]
    for (work, _), row in zip(timed, rows, strict=True):
        share = f'{row["seconds"] / theirs[work.settings["unroll_steps"]]:.2f}' if theirs else ''
        figures = (f'{1e3 * row["seconds"]:.1f}', f'{row["images"] / row["seconds"]:.0f}', f'{row["compile_seconds"]:.1f}')
        table.append((row['name'], *figures, f'{row["peak_bytes"] / 1e9:.2f}', share))
    what = f'size {config.size}, kernel {config.kernel_size}, ' if config.game == 'dcgan' else ''
    title = f'{config.game}, {what}width {config.width}, batch {config.batch_size}, {jax.default_backend()}'
    print(runs.table(table, title=title))
    return rows


def time_penalties(config: Config) -> list[dict[str, Any]]:
    """Times R3GAN's step under each choice of penalties, prints the table and returns its rows."""
    settings = {'size': config.size, 'batch_size': config.batch_size}
    works = [Work('jax', 'r3gan', {**settings, 'penalty': text}, config.steps) for text in config.penalties]
    rows = [{**row, 'name': work.settings['penalty']} for work, row in suite.time_works(works, config.repetitions)]
    table: list[tuple] = [('penalties', 'ms / step', 'of the first', 'compile, s', 'peak memory, GB')]
    for row in rows:
        share = f'{row["seconds"] / rows[0]["seconds"]:.2f}'
        memory = f'{row["peak_bytes"] / 1e9:.2f}'
        table.append((row['name'], f'{1e3 * row["seconds"]:.1f}', share, f'{row["compile_seconds"]:.1f}', memory))
    print(runs.table(table, title=f'R3GAN, size {config.size}, batch {config.batch_size}, {jax.default_backend()}'))
    return rows


def _label(config: Config, work: Work) -> str:
    k = work.settings['unroll_steps']
    names = {'jax': 'JAX, scanned step', 'jax, plain': 'JAX, plain step', 'torch': 'PyTorch, channels-last'}
    return names[work.framework] + (f', K = {k}' if k or len(config.unroll_steps) > 1 else '')


def time_metric(config: Config) -> list[dict[str, Any]]:
    """Times the candidates for one metric and shows that they compute the same number."""
    images = config.metric == 'inception'
    settings = {'batch_size': config.batch_size} if images else {'dimension': config.dimension, 'samples': config.samples}
    candidates = metrics.candidates(config.metric or '', **settings)
    values = {name: run() for name, run in candidates.items()}  # the first call compiles
    times = median_seconds(candidates, config.repetitions)
    rows = [{'name': name, 'seconds': times[name], 'value': values[name]} for name in candidates]
    first = rows[0]['seconds']
    table: list[tuple] = [('', 'seconds', 'vs. the first', 'value')]
    table += [(r['name'], f'{r["seconds"]:.3f}', f'{r["seconds"] / first:.2f}', f'{r["value"]:.9g}') for r in rows]
    what = (
        f'batch of {config.batch_size}, mean of the features'
        if images
        else f'd = {config.dimension}, {config.samples} samples each'
    )
    print(runs.table(table, title=f'{config.metric}, {what}'))
    return rows


if __name__ == '__main__':
    runs.run_main(main, Config)
