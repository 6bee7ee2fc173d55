"""Tables of methods by name, and the parser of the one-line text that selects a method and its settings.

build(PENALTIES, 'wgan_gp:weight=0.1,one_sided=True')
"""

import ast
import difflib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from gan_jax.errors import InputError
from gan_jax.ranges import fault

T = TypeVar('T')


class Table(dict[str, T]):
    """Name -> factory. Raises `InputError` for an unknown name, suggesting similar ones; `noun` describes the members."""

    def __init__(self, noun: str, members: dict[str, T]) -> None:
        super().__init__(members)
        self.noun = noun

    def __missing__(self, name: object) -> T:
        near = difflib.get_close_matches(str(name), self, n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else f'known: {", ".join(self)}'
        raise InputError(f'unknown {self.noun} {name!r}; {hint}')


def build(table: Table[Callable[..., T]], text: str, **context: Any) -> T:
    """The member of a table selected by `NAME` or `NAME:setting=value,setting=value`.

    Values are parsed as Python literals and fall back to strings. `context` supplies arguments only the caller knows; each
    factory receives those that it has parameters for. A value must have its parameter's annotated type and be in its range
    (`gan_jax.ranges`). Raises `InputError` for an invalid name, setting or value, and for a required setting that is
    not given.
    """
    factory = table[text.partition(':')[0]]
    given = _given(table, text)
    parameters = inspect.signature(factory).parameters
    known = {key: value for key, value in context.items() if key in parameters}
    needed = [name for name, p in parameters.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if missing := [f'{name}=...' for name in needed if name not in known and name not in given]:
        whole = f'{text}{"," if ":" in text else ":"}{",".join(missing)}'
        raise InputError(f'{table.noun} {text!r} lacks settings: it must be {whole}')
    try:
        return factory(**(known | given))
    except (TypeError, ValueError) as error:
        raise InputError(f'{table.noun} {text!r}: {error}') from error


def settings(table: Table[Callable[..., T]], text: str) -> dict[str, Any]:
    """The settings of the member that the text selects: those that it gives, and the defaults of the others.

    Settings without a default that are not given are left out. Raises `InputError` as `build` does.
    """
    parameters = inspect.signature(table[text.partition(':')[0]]).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | _given(table, text)


def _given(table: Table[Callable[..., T]], text: str) -> dict[str, Any]:
    name, colon, settings = text.partition(':')
    parameters = inspect.signature(table[name]).parameters
    own = {key: p.annotation for key, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given: dict[str, Any] = {}
    for item in settings.split(',') if colon else ():
        key, separator, value = item.partition('=')
        if not separator:
            raise InputError(f'{table.noun} {text!r}: settings must be written name=value, not {item!r}')
        if key not in own and not (open_ended and key.isidentifier()):
            raise InputError(f'{table.noun} {name} has no setting {key!r}; it has: {", ".join(own) or "none"}')
        if key in given:
            raise InputError(f'{table.noun} {text!r} sets {key} twice')
        given[key] = _whole(_value(value), own.get(key))
        if found := fault(own.get(key), given[key]):
            raise InputError(f'{table.noun} {text!r}: {key} {found}')
    return given


def choices(table: Table[Any]) -> list[str]:
    """Every name of the table as text for `build`, with the settings that have defaults and these defaults."""
    return [':'.join(filter(None, (name, ','.join(_defaults(member))))) for name, member in table.items()]


def _defaults(member: Any) -> list[str]:
    parameters = inspect.signature(member).parameters.values() if inspect.isroutine(member) else ()
    return [f'{p.name}={_text(p.default)}' for p in parameters if p.default is not p.empty]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return '+'.join(value)
    return f'{value:g}'.replace('e+0', 'e') if isinstance(value, float) else str(value)


def leaves_open(table: Table[Callable[..., T]], text: str, setting: str) -> bool:
    """Whether the factory that the text selects has this setting and the text does not give its value.

    Raises `InputError` for an unknown name.
    """
    name, _, settings = text.partition(':')
    given = [item.partition('=')[0] for item in settings.split(',')]
    return setting in inspect.signature(table[name]).parameters and setting not in given


def _whole(value: Any, annotation: Any) -> Any:
    """Converts 2.0 to 2 if only the latter is valid for the annotation."""
    if isinstance(value, float) and value.is_integer() and fault(annotation, value) and not fault(annotation, int(value)):
        return int(value)
    return value


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
