"""Runs: resuming bit for bit, directories that are refused, damaged checkpoints, full disks, pictures."""

import dataclasses
import gc
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from gan_jax import data, games, latents, networks, objectives, parallel, runs
from gan_jax.errors import InputError
from gan_jax.keys import roots
from gan_jax.optimizers import Optimizers
from gan_jax.runs import checkpoints, pictures, samples
from gan_jax.runs.advance import advancing, first_state
from gan_jax.runs.weights import start_from

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    width: int = 8
    steps: int = 4


def small_study():
    game = games.adversarial(
        networks.MLP((8, 2)),
        networks.MLP((8, 1), squeeze=True),
        objectives.non_saturating(),
        latent=latents.normal(4),
    )
    trainer = gan_jax.trainer(game, Optimizers(optax.adam(1e-2), optax.adam(1e-2)))
    feed = data.resident(np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32), 8)
    return runs.Study(game, trainer, feed, jnp.zeros((1, 2)), side_by_side=True)


def small_training(**options):
    config, one = Config(batch_size=8, **options), small_study()
    keys = roots(0, config.seeds)
    return advancing(config, one, keys), first_state(config, one, keys)


def train(path, steps, resume=False, **options):
    advance, state = small_training()
    run = runs.RunDirectory(Config(name='r', runs_dir=str(path), steps=steps, resume=resume))
    return runs.fit(advance, state, run, steps=steps, batch_size=8, **{'log_every': 2, 'checkpoint_every': 2, **options}), run


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_two_and_two_steps_are_four_bit_for_bit(tmp_path):
    straight, run = train(tmp_path / 'a', 4)
    train(tmp_path / 'b', 2)
    resumed, run_ = train(tmp_path / 'b', 4, resume=True)
    assert_same_bits(straight, resumed)
    rows = [[{k: v for k, v in row.items() if k != 'images_per_second'} for row in r.read_log()] for r in (run, run_)]
    assert rows[0] == rows[1] and [row['step'] for row in rows[0]] == [2, 4]


KILLED = """
import os, signal, sys
sys.path[:0] = {tests!r}
import conftest, test_loop
from gan_jax import runs
def die(step, state):
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
test_loop.train({path!r}, 4, callbacks=[runs.Callback(1, die)])
"""


def test_a_run_killed_between_checkpoints_goes_on_bit_for_bit(tmp_path):
    script = KILLED.format(tests=[str(ROOT / 'tests'), str(ROOT / 'tests/runs')], path=str(tmp_path / 'killed'))
    killed = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # The save of step 2 was asynchronous, and may or may not have been whole when the process died: if not, it begins again.
    resumed, _ = train(tmp_path / 'killed', 4, resume=True)
    straight, _ = train(tmp_path / 'straight', 4)
    assert_same_bits(straight, resumed)


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on(tmp_path):
    stop = runs.Callback(1, lambda step, state: step == 3 and os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(runs.Interrupted, match='step 3, which is saved'):
        train(tmp_path / 'a', 6, callbacks=[stop])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed, _ = train(tmp_path / 'a', 6, resume=True)
    straight, _ = train(tmp_path / 'b', 6)
    assert_same_bits(straight, resumed)


def test_the_newest_whole_checkpoint_is_used_and_it_says_so(tmp_path, capsys):
    straight, run = train(tmp_path, 4)
    files = [path for path in (run.path / 'checkpoints/4').rglob('*') if path.is_file() and '/d/' in str(path)]
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    resumed, _ = train(tmp_path, 4, resume=True)
    assert 'checkpoint 4 is damaged' in capsys.readouterr().out
    assert_same_bits(straight, resumed)


ON_ONE_DEVICE = """
import sys
sys.path[:0] = {tests!r}
import jax, test_loop
assert jax.device_count() == 1
test_loop.train(sys.argv[1], 4, resume=True)
"""


def test_a_run_goes_on_on_fewer_devices(tmp_path):
    straight, _ = train(tmp_path / 'straight', 4)
    train(tmp_path / 'moved', 2)
    script = ON_ONE_DEVICE.format(tests=[str(ROOT / 'tests'), str(ROOT / 'tests/runs')])
    options = {'cwd': ROOT, 'env': {**os.environ, 'XLA_FLAGS': ''}, 'capture_output': True, 'text': True, 'timeout': 300}
    moved = subprocess.run([sys.executable, '-c', script, str(tmp_path / 'moved')], **options)
    assert moved.returncode == 0, moved.stderr
    _, state = small_training()
    with checkpoints.Checkpoints(tmp_path / 'moved/r/checkpoints') as kept:
        state = kept.restore(state)
    assert int(state.step) == 4
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), state.generator.params, straight.generator.params
    )


@pytest.mark.parametrize('runner', parallel.RUNNERS)
def test_a_restored_state_can_be_split_over_devices(tmp_path, runner):
    _, state = small_training()
    with checkpoints.Checkpoints(tmp_path) as kept:
        kept.save(0, state)
        kept.wait()
        state = kept.restore(state)
    run = parallel.RUNNERS[runner](lambda state, batch: (state, parallel.pmean(batch.mean())))
    moved, mean = run(state, jnp.arange(8.0))
    assert float(mean) == 3.5 and len(moved.generator.params['Dense_0']['bias'].sharding.device_set) == 4


def test_a_checkpoint_of_another_state_is_refused_and_kept(tmp_path, capfd):
    with checkpoints.Checkpoints(tmp_path) as kept:
        kept.save(3, {'w': jnp.ones(2)})
        kept.wait()
        another = r'checkpoint 3 cannot be read: it contains a different state: '
        with pytest.raises(InputError, match=another + r'w is \[2\] there and \[2, 2\] here; remove .* to use an earlier one'):
            kept.restore({'w': jnp.ones((2, 2))})
        with pytest.raises(InputError, match=another + r'v is nothing there and \[2\] here'):
            kept.restore({'v': jnp.ones(2)})
        with pytest.raises(InputError, match=another + r'w\.0 is nothing there and \[2\] here'):
            kept.restore({'w': [jnp.ones(2)]})
        assert float(kept.restore({'w': jnp.zeros(2)})['w'].sum()) == 2
        assert float(kept.restore({'w': np.zeros(2, np.float32)})['w'].sum()) == 2
    gc.collect()
    assert capfd.readouterr().err == ''  # nothing of what a reader that has begun would say


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    _, run = train(tmp_path, 8, keep=2)
    kept = sorted(int(path.name) for path in (run.path / 'checkpoints').iterdir() if path.name.isdigit())
    assert kept == [6, 8]


@pytest.mark.parametrize('schedule', ['cosine:end=0.5', 'constant'])
def test_a_run_tells_what_it_was_started_with(tmp_path, schedule):
    options = runs.GameOptions(name='r', runs_dir=str(tmp_path), steps=7, schedule=schedule, penalties=('r1', 'r2'), seed=3)
    path = runs.RunDirectory(options).path
    found = runs.GameOptions.of_run(path)
    assert found.identity() == options.identity() and found.penalties == ('r1', 'r2')
    assert found.steps == (
        7 if schedule != 'constant' else runs.GameOptions().steps
    )  # the length is kept where it shapes the run
    with pytest.raises(InputError, match=r'is not a run of this experiment and version: options .*width'):
        Config.of_run(path)
    with pytest.raises(InputError, match=r'is not a run: it does not contain config\.json'):
        runs.GameOptions.of_run(tmp_path)


def test_directories_that_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'nothing to resume: .* does not contain a run'):
        train(tmp_path, 4, resume=True)
    assert not (tmp_path / 'r').exists()
    train(tmp_path, 2)
    with pytest.raises(InputError, match='already contains this run; use --resume'):
        train(tmp_path, 2)
    other = Config(name='r', runs_dir=str(tmp_path), width=9, resume=True)
    with pytest.raises(InputError, match='another configuration: width 8 -> 9'):
        runs.RunDirectory(other)
    runs.RunDirectory(dataclasses.replace(other, resume=False, overwrite=True))
    assert json.loads((tmp_path / 'r/config.json').read_text())['width'] == 9
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.txt').write_text('keep')
    with pytest.raises(InputError, match='is not a run'):
        runs.RunDirectory(Config(name='mine', runs_dir=str(tmp_path), overwrite=True))
    assert (tmp_path / 'mine/thesis.txt').exists()


@dataclasses.dataclass(frozen=True)
class Reporting(Config):
    sample_every: int = 5

    free = ('sample_every',)


def test_what_moves_no_bit_of_the_state_may_change_on_resume(tmp_path):
    config = Reporting(name='r', runs_dir=str(tmp_path))
    run = runs.RunDirectory(config)
    changed = dataclasses.replace(config, sample_every=2, resume=True)
    runs.RunDirectory(changed)
    assert json.loads((run.path / 'config.json').read_text())['sample_every'] == 2
    with pytest.raises(InputError, match=r'another configuration: width 8 -> 9; use another'):
        runs.RunDirectory(dataclasses.replace(changed, sample_every=3, width=9))
    assert Reporting.of_run(run.path).sample_every == 2


def test_a_schedule_that_has_ended_says_how_a_new_one_begins(tmp_path):
    config = runs.GameOptions(name='r', runs_dir=str(tmp_path), steps=4, schedule='cosine')
    run = runs.RunDirectory(config)
    with pytest.raises(InputError, match=f'decay_steps 4 -> 8; decay_steps is the --steps over .* --init-from {run.path} with'):
        runs.RunDirectory(dataclasses.replace(config, steps=8, resume=True))


def test_a_run_starts_from_another_ones_networks(tmp_path):
    trained, run = train(tmp_path, 3)
    _, fresh = small_training()
    state = start_from(fresh, run.path)
    for name in ('generator', 'discriminator'):
        player, other, new = (getattr(x, name) for x in (state, trained, fresh))
        assert_same_bits(player.variables, other.variables)
        assert_same_bits(player.opt_state, new.opt_state)
    assert_same_bits(state.ema, trained.ema)
    assert int(state.step) == 0 and state.key == fresh.key
    wider = fresh.replace(ema={'params': {**fresh.ema['params'], 'Dense_1': {'bias': jnp.zeros(3), 'kernel': jnp.zeros((8, 3))}}})
    with pytest.raises(InputError, match=r'differ from those of this run: params\.Dense_1\.bias is \[2\], not \[3\]'):
        start_from(wider, run.path)
    with pytest.raises(InputError, match='none has no checkpoint yet'):
        start_from(fresh, tmp_path / 'none')


def test_what_counts_over_a_run_starts_anew(tmp_path):
    _, state = small_training()
    counted = lambda n: state.replace(
        discriminator=state.discriminator.replace(state={'progress': {'updates': jnp.int32(n)}, 'stats': {'m': jnp.ones(1) * n}})
    )
    with checkpoints.Checkpoints(tmp_path / 'checkpoints') as kept:
        kept.save(7, counted(7))
    found = start_from(counted(0), tmp_path).discriminator.state
    assert int(found['progress']['updates']) == 0 and float(found['stats']['m'][0]) == 7


@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_and_leaves_the_earlier_checkpoints(tmp_path, monkeypatch):
    usage = checkpoints.shutil.disk_usage(tmp_path)
    calls = []

    def disk_usage(path):
        calls.append(path)
        return usage._replace(free=0 if len(calls) > 1 else usage.free)

    monkeypatch.setattr(checkpoints.shutil, 'disk_usage', disk_usage)
    with pytest.raises(InputError, match='the disk is full: a checkpoint requires'):
        train(tmp_path, 8)
    monkeypatch.undo()
    resumed, _ = train(tmp_path, 8, resume=True)
    assert_same_bits(train(tmp_path / 'straight', 8)[0], resumed)


def test_files_are_whole_or_not_there(tmp_path):
    target = tmp_path / 'x.bin'
    runs.write_whole(target, b'old')
    with pytest.raises(TypeError):
        runs.write_whole(target, 'no bytes')
    assert target.read_bytes() == b'old' and os.listdir(tmp_path) == ['x.bin']


def test_two_processes_may_write_one_file(tmp_path, monkeypatch):
    target, number, write = tmp_path / 'x.bin', os.getpid(), pathlib.Path.write_bytes

    def and_another(part, content):
        monkeypatch.setattr(pathlib.Path, 'write_bytes', write)
        write(part, content)
        monkeypatch.setattr(os, 'getpid', lambda: number + 1)
        runs.write_whole(target, b'of the other')
        assert target.read_bytes() == b'of the other'

    monkeypatch.setattr(pathlib.Path, 'write_bytes', and_another)
    runs.write_whole(target, b'of this one')
    assert target.read_bytes() == b'of this one' and os.listdir(tmp_path) == ['x.bin']


def test_pictures(tmp_path):
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4, 1)
    grid = pictures.image_grid(images, columns=3, scale=2, gap=1)
    assert grid.shape == (2 * 9 + 1, 3 * 9 + 1, 1)
    np.testing.assert_array_equal(grid[1:9:2, 1:9:2], images[0])
    np.testing.assert_array_equal(grid[10:18:2, 10:18:2], images[4])
    run = runs.RunDirectory(Config(name='p', runs_dir=str(tmp_path)))
    for step in (0, 2, 4):
        pictures.save(samples.frame_path(run, step), samples.grid(np.zeros((5, 4, 4, 1))))
    samples.animate(run)
    with Image.open(run.path / 'samples.gif') as gif:
        assert gif.n_frames == 1 or gif.n_frames == 3  # equal frames may be merged
    (run.path / 'points').mkdir()
    for step in (2, 4):
        (run.path / f'points/{step:07d}.json').write_text('[]')
    assert run.rewind(2) and not run.rewind(2)
    assert len(list((run.path / 'samples').iterdir())) == 2 and os.listdir(run.path / 'points') == ['0000002.json']


def test_a_run_that_ends_earlier_after_a_kill_is_looked_at_where_it_ends(tmp_path):
    seen = []
    look = runs.Callback(3, lambda step, state: seen.append(step))
    _, run = train(tmp_path, 6, callbacks=[look])
    for step in (4, 6):
        shutil.rmtree(run.path / f'checkpoints/{step}')
    train(tmp_path, 2, resume=True, callbacks=[look])
    assert seen == [0, 3, 6, 2] and [row['step'] for row in run.read_log()] == [2]
    train(tmp_path, 2, resume=True, callbacks=[look])
    assert seen == [0, 3, 6, 2]  # nothing was discarded


def test_the_loop_compiles_once_and_takes_calls_of_about_a_second(tmp_path):
    lengths = []

    def advance(state, n):
        lengths.append(n)
        time.sleep(0.02 * n)
        state = state.replace(step=state.step + n)
        return state, {'discriminator_loss': np.zeros(n), 'generator_loss': np.zeros(n)}

    _, state = small_training()
    run = runs.RunDirectory(Config(name='r', runs_dir=str(tmp_path)))
    runs.fit(advance, state, run, steps=150, batch_size=8, log_every=1000, checkpoint_every=1000)
    assert sum(lengths) == 150 and max(lengths) <= 64
