"""The ledger of results: makes experiments/RESULTS.md, records a result with everything it depends on, and verifies one.

    python -m experiments.results
    python -m experiments.results --list
    python -m experiments.results --record dcgan_mnist
    python -m experiments.results --verify dcgan_mnist unrolled_ring

The first makes the page from the files of `experiments/results`, one for each row. `--record` runs a row's command for all its
seeds, from where it was stopped if it was, and writes the row's file and the page. `--verify` runs a row with one seed that is
not in it: each figure must lie in the prediction interval of one more seed, mean +- t s sqrt(1 + 1/n), and these intervals hold
all of a row's figures together with probability .95. The exit code is 1 if one lies outside, or has no interval.

A new row is an entry in `protocol.py`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated

from experiments.results import page, runner, storage
from experiments.results.protocol import PROTOCOL
from experiments.results.rows import Row, prediction
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.ranges import Checked, Filled, Folder, Names, Seed, SeedCount, Text, refuse_given
from gan_jax.registry import Table


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """The results of all experiments."""

    record: Text | None = None
    """Run this row and write its file."""
    verify: Names = ()
    """Run each of these rows with a seed that is not in it, and compare."""
    list: bool = False
    """Print the rows, and those that have yet to be run."""
    seeds: SeedCount | None = None
    """With --record, how many seeds; those of the row if it is not given."""
    seed: Seed | None = None
    """With --record the first seed, with --verify the one that is added; the one after the row's last if it is not given."""
    dirty: bool = False
    """Allow uncommitted code; the row records it."""
    overwrite: bool = False
    """Begin a run again that was stopped."""
    runs_dir: Annotated[str, Filled(), Folder()] = 'runs'
    """Where runs live; those of the ledger are in RUNS_DIR/results."""


def main(config: Config) -> None:
    """Does what was asked for. Raises `SystemExit` with code 1 for a row that could not be verified."""
    if bool(config.record) + bool(config.verify) + config.list > 1:
        raise InputError('--record, --verify and --list are three commands: give one of them')
    if not config.record:
        refuse_given(config, 'seeds', because='is of --record')
    if not config.record and not config.verify:
        refuse_given(config, 'seed', 'dirty', 'overwrite', because='is of --record and --verify')
    rows = storage.read_all()
    if config.list:
        print(listing(rows))
    elif config.record:
        record(config, Table('row', {**rows, **PROTOCOL})[config.record])
    elif config.verify:
        chosen = [Table('row', {**PROTOCOL, **rows})[name] for name in config.verify]
        added = [added_seed(config, row) for row in chosen]  # refuses before anything is run
        verified = [verify(config, row, seed) for row, seed in zip(chosen, added, strict=True)]
        if not all(verified):
            raise SystemExit(1)
    else:
        page.write(rows)
        print(f'{len(rows)} rows in {page.FILE}')


def listing(rows: Mapping[str, Row]) -> str:
    """The table of `--list`."""
    table: list[tuple] = [('row', 'section', 'seeds', 'commit', 'time', 'command')]
    for name, row in sorted({**PROTOCOL, **rows}.items()):
        seeds = '-' if row.seeds is None else str(len(row.seeds))
        commit, time = 'yet to be run', ''
        if row.origin is not None:
            commit = (row.origin.commit or 'not recorded')[:12] + ('+' if row.origin.uncommitted else '')
            time = '' if row.origin.seconds is None else page.duration(row.origin.seconds)
        table.append((name, row.section, seeds, commit, time, page.command(row)))
    return runs.table(table)


def record(config: Config, row: Row) -> None:
    """Runs the row, and writes its file and the page."""
    seeds = None
    if runner.seeded(row):
        known = row.seeds or (0,)
        first = min(known) if config.seed is None else config.seed
        seeds = tuple(range(first, first + (config.seeds or len(known))))
    elif config.seeds is not None or config.seed is not None:
        raise InputError(f'{row.name} has no seeds')
    options = {'uncommitted': config.dirty, 'overwrite': config.overwrite}
    done = runner.run(row, f'results/{row.name}', seeds, config.runs_dir, **options)
    figures = runner.figures_of(row, done.results, 1 if seeds is None else len(seeds))
    runner.copy_pictures(row, done.folder)
    path = storage.write(dataclasses.replace(row, seeds=seeds, origin=done.origin, figures=figures))
    page.write(storage.read_all())
    print(f'recorded {path}; page {page.FILE}')


def added_seed(config: Config, row: Row) -> int | None:
    """The seed that a row is verified with; None where there are no seeds. Raises `InputError` for a row that cannot be."""
    if not row.figures:
        raise InputError(f'{row.name} has yet to be run: --record it first')
    if not runner.seeded(row):
        return None
    seed = max(row.seeds or (-1,)) + 1 if config.seed is None else config.seed
    if seed in (row.seeds or ()):
        raise InputError(f'seed {seed} is in {row.name} already: a row is verified with another')
    return seed


def verify(config: Config, row: Row, seed: int | None) -> bool:
    """Runs the row with that seed, prints each figure beside its interval, and returns whether all lie inside."""
    name = f'results/verify/{row.name}' + ('' if seed is None else f'_{seed}')
    options = {'uncommitted': config.dirty, 'overwrite': config.overwrite}
    done = runner.run(row, name, None if seed is None else (seed,), config.runs_dir, **options)
    found = runner.figures_of(row, done.results, 1)
    compared = [
        (line, column)
        for line in row.lines
        for column in row.columns
        if column.verified and column.title in row.figures.get(line.title, {})
    ]
    if not compared:
        raise InputError(f'{row.name} has no figure to verify')
    share = 1 - 0.05 / max(len(compared), 1)
    inside = True
    table: list[tuple] = [('figure', 'mean', 'of seeds', 'interval', f'seed {seed}' if seed is not None else 'again', '')]
    for line, column in compared:
        figure, measured = row.figures[line.title][column.title], found.get(line.title, {}).get(column.title)
        again = None if measured is None else measured.mean
        half, (mean, _, count) = prediction(figure, share), figure.spread
        same = again is not None and abs(again - mean) <= 1e-5 * abs(mean)
        if again is None:
            some = None in (figure.values or ())  # a seed of the row was not finite either
            interval, verdict = '', 'missing' if measured is None else 'inside' if some else 'not finite'
        elif seed is None:  # nothing is random
            interval, verdict = '', 'inside' if same else 'OUTSIDE'
        elif not half:  # of one seed, or of seeds that all agree
            interval, verdict = '', 'inside' if half == 0 and same else 'has no interval'
        else:
            interval = f'{page.number(mean - half, column)} to {page.number(mean + half, column)}'
            verdict = 'inside' if abs(again - mean) <= half else 'OUTSIDE'
        inside = inside and verdict == 'inside'
        title = ', '.join(filter(None, (line.title, column.title)))
        table.append(
            (
                title,
                page.number(mean, column),
                count,
                interval,
                page.number(math.nan if again is None else again, column),
                verdict,
            )
        )
    print(runs.table(table, title=f'{row.name}: intervals of one more seed, {100 * share:.4g} % each'))
    print(f'{row.name}: ' + ('every figure lies inside' if inside else 'not verified'))
    return inside


if __name__ == '__main__':
    runs.run_main(main, Config)
