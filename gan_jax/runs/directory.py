"""The directory of a run: its configuration, its logs, and files that are either complete or absent."""

import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import shutil
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from gan_jax import hosts
from gan_jax.data.loading import is_run
from gan_jax.errors import InputError
from gan_jax.files import read_json, write_json, write_whole
from gan_jax.ranges import Checked, Count, Filled, Folder, RunName, Text, Whole
from gan_jax.runs import lock

AnyOptions = TypeVar('AnyOptions', bound='Options')

_CONFIG = 'config.json'
_REMOVED = '.removed'
"""Holds the contents that are being replaced until they are deleted."""
_LEFT_BEHIND = [lock.NAME, lock.SHARED, _REMOVED, f'.{_CONFIG}.*part']
"""Patterns of the files that a process leaves in the directory if it is killed before it writes its configuration."""
_HOSTS = ('coordinator', 'processes', 'process')
_NOT_IDENTITY = ('steps', 'resume', 'overwrite', 'name', 'runs_dir', 'data_dir', 'runner', 'matmul_precision', *_HOSTS)
"""Options that determine how, where or how long to run, and may change when a run is resumed."""


@dataclasses.dataclass(frozen=True)
class Options(Checked):
    """The options of every experiment."""

    name: Annotated[str, RunName()] = 'run'
    """Name of the run, which is stored in RUNS_DIR/NAME."""
    runs_dir: Annotated[str, Filled(), Folder()] = 'runs'
    """Directory of all runs."""
    resume: bool = False
    """Continue from the newest checkpoint of the run."""
    overwrite: bool = False
    """Replace an existing run."""
    coordinator: Text | None = None
    """HOST:PORT of process 0, for a run of several processes; detected with SLURM, Open MPI 4, TPU pods and Kubernetes jobs."""
    processes: Count | None = None
    """Number of processes; detected like --coordinator."""
    process: Whole | None = None
    """Number of this process, starting at 0; detected like --coordinator."""
    matmul_precision: Literal['default', 'tensorfloat32', 'float32'] = 'default'
    """Precision of float32 matrix products and convolutions; the default is TF32 on GPUs, bfloat16 on TPUs, and float32 on CPUs.
    Penalties, unrolled steps and the networks that score samples always use float32."""

    renamed: ClassVar[dict[str, str]] = {
        '--evaluate': '--samples',
        '--decay': '--schedule cosine:end=VALUE',
        '--constant': '--schedule linear:start=VALUE',
    }
    """Former flags and their replacements."""
    free: ClassVar[tuple[str, ...]] = ()
    """Options that do not affect the state, and may change when a run is resumed."""

    def identity(self) -> dict[str, Any]:
        """The options that identify a run that is resumed: all except how, where and how long to run."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_IDENTITY}
        return json.loads(json.dumps(values))

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        """The options that an identity represents, by name."""
        return identity

    @classmethod
    def of_run(cls, path: pathlib.Path) -> Self:
        """The options of the run at `path`, with defaults for those that a run does not store.

        Raises `InputError` for a directory that is not a run, or that belongs to another experiment or version.
        """
        values = cls.from_identity(saved_identity(path))
        if differing := (set(values) ^ set(cls.from_identity(cls().identity()))) - set(_NOT_IDENTITY):
            raise InputError(f'{path} is not a run of this experiment and version: options {", ".join(sorted(differing))} differ')
        options: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
        return cls(**options)

    @classmethod
    def at(cls, path: pathlib.Path, **changes: Any) -> Self:
        """The options of the run at `path`, including its name and its location. Raises `InputError` as `of_run` does."""
        whole = pathlib.Path(os.path.abspath(path))  # for . and ..
        return dataclasses.replace(cls.of_run(path), name=whole.name, runs_dir=str(whole.parent), **changes)


def saved_identity(path: pathlib.Path) -> dict[str, Any]:
    """The identity of the run at `path`. Raises `InputError` for a directory that is not a run, or a damaged configuration."""
    file = path / _CONFIG
    if not file.is_file():
        raise InputError(f'{path} is not a run: it does not contain {_CONFIG}')
    found = read_json(file)
    if not isinstance(found, dict):
        raise InputError(f'{file} is damaged: it is not a configuration')
    return found


def part(config: AnyOptions, name: str, **changes: Any) -> AnyOptions:
    """The options of a part of a run, such as one of the values that it compares, in a subdirectory.

    A part that has been started is resumed, regardless of how it stopped.
    """
    name = re.sub(r'[^\w.=+-]', '_', name)
    named = dataclasses.replace(config, name=f'{config.name}/{name}', overwrite=False, **changes)
    begun = hosts.agreed((pathlib.Path(named.runs_dir) / named.name / _CONFIG).exists)
    return dataclasses.replace(named, resume=begun)


class RunDirectory:
    """The directory `runs/NAME/`. Opening one checks it against the configuration, and creates it if it does not exist.

    This process owns the directory as long as the object lives. If a process was killed while it started or replaced a run, the
    directory that it leaves can be used for a new run.

    Raises `InputError` if the directory contains another run, if it contains this run and neither `resume` nor `overwrite` is
    set, if there is nothing to resume, if another process owns it, if it cannot be created, or if another process of this run
    does not share the disk.
    """

    def __init__(self, config: Options) -> None:
        self.path = pathlib.Path(config.runs_dir) / config.name
        self.resume = config.resume
        self.init_from: str | None = getattr(config, 'init_from', None)
        hosts.agreed(lambda: self._open(config))
        lock.check_shared(self.path)

    def _open(self, config: Options) -> None:
        identity = config.identity()
        if config.resume and config.overwrite:
            raise InputError('--resume continues a run and --overwrite replaces it: give only one of them')
        source = pathlib.Path(self.init_from).resolve() if self.init_from and config.overwrite else None
        if source is not None and (source == self.path.resolve() or self.path.resolve() in source.parents):
            raise InputError(f'--overwrite would remove {self.init_from} before the run starts from it: use another --name')
        whole = self.path.absolute()
        if found := re.search(r'\[.*\]|\\', whole.as_posix()):
            raise InputError(f'{whole} cannot hold checkpoints, which Orbax does not find below {found[0]}')
        self._refuse_foreign(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock.lock(self.path)
        except OSError as error:
            raise InputError(f'cannot use {self.path} as a run directory: {error.strerror}') from error
        self._refuse_foreign(config)  # another process may have used it in the meantime
        file = self.path / _CONFIG
        if config.overwrite or not file.exists():
            self._clear()
        if file.exists():
            self._check(saved_identity(self.path), identity, config)
        else:
            write_json(file, identity)
        shutil.rmtree(self.path / _REMOVED, ignore_errors=True)
        for part in self.path.glob('.*.part'):  # of a process that was killed
            part.unlink(missing_ok=True)

    def _refuse_foreign(self, config: Options) -> None:
        """Raises `InputError` for a directory that is not a run's, and for one that does not contain the run to resume."""
        try:
            names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        except OSError as error:
            raise InputError(f'{self.path} is not a run directory: {error.strerror}') from error
        if _CONFIG in names:
            if not config.overwrite or lock.NAME in names or names == {_CONFIG} or is_run(self.path):
                return
            raise InputError(
                f'{self.path} exists but is not a run of this project, although it contains {_CONFIG}; use another --name'
            )
        left = {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_BEHIND)}
        if config.resume and not left:
            raise InputError(f'nothing to resume: {self.path} does not contain a run')
        if names - left and _REMOVED not in names:
            raise InputError(f'{self.path} exists and is not a run of this project; use another --name')

    def _clear(self) -> None:
        """Moves everything but the lock aside, starting with the configuration, without which the rest is not a run."""
        removed = self.path / _REMOVED
        left = [path for path in self.path.iterdir() if path.name not in (lock.NAME, _REMOVED)]
        if left:
            removed.mkdir(exist_ok=True)
        for path in sorted(left, key=lambda path: path.name != _CONFIG):
            os.replace(path, removed / path.name)

    def _check(self, found: dict[str, Any], asked: dict[str, Any], config: Options) -> None:
        changed = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
        names = [name for name in changed if name not in config.free]
        if names:
            differences = ', '.join(f'{name} {found.get(name)!r} -> {asked.get(name)!r}' for name in names)
            advice = 'use another --name or --overwrite'
            if 'decay_steps' in names:
                advice = (
                    'decay_steps is the --steps over which learning rates or penalties decay, which cannot change within a run; '
                    f'use --init-from {self.path} with another --name to start a new schedule from its networks'
                )
            raise InputError(f'{self.path} contains a run with another configuration: {differences}; {advice}')
        if not config.resume:
            raise InputError(
                f'{self.path} already contains this run; use --resume to continue, --overwrite to start again, or another --name'
            )
        if changed:
            write_json(self.path / _CONFIG, asked)

    def log(self, step: int, values: dict[str, Any], name: str = 'metrics.jsonl') -> None:
        """Appends a line to a log; with several processes, in process 0 alone."""
        if not hosts.leads():
            return
        line = json.dumps({'step': step, **values}) + '\n'
        with open(self.path / name, 'a') as file:
            file.write(line)

    def read_log(self, name: str = 'metrics.jsonl') -> list[dict[str, Any]]:
        """Reads a log as the function `read_log` does."""
        return read_log(self.path, name)

    def write_log(self, rows: Sequence[dict[str, float]], name: str = 'metrics.jsonl') -> None:
        """Replaces the lines of a log."""
        write_whole(self.path / name, ''.join(json.dumps(row) + '\n' for row in rows).encode())

    def rewind(self, step: int) -> bool:
        """Discards logs and pictures after `step`, since a run killed after its newest checkpoint repeats those steps.

        Returns whether there were any.
        """
        return hosts.agreed(lambda: self._rewind(step))

    def _rewind(self, step: int) -> bool:
        found = False
        for file in self.path.glob('*.jsonl'):
            rows = self.read_log(file.name)
            kept = [row for row in rows if row['step'] <= step]
            self.write_log(kept, file.name)
            found |= len(kept) < len(rows)
        points = [file for file in self.path.glob('points/*.json') if file.stem.isdecimal() and int(file.stem) > step]
        for file in [*points, *(picture for picture in self.pictures() if step_of(picture) > step)]:
            file.unlink()
            found = True
        return found

    def pictures(self) -> list[pathlib.Path]:
        """The pictures `samples/step_N.png` in order of step; any other files there do not belong to the run."""
        return pictures_of(self.path)


def pictures_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The pictures `samples/step_N.png` of the run at `path` in order of step."""
    files = (file for file in path.glob('samples/step_*.png') if _PICTURE.fullmatch(file.name) and file.is_file())
    return sorted(files, key=step_of)


def read_log(path: pathlib.Path, name: str = 'metrics.jsonl') -> list[dict[str, Any]]:
    """The lines of a log of the run at `path`, without those that are truncated or damaged."""
    file = path / name
    rows = []
    for line in file.read_text(errors='replace').splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get('step'), int):
            rows.append(row)
    return rows


_PICTURE = re.compile(r'step_([0-9]+)\.png')


def step_of(picture: pathlib.Path) -> int:
    """The step of a picture `step_N.png`."""
    return int(picture.stem.removeprefix('step_'))
