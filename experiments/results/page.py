"""`experiments/RESULTS.md`, made from the rows."""

import collections
import dataclasses
import itertools
import math
import string
from collections.abc import Iterable, Iterator, Mapping

from experiments.results import comparison, storage
from experiments.results.protocol import PROTOCOL
from experiments.results.rows import Column, Figure, Row
from experiments.results.sections import SECTIONS
from gan_jax import runs

FILE = storage.FOLDER.parent / 'RESULTS.md'
ARROWS = {'higher': ' ↑', 'lower': ' ↓', '': ''}
INTRODUCTION = """\
# Results

Made by `python -m experiments.results` from the files of [`results/`](results), one for each row; edit those, not this page.

A figure is the mean over the seeds ± half of its 95 % interval (Student's t); a figure of one seed has no interval. Arrows show
which direction is better. "At the best" is at each seed's best evaluation over training, which is chosen on other samples than
those that are scored; other figures are of the last step. Each file holds every seed's figures, the commit, the versions, and the
hardware. An option that did not exist at a row's commit stands in its command with the value that changes nothing.

Images are judged by a small classifier trained on the training images of the data set. "Recognised" is the share that it
reads with probability .9 or more. Fréchet distances are in its features unless a section says otherwise, so they are not
FIDs, and compare only within one data set and number of samples, for which the distance of training images is given.

| to | run |
|---|---|
| list the rows, and those that have yet to be run | `python -m experiments.results --list` |
| run a row with one more seed, and compare it with the prediction interval | `python -m experiments.results --verify ROW` |
| run a row anew, and record it | `python -m experiments.results --record ROW` |
"""


def write(rows: Mapping[str, Row]) -> None:
    """Writes the page."""
    runs.write_whole(FILE, page(rows).encode())


def page(rows: Mapping[str, Row]) -> str:
    """The whole page. Rows without figures are left out, and so are sections without rows."""
    place = {name: i for i, name in enumerate(PROTOCOL)}
    shown = sorted((row for row in rows.values() if row.figures), key=lambda row: place.get(row.name, len(place)))
    known = _environments(shown)
    parts = [INTRODUCTION]
    if known:
        parts += ['Environments that several rows share have a letter:\n', *(f'{x}: {text}\n' for text, x in known.items())]
    for key, section in SECTIONS.items():
        if own := [row for row in shown if row.section == key]:
            parts += [f'## {section.title}\n', f'{section.text}\n', *_tables(own), *_compared(own, section.compared)]
            parts += (_details(row, known) for row in own)
    return '\n'.join(parts)


def _environments(rows: Iterable[Row]) -> dict[str, str]:
    """The environments with flags that several rows share, each with a letter."""
    counts = collections.Counter(_environment(row) for row in rows)
    shared = (text for text, count in counts.items() if count > 1 and 'XLA_FLAGS' in text)
    return dict(zip(shared, string.ascii_uppercase, strict=False))


def _environment(row: Row) -> str:
    """The versions and flags that a row was run with."""
    assert row.origin is not None
    parts = [f'{name} {version}' for name, version in (row.origin.versions or {}).items()]
    return ', '.join([*parts, *([f'`XLA_FLAGS={row.origin.xla_flags}`'] if row.origin.xla_flags else [])])


def _tables(rows: Iterable[Row]) -> Iterator[str]:
    """Rows with the same columns share a table, without those columns that none of them has a figure of."""
    for columns, alike in itertools.groupby(rows, lambda row: row.columns):
        own = list(alike)
        filled = {title for row in own for figures in row.figures.values() for title in figures}
        yield _table(own, [column for column in columns if column.title in filled])


def _table(rows: list[Row], columns: list[Column]) -> str:
    """The table of some rows, and the sources of what was published."""
    chosen = [(row, line) for row in rows for line in row.lines if row.figures.get(line.title)]
    sources = list(dict.fromkeys(line.source for _, line in chosen if line.source))
    seeded = any(row.seeds is not None for row in rows)
    heads = ['', *map(_head, columns), *(['seeds'] if seeded else []), *(['published'] if sources else [])]
    lines = [heads, ['---'] * len(heads)]
    for row in rows:
        for line in row.lines:
            if figures := row.figures.get(line.title):
                title = line.title if len(rows) == 1 and line.title else ', '.join(filter(None, (row.label, line.title)))
                name = f'[{title}](results/{row.name}.json)'
                values = [spread(figures[c.title], c, row) if c.title in figures else '' for c in columns]
                note = f'{line.published}<sup>{sources.index(line.source) + 1}</sup>' if line.published else ''
                lines.append([name, *values, *([_seeds(row)] if seeded else []), *([note] if sources else [])])
        for reference in row.references:
            values = [number(reference.values.get(column.title), column) for column in columns]
            lines.append([reference.title, *values, *[''] * (len(heads) - 1 - len(values))])
    table = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines) + '\n'
    return '\n'.join([table, *(f'<sup>{number}</sup> {source}.\n' for number, source in enumerate(sources, 1))])


def _compared(rows: list[Row], title: str) -> Iterator[str]:
    """The table of interquartile means, and of the probability that a seed is better than one of the baseline."""
    if found := list(comparison.comparisons(rows, title)):
        column = next(column for column in found[0].row.columns if column.title == title)
        heads = ['', f'interquartile mean of: {_head(column)}', 'probability of improvement over the baseline', 'baseline']
        lines = [heads, ['---'] * len(heads)]
        labels = {row.name: row.label for row in rows} | {line.title: line.title for row in rows for line in row.lines}
        for row, line, mean, improvement in found:
            ends = [number(x, column) for x in mean]
            better = f'{improvement.value:.2f} [{improvement.low:.2f}, {improvement.high:.2f}]' if improvement else ''
            name = ', '.join(filter(None, (row.label, line)))
            lines.append([name, f'{ends[0]} [{ends[1]}, {ends[2]}]', better, labels[row.baseline] if improvement else ''])
        table = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
        yield f'With 95 % bootstrap intervals over seeds (Agarwal et al. 2021):\n\n{table}\n'


def _head(column: Column) -> str:
    unit = f', {column.unit}' if column.unit else ''
    return f'{column.title}{unit}{ARROWS[column.better]}'


def number(value: float | None, column: Column) -> str:
    """A value in the unit of its column."""
    if value is None or math.isnan(value):
        return ''
    value = 100 * value if column.unit == '%' else value
    return f'{value:,.4g}' if column.digits is None else f'{value:,.{column.digits}f}'


def spread(figure: Figure, column: Column, row: Row) -> str:
    """`mean ± half of the interval`; where some seeds have no finite value, with the number of seeds averaged."""
    _, _, count = figure.spread
    if not count:
        return 'not finite'
    seeds = len(row.seeds or (0,))
    shown = number(figure.mean, column)
    if figure.interval is not None and column.verified:
        half = (100 if column.unit == '%' else 1) * figure.interval
        if column.digits is None and half > 1e-4:  # two digits of the interval, and of the mean as many as it gives
            column = dataclasses.replace(column, digits=max(0, 1 - math.floor(math.log10(half))))
        shown = f'{number(figure.mean, column)} ± {number(figure.interval, column)}'
    return shown + (f' ({count} of {seeds})' if count < seeds else '')


def _seeds(row: Row) -> str:
    if row.seeds is None:
        return ''
    first, last = min(row.seeds), max(row.seeds)
    if len(row.seeds) == last - first + 1 > 2:
        return f'{first} to {last}'
    return ', '.join(map(str, row.seeds))


def command(row: Row) -> str:
    """The row's command line, seeds included."""
    return row.command if row.seeds is None else f'{row.command} --seeds {len(row.seeds)} --seed {min(row.seeds)}'


def _details(row: Row, known: Mapping[str, str]) -> str:
    """The command below the table, how it was run, the note, and the pictures; `known` has a letter for environments."""
    assert row.origin is not None
    found = row.origin
    code = f'commit {found.commit[:12]}' if found.commit else 'commit not recorded'
    parts = [code + (' with uncommitted changes' if found.uncommitted else '')]
    environment = _environment(row)
    parts += [known.get(environment, environment)] if environment else []
    cores = f', {found.cores} {"core" if found.cores == 1 else "cores"}' if found.cores else ''
    parts += [found.hardware + cores] if found.hardware else []
    parts += [duration(found.seconds)] if found.seconds is not None else []
    note = f' {row.note}' if row.note else ''
    text = f'**{row.label}**: `{command(row)}`; {", ".join(parts)}.{note}\n'
    pictures = [f'![{picture.shows}](pictures/{picture.file})\n' for picture in row.pictures]
    return '\n'.join([text, *pictures])


def duration(seconds: float) -> str:
    """As people say it: `2 h 5 min`, `3 min 20 s`, `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return ' '.join(f'{count} {unit}' for count, unit in ((minutes, 'min'), (rest, 's')) if count) or '0 s'
