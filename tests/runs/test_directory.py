"""Directories of runs: killed at any moment, used by two processes, damaged, or not a directory at all."""

import dataclasses
import gc
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import coordination
import pytest
from test_loop import Config

from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.runs import directory, generators, lock
from gan_jax.runs.lock import Lock


def opened(path, **options):
    return runs.RunDirectory(Config(name='r', runs_dir=str(path), **options))


class Killed(BaseException):
    """Whatever happens after it never happened."""


def fill(path):
    """A run with files."""
    run = opened(path)
    (run.path / 'checkpoints/4').mkdir(parents=True)
    (run.path / 'checkpoints/4/data').write_text('old')
    (run.path / 'metrics.jsonl').write_text('{"step": 4}\n')
    return run.path


@pytest.mark.parametrize('options', [{}, {'resume': True}, {'overwrite': True}])
def test_a_run_killed_while_its_configuration_is_written_begins(options, tmp_path):
    (tmp_path / 'r').mkdir()
    (tmp_path / 'r/.config.json.part').write_text('{"wid')
    (tmp_path / 'r/.lock').write_text('process 1 on host')
    run = opened(tmp_path, **options)
    assert json.loads((run.path / 'config.json').read_text())['width'] == 8
    assert sorted(os.listdir(run.path)) == ['.lock', 'config.json']


@pytest.mark.parametrize('again', [{'overwrite': True}, {'resume': True}, {}])
def test_an_overwrite_killed_at_any_moment_leaves_a_run_or_none(again, tmp_path, monkeypatch):
    """It dies at each of its changes to the directory in turn; what is left is the old run whole, or begins."""
    for moment in itertools.count():
        path = fill(tmp_path / str(moment))
        left = itertools.count()

        def change(function, left=left, moment=moment):
            def dying(*arguments, **options):
                if next(left) == moment:
                    raise Killed
                return function(*arguments, **options)

            return dying

        with monkeypatch.context() as patch:
            patch.setattr(directory.os, 'replace', change(os.replace))
            patch.setattr(directory.shutil, 'rmtree', change(directory.shutil.rmtree))
            patch.setattr(directory, 'write_json', change(directory.write_json))
            try:
                opened(tmp_path / str(moment), width=9, overwrite=True)
                break
            except Killed:
                pass
        config = path / 'config.json'
        width = json.loads(config.read_text())['width'] if config.exists() else None
        if width == 8:
            assert (path / 'checkpoints/4/data').exists()  # nothing has happened yet
            continue
        if width == 9 and not again:
            with pytest.raises(InputError, match='already contains this run'):
                opened(tmp_path / str(moment), width=9)
            continue
        run = opened(tmp_path / str(moment), width=9, **again)
        assert sorted(os.listdir(run.path)) == ['.lock', 'config.json'], moment
    assert moment >= 5 and sorted(os.listdir(path)) == ['.lock', 'config.json']


def test_resume_and_overwrite_together_delete_nothing(tmp_path):
    path = fill(tmp_path)
    with pytest.raises(InputError, match='--resume continues a run and --overwrite replaces it: give only one of them'):
        opened(tmp_path, resume=True, overwrite=True)
    assert (path / 'checkpoints/4/data').exists()


@pytest.mark.parametrize('content', [b'', b'{"width"', b'[]', b'\xff\xfe', b'3'])
def test_a_damaged_configuration_is_told_and_can_be_overwritten(content, tmp_path):
    path = fill(tmp_path)
    (path / 'config.json').write_bytes(content)
    for options in ({}, {'resume': True}):
        with pytest.raises(InputError, match=r'config\.json is damaged'):
            opened(tmp_path, **options)
    with pytest.raises(InputError, match=r'config\.json is damaged'):
        Config.of_run(path)
    assert (path / 'checkpoints/4/data').exists()
    opened(tmp_path, overwrite=True)
    assert not (path / 'checkpoints').exists()


def test_directories_that_cannot_be(tmp_path):
    (tmp_path / 'file').write_text('mine')
    for runs_dir in (tmp_path / 'file', '/dev/null', '/proc'):
        with pytest.raises(InputError, match=r'cannot use .* as a run directory|--runs-dir must be a folder, but .* is a file'):
            opened(runs_dir)
    (tmp_path / 'r').write_text('mine')
    with pytest.raises(InputError, match='r is not a run directory: Not a directory'):
        opened(tmp_path)
    assert (tmp_path / 'r').read_text() == 'mine' and len(os.listdir(tmp_path)) == 2


HOLDER = """
import sys
from gan_jax.runs.lock import lock
import pathlib
held = lock(pathlib.Path(sys.argv[1]))
print('held', flush=True)
sys.stdin.read()
"""


def test_a_run_is_of_one_process_which_is_named_and_a_killed_one_lets_go(tmp_path):
    path = fill(tmp_path)
    gc.collect()
    with subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == 'held\n'
        for options in ({'resume': True}, {'overwrite': True}, {'resume': True, 'width': 9}):
            with pytest.raises(InputError, match=f'r is in use by process {holder.pid} on .*, since 20.*; wait until'):
                opened(tmp_path, **options)
        assert (path / 'checkpoints/4/data').exists()
        holder.kill()
        holder.wait()
        assert opened(tmp_path, resume=True).resume


def test_a_process_opens_its_own_run_again(tmp_path):
    run = opened(tmp_path)
    assert opened(tmp_path, resume=True).path == run.path
    changed = dataclasses.replace(Config(name='r', runs_dir=str(tmp_path)), width=9, overwrite=True)
    assert runs.RunDirectory(changed).path == run.path


def test_processes_that_do_not_share_the_disk_are_refused_by_all(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, '_LATE', 0.2)
    places = [lambda name=name: opened(tmp_path / name).path for name in 'aab']
    found = coordination.together(monkeypatch, places)
    for error in found:
        assert isinstance(error, InputError) and re.match(
            'process 2 on .* does not see .*--runs-dir must be on a disk', str(error)
        )
    assert set(os.listdir(tmp_path / 'a/r')) == {'.lock', 'config.json'}
    shared = coordination.together(monkeypatch, [lambda: opened(tmp_path / 'c').path] * 3)
    assert shared == [tmp_path / 'c/r'] * 3


def test_a_lock_on_a_full_disk_leaves_nothing_to_write_at_the_end(tmp_path, monkeypatch):
    resource = pytest.importorskip('resource')
    unraisable = []
    monkeypatch.setattr(sys, 'unraisablehook', unraisable.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match='File too large'):
            Lock(tmp_path)
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not unraisable


@pytest.mark.parametrize('name', ['a[1]', 'a[1]/b', 'a\\b'])
def test_a_path_below_which_checkpoints_are_not_found_is_refused(name, tmp_path):
    with pytest.raises(InputError, match='cannot hold checkpoints'):
        opened(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_overwrite_removes_no_folder_of_others_that_has_a_configuration(tmp_path):
    (tmp_path / 'r').mkdir()
    (tmp_path / 'r/config.json').write_text('{"model_type": "bert"}')
    (tmp_path / 'r/weights.bin').write_text('kept')
    with pytest.raises(InputError, match='is not a run of this project, although it contains config'):
        opened(tmp_path, overwrite=True)
    assert (tmp_path / 'r/weights.bin').read_text() == 'kept'


@pytest.mark.parametrize('where', ['.', 'samples/..'])
def test_a_run_may_be_named_from_within(where, tmp_path, monkeypatch):
    run = opened(tmp_path)
    (run.path / 'samples').mkdir()
    monkeypatch.chdir(run.path)
    config = Config.at(pathlib.Path(where))
    assert (config.name, config.runs_dir) == ('r', str(tmp_path))


def test_a_run_is_not_resumed_on_data_of_other_classes(tmp_path):
    known = lambda run, *classes: generators.describe(run, Config(), classes=classes, size=(8, 4))
    known(opened(tmp_path), 'apple', 'banana')
    resumed = opened(tmp_path, resume=True)
    known(resumed, 'apple', 'banana')
    with pytest.raises(InputError, match=r'the data of .* have changed since it was begun \(classes\)'):
        known(resumed, 'banana', 'cherry')
    (resumed.path / 'generator.json').write_text('{')
    known(resumed, 'banana', 'cherry')  # nothing is known of what was there
