"""Runs of several processes: the same as those of one, written once, and ended together."""

import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
from small_run import Config, main
from test_loop import assert_same_bits, small_study

from gan_jax.data.order import batch_indices
from gan_jax.keys import named, roots
from gan_jax.runs import advance, checkpoints

SMALL = [str(processes.ROOT / 'tests/runs/small_run.py')]


def flags(path, *others, steps=4):
    return [*SMALL, '--runs-dir', str(path), '--steps', str(steps), *others]


def state_of(path, seeds=1):
    """The newest state of a run, restored in this process, which has 4 devices."""
    one = small_study()
    return checkpoints.newest_state(path / 'r', advance.first_state(Config(seeds=seeds), one, roots(0, seeds)))


def read(path, name):
    return json.loads((path / 'r' / name).read_text())


def close(a, b, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=atol)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """An undisturbed run of 2 processes with 2 devices each, and what they said."""
    path = tmp_path_factory.mktemp('two')
    return path, processes.succeeded(flags(path), 2, 2)


def test_two_processes_train_the_run_of_one_and_write_it_once(two, tmp_path):
    path, ended = two
    main(Config(runs_dir=str(tmp_path), steps=4))
    close(state_of(tmp_path), state_of(path))
    assert read(path, 'config.json') == read(tmp_path, 'config.json')
    assert read(path, 'results.json') == pytest.approx(read(tmp_path, 'results.json'), rel=1e-5)
    rows = [json.loads(line) for line in (path / 'r/metrics.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [4]
    assert sorted(x.name for x in (path / 'r').iterdir()) == sorted(x.name for x in (tmp_path / 'r').iterdir())
    assert len(list((path / 'r/tensorboard').iterdir())) == 1
    assert ended[0].out.count("0 4 {'sum'") == 1 and 'sum' not in ended[1].out and ended[1].err == ''


def test_moments_of_every_process_are_merged_in_float64(two):
    (line,) = (line for line in two[1][0].out.splitlines() if line.startswith('merged '))
    size, mean, scatter = json.loads(line.removeprefix('merged '))
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32).astype(np.float64) + 100
    assert size == 20
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(scatter, 19 * np.cov(x.T), rtol=1e-9)  # float32 has no digit of it left at an offset of 100


def test_one_process_with_one_device_compiles_its_step_once(tmp_path):
    alone = {'XLA_FLAGS': '--xla_force_host_platform_device_count=1', 'JAX_LOG_COMPILES': '1'}
    paths = os.pathsep.join(map(str, (processes.ROOT, processes.ROOT / 'tests', processes.ROOT / 'tests/runs')))
    command = [sys.executable, *flags(tmp_path)]
    found = subprocess.run(command, env={**os.environ, **alone, 'PYTHONPATH': paths}, capture_output=True, text=True, check=True)
    assert found.stderr.count('Compiling jit(run)') == 1


def test_a_streamed_run_is_the_same_and_each_process_reads_its_own_rows(two, tmp_path):
    processes.succeeded(flags(tmp_path, '--streamed'), 2, 2)
    close(state_of(tmp_path), state_of(two[0]))
    key = named(roots(0, 1)[0], 'data')
    batches = [np.asarray(batch_indices(20, 8, i, key)).tolist() for i in range(100)]  # processes read ahead
    for process, rows in enumerate((slice(0, 4), slice(4, 8))):
        read = [json.loads(line) for line in (tmp_path / f'rows_{process}.jsonl').read_text().splitlines()]
        own = [batch[rows] for batch in batches]
        assert all(batch in read for batch in own[:4]) and all(batch in own for batch in read)


def test_a_process_that_is_killed_ends_the_other_and_the_pair_resumes_bit_for_bit(two, tmp_path):
    killed = processes.run(flags(tmp_path, '--receives', 'KILL:1:3'), 2, 2)
    assert killed[1].code == -9 and killed[0].code == 1
    assert re.search(r'^process 1 on .* has died: no sign of it for \d+ s; --resume goes on from', killed[0].err, re.M)
    assert killed[0].seconds - killed[1].seconds < 60
    processes.succeeded(flags(tmp_path, '--resume'), 2, 2)
    assert_same_bits(state_of(tmp_path), state_of(two[0]))


@pytest.mark.slow
def test_the_death_of_process_0_ends_the_others(tmp_path):
    killed = processes.run(flags(tmp_path, '--receives', 'KILL:0:1'), 2, 1)
    assert killed[0].code == -9 and killed[1].code != 0 and killed[1].seconds - killed[0].seconds < 60
    assert 'process 0' in killed[1].err or 'leader task' in killed[1].err


@pytest.mark.slow
def test_a_process_that_cannot_write_its_checkpoint_ends_the_other(tmp_path):
    ended = processes.run(flags(tmp_path, '--receives', 'FULL:1:1', '--seeds', '2'), 2, 1, timeout=60)
    assert [process.code for process in ended] == [2, 2]
    line = 'cannot write a checkpoint: (OSError|ValueError)'  # of Orbax or TensorStore, whichever writes first
    assert re.match(line, ended[1].err) and re.search(f'process 1 on .* ended: {line}', ended[0].err)


@pytest.mark.slow
def test_sigterm_to_one_process_saves_and_stops_all_at_one_step(two, tmp_path):
    stopped = processes.run(flags(tmp_path, '--receives', 'TERM:1:3'), 2, 2)
    assert [process.code for process in stopped] == [143, 143]
    assert ['stopped at step 3, which is saved; --resume' in process.err for process in stopped] == [True, True]
    assert int(state_of(tmp_path).step) == 3
    processes.succeeded(flags(tmp_path, '--resume'), 4, 1)  # on other processes
    close(state_of(tmp_path), state_of(two[0]))


@pytest.mark.slow
@pytest.mark.parametrize('seeds', [2, 4])
def test_seeds_share_the_devices_of_all_processes(seeds, tmp_path):
    main(Config(runs_dir=str(tmp_path / 'one'), steps=4, seeds=seeds))
    for name, more in (('held', []), ('read', ['--streamed'])):
        processes.succeeded(flags(tmp_path / name, '--seeds', str(seeds), *more), 2, 2)
        close(state_of(tmp_path / name, seeds), state_of(tmp_path / 'one', seeds))
    results = [read(tmp_path / name, 'results.json') for name in ('one', 'held')]
    np.testing.assert_allclose(*(x['figures']['sum']['mean'] for x in results), rtol=1e-5)


@pytest.mark.slow
def test_what_cannot_work_is_refused_by_every_process(tmp_path):
    refused = processes.run(flags(tmp_path, '--batch-size', '6'), 2, 2)
    for process in refused:
        assert process.code == 2 and process.err.count('\n') == 1
        assert 'batch size 6 is not divisible by the 4 devices of 2 processes' in process.err
    assert not (tmp_path / 'r').exists()
    refused = processes.run(flags(tmp_path / 'begun', '--refuses', '1'), 2, 1)
    assert [process.code for process in refused] == [2, 2] and 'no, thank you' in refused[1].err
    assert re.search('process 1 on .* ended: .*no, thank you', refused[0].err)
    processes.succeeded(flags(tmp_path), 2, 1)
    refused = processes.run(flags(tmp_path), 2, 1)
    for process in refused:
        assert process.code == 2 and 'already contains this run' in process.err
