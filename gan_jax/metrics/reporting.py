"""The table and the JSON file of `python -m gan_jax.metrics`, for one or several sets of generated images."""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from gan_jax.commandline import table
from gan_jax.files import json_text, write_whole
from gan_jax.metrics.protocols import Score
from gan_jax.metrics.sources import OpenedImages
from gan_jax.numerics import mean_and_interval


class Scored(NamedTuple):
    """The scores of one set of generated images."""

    images: OpenedImages
    scores: list[Score]
    values: list[list[float]] | None = None
    """The values of each score by seed; None for one seed."""


def over_seeds(images: OpenedImages, each: Sequence[list[Score]]) -> Scored:
    """The means over seeds of the finite values, with half of their 95 % interval as spread; one seed's scores as they are."""
    if len(each) == 1:
        return Scored(images, each[0])
    scores, values = [], []
    for of_seeds in zip(*each, strict=True):
        values.append([score.value for score in of_seeds])
        mean, half, count = mean_and_interval(values[-1])
        spread_is = f'half of the 95 % interval over {count} seeds'
        scores.append(of_seeds[0]._replace(value=mean, spread=half, spread_is=spread_is))
    return Scored(images, scores, values)


def report(found: Sequence[Scored], file: str | None, reals: Sequence[OpenedImages] = (), notes: Sequence[str] = ()) -> None:
    """Prints a table followed by the extractors and any notes, and writes a JSON file; if `file` is '-', prints only the JSON.

    Args:
        found: the scores of each set of generated images.
        file: where to write the JSON; None for nowhere.
        reals: the real images that have been read.
        notes: remarks to print.
    """
    notes = [*notes, *(source.note for source in (*(scored.images for scored in found), *reals) if source.note)]
    text = json_text(rows(found, reals))
    if file == '-':
        print(text, end='')
        for note in notes:
            print(note, file=sys.stderr)
        return
    several = len(found) > 1
    head = ('metric', 'value', 'spread', 'spread is', 'protocol', 'real', 'generated')
    lines: list[tuple[Any, ...]] = [('images', *head) if several else head]
    for scored in found:
        for s in scored.scores:
            spread = ('-', '-') if s.spread is None else (s.spread, s.spread_is)
            line = (s.name, s.value, *spread, s.protocol, '-' if s.reals is None else s.reals, s.fakes)
            lines.append((scored.images.name, *line) if several else line)
    print(table(lines))
    for name in dict.fromkeys(s.extractor for scored in found for s in scored.scores):
        print(f'features: {name}{"" if name.startswith("inception-2015-12-05") else "; not FID, IS or KID in the usual sense"}')
    for images, *_ in found:
        if images.step is not None:
            print(f'the samples{f" of {images.name}" if several else ""} are from step {images.step}')
    for note in notes:
        print(f'note: {note}')
    broken = [name for source in (*(scored.images for scored in found), *reals) for name in source.broken]
    if broken:
        print(f'skipped {len(broken)} unreadable images, the first of which is {broken[0]}')
    if file:
        write_whole(pathlib.Path(file), text.encode())


def rows(found: Sequence[Scored], reals: Sequence[OpenedImages]) -> list[dict[str, Any]]:
    """The scores as JSON has them. Those of several sets of images carry the name of the set, and means the values by seed."""
    skipped = sum(len(source.broken) for source in reals)
    made = []
    for images, scores, values in found:
        for i, score in enumerate(scores):
            row = {**score._asdict(), 'skipped': skipped + len(images.broken), 'step': images.step}
            row |= {'fake': images.name} if len(found) > 1 else {}
            made.append(row | ({'values': values[i]} if values else {}))
    return made
