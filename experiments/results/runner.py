"""Runs a row's command in a separate process, and reads what the run left."""

import importlib.metadata
import os
import pathlib
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.results import storage
from experiments.results.rows import Figure, Origin, Row, figure_of
from gan_jax import runs
from gan_jax.commandline import module_of
from gan_jax.errors import InputError
from gan_jax.interruptions import unhurried
from gan_jax.registry import Table

ROOT = storage.FOLDER.parents[1]
LEDGER = ('experiments/results/*.json', 'experiments/RESULTS.md', 'experiments/pictures')
CODE = ('gan_jax', 'experiments', 'pyproject.toml', *(f':!{path}' for path in LEDGER))
"""What must be committed before a row is run: the code, without what recording a row changes."""
OURS = ('--name', '--runs-dir', '--seeds', '--seed', '--resume', '--overwrite')
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax')


class Finished(NamedTuple):
    """A run that came to its end."""

    folder: pathlib.Path
    """Which holds `results.json`."""
    results: Any
    origin: Origin


def seeded(row: Row) -> bool:
    """Whether the row's experiment has seeds. Raises `InputError` for a command that is not an experiment's."""
    return 'seeds' in experiment(row).Config.__dataclass_fields__


def experiment(row: Row) -> Any:
    """The module of the row's command. Raises `InputError` for a command that cannot be run from here."""
    words = shlex.split(row.command)
    if words[:2] != ['python', '-m'] or not words[2:] or not words[2].startswith('experiments.'):
        raise InputError(f'{row.name}: the command must begin with python -m experiments.NAME, not {row.command!r}')
    if given := [word for word in words if word.partition('=')[0] in OURS]:
        raise InputError(f'{row.name}: the command must leave {given[0]} to the ledger')
    try:
        module = module_of(words[2])
    except ImportError as error:
        raise InputError(f'{row.name}: there is no {words[2]}') from error
    if 'runs_dir' not in module.Config.__dataclass_fields__:
        raise InputError(f'{row.name}: {words[2]} leaves no run, so its figures must be written by hand')
    return module


def run(row: Row, name: str, seeds: Sequence[int] | None, runs_dir: str, *, uncommitted: bool, overwrite: bool) -> Finished:
    """Runs the row's command as the run `name`, from where it was stopped if it was begun at this commit.

    Args:
        row: Its command is run.
        name: Of the run, below `runs_dir`.
        seeds: Consecutive ones; None for an experiment that has none.
        runs_dir: Where runs live.
        uncommitted: Whether code that is not committed may run; it is recorded that it did.
        overwrite: Begin again, whatever is there.

    Raises `InputError` for a command that fails, for code that is not committed, and for a run begun by other code.
    """
    words = shlex.split(row.command)
    commit, changed = state_of_code()
    if changed and not uncommitted:
        raise InputError('the code has changes that are not committed: commit them, or give --dirty to record the row as such')
    folder = pathlib.Path(runs_dir, name)
    file = folder.with_name(f'{folder.name}.ledger.json')  # beside the run, whose folder is the experiment's
    begun = any(folder.rglob('config.json')) and not overwrite and seeds is not None
    before: dict[str, Any] = {'commit': commit, 'uncommitted': changed, 'seconds': 0.0}
    if begun:
        if not file.exists():
            raise InputError(f'{folder} holds a run of unknown code: give --overwrite to begin again, or another --runs-dir')
        before = runs.read_json(file)
        if before['commit'] != commit and not uncommitted:
            at = f'{folder} was begun at commit {before["commit"]}'
            raise InputError(f'{at}: check that out to go on, or give --overwrite to begin again')
        before['uncommitted'] |= changed or before['commit'] != commit
    runs.write_json(file, before)
    flags = ['--name', name, '--runs-dir', runs_dir]
    if seeds is not None:
        flags += ['--seeds', str(len(seeds)), '--seed', str(seeds[0])]
    flags += ['--resume'] if begun else ['--overwrite'] if folder.exists() else []
    start = time.perf_counter()
    try:
        code = launch([*words[1:], *flags])
    finally:
        before['seconds'] += time.perf_counter() - start
        runs.write_json(file, before)
    if code:
        raise InputError(f'{shlex.join([*words, *flags])} ended with exit code {code}')
    file = results_file(folder)
    return Finished(file.parent, runs.read_json(file), origin(before))


def results_file(folder: pathlib.Path) -> pathlib.Path:
    """A run's `results.json`, which lies in its folder or in the one folder below it that has one. Raises `InputError`."""
    found = [folder / 'results.json'] if (folder / 'results.json').exists() else sorted(folder.glob('*/results.json'))
    if len(found) != 1:
        raise InputError(f'{folder} must contain exactly one results.json, but has {len(found)}')
    return found[0]


def launch(arguments: Sequence[str]) -> int:
    """Runs Python with these arguments, and returns the exit code. A signal that ends this process ends that one first."""
    process = subprocess.Popen([sys.executable, *arguments], start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        with unhurried():  # it saves its state
            process.wait()
        raise


def state_of_code() -> tuple[str | None, bool]:
    """The commit of this checkout, and whether its code has changes. None, and true, where there is no checkout."""
    try:
        commit = _git('rev-parse', 'HEAD').strip()
        return commit, bool(_git('status', '--porcelain', '--', *CODE).strip())
    except (OSError, subprocess.CalledProcessError):
        return None, True


def _git(*arguments: str) -> str:
    return subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def origin(begun: Mapping[str, Any]) -> Origin:
    """Of a run that has ended: its code and its time, and the versions and the machine of now."""
    versions = {'python': platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
    hardware, cores = machine()
    flags = os.environ.get('XLA_FLAGS', '').strip()  # with those of `compilation.configure`, which the command has inherited
    return Origin(begun['commit'], begun['uncommitted'], versions, flags, hardware, cores, round(begun['seconds'], 1))


def machine() -> tuple[str, int]:
    """The name of the accelerator or of the processor, and how many cores this process may use."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    devices = jax.local_devices()  # only now, for an accelerator serves one process at a time
    if devices[0].platform != 'cpu':
        return f'{len(devices)} x {devices[0].device_kind}', cores
    try:
        text = pathlib.Path('/proc/cpuinfo').read_text()
        name = next(line.partition(':')[2].strip() for line in text.splitlines() if line.startswith('model name'))
        return name + (' with AVX-512' if ' avx512f ' in text else ' with AVX2' if ' avx2 ' in text else ''), cores
    except (OSError, StopIteration):
        return platform.processor() or platform.machine(), cores


def by_seed(results: Any, seeds: int) -> dict[str, list[float | None]]:
    """Every figure of a run by its path, one value for each seed; None where a seed has none that is finite.

    Seeds stand in one of two ways: as `{'seeds': [figures, ...], 'figures': ...}` where `gan_jax.runs` judged them, or as lists
    `[seeds]`. Any other number is that of every seed.
    """
    return dict(_by_seed(results, seeds, ()))


def _by_seed(value: Any, seeds: int, path: tuple[str, ...]) -> Iterator[tuple[str, list[float | None]]]:
    if isinstance(value, Mapping) and isinstance(value.get('seeds'), list) and 'figures' in value:
        each = [dict(_by_seed(figures or {}, 1, path)) for figures in value['seeds']]
        for name in dict.fromkeys(name for figures in each for name in figures):
            yield name, [figures[name][0] if name in figures else None for figures in each]
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _by_seed(part, seeds, (*path, str(name)))
    elif isinstance(value, list) and len(value) == seeds and all(x is None or _is_number(x) for x in value):
        yield '/'.join(path), [None if x is None else float(x) for x in value]
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _by_seed(part, seeds, (*path, str(index)))
    elif value is None or _is_number(value):
        yield '/'.join(path), [None if value is None else float(value)] * seeds


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def figures_of(row: Row, results: Any, seeds: int) -> dict[str, dict[str, Figure]]:
    """The row's figures in a run's results. Raises `InputError` for a line or a column that the results have nothing of."""
    found = by_seed(results, seeds)
    figures: dict[str, dict[str, Figure]] = {}
    for line in row.lines:
        paths = {column.title: row.path(line, column) for column in row.columns}
        figures[line.title] = {title: figure_of(found[path]) for title, path in paths.items() if path in found}
        if not figures[line.title]:
            Table('figure', found)[next(iter(paths.values()))]  # raises, with the nearest that the run has
    for column in row.columns:
        if not any(column.title in own for own in figures.values()):
            raise InputError(f'{row.name}: no line of the run has the figure {column.path}')
    return figures


def copy_pictures(row: Row, folder: pathlib.Path) -> None:
    """Copies the pictures of the run that the row shows, in 256 colours, which makes them a third of the size.

    Raises `InputError` for one that the run does not have.
    """
    from PIL import Image

    for picture in row.pictures:
        if picture.copied_from:
            if not (folder / picture.copied_from).is_file():
                raise InputError(f'{row.name}: the run has no picture {picture.copied_from}')
            storage.PICTURES.mkdir(exist_ok=True)
            with Image.open(folder / picture.copied_from) as image:
                image.convert('RGB').quantize(256).save(storage.PICTURES / picture.file, optimize=True)
