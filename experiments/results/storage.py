"""The JSON files of rows: one file for each row, which is checked as it is read and written."""

import dataclasses
import json
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any

from experiments.results.rows import Row, check
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.ranges import fault

FOLDER = pathlib.Path(__file__).parent
"""Where the files are."""
PICTURES = FOLDER.parent / 'pictures'


def read(path: pathlib.Path) -> Row:
    """The row of a file. Raises `InputError` for a file that is not one, with what is wrong."""
    row = _decode(Row, runs.read_json(path), path.name)
    if row.name != path.stem:
        raise InputError(f'{path.name}: the name must be that of the file, not {row.name!r}')
    check(row, path.name)
    return row


def read_all() -> dict[str, Row]:
    """Every row that has a file, by name. Raises `InputError` for a file that is not a row."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob('*.json'))}


def write(row: Row) -> pathlib.Path:
    """Writes the row's file, and returns it. Raises `InputError` for a row that contradicts itself."""
    check(row, row.name)
    path = FOLDER / f'{row.name}.json'
    runs.write_whole(path, (_text(_encode(row)) + '\n').encode())
    return path


def _decode(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as the type that an annotation names. Raises `InputError`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _decode(arguments[0], value, where)
    if dataclasses.is_dataclass(kind):
        fields = {field.name: field for field in dataclasses.fields(kind)}
        if not isinstance(value, dict) or (unknown := set(value) - set(fields)):
            instead = sorted(unknown) if isinstance(value, dict) else value
            raise InputError(f'{where} must be an object of {", ".join(fields)}, not {instead}')
        needed = [f.name for f in fields.values() if f.default is f.default_factory is dataclasses.MISSING]
        if missing := [name for name in needed if name not in value]:
            raise InputError(f'{where} must have {", ".join(missing)}')
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: _decode(hints[name], x, f'{where}: {name}') for name, x in value.items()})
    if origin in (tuple, dict) and not isinstance(value, list if origin is tuple else dict):
        raise InputError(f'{where} must be {"a list" if origin is tuple else "an object"}')
    if origin is tuple:
        return tuple(_decode(arguments[0], x, where) for x in value)
    if origin is dict:
        return {name: _decode(arguments[1], x, f'{where}: {name}') for name, x in value.items()}
    if found := fault(kind, value):
        raise InputError(f'{where} {found}')
    return value


def _encode(value: Any) -> Any:
    """A row as JSON has it, without the fields that have their defaults."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        values = {field.name: getattr(value, field.name) for field in fields}
        defaults = {f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory() for f in fields}
        return {name: _encode(x) for name, x in values.items() if x != defaults[name]}
    if isinstance(value, Mapping):
        return {name: _encode(x) for name, x in value.items()}
    return [_encode(x) for x in value] if isinstance(value, tuple | list) else value


def _text(value: Any, indent: str = '') -> str:
    """JSON whose parts stand on one line where they fit."""
    short = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(short) <= 120 or not isinstance(value, dict | list) or not value:
        return short
    inner = indent + '  '
    if isinstance(value, dict):
        parts = [f'{json.dumps(name, ensure_ascii=False)}: {_text(x, inner)}' for name, x in value.items()]
        return '{\n' + ',\n'.join(inner + part for part in parts) + f'\n{indent}}}'
    return '[\n' + ',\n'.join(inner + _text(x, inner) for x in value) + f'\n{indent}]'
