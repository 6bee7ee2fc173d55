"""Malformed command lines of every experiment and tool end in one line and exit code 2, before anything is trained or written."""

import importlib
import os
import re
import socket
import sys

import pytest
from bad_input import MODULES, lines, lines_of, make_inputs

from gan_jax import runs
from gan_jax.runs import directory


class Accepted(Exception):
    """Nothing was refused up to the opening of the run's directory: training would begin."""


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    make_inputs(folder)
    return folder


@pytest.fixture(autouse=True)
def apart(inputs, monkeypatch):
    """Runs begin in the folder of the inputs, train nothing, and have no network."""
    monkeypatch.chdir(inputs)
    opened = directory.RunDirectory.__init__

    def open_and_stop(self, config):
        opened(self, config)
        raise Accepted

    def no_network(*_):
        raise OSError('there is no network in this test')

    monkeypatch.setattr(directory.RunDirectory, '__init__', open_and_stop)
    monkeypatch.setattr(socket, 'getaddrinfo', no_network)


def said(module: str, flags: list[str], capsys, monkeypatch) -> str:
    """What the command line says on its way out with 2; what went wrong, if it does not go so."""
    before = tree()
    monkeypatch.setattr(sys, 'argv', [module, *flags])
    tool = importlib.import_module(module)
    try:
        runs.run_main(tool.main, tool.Config)
    except SystemExit as stop:
        lines = [line for line in capsys.readouterr().err.strip().splitlines() if line and '%|' not in line]  # without bars
        if stop.code != 2 or len(lines) != 1:
            return f'exit code {stop.code}, {len(lines)} lines: {lines[:3]}'
        return lines[0] if tree() == before else f'it has written {sorted(tree() ^ before)}'
    except Accepted:
        return 'accepted'
    except BaseException as error:
        return f'a traceback: {error!r}'
    return 'it ran to its end'


def tree() -> set[str]:
    return {os.path.join(folder, name) for folder, _, names in os.walk('.') for name in names}


LINES = {module: [(flags, words) for where, flags, words in lines() if where == module] for module in MODULES}


def test_there_are_many():
    assert sum(len(LINES[module]) for module in MODULES) >= 300
    assert sum(len(list(lines_of(module))) for module in MODULES) >= 300


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('module', MODULES)
def test_lines_by_hand(module, capsys, monkeypatch):
    faults = {}
    for flags, words in LINES[module]:
        line = said(module, flags, capsys, monkeypatch)
        if not re.search(words, line) or not line.startswith('python -m '):
            faults[' '.join(flags)] = line
    assert not faults, '\n' + '\n'.join(f'{flags} -> {line}' for flags, line in faults.items())


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('module', MODULES)
def test_every_number_and_choice(module, capsys, monkeypatch):
    faults = {}
    for flags, words in lines_of(module):
        line = said(module, flags, capsys, monkeypatch)
        if words not in line or not line.startswith('python -m '):
            faults[' '.join(flags)] = line
    assert not faults, '\n' + '\n'.join(f'{flags} -> {line}' for flags, line in faults.items())
