"""Tables of methods by name, and the one line of text that picks a method and its settings.

build(PENALTIES, 'wgan_gp:weight=0.1,one_sided=True')
"""

import ast
import difflib
import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from gan_jax.errors import InputError

T = TypeVar('T')


class Table(dict[str, T]):
    """Name -> factory. An unknown name is refused with the nearest known ones; `noun` says what the table holds."""

    def __init__(self, noun: str, members: dict[str, T]) -> None:
        super().__init__(members)
        self.noun = noun

    def __missing__(self, name: object) -> T:
        near = difflib.get_close_matches(str(name), self, n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else f'known: {", ".join(self)}'
        raise InputError(f'unknown {self.noun} {name!r}; {hint}')


def build(table: Table[Callable[..., T]], text: str, **context: Any) -> T:
    """The member of a table that `NAME` or `NAME:setting=value,setting=value` asks for.

    Values are Python literals; what is none is a string. `context` is what the caller knows and the text cannot say, such as
    `axis_name`: a factory is given those of its parameters that stand in it. A value is of its parameter's annotated type where
    that is a number, a truth value or a string. Raises `InputError` for a name, a setting or a value that does not work.
    """
    name, _, settings = text.partition(':')
    factory = table[name]
    parameters = inspect.signature(factory).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {key: value for key, value in context.items() if key in parameters}
    for item in filter(None, settings.split(',')):
        key, separator, value = item.partition('=')
        if not separator:
            raise InputError(f'{table.noun} {text!r}: settings are written name=value, not {item!r}')
        if key not in parameters and not open_ended:
            raise InputError(f'{table.noun} {name} has no setting {key!r}; it has: {", ".join(parameters) or "none"}')
        given[key] = _typed(f'{table.noun} {text!r}: {key}', _value(value), parameters.get(key))
    try:
        return factory(**given)
    except (TypeError, ValueError) as error:
        raise InputError(f'{table.noun} {text!r}: {error}') from error


_TYPES: dict[Any, str] = {int: 'a whole number', float: 'a number', bool: 'True or False', str: 'a string', type(None): 'None'}


def _typed(what: str, value: Any, parameter: inspect.Parameter | None) -> Any:
    annotation = inspect.Parameter.empty if parameter is None else parameter.annotation
    types = typing.get_args(annotation) or (annotation,)
    if not set(types) <= set(_TYPES) or type(value) in types:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and float in types:
        return value
    if number and int in types and float(value).is_integer():
        return int(value)
    raise InputError(f'{what} is {" or ".join(_TYPES[kind] for kind in types)}, not {value!r}')


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
