"""The directory of a run: its configuration, its log, and files that are either whole or not there."""

import dataclasses
import json
import pathlib
import shutil
from typing import Annotated, Any, ClassVar, Self

from gan_jax.errors import InputError
from gan_jax.files import write_json, write_whole
from gan_jax.ranges import Checked, Filled, Folder, RunName

_CONFIG = 'config.json'
_NOT_IDENTITY = ('steps', 'resume', 'overwrite', 'name', 'runs_dir', 'data_dir', 'runner')
"""Options that say how, where or how long to run, and may change when a run is resumed."""


@dataclasses.dataclass(frozen=True)
class Options(Checked):
    """What every experiment's `Config` has."""

    name: Annotated[str, RunName()] = 'run'
    """Name of the run; it lives in RUNS_DIR/NAME."""
    runs_dir: Annotated[str, Filled(), Folder()] = 'runs'
    """Where runs live."""
    resume: bool = False
    """Go on from the run's newest checkpoint."""
    overwrite: bool = False
    """Replace an existing run."""

    free: ClassVar[tuple[str, ...]] = ()
    """Options that move no bit of the state, and may change when a run is resumed."""

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same one, to be resumed: all but how, where and how long."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _NOT_IDENTITY}
        return json.loads(json.dumps(values))

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        """The options that an identity tells, by name."""
        return identity

    @classmethod
    def of_run(cls, path: pathlib.Path) -> Self:
        """Those of the run at `path`, with defaults for what a run does not keep.

        Raises `InputError` for a directory that is no run, or another experiment's, or another version's.
        """
        values = cls.from_identity(saved_identity(path))
        if differing := (set(values) ^ set(cls.from_identity(cls().identity()))) - set(_NOT_IDENTITY):
            raise InputError(f'{path} is no run of this experiment and version: options {", ".join(sorted(differing))} differ')
        options: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
        return cls(**options)


def saved_identity(path: pathlib.Path) -> dict[str, Any]:
    """That of the run at `path`. Raises `InputError` for a directory that is no run."""
    file = path / _CONFIG
    if not file.is_file():
        raise InputError(f'{path} is no run: it has no {_CONFIG}')
    return json.loads(file.read_text())


class RunDirectory:
    """`runs/NAME/`. Opening one checks it against the configuration, and creates it if it is new.

    Raises `InputError` if it holds another run, if it holds one already and neither `resume` nor `overwrite` was asked for, or if
    there is nothing to resume.
    """

    def __init__(self, config: Options) -> None:
        self.path = pathlib.Path(config.runs_dir) / config.name
        self.resume = config.resume
        identity = config.identity()
        file = self.path / _CONFIG
        if config.overwrite and file.exists():
            shutil.rmtree(self.path)
        if file.exists():
            self._check(json.loads(file.read_text()), identity, config)
        elif config.resume:
            raise InputError(f'nothing to resume: {self.path} holds no run')
        elif self.path.exists() and any(self.path.iterdir()):
            raise InputError(f'{self.path} exists and is no run of this project; give another --name')
        self.path.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_json(file, identity)

    def _check(self, found: dict[str, Any], asked: dict[str, Any], config: Options) -> None:
        changed = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
        names = [name for name in changed if name not in config.free]
        if names:
            differences = ', '.join(f'{name} {found.get(name)!r} -> {asked.get(name)!r}' for name in names)
            advice = 'give another --name, or --overwrite'
            if 'decay_steps' in names:
                advice = (
                    'decay_steps is the --steps over which learning rates or penalties decay, which cannot change within a run; '
                    f'--init-from {self.path} with another --name begins a new schedule with its networks'
                )
            raise InputError(f'{self.path} holds a run with another configuration: {differences}; {advice}')
        if not config.resume:
            raise InputError(
                f'{self.path} holds this run already; give --resume to go on, --overwrite to start again, or another --name'
            )
        if changed:
            write_json(self.path / _CONFIG, asked)

    def log(self, step: int, values: dict[str, float], name: str = 'metrics.jsonl') -> None:
        """Appends one line to a log."""
        line = json.dumps({'step': step, **values}) + '\n'
        with open(self.path / name, 'a') as file:
            file.write(line)

    def read_log(self, name: str = 'metrics.jsonl') -> list[dict[str, float]]:
        """The lines of a log; a last line that was cut short is left out."""
        file = self.path / name
        rows = []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def rewind(self, step: int) -> None:
        """Forgets what was logged and drawn after `step`: a run killed past its newest checkpoint takes those steps again."""
        for file in self.path.glob('*.jsonl'):
            rows = [row for row in self.read_log(file.name) if row['step'] <= step]
            write_whole(file, ''.join(json.dumps(row) + '\n' for row in rows).encode())
        for picture in self.path.glob('samples/step_*.png'):
            if int(picture.stem.removeprefix('step_')) > step:
                picture.unlink()
