"""The suite: every kind of train step of the library, and metrics, next to the fastest of PyTorch, torch-fidelity, prdc and
scikit-learn on the same machine."""

import contextlib
import importlib.util
import json
import pathlib
import platform
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from experiments.benchmark.timing import take_turns
from experiments.benchmark.worker import Framework, Work, Worker, worker
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.files import write_json_or_print


class Entry(NamedTuple):
    """A row of the suite's table."""

    name: str
    """A key of `steps.STEPS` or `metrics.METRICS`."""
    settings: dict[str, Any]
    """Keyword arguments of its factory."""
    steps: int = 1
    """Number of steps in one timing."""
    compiles: bool = True
    """Whether `torch.compile` supports it, which it does not where gradients are differentiated again."""


FEATURES = {'dimension': 2048, 'samples': 5000}
"""Two sets of Inception's size."""
SUITE: dict[str, Entry] = {
    'DCGAN': Entry('dcgan', {}, steps=3),
    'DCGAN, unrolled K = 5': Entry('dcgan', {'unroll_steps': 5}, compiles=False),
    'SNGAN, residual': Entry('sngan', {}, steps=3),
    'WGAN-GP, residual': Entry('wgan_gp', {}, compiles=False),
    'pix2pix, U-Net': Entry('pix2pix', {}, steps=3),
    'CycleGAN': Entry('cyclegan', {}, steps=3),
    'ring, MLP': Entry('unrolled_ring', {}, steps=100),
    'ring, unrolled K = 10': Entry('unrolled_ring', {'unroll_steps': 10}, steps=10, compiles=False),
    'ring, 10 seeds': Entry('unrolled_ring', {'seeds': 10, 'batch_size': 64, 'latent_size': 2}, steps=50),
    'R3GAN, R1 + R2': Entry('r3gan', {}, compiles=False),
    'Improved GAN, MNIST': Entry('improved_gan', {}, steps=10),
    'Inception features': Entry('inception', {'batch_size': 8}, compiles=False),
    'Fréchet distance': Entry('frechet', FEATURES, compiles=False),
    'KID, 100 subsets': Entry('kernel_subsets', FEATURES, compiles=False),
    'precision, recall': Entry('precision_recall', FEATURES, compiles=False),
    'density, coverage': Entry('density_coverage', FEATURES, compiles=False),
    'Gaussian kernel (others: float64)': Entry('kernel_gaussian', FEATURES, compiles=False),
    'nearest neighbours': Entry('neighbours', FEATURES, compiles=False),
}


REST = 0.5
"""Seconds between the timings of two processes."""


def measure(entry: Entry, repetitions: int, against_torch: bool) -> list[dict[str, Any]]:
    """One row per framework: the time of a step in seconds, and what the process reported."""
    frameworks: list[Framework] = ['jax']
    if against_torch:
        frameworks += ['torch', 'torch, compiled'] if entry.compiles else ['torch']
    works = [Work(framework, entry.name, entry.settings, entry.steps) for framework in frameworks]
    return [row for _, row in time_works(works, repetitions)]


def time_works(works: list[Work], repetitions: int) -> list[tuple[Work, dict[str, Any]]]:
    """Times the works in turns and returns a row for each.

    A work of another framework that cannot be built is left out, and one line says why. Raises `InputError` if one of ours cannot
    be built.
    """
    started: list[tuple[Work, Worker]] = []
    with contextlib.ExitStack() as stack:
        for work in works:  # one at a time, so that compilations do not disturb each other
            try:
                started.append((work, stack.enter_context(worker(work))))
            except InputError as error:
                if work.framework.startswith('jax'):
                    raise
                tqdm.write(f'skipped {work.name} in {work.framework}: {error}')
        times = take_turns({str(i): one.time for i, (_, one) in enumerate(started)}, repetitions, REST)
        facts = [one.end() for _, one in started]
    return [
        (work, {'framework': work.framework, 'seconds': float(np.median(t)), 'all_seconds': t, **f})
        for (work, _), t, f in zip(started, times.values(), facts, strict=True)
    ]


def check_torch() -> None:
    """Raises `InputError` if PyTorch is not installed."""
    if importlib.util.find_spec('torch') is None:
        raise InputError('--against torch requires PyTorch: pip install torch')


def run(repetitions: int, against_torch: bool, only: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """Label -> rows, for the entries whose label contains one of `only`, or for all entries if `only` is empty.

    Raises `InputError` if no label matches, or if PyTorch is required but not installed.
    """
    if against_torch:
        check_torch()
    chosen = {label: entry for label, entry in SUITE.items() if not only or any(part in label for part in only)}
    if not chosen:
        raise InputError(f'--only {" ".join(only)}: no workload has such a name; the workloads are {", ".join(SUITE)}')
    bar = tqdm(chosen.items(), unit='workload', leave=False)
    return {label: measure(entry, repetitions, against_torch) for label, entry in bar}


def ratio(rows: list[dict[str, Any]]) -> float:
    """Our time divided by the fastest of the others; NaN if there are no others."""
    ours, *theirs = (row['seconds'] for row in rows)
    return ours / min(theirs) if theirs else np.nan


def report(found: dict[str, list[dict[str, Any]]], earlier: dict[str, Any]) -> None:
    """Prints the table, and the change from an earlier one unless `earlier` is empty."""
    table: list[tuple] = [('', 'ms / step', 'images / s', 'compile, s', 'GB', 'others: ms', 'GB', 'ratio', 'before')]
    for label, (ours, *theirs) in found.items():
        best = min(theirs, key=lambda row: row['seconds'], default=None)
        other = (_ms(best), _gigabytes(best), f'{ratio([ours, *theirs]):.2f}') if best else ('', '', '')
        images = f'{ours["images"] / ours["seconds"]:.0f}' if ours['images'] else ''
        then = earlier.get(label)
        before = f'{ours["seconds"] / then[0]["seconds"]:.2f}' if then else ''
        table.append((label, _ms(ours), images, f'{ours["compile_seconds"]:.1f}', _gigabytes(ours), *other, before))
    title = "medians; others: the fastest of them; ratio: our time to theirs; before: to --compare's"
    print(runs.table(table, title=f'{title}; {jax.default_backend()}'))
    if ratios := [ratio(rows) for rows in found.values() if len(rows) > 1]:
        print(f'geometric mean of {len(ratios)} ratios {np.exp(np.mean(np.log(ratios))):.3f}, largest {max(ratios):.2f}')


def _ms(row: dict[str, Any]) -> str:
    return f'{1e3 * row["seconds"]:.4g}'


def _gigabytes(row: dict[str, Any]) -> str:
    return f'{row["peak_bytes"] / 1e9:.2f}'


def save(path: pathlib.Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """Writes the file that `load` reads."""
    machine = {'machine': platform.processor() or platform.machine(), 'backend': jax.default_backend(), 'jax': jax.__version__}
    write_json_or_print(path, {**machine, 'workloads': found})


def load(path: pathlib.Path) -> dict[str, Any]:
    """The workloads of an earlier suite. Raises `InputError` if the file is not one that `save` has written."""
    try:
        found = json.loads(path.read_text())['workloads']
        if not all(rows[0]['seconds'] > 0 for rows in found.values()):
            raise ValueError
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f'--compare {path} is not the JSON of an earlier suite') from error
