"""What values an option or a setting can have, declared in its type: `steps: Count = 1000`, `gammas: tuple[Weight, ...]`.

A declaration is `Annotated[type, rule, ...]`. Dataclasses of options that are `Checked` are checked as they are made, by the
command line or by a program, and factories that are `checked` as they are called: a number that is not finite, not whole or out
of its range is refused in one line, which names the option and what it can be.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import pathlib
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, Protocol, TypeVar, Union, runtime_checkable

from gan_jax.errors import InputError

P = ParamSpec('P')
T = TypeVar('T')


@runtime_checkable
class Rule(Protocol):
    """What a value of the right type has to be, beyond its type."""

    def fault(self, value: Any) -> str | None:
        """What is wrong, as the rest of a sentence that begins with the value's name; `None` if nothing is."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, one or both of which may be excluded."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Without `low` itself."""
    below: bool = False
    """Without `high` itself."""

    def fault(self, value: Any) -> str | None:
        number = _number(value)
        limit = _LARGEST_INT if isinstance(number, int) else _LARGEST_FLOAT
        if not self._holds(number):
            return f'is {self}, not {number}'
        return None if abs(number) <= limit or self.high < math.inf else f'is finite, and at most {limit}, not {number}'

    def _holds(self, number: float) -> bool:
        return (self.low < number if self.above else self.low <= number) and (
            number < self.high if self.below else number <= self.high
        )

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return 'finite'
        if self.high == math.inf:
            return f'above {self.low:.10g}' if self.above else f'at least {self.low:.10g}'
        if not self.above and not self.below:
            return f'from {self.low:.10g} to {self.high:.10g}'
        low, high = 'above' if self.above else 'at least', 'below' if self.below else 'at most'
        return f'{low} {self.low:.10g} and {high} {self.high:.10g}'


@dataclasses.dataclass(frozen=True)
class Several:
    """Values of which none stands twice, at least so many of them."""

    least: int = 0

    def fault(self, value: Any) -> str | None:
        if len(value) < self.least:
            return f'names at least {"one" if self.least == 1 else self.least}'
        twice = [x for i, x in enumerate(value) if x in value[:i]]
        return f'names {twice[0]} twice' if twice else None


class Filled:
    """A text, or a list, that is not empty."""

    def fault(self, value: str | tuple) -> str | None:
        return None if (value.strip() if isinstance(value, str) else value) else 'is empty'


class RunName:
    """A folder below that of all runs."""

    def fault(self, value: str) -> str | None:
        parts = pathlib.PurePath(value).parts
        below = parts and '..' not in parts and not pathlib.PurePath(value).is_absolute()
        return None if below else f'is the name of a folder below --runs-dir, not {value!r}'


class Folder:
    """A folder that is there, or that can be made."""

    def fault(self, value: str) -> str | None:
        path = pathlib.Path(value or '.').absolute()
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        return None if there.is_dir() else f'is a folder, and {there} is a file'


class FileToWrite:
    """A file in a folder that is there, or that can be made, or `-` for standard output."""

    def fault(self, value: str | pathlib.Path) -> str | None:
        path = pathlib.Path(value)
        if str(value) == '' or path.is_dir():
            return f'is a file to write, and {str(path)!r} is a folder'
        return Folder().fault(str(path.parent))


class ImageSize:
    """The side of squares, height and width as in `64x96`, or `native`: a number or a text."""

    def fault(self, value: int | str) -> str | None:
        found = [value] if isinstance(value, int) else re.findall(r'\d+', value)
        if value != 'native' and not isinstance(value, int) and not re.fullmatch(r'\d{1,5}x\d{1,5}', value):
            return f'is a side, HEIGHTxWIDTH such as 64x96, or native, not {value!r}'
        faults = (Range(1, 8192).fault(int(side)) for side in found)
        return next(filter(None, faults), None)


@dataclasses.dataclass(frozen=True)
class Called:
    """What the values are, where "a number" says too little; all of them are allowed."""

    words: str

    def fault(self, value: Any) -> str | None:
        return None


_LARGEST_INT = 2**31 - 1
"""That an array of integers holds."""
_LARGEST_FLOAT = 3e38
"""About the largest of float32."""

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
"""A number of what may be left out."""
Width = Annotated[int, Range(1, 65_536)]
"""Units or channels of a layer."""
Side = Annotated[int, Range(1, 8192), Called('the side of squares')]
"""Height and width of images, in pixels."""
Sides = Annotated[int | str, ImageSize()]
"""The same, or height and width."""
KernelSize = Annotated[int, Range(1, 255)]
BatchSize = Annotated[int, Range(1, 1_000_000)]
Samples = Annotated[int, Range(1, 10_000_000)]
Compared = Annotated[int, Range(2, 10_000_000)]
"""Samples whose distribution is compared with another."""
SeedCount = Annotated[int, Range(1, 10_000)]
"""Runs in one program."""
PlayerSteps = Annotated[int, Range(1, 1000)]
"""Of one player, for one step of the game."""
UnrollSteps = Annotated[int, Range(0, 1000)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Of random numbers: 32 bits without a sign."""
Finite = Annotated[float, Range()]
Weight = Annotated[float, Range(0, 1e6)]
"""Of a term of a loss."""
Rate = Annotated[float, Range(0)]
"""A learning rate."""
Positive = Annotated[float, Range(0, above=True)]
Margin = Annotated[float, Range(0, 1e6, above=True)]
"""Of energies."""
Coordinate = Annotated[float, Range(-1000, 1000)]
"""Of points that are drawn."""
Deviation = Annotated[float, Range(0, 1000)]
"""A standard deviation."""
DeviationAbove0 = Annotated[float, Range(0, 1000, above=True)]
Share = Annotated[float, Range(0, 1)]
ShareAbove0 = Annotated[float, Range(0, 1, above=True)]
ShareBelow1 = Annotated[float, Range(0, 1, below=True)]
Text = Annotated[str, Filled()]
DataDir = Annotated[str, Filled(), Folder()]
"""A folder that is there, or can be made."""
Layers = Annotated[tuple[Width, ...], Filled()]
"""Units of each hidden layer."""
Names = Annotated[tuple[str, ...], Several()]
SomeNames = Annotated[tuple[str, ...], Several(1)]
"""What is compared."""


class Checked:
    """A base of dataclasses of options, whose values are checked as they are made. Raises `InputError`.

    A class that declares a field anew narrows what its bases allow.
    """

    def __post_init__(self) -> None:
        options: Any = type(self)
        for name, annotations, required in _declared(options):
            value = getattr(self, name)
            if found := next(filter(None, (fault(annotation, value) for annotation in annotations)), None):
                raise InputError(f'{name.upper() if required else flag(name)} {found}')


def refuse_given(options: Any, *names: str, because: str) -> None:
    """Raises `InputError` for those of the options that were given though nothing reads them: other than their defaults."""
    for name in names:
        if getattr(options, name) != getattr(type(options), name):
            raise InputError(f'{flag(name)} {because}')


def checked(factory: Callable[P, T]) -> Callable[P, T]:
    """The factory with its arguments checked against their annotations. It raises `ValueError`."""
    signature, annotations = inspect.signature(factory), typing.get_type_hints(factory, include_extras=True)

    @functools.wraps(factory)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            several = signature.parameters[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            if not several and (found := fault(annotations.get(name, Any), value)):
                raise ValueError(f'{name} {found}')
        return factory(*args, **kwargs)

    return call


def flag(name: str) -> str:
    """An option on the command line."""
    return f'--{name.replace("_", "-")}'


def fault(annotation: Any, value: Any) -> str | None:
    """What keeps `value` from being of the annotated type, as the rest of a sentence; `None` if it is one.

    Numbers, truth values, strings, choices, and tuples and unions of them are looked at, and others let through.
    """
    if typing.get_origin(annotation) is Annotated:
        kind, *rules = typing.get_args(annotation)
        faults = (rule.fault(value) for rule in rules if isinstance(rule, Rule) and value is not None)
        return fault(kind, value) or next(filter(None, faults), None)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return _fault_of_union(typing.get_args(annotation), value)
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        return None if value in choices else f'is {" or ".join(map(str, choices))}, not {value!r}'
    if typing.get_origin(annotation) is tuple:
        return _fault_of_tuple(typing.get_args(annotation), value)
    if annotation not in _KINDS:
        return None
    words, holds = _KINDS[annotation]
    return None if holds(value) else f'is {words}, not {value!r}'


def meaning(annotation: Any) -> tuple[type, str] | None:
    """Of a number, or of each number of a tuple, its type and what it is: `(int, 'a whole number, from 1 to 8192')`."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
    if typing.get_origin(annotation) is Annotated:
        inner = meaning(kinds[0])
        words = next((rule.words for rule in kinds[1:] if isinstance(rule, Called)), inner and inner[1])
        return inner and (inner[0], ', '.join([str(words), *(str(rule) for rule in kinds[1:] if isinstance(rule, Range))]))
    if typing.get_origin(annotation) in (Union, types.UnionType, tuple):
        return meaning(kinds[0])
    return (annotation, _KINDS[annotation][0]) if annotation in (int, float) else None


def _fault_of_union(kinds: tuple[Any, ...], value: Any) -> str | None:
    faults = [fault(kind, value) for kind in kinds]
    if None in faults:
        return None
    others = [found for kind, found in zip(kinds, faults, strict=True) if found and kind is not types.NoneType]
    return others[0] if len(others) == 1 else f'is {" or ".join(_words(kind) for kind in kinds)}, not {value!r}'


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is Annotated:
        return _words(typing.get_args(kind)[0])
    return _KINDS[kind][0] if kind in _KINDS else str(kind)


def _fault_of_tuple(kinds: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, tuple | list):
        return f'is a list, not {value!r}'
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        return f'has {len(kinds)} values, not {len(value)}'
    return next(filter(None, map(fault, kinds, value)), None)


def _number(value: Any) -> Any:
    """Of an array of one number that number."""
    return value.item() if hasattr(value, 'item') else value


def _is_int(value: Any) -> bool:
    number = _number(value)
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _is_float(value: Any) -> bool:
    number = _number(value)
    return isinstance(number, numbers.Real) and not isinstance(number, bool)


_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ('a whole number', _is_int),
    float: ('a number', _is_float),
    bool: ('True or False', lambda value: isinstance(value, bool)),
    str: ('a string', lambda value: isinstance(value, str)),
    types.NoneType: ('None', lambda value: value is None),
}


@functools.cache
def _declared(options: type) -> list[tuple[str, list[Any], bool]]:
    """Name, types by the class and its bases, and whether it has to be given, of each field."""
    hints = [typing.get_type_hints(base, include_extras=True) for base in options.__mro__ if dataclasses.is_dataclass(base)]
    required = lambda field: field.default is field.default_factory is dataclasses.MISSING
    types_of = lambda name: list(dict.fromkeys(hint[name] for hint in hints if name in hint))
    return [(field.name, types_of(field.name), required(field)) for field in dataclasses.fields(options)]
