"""A row of the ledger: what it says, how it is checked, and the intervals of its figures."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from gan_jax.errors import InputError
from gan_jax.numerics import mean_and_interval


@dataclasses.dataclass(frozen=True)
class Column:
    """One kind of figure."""

    title: str
    path: str = ''
    """Where `results.json` has it, with slashes: `last/modes`. It is below the line's path, unless it begins with a slash; within
    it `{line}` stands for the line's path."""
    unit: str = ''
    """`%` for shares, which are kept as numbers from 0 to 1."""
    better: Literal['higher', 'lower', ''] = ''
    digits: int | None = None
    """After the decimal point; four significant ones by default."""
    verified: bool = True
    """False for what the game does not decide, such as times, and figures of real images."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One of the models that a run compares, or its only one."""

    title: str = ''
    path: str = ''
    """Where `results.json` has its figures."""
    published: str = ''
    source: str = ''
    """Paper and table of the published value."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What figures are compared with, such as held-out real images."""

    title: str
    values: dict[str, float]
    """By the title of the column."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number for each seed, their mean, and half the width of its 95 % interval by Student's t."""

    mean: float | None
    interval: float | None = None
    values: tuple[float | None, ...] | None = None
    """None for a seed that diverged or whose figure is not finite; None if only the summary was kept."""
    standard_error: float | None = None
    """Of the mean, where only the summary was kept."""
    seeds: int | None = None
    """How many finite values the summary is of."""

    @property
    def spread(self) -> tuple[float, float, int]:
        """Mean, standard error of the mean, and number of finite values; NaN for what does not exist."""
        if self.values is None:
            mean, error = (math.nan if x is None else x for x in (self.mean, self.standard_error))
            return mean, error, self.seeds or 0
        mean, half, count = mean_and_interval([math.nan if x is None else x for x in self.values])
        return mean, half / student(count) if count > 1 else math.nan, count


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where and by what code a row was run; None for what was not recorded."""

    commit: str | None = None
    uncommitted: bool = False
    """Whether the code had changes that the commit does not have."""
    versions: dict[str, str] | None = None
    xla_flags: str | None = None
    hardware: str | None = None
    cores: int | None = None
    seconds: float | None = None
    """From the start of the command to its end, evaluation and compilation included."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture beside the row."""

    file: str
    """In `experiments/pictures`."""
    shows: str
    copied_from: str = ''
    """The file of the run that is copied there when the row is recorded."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A command, its figures for every seed, and what they are compared with. A row without figures has yet to be run."""

    name: str
    section: str
    label: str
    command: str
    """Without seeds: `python -m experiments.dcgan --dataset mnist`."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...] = (Line(),)
    seeds: tuple[int, ...] | None = None
    """None for an experiment that draws nothing at random. Of a row without figures, the seeds that it is to be run with."""
    references: tuple[Reference, ...] = ()
    pictures: tuple[Picture, ...] = ()
    note: str = ''
    baseline: str = ''
    """What its lines are compared with: the title of one of them, or the name of another row."""
    origin: Origin | None = None
    figures: dict[str, dict[str, Figure]] = dataclasses.field(default_factory=dict)
    """By the titles of line and column."""

    def path(self, line: Line, column: Column) -> str:
        """Where `results.json` has the figure of a line and a column."""
        if column.path.startswith('/'):
            return column.path[1:].replace('{line}', line.path)
        return '/'.join(filter(None, (line.path, column.path)))


def student(count: int, share: float = 0.95) -> float:
    """The quantile of Student's t that an interval holding this share reaches to, for the mean of `count` values."""
    from scipy.stats import t

    return float(t.ppf((1 + share) / 2, count - 1))


def figure_of(values: Sequence[float | None]) -> Figure:
    """The figure of one number for each seed."""
    mean, half, count = mean_and_interval([math.nan if x is None else x for x in values])
    return Figure(mean if count else None, half if count > 1 else None, tuple(values))


def prediction(figure: Figure, share: float = 0.95) -> float | None:
    """Half the width of the interval that holds one more seed's value with this probability: `t s sqrt(1 + 1/n)`.

    None for a figure without a standard error, such as that of one seed.
    """
    _, error, count = figure.spread
    return None if math.isnan(error) else student(count, share) * error * math.sqrt(count + 1)


def check(row: Row, where: str) -> None:
    """Raises `InputError` for a row that contradicts itself."""

    def refuse(what: str) -> None:
        raise InputError(f'{where}: {what}')

    for kind in ('columns', 'lines'):
        titles = [part.title for part in getattr(row, kind)]
        if not titles or len(set(titles)) < len(titles):
            refuse(f'{kind} must have one title each, not {titles}')
    columns, lines = ({part.title for part in parts} for parts in (row.columns, row.lines))
    for line in row.lines:
        if bool(line.published) != bool(line.source):
            refuse(f'line {line.title!r} must have both a published value and its source, or neither')
    for reference in row.references:
        if unknown := set(reference.values) - columns:
            refuse(f'reference {reference.title!r} has no columns {sorted(unknown)}')
    if row.seeds is not None and len(set(row.seeds)) < max(len(row.seeds), 1):
        refuse('seeds must be one or more different numbers')
    if unknown := set(row.figures) - lines:
        refuse(f'there are no lines {sorted(unknown)}')
    if bool(row.figures) != (row.origin is not None):
        refuse('figures and origin stand together')
    for title, figures in row.figures.items():
        if unknown := set(figures) - columns:
            refuse(f'line {title!r} has no columns {sorted(unknown)}')
        for name, figure in figures.items():
            if found := _fault(figure, 1 if row.seeds is None else len(row.seeds)):
                refuse(f'{name} of line {title!r} {found}')


def _fault(figure: Figure, seeds: int) -> str | None:
    """What is wrong with a figure."""
    if figure.values is not None:
        if len(figure.values) != seeds:
            return f'has {len(figure.values)} values for {seeds} seeds'
        if figure.standard_error is not None or figure.seeds is not None:
            return 'has values, and a standard error or a number of seeds beside them'
    elif figure.seeds is None or not 1 <= figure.seeds <= seeds:
        return f'has no values, so it must say how many of the {seeds} seeds it is the mean of'
    elif figure.standard_error is not None and figure.seeds == 1:
        return 'has a standard error, and is of one seed'
    mean, error, count = figure.spread
    expected = mean, student(count) * error if count > 1 else math.nan
    for name, value, right in zip(('mean', 'interval'), (figure.mean, figure.interval), expected, strict=True):
        if not _same(math.nan if value is None else value, right):
            return f'has the {name} {value}, and its values give {right:.6g}'
    return None


def _same(x: float, y: float) -> bool:
    """Whether two numbers are equal up to rounding; NaN equals NaN."""
    return math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-12) or (math.isnan(x) and math.isnan(y))
