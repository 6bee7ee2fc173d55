"""What goes wrong with a run that trains: it diverges, its files are damaged, the disk is full, it is stopped at any step."""

import logging
import os
import pathlib
import shutil
import signal
import sys
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_loop import Config, assert_same_bits

from experiments.f_gan import __main__ as f_gan
from experiments.vanishing_gradients import __main__ as vanishing_gradients
from gan_jax import finite, runs, text
from gan_jax.errors import Diverged, InputError, Interrupted
from gan_jax.runs import checkpoints, checksums, pictures, samples, writers_log
from gan_jax.training import Player, TrainState


def first(**params) -> TrainState:
    """A state of a few numbers, which compiles nothing."""
    player = Player({'w': jnp.zeros(3), **params}, {}, ())
    return TrainState(jnp.int32(0), jax.random.key(0), player, player, {'params': {'w': jnp.zeros(3)}})


def advance(state, n, *, loss=lambda step: 1 / step, weight=lambda step: float(step)):
    """n steps, of which each has a loss and leaves a weight."""
    steps = np.arange(int(state.step), int(state.step) + n) + 1
    losses = np.array([loss(step) for step in steps], np.float32)
    w = jnp.full(3, weight(steps[-1]), jnp.float32)
    state = state.replace(step=jnp.int32(steps[-1]), generator=state.generator.replace(params={'w': w}))
    return state, {'discriminator_loss': losses, 'generator_loss': np.ones(n, np.float32)}


def fit(path, steps, *, resume=False, step=advance, **options):
    run = runs.RunDirectory(Config(name='r', runs_dir=str(path), steps=steps, resume=resume))
    options = {'batch_size': 8, 'log_every': 5, 'checkpoint_every': 4, **options}
    return runs.fit(step, first(), run, steps=steps, **options), run


def saved(path):
    return sorted(int(folder.name) for folder in (path / 'r/checkpoints').iterdir() if folder.name.isdecimal())


@pytest.mark.parametrize(
    ('how', 'message', 'last'),
    [
        (
            {'loss': lambda step: np.nan if step >= 11 else 1},
            'the run diverged: discriminator loss is nan at step 11; .*/r contains the finite state of step 8; a lower ',
            8,
        ),
        ({'loss': lambda step: np.inf if step == 3 else 1}, 'loss is inf at step 3; nothing has been saved yet', None),
        ({'weight': lambda step: np.inf if step == 8 else 1}, 'the state after step 8 is not finite; .* of step 4; ', 4),
        ({'weight': lambda step: np.nan if step == 13 else 1}, 'the state after step 13 is not finite; .* of step 12; ', 12),
    ],
)
def test_a_run_that_diverges_keeps_its_last_finite_state(how, message, last, tmp_path):
    bad = lambda state, n: advance(state, n, **how)
    drawn = []
    look = runs.Callback(4, lambda step, state: drawn.append(state))
    for resume in (False, True):  # and does so again
        with pytest.raises(Diverged, match=message):
            fit(tmp_path, 13, step=bad, resume=resume, callbacks=[look])
        assert saved(tmp_path)[-1:] == ([] if last is None else [last])
    assert drawn and all(finite.is_finite(state) for state in drawn)


def test_which_seeds_diverged_is_said(tmp_path):
    def of_seeds(state, n):
        state, metrics = advance(state, n)
        rows = np.ones((n, 3))
        rows[np.arange(int(state.step) - n, int(state.step)) == 5, 1] = np.nan
        return state, {**metrics, 'generator_loss': rows}

    with pytest.raises(Diverged, match='generator loss is nan at step 6 in 1 of 3 seeds'):
        fit(tmp_path / 'a', 8, step=of_seeds)


def test_finite_trees():
    assert finite.by_seed((jnp.array([[1.0], [jnp.nan], [3]]), jnp.array([1, 2, 3]))) == (True, False, True)
    assert finite.is_finite({'key': jax.random.key(0), 'n': jnp.int32(3), 'w': np.zeros(0), 'b': jnp.bfloat16(1)})
    assert not finite.is_finite([jnp.ones(3), jnp.array(-jnp.inf, jnp.bfloat16)])
    finite.check_losses({'score': np.array([np.nan])}, 0)
    with pytest.raises(Diverged, match='level 1 loss is -inf at step 8'):
        finite.check_losses({'b_loss': np.array([1, 2, np.nan]), 'level_1_loss': np.array([1, -np.inf, 1])}, 6)


@pytest.mark.slow
def test_a_text_encoder_that_diverges_is_refused():
    with pytest.raises(Diverged, match='the text encoder diverged: the state after step 3 is not finite'):
        text.joint_embedding(
            np.zeros((4, 8, 8, 3), np.uint8), [['a b']] * 4, np.arange(4), features=4, steps=3, learning_rate=np.inf
        )


@pytest.mark.slow
@pytest.mark.parametrize('experiment', [f_gan, vanishing_gradients])
def test_theory_experiments_that_diverge_say_so(experiment, tmp_path):
    options = {'divergences': ('kl',)} if experiment is f_gan else {'cases': ('minimax',)}
    with pytest.raises(Diverged, match=r'every seed diverged; .* step .*/(kl|minimax)|nothing has been saved yet'):
        experiment.main(experiment.Config(runs_dir=str(tmp_path), steps=20, seeds=2, learning_rate=1e38, **options))


def stopped_at(number):
    return runs.Callback(1, lambda step, state: step == number and os.kill(os.getpid(), signal.SIGHUP))


def rows_of(run):
    return [{name: value for name, value in row.items() if name != 'images_per_second'} for row in run.read_log()]


@pytest.mark.parametrize('stop', [3, 7, 10])
def test_a_stopped_run_logs_what_an_undisturbed_one_does(stop, tmp_path):
    loss = lambda step: (step * 0.1) ** 3  # sums that depend on the order of adding
    straight = rows_of(fit(tmp_path / 'a', 12, step=lambda state, n: advance(state, n, loss=loss))[1])
    with pytest.raises(Interrupted, match=f'stopped at step {stop}, which is saved') as stopped:
        fit(tmp_path / 'b', 12, step=lambda state, n: advance(state, n, loss=loss), callbacks=[stopped_at(stop)])
    assert stopped.value.signum == signal.SIGHUP and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    again = fit(tmp_path / 'b', 12, step=lambda state, n: advance(state, n, loss=loss), resume=True)[1]
    assert rows_of(again) == straight and [row['step'] for row in straight] == [5, 10, 12]
    before = (again.path / 'metrics.jsonl').read_bytes()
    fit(tmp_path / 'b', 12, resume=True)
    assert (again.path / 'metrics.jsonl').read_bytes() == before
    longer = fit(tmp_path / 'b', 15, step=lambda state, n: advance(state, n, loss=loss), resume=True)[1]
    assert rows_of(longer) == rows_of(fit(tmp_path / 'c', 15, step=lambda state, n: advance(state, n, loss=loss))[1])


def test_a_run_stopped_before_its_first_checkpoint_begins_when_it_is_resumed(tmp_path, capsys):
    run = runs.RunDirectory(Config(name='r', runs_dir=str(tmp_path)))
    for step in (0, 3):
        run.log(step, {'a_loss': 1.0})
        pictures.save_picture(samples.frame_path(run, step), np.zeros((4, 4, 1), np.uint8))
    state, run = fit(tmp_path, 4, resume=True)
    assert 'was stopped before its first checkpoint and starts again' in capsys.readouterr().out
    assert int(state.step) == 4 and [row['step'] for row in rows_of(run)] == [4] and run.pictures() == []


def test_a_run_that_begins_again_begins_with_the_networks_it_was_given(tmp_path):
    other = fit(tmp_path, 4)[1].path
    run = runs.RunDirectory(runs.GameOptions(name='new', runs_dir=str(tmp_path), init_from=str(other)))
    run.resume = True
    seen = []
    watch = lambda state, n: seen.append(np.asarray(state.generator.params['w'])) or advance(state, n)
    runs.fit(watch, first(), run, steps=2, batch_size=8)
    np.testing.assert_array_equal(seen[0], [4, 4, 4])


def damage(folder: pathlib.Path, how: str) -> None:
    data = max((path for path in folder.rglob('*') if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    if how == 'flipped':
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif how == 'cut':
        data.write_bytes(content[:-1])
    elif how == 'missing':
        data.unlink()
    elif how == 'strange':
        (folder / 'default/notes.txt').write_text('mine')
    elif how == 'other step':
        shutil.rmtree(folder)
        shutil.copytree(folder.parent / '4', folder)


@pytest.mark.parametrize('how', ['flipped', 'cut', 'missing', 'strange', 'other step'])
def test_a_checkpoint_that_changed_is_not_restored(how, tmp_path, capsys):
    straight, run = fit(tmp_path, 8)
    damage(run.path / 'checkpoints/8', how)
    resumed, _ = fit(tmp_path, 8, resume=True)
    assert 'checkpoint 8 is damaged and has been renamed to damaged_8: ' in capsys.readouterr().out
    assert_same_bits(straight, resumed)
    assert saved(tmp_path) == [4, 8] and (run.path / 'checkpoints/damaged_8').is_dir()
    for step in (4, 8):
        damage(run.path / f'checkpoints/{step}', 'cut')
    with pytest.raises(InputError, match='only damaged checkpoints; use --overwrite to start again'):
        fit(tmp_path, 8, resume=True)
    with pytest.raises(InputError, match='only damaged checkpoints'):  # and does not begin at step 0 without a word
        fit(tmp_path, 8, resume=True)


@pytest.mark.parametrize('content', [b'', b'{"8": {"x"', b'[1, 2]', b'\xff\xfe\x00', b'{"eight": 3}', b'null'])
def test_damaged_sums_are_reported_and_noted_again(content, tmp_path, capsys):
    _, run = fit(tmp_path, 8)
    sums = run.path / 'checkpoints' / checksums.NAME
    whole = sums.read_bytes()
    sums.write_bytes(content)
    assert int(fit(tmp_path, 8, resume=True)[0].step) == 8
    assert 'checksums.json is damaged: checkpoints are restored without verifying' in capsys.readouterr().out
    assert sums.read_bytes() == whole


def test_what_is_named_like_a_checkpoint_and_is_none_does_not_stop_a_run(tmp_path, capsys):
    _, run = fit(tmp_path, 8)
    folder = run.path / 'checkpoints'
    (folder / '99').mkdir()
    (folder / '12').write_text('a file')
    shutil.copytree(folder / '4', folder / '50')
    (folder / '16.orbax-checkpoint-tmp').mkdir()
    fit(tmp_path, 12, resume=True)
    out = capsys.readouterr().out
    assert '99 is not a checkpoint and has been renamed to damaged_99' in out and '/12 is not a checkpoint' in out
    assert 'checkpoint 50 is damaged and has been renamed to damaged_50: it contains the state of step 4' in out
    assert saved(tmp_path) == [4, 8, 12] and not list(folder.glob('*tmp'))


def test_sums_are_noted_while_a_run_goes_on(tmp_path):
    seen = {}
    note = runs.Callback(1, lambda step, state: seen.update({step: checksums.noted(tmp_path / 'r/checkpoints')}))

    def slow(state, n):
        time.sleep(0.2)
        return advance(state, n)

    fit(tmp_path, 7, step=slow, callbacks=[note])
    assert 4 in seen[7] and 4 not in seen[4]


def test_odd_files_among_the_samples_do_not_stop_a_run(tmp_path, capsys):
    run = fit(tmp_path, 4, callbacks=[])[1]
    for step in (0, 2, 4, 6):
        pictures.save_picture(samples.frame_path(run, step), np.full((4, 4, 1), 60 * step % 255, np.uint8))
    (run.path / 'samples/step_0000002.png').write_bytes(b'\x89PNG\r\n')
    (run.path / 'samples/step_0000003.png').write_bytes(b'')
    for name in ('step_best.png', 'step_.png', 'step_1 (copy).png', 'step_-3.png', 'cat.png'):
        (run.path / 'samples' / name).write_bytes(b'')
    (run.path / 'samples/step_0000009.png').mkdir()
    (run.path / 'metrics.jsonl').write_bytes(b'\xff\xfe\n[1]\n{"step": "x"}\n{"loss": 1}\n{"step": 4, "a_loss": 1.0}\n{"step": 4')
    fit(tmp_path, 4, resume=True)
    samples.animate(run)
    with Image.open(run.path / 'samples.gif') as gif:
        assert gif.n_frames == 2
    assert capsys.readouterr().out.count('is damaged and has been omitted') == 2
    assert rows_of(run) == [{'step': 4, 'a_loss': 1.0}] and not (run.path / 'samples/step_0000006.png').exists()


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path, monkeypatch, capsys, caplog):
    save = checkpoints._orbax().CheckpointManager.save

    def full(self, step, **arguments):
        """What Orbax does on a full disk: it logs, ends a thread, prints, raises, and leaves its folder."""
        if step < 8:
            return save(self, step, **arguments)
        (self.directory / f'{step}.orbax-checkpoint-tmp').mkdir()
        for name in writers_log._LOGGERS:
            checkpoints.logging.getLogger(name).error('a long story\n' * 100)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        sys.unraisablehook(lost('Event loop is closed'))
        raise ValueError('RESOURCE_EXHAUSTED: No space left on device')

    passed = []
    monkeypatch.setattr(sys, 'unraisablehook', passed.append)

    def lost(message):
        """An error of a destructor or of a thread of C++."""
        error = RuntimeError(message)
        return types.SimpleNamespace(exc_type=RuntimeError, exc_value=error, exc_traceback=None, object=None)

    monkeypatch.setattr(checkpoints._orbax().CheckpointManager, 'save', full)
    with pytest.raises(InputError, match=r'the disk is full: cannot write a checkpoint .*; earlier checkpoints are intact'):
        fit(tmp_path, 12)
    sys.unraisablehook(lost('Event loop is closed'))
    assert not passed
    err = capsys.readouterr().err
    assert not caplog.records and 'story' not in err and 'Traceback' not in err and 'closed' not in err
    folder = tmp_path / 'r/checkpoints'
    log = (folder / writers_log.NAME).read_text()
    assert log.count('a long story') == 200 and 'ZeroDivisionError' in log and log.count('Event loop is closed') == 2
    assert saved(tmp_path) == [4] and not list(folder.glob('*tmp'))
    sys.unraisablehook(lost('mine'))
    assert str(passed[0].exc_value) == 'mine'
    monkeypatch.undo()
    assert_same_bits(fit(tmp_path, 12, resume=True)[0], fit(tmp_path / 'straight', 12)[0])


def test_the_same_generator_is_exported_in_the_same_bytes(tmp_path):
    def draw(key):
        return jnp.where(jnp.clip(jax.random.normal(key, (2, 4, 4, 1)), -1, 1) > 0, 1.0, -1.0)

    def after_other_work(path):
        jax.jit(lambda x: jnp.where(jnp.clip(x, -1, 1) > 0, x, 0))(jnp.ones((2, 4, 4, 1)))
        runs.save_sampler(path, draw, 1)

    runs.save_sampler(tmp_path / 'a', draw, 1)
    jax.clear_caches()
    after_other_work(tmp_path / 'b')
    a, b = ((tmp_path / name / 'sampler.bin').read_bytes() for name in 'ab')
    assert a == b and __file__.encode() not in a and jax.config.jax_traceback_in_locations_limit != 0


def test_one_of_several_processes_that_cannot_write_in_the_background_ends_all(tmp_path, monkeypatch, capfd):
    left = []
    monkeypatch.setattr(checkpoints.liveness, 'leave', lambda code, why: left.append((code, why)))

    def fail(error):
        try:
            raise error
        except Exception:
            logging.getLogger('absl').exception('as Orbax does')

    def in_a_thread(error):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()

    full = OSError(28, 'No space left on device')
    with checkpoints.Checkpoints(tmp_path):
        in_a_thread(full)
        assert not left  # one process waits, and raises it
        monkeypatch.setattr(checkpoints.hosts, 'count', lambda: 2)
        in_a_thread(jax.errors.JaxRuntimeError('UNAVAILABLE: another process has died'))
        fail(full)  # in the main thread, which raises it
        assert not left
        in_a_thread(full)
        monkeypatch.undo()
    assert left == [(2, f'the disk is full: cannot write a checkpoint in {tmp_path}; earlier checkpoints are intact')]
    assert capfd.readouterr().err == left[0][1] + '\n'
