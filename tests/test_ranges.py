"""Every option of every experiment and tool declares what it can be, and is refused in one line where it is something else."""

import dataclasses
import importlib
import math
import pathlib
import typing
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import pytest

from gan_jax.errors import InputError
from gan_jax.ranges import (
    Checked,
    Count,
    FileToWrite,
    Folder,
    ImageSize,
    Names,
    Range,
    RunName,
    Seed,
    Share,
    ShareAbove0,
    ShareBelow1,
    SomeNames,
    Text,
    Weight,
    checked,
    fault,
)

ROOT = pathlib.Path(__file__).parents[1]
TOOLS = [f'experiments.{path.stem}' for path in sorted((ROOT / 'experiments').glob('[!_]*.py'))]
TOOLS += [f'experiments.{path.parent.name}.__main__' for path in sorted((ROOT / 'experiments').glob('*/__main__.py'))]
TOOLS += ['gan_jax.metrics.command']


def bare(annotation) -> bool:
    """Whether a number stands in the type without a range."""
    if typing.get_origin(annotation) is Annotated:
        kind, *rules = typing.get_args(annotation)
        return bare(kind) and not any(isinstance(rule, Range | ImageSize) for rule in rules)
    return annotation in (int, float) or any(map(bare, typing.get_args(annotation)))


@pytest.mark.parametrize('module', TOOLS)
def test_every_number_of_every_experiment_has_a_range(module):
    config = importlib.import_module(module).Config
    assert issubclass(config, Checked) and dataclasses.is_dataclass(config)
    types = typing.get_type_hints(config, include_extras=True)
    assert not [field.name for field in dataclasses.fields(config) if bare(types[field.name])]


@pytest.mark.parametrize(
    ('annotation', 'good', 'bad', 'words'),
    [
        (Count, (1, 2**31 - 1, np.int32(3)), (0, -1), 'must be at least 1, not '),
        (Count, (), (2**31, 99999999999), 'must be finite and at most 2147483647, not '),
        (Count, (), (1.5, 'x', True, None), 'must be a whole number, not '),
        (Count | None, (None, 1), (0,), 'must be at least 1, not 0'),
        (Seed, (0, 2**32 - 1), (-1, 2**32), 'must be from 0 to 4294967295, not '),
        (Share, (0, 1, 0.5), (-0.1, 1.1, math.nan, math.inf), 'must be from 0 to 1, not '),
        (ShareAbove0, (1e-9, 1.0), (0, math.nan), 'must be above 0 and at most 1, not '),
        (ShareBelow1, (0, 0.999), (1, math.nan), 'must be at least 0 and below 1, not '),
        (Weight, (0, 1e6), (1e300, math.inf, math.nan, -1), 'must be from 0 to 1000000, not '),
        (Annotated[float, Range()], (-1e30, 0, 1), (math.nan, math.inf, -math.inf), 'must be finite'),
        (tuple[Share, ...], ((), (0.5, 1.0)), ((0.5, 2.0),), 'must be from 0 to 1, not 2.0'),
        (tuple[Share, Share], ((0.5, 1.0),), ((0.5,), (0.5, 0.5, 0.5)), 'must have 2 values, not '),
        (Names, ((), ('a', 'b')), (('a', 'b', 'a'),), 'names a twice'),
        (SomeNames, (('a',),), ((),), 'must name at least one'),
        (Text, ('a',), ('', ' '), 'is empty'),
        (
            Annotated[str, RunName()],
            ('a', 'a/b'),
            ('', '.', '..', 'a/../..', '/a'),
            'must be the name of a folder below --runs-dir',
        ),
        (Annotated[str, Folder()], ('.', 'no/such', str(ROOT)), ('/dev/null', '/dev/null/x', __file__), 'is a file'),
        (Annotated[str, FileToWrite()], ('a.json', '-', f'{ROOT}/no/a.json'), (str(ROOT), '', '/dev/null/a'), 'folder'),
        (Literal['a', 3], ('a', 3), ('b', None), 'must be a or 3, not '),
        (bool, (True, False), (1, 'x'), 'must be True or False, not '),
        (int | str, (1, 'x'), (1.5,), 'must be a whole number or a string, not 1.5'),
        (np.ndarray | None, (None, np.ones(2), 'whatever'), (), ''),
        (Callable[[int], int], (len, lambda x: x), (1, 'x', None), 'must be a function, not '),
        (Share | Callable[[int], int], (0.5, len), (2.0,), 'must be from 0 to 1, not 2.0'),
    ],
)
def test_values_and_their_faults(annotation, good, bad, words):
    assert [fault(annotation, value) for value in good] == [None] * len(good)
    for value in bad:
        assert words in (fault(annotation, value) or ''), value


@dataclasses.dataclass(frozen=True)
class Example(Checked):
    source: Text
    batch_size: Count = 1
    shares: tuple[Share, ...] = ()


def test_options_are_checked_as_they_are_made():
    example = Example('x', 2, (0.5,))
    for change, message in (
        ({'batch_size': 0}, '--batch-size must be at least 1, not 0'),
        ({'shares': (0.5, math.nan)}, '--shares must be from 0 to 1, not nan'),
        ({'source': ''}, 'SOURCE is empty'),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(example, **change)


def test_a_class_narrows_what_its_bases_allow():
    @dataclasses.dataclass(frozen=True)
    class Narrower(Example):
        source: str = 'y'
        batch_size: Annotated[int, Range(high=8)] = 1

    Narrower('x', 8)
    for bad, message in (({'source': ''}, '--source is empty'), ({'batch_size': 0}, 'at least 1'), ({'batch_size': 9}, 'not 9')):
        with pytest.raises(InputError, match=message):
            Narrower(**bad)


def test_factories_are_checked_as_they_are_called():
    @checked
    def factory(weight: Weight = 1.0, other=None, **settings: float) -> float:
        return weight

    assert factory(2) == factory(weight=2.0, other='x', a='y') == 2 and factory(np.float32(3)) == 3
    for bad in (-1, math.nan, 'x', None):
        with pytest.raises(ValueError, match=r'weight must be .*, not '):
            factory(bad)
