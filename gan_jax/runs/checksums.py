"""Checksums of a run's checkpoints, recorded when they are written; files that have changed since are not restored."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable

from gan_jax.errors import InputError
from gan_jax.files import read_json, write_whole

NAME = 'checksums.json'

Sums = dict[str, str]
"""The hash of every file of a checkpoint, by path."""


def sums(folder: pathlib.Path) -> Sums:
    """The hashes of the files in a folder, by their paths relative to it: BLAKE2b, 32 hexadecimal digits."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(file.relative_to(folder)): _sum(file) for file in files}


def _sum(file: pathlib.Path) -> str:
    with open(file, 'rb') as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def noted(directory: pathlib.Path, report: Callable[[str], None] = print) -> dict[int, Sums]:
    """The recorded hashes of the checkpoints in a directory, by step; a damaged record is reported and treated as empty."""
    file = directory / NAME
    if not file.exists():
        return {}
    try:
        return {int(step): dict(found) for step, found in read_json(file).items()}
    except (InputError, AttributeError, TypeError, ValueError):
        report(f'{file} is damaged: checkpoints are restored without verifying their checksums')
        return {}


def note(directory: pathlib.Path, steps: Iterable[int]) -> None:
    """Records the hashes of these checkpoints, unless they are recorded already, and removes those of all others."""
    before = noted(directory, lambda text: None)
    found = {step: before[step] if step in before else sums(directory / str(step)) for step in steps}
    if found != before:
        write_whole(directory / NAME, json.dumps(found).encode())


def damage(folder: pathlib.Path, expected: Sums) -> str | None:
    """A short description of what is wrong with a checkpoint; None if nothing is."""
    found = sums(folder)
    for name in sorted({**expected, **found}):
        if name not in found:
            return f'{name} is missing'
        if name not in expected:
            return f'{name} is not part of it'
        if found[name] != expected[name]:
            return f'{name} has changed since it was written'
    return None
