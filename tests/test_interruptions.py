"""Signals: one line, the right exit code, saved if there is something to save."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from gan_jax import commandline, interruptions
from gan_jax.errors import Interrupted
from gan_jax.runs import Options

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def kill(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_command_that_is_stopped_says_so_in_one_line(number, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['command'])
    monkeypatch.setattr(commandline, '_leave', lambda code, line: sys.exit(code))
    before = [signal.getsignal(n) for n in SIGNALS]
    done = []

    def main(config: Options) -> None:
        try:
            kill(number)
            time.sleep(5)
        except Exception:  # whoever takes any error for a damaged file
            done.append('swallowed')

    with pytest.raises(SystemExit) as stop:
        commandline.run(main, Options)
    assert stop.value.code == 128 + number and not done
    assert capsys.readouterr().err.splitlines()[-1].endswith(': stopped; earlier saves are intact')
    assert [signal.getsignal(n) for n in SIGNALS] == before


@pytest.mark.parametrize('number', SIGNALS)
def test_a_first_signal_is_noted_and_a_second_one_is_not_held_back(number):
    with pytest.raises(Interrupted), interruptions.raised(lambda signum: None), interruptions.noted() as signals:
        kill(number)
        assert signals.received == number
        kill(number)


def test_who_ignores_hang_ups_still_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions.raised(lambda signum: None), interruptions.noted() as signals:
            kill(signal.SIGHUP)
        assert not signals.received and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def busy(seconds=0.6):
    """A call that knows no signals, as a compilation."""
    start = time.perf_counter()
    hashlib.pbkdf2_hmac('sha256', b'', b'', 20_000)
    rate = 20_000 / (time.perf_counter() - start)
    threading.Timer(0.05, kill, [signal.SIGINT]).start()
    hashlib.pbkdf2_hmac('sha256', b'', b'', int(rate * seconds))


def test_a_call_that_knows_no_signals_is_given_up(monkeypatch):
    monkeypatch.setattr(interruptions, '_PATIENCE', 0.1)
    given_up = []
    with pytest.raises(Interrupted), interruptions.raised(given_up.append):
        busy()
    assert given_up[0] == signal.SIGINT


def test_a_signal_that_was_swallowed_ends_the_program_all_the_same(monkeypatch):
    monkeypatch.setattr(interruptions, '_PATIENCE', 0.1)
    given_up = []
    with interruptions.raised(given_up.append):
        try:
            kill(signal.SIGTERM)
        except BaseException:  # as in a callback of C++
            time.sleep(0.4)
    assert given_up == [signal.SIGTERM]


def test_nothing_is_given_up_while_signals_are_held_back(monkeypatch):
    monkeypatch.setattr(interruptions, '_PATIENCE', 0.1)
    given_up = []
    with interruptions.raised(given_up.append), interruptions.noted() as signals:
        busy(0.4)
    assert signals.received == signal.SIGINT and not given_up


def test_threads_other_than_the_main_one_leave_signals_alone():
    seen = []

    def work():
        with interruptions.raised(seen.append), interruptions.noted() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def started(tmp_path, number, *arguments):
    """A Python of these arguments that gets a signal in its first import of JAX."""
    (tmp_path / 'jax').mkdir()
    (tmp_path / 'jax/__init__.py').write_text(f'import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(5)')
    path = os.pathsep.join([str(tmp_path), str(pathlib.Path(__file__).parents[1])])
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, 'PYTHONPATH': path}, cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('arguments', [('-m', 'experiments.dcgan', '--steps', '1'), ('-mgan_jax.metrics',)])
def test_a_program_that_is_stopped_while_it_starts_says_so_in_one_line(arguments, number, tmp_path):
    ended = started(tmp_path, number, *arguments)
    name = arguments[0].removeprefix('-m') or arguments[1]
    assert ended.returncode == 128 + number
    assert ended.stderr == f'python -m {name}: stopped; earlier saves are intact\n' and not ended.stdout


def test_output_that_nobody_reads_on_ends_in_silence():
    command = [sys.executable, '-m', 'gan_jax.metrics', '--list']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE and said == b''


def test_who_imports_the_library_keeps_its_handlers(tmp_path):
    (tmp_path / 'lab').mkdir()
    (tmp_path / 'lab/__init__.py').write_text('import gan_jax')
    ended = started(tmp_path, signal.SIGINT, '-m', 'lab.train')
    assert ended.returncode == -signal.SIGINT and 'KeyboardInterrupt' in ended.stderr
