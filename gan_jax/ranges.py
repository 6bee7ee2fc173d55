"""Valid values of options and settings, declared in their types: `steps: Count = 1000`, `gammas: tuple[Weight, ...]`.

A declaration is `Annotated[type, rule, ...]`. Dataclasses of options that derive from `Checked` are checked when they are
created, by the command line or by a program; factories decorated with `checked` are checked when they are called. A number that
is not finite, not whole or out of range raises an error of one line, which names the option and its valid values.
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
    """A condition on a value beyond its type."""

    def fault(self, value: Any) -> str | None:
        """What is wrong, as the rest of a sentence that begins with the value's name; `None` if the value is valid."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, each of which may be excluded."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is excluded."""
    below: bool = False
    """Whether `high` itself is excluded."""

    def fault(self, value: Any) -> str | None:
        """What is wrong with the value, to follow its name; None if nothing is."""
        number = _number(value)
        limit = _LARGEST_INT if isinstance(number, int) else _LARGEST_FLOAT
        if not self._holds(number):
            return f'must be {self}, not {number}'
        return None if abs(number) <= limit or self.high < math.inf else f'must be finite and at most {limit}, not {number}'

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
    """At least `least` distinct values; numbers must differ in the six digits by which the parts of a run are named."""

    least: int = 0

    def fault(self, value: Any) -> str | None:
        if len(value) < self.least:
            return f'must name at least {"one" if self.least == 1 else self.least}'
        names = [f'{x:g}' if isinstance(x, float) else x for x in value]
        twice = [x for i, x in enumerate(names) if x in names[:i]]
        return f'names {twice[0]} twice' if twice else None


class Filled:
    """A string or list that is not empty."""

    def fault(self, value: str | tuple) -> str | None:
        return None if (value.strip() if isinstance(value, str) else value) else 'is empty'


class RunName:
    """The name of a folder below the directory of all runs."""

    def fault(self, value: str) -> str | None:
        parts = pathlib.PurePath(value).parts
        below = parts and '..' not in parts and not pathlib.PurePath(value).is_absolute()
        return None if below else f'must be the name of a folder below --runs-dir, not {value!r}'


class Folder:
    """A folder that exists or can be created."""

    def fault(self, value: str) -> str | None:
        path = pathlib.Path(value or '.').absolute()
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        return None if there.is_dir() else f'must be a folder, but {there} is a file'


class FileToWrite:
    """A file in a folder that exists or can be created, or `-` for standard output."""

    def fault(self, value: str | pathlib.Path) -> str | None:
        path = pathlib.Path(value)
        if str(value) == '' or path.is_dir():
            return f'must be a file to write, but {str(path)!r} is a folder'
        return Folder().fault(str(path.parent))


class ImageSize:
    """The side of squares, height and width such as `64x96`, or `native`; a number or a string."""

    def fault(self, value: int | str) -> str | None:
        found = [value] if isinstance(value, int) else re.findall(r'\d+', value)
        if value != 'native' and not isinstance(value, int) and not re.fullmatch(r'\d{1,5}x\d{1,5}', value):
            return f'must be a side, HEIGHTxWIDTH such as 64x96, or native, not {value!r}'
        faults = (Range(1, 8192).fault(int(side)) for side in found)
        return next(filter(None, faults), None)


@dataclasses.dataclass(frozen=True)
class Called:
    """A description of the values, for when "a number" says too little. It allows every value."""

    words: str

    def fault(self, value: Any) -> str | None:
        return None


_LARGEST_INT = 2**31 - 1
"""The largest number that an int32 array can hold."""
_LARGEST_FLOAT = 3e38
"""Approximately the largest float32."""

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
"""The number of something optional."""
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
"""Updates of one player per step of the game."""
UnrollSteps = Annotated[int, Range(0, 1000)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""A seed of random numbers: an unsigned 32-bit integer."""
Finite = Annotated[float, Range()]
Weight = Annotated[float, Range(0, 1e6)]
"""The weight of a term of a loss."""
Rate = Annotated[float, Range(0)]
"""A learning rate."""
Positive = Annotated[float, Range(0, above=True)]
Margin = Annotated[float, Range(0, 1e6, above=True)]
"""A margin of energies."""
Coordinate = Annotated[float, Range(-1000, 1000)]
"""A coordinate of points that are plotted."""
Deviation = Annotated[float, Range(0, 1000)]
"""A standard deviation."""
DeviationAbove0 = Annotated[float, Range(0, 1000, above=True)]
Share = Annotated[float, Range(0, 1)]
ShareAbove0 = Annotated[float, Range(0, 1, above=True)]
ShareBelow1 = Annotated[float, Range(0, 1, below=True)]
Text = Annotated[str, Filled()]
DataDir = Annotated[str, Filled(), Folder()]
"""A folder that exists or can be created."""
Layers = Annotated[tuple[Width, ...], Filled()]
"""Units of each hidden layer."""
Names = Annotated[tuple[str, ...], Several()]
SomeNames = Annotated[tuple[str, ...], Several(1)]
"""Names of things to compare."""


class Checked:
    """A base class for dataclasses of options, which checks their values on creation. Raises `InputError`.

    A class that redeclares a field narrows what its bases allow.
    """

    def __post_init__(self) -> None:
        options: Any = type(self)
        for name, annotations, required in _declared(options):
            value = getattr(self, name)
            if found := next(filter(None, (fault(annotation, value) for annotation in annotations)), None):
                raise InputError(f'{name.upper() if required else flag(name)} {found}')


def refuse_given(options: Any, *names: str, because: str) -> None:
    """Raises `InputError` if an option that would be ignored was given, that is, differs from its default.

    `because` completes a sentence that begins with the option's flag.
    """
    for name in names:
        if getattr(options, name) != getattr(type(options), name):
            raise InputError(f'{flag(name)} {because}')


def checked(factory: Callable[P, T]) -> Callable[P, T]:
    """Wraps a factory so that its arguments are checked against their annotations; calling it may raise `ValueError`."""
    signature, annotations = inspect.signature(factory), typing.get_type_hints(factory, include_extras=True)

    @functools.wraps(factory)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            several = signature.parameters[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            if not several and (found := fault(annotations.get(name, Any), value)):
                raise ValueError(f'{name} {found}')
        return factory(*args, **kwargs)

    return call


def check_seeds(first: int, count: int) -> None:
    """Raises `InputError` if one of the seeds `first`, `first + 1`, ... is too large to be a seed."""
    if first + count > 2**32:
        raise InputError(f'--seed {first} leaves room for {2**32 - first} --seeds, not {count}')


def flag(name: str) -> str:
    """The command-line flag of an option."""
    return f'--{name.replace("_", "-")}'


def fault(annotation: Any, value: Any) -> str | None:
    """What keeps `value` from satisfying the annotation, as the rest of a sentence; `None` if nothing does.

    Numbers, booleans, strings, choices, functions, and tuples and unions of them are checked; other types are accepted.
    """
    if typing.get_origin(annotation) is Annotated:
        kind, *rules = typing.get_args(annotation)
        faults = (rule.fault(value) for rule in rules if isinstance(rule, Rule) and value is not None)
        return fault(kind, value) or next(filter(None, faults), None)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return _fault_of_union(typing.get_args(annotation), value)
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        return None if value in choices else f'must be {" or ".join(map(str, choices))}, not {value!r}'
    if typing.get_origin(annotation) is tuple:
        return _fault_of_tuple(typing.get_args(annotation), value)
    if _is_function(annotation):
        return None if callable(value) else f'must be a function, not {value!r}'
    if annotation not in _KINDS:
        return None
    words, holds = _KINDS[annotation]
    return None if holds(value) else f'must be {words}, not {value!r}'


def meaning(annotation: Any) -> tuple[type, str] | None:
    """The type and description of a number, or of each number of a tuple: `(int, 'a whole number, from 1 to 8192')`.

    Returns `None` for other annotations.
    """
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
    # A function in place of a value is for programs; no command line can name one.
    values = [(kind, found) for kind, found in zip(kinds, faults, strict=True) if not _is_function(kind)]
    others = [found for kind, found in values if found and kind is not types.NoneType]
    return others[0] if len(others) == 1 else f'must be {" or ".join(_words(kind) for kind, _ in values)}, not {value!r}'


def _is_function(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Callable


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is Annotated:
        return _words(typing.get_args(kind)[0])
    return _KINDS[kind][0] if kind in _KINDS else str(kind)


def _fault_of_tuple(kinds: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, tuple | list):
        return f'must be a list, not {value!r}'
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        return f'must have {len(kinds)} values, not {len(value)}'
    return next(filter(None, map(fault, kinds, value)), None)


def _number(value: Any) -> Any:
    """Converts an array with one number to that number."""
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
    """For each field: its name, its types in the class and its bases, and whether it is required."""
    hints = [typing.get_type_hints(base, include_extras=True) for base in options.__mro__ if dataclasses.is_dataclass(base)]
    required = lambda field: field.default is field.default_factory is dataclasses.MISSING
    types_of = lambda name: list(dict.fromkeys(hint[name] for hint in hints if name in hint))
    return [(field.name, types_of(field.name), required(field)) for field in dataclasses.fields(options)]
