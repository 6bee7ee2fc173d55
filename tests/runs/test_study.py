"""One loop for all: several seeds in one program, streams, seeds that diverge, and the figures of a run."""

import dataclasses
import json
import signal
import subprocess
import sys
import types

import coordination
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_loop import ROOT, assert_same_bits, small_study

import gan_jax
from gan_jax import data, finite, hosts, keys, parallel, runs
from gan_jax.errors import Diverged, InputError
from gan_jax.runs import evaluation, seeds


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    batch_size: int = 8
    steps: int = 4
    checkpoint_every: int = 2


def train(path, one=None, **options):
    return runs.train(Config(name='r', runs_dir=str(path), **options), one or small_study())


def close(a, b, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x, y, atol=atol, rtol=0)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """A run of two seeds, undisturbed."""
    return train(tmp_path_factory.mktemp('two'), seeds=2)


@pytest.mark.parametrize('side_by_side', [True, False])
@pytest.mark.parametrize('count', [2, 3])
def test_a_seed_among_others_is_the_run_of_that_seed(count, side_by_side, tmp_path, monkeypatch):
    if count == 2:  # on one device; three seeds are spread over three
        monkeypatch.setattr(jax, 'local_devices', lambda: jax.devices()[:1])
    one = small_study()._replace(side_by_side=side_by_side)
    several = train(tmp_path / 'several', one, seeds=count)
    alone = train(tmp_path / 'alone', seed=1)
    close(several.seed(1).state, alone.state)
    assert not several.seed(1).first and several.seed(0).first
    assert jax.random.key_data(several.seed(1).key('table')).tolist() == jax.random.key_data(alone.key('table')).tolist()
    np.testing.assert_allclose(several.seed(1).plays(5), alone.plays(5), atol=1e-6)


def test_two_and_two_steps_of_two_seeds_are_four_bit_for_bit(two, tmp_path):
    train(tmp_path, seeds=2, steps=2)
    assert_same_bits(train(tmp_path, seeds=2, resume=True).state, two.state)


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {tests!r} + '/runs']
import conftest, test_study
from gan_jax import runs
def note(run):
    return runs.Callback(1, lambda step, state: step == 3 and os.kill(os.getpid(), signal.SIGKILL))
test_study.train({path!r}, test_study.small_study()._replace(notes=(note,)), seeds=2)
"""


def test_two_seeds_that_are_killed_go_on_bit_for_bit(two, tmp_path):
    script = KILLED.format(tests=str(ROOT / 'tests'), path=str(tmp_path))
    killed = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_same_bits(train(tmp_path, seeds=2, resume=True).state, two.state)


@pytest.mark.parametrize('count', [1, 2])
def test_data_that_are_streamed_train_the_same_run(count, tmp_path):
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    found = []
    for limit in (1e9, 1):
        feed = data.feed(points, 8, memory_limit=limit)
        found.append(train(tmp_path / str(limit), small_study()._replace(feed=feed), seeds=count).state)
    assert isinstance(feed, data.Stream)
    close(*found)


def unstable(*bad):
    """A study whose seeds of these numbers have no finite loss from step 3 on."""
    one = small_study()

    def draw(points, own, step):
        return {'points': one.feed.draw(points, own['key'], step), 'bad': own['bad']}

    def step(state, batch):
        state, metrics = one.trainer.step(state, batch['points'])
        pole = jnp.where(batch['bad'] & (state.step >= 3), jnp.nan, 0)
        params = jax.tree.map(lambda x: x + pole, state.generator.params)
        state = state.replace(generator=state.generator.replace(params=params))
        return state, {**metrics, 'generator_loss': metrics['generator_loss'] + pole}

    feed = data.Feed(one.feed.data, draw, lambda number, key: {'key': key, 'bad': jnp.bool_(number in bad)})
    return one._replace(feed=feed, trainer=one.trainer._replace(step=step))


def figures(trained):
    trained.tell('seed', trained.roots)
    params = trained.state.generator.params
    return {'norm': float(optax.tree.norm(params)), 'more': {'one': 1, 'rows': [1, 2]}, 'text': 'x'}


def test_a_seed_that_diverges_is_told_and_does_not_stop_the_others(tmp_path, capsys):
    trained = train(tmp_path, unstable(0, 2), seeds=3)
    out = capsys.readouterr().out
    assert (
        out.count('diverged: generator loss is nan at step 3; the others continue') == 2 and 'seed 0' in out and 'seed 2' in out
    )
    assert trained.finite == (False, True, False) and trained.shown == 1 and trained.seed(1).first
    close(trained.seed(1).state, train(tmp_path / 'alone', seed=1).state)
    results = runs.judged(trained, figures)
    assert results['seeds'][0] is None and results['figures']['norm']['seeds'] == 1
    assert capsys.readouterr().out.count('seed') == 3  # told once, and twice in the table of one finite seed
    rows = trained.read_log()
    assert rows and np.isfinite([row['generator_loss'] for row in rows]).all()
    again = train(tmp_path, unstable(0, 2), seeds=3, steps=6, resume=True)  # that they have diverged is seen again
    assert again.finite == (False, True, False)


def test_a_run_whose_every_seed_diverges_stops(tmp_path):
    with pytest.raises(
        Diverged, match=r'every seed diverged; the last one: seed 1 diverged: .* at step 3; .*contains the finite state of step 2'
    ):
        train(tmp_path, unstable(0, 1), seeds=2)


def test_figures_of_several_seeds(tmp_path, capsys, two):
    found = runs.judged(two, figures)
    each = [x['norm'] for x in found['seeds']]
    t = 12.706204736  # of 1 degree of freedom, two-sided 95 %
    assert found['figures']['norm'] == pytest.approx(
        {'mean': np.mean(each), 'interval': t * np.std(each, ddof=1) / 2**0.5, 'seeds': 2}
    )
    assert set(found['figures']) == {'norm', 'more.one'}
    assert runs.means(found) == {
        'norm': pytest.approx(np.mean(each)), 'more': {'one': 1.0, 'rows': [1, 2]}, 'text': 'x'
    }  # fmt: skip
    assert '95 % interval' in capsys.readouterr().out and json.dumps(found)
    assert runs.judged(two.seed(0), figures) == figures(two.seed(0))


def test_lost_seeds_leave_the_log_where_they_were_lost():
    kept = finite.Survivors(3, 5)
    losses = np.ones((4, 3))
    losses[2:, 1] = np.nan
    found = kept.note_losses({'loss': losses, 'score': np.full((4, 3), 2.0)}, 10)
    np.testing.assert_array_equal(np.isnan(found['score'])[:, 1], [False, False, True, True])
    assert np.isfinite(found['loss'][:, [0, 2]]).all() and kept.finite == (True, False, True)
    with pytest.raises(Diverged, match='every seed diverged; the last one: seed 7 diverged'):
        kept.note_losses({'loss': np.full((1, 3), np.nan)}, 14)


def test_what_nothing_can_read_is_refused_before_anything_is_written(tmp_path):
    options = {'name': 'r', 'runs_dir': str(tmp_path), 'batch_size': 8, 'steps': 2}
    with pytest.raises(InputError, match='--score-every requires a run that generates images'):
        runs.train(runs.MethodOptions(**options, score_every=1), small_study())
    assert not list(tmp_path.iterdir())
    source = runs.train(runs.MethodOptions(**options), small_study()).path
    with pytest.raises(InputError, match=r'--overwrite would remove .* before the run starts from it'):
        runs.train(runs.MethodOptions(**options, overwrite=True, init_from=str(source)), small_study())
    assert (source / 'checkpoints').is_dir()
    with pytest.raises(InputError, match='batch size 30 is more than the 20 examples'):
        data.feed(data.feeds.Rows(np.zeros((20, 2))), 30)


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path):
    runs.write_json(tmp_path / 'x.json', {'a': [1.5, np.nan], 'b': (float('inf'),), 'c': 'nan'})
    assert json.loads((tmp_path / 'x.json').read_text()) == {'a': [1.5, None], 'b': [None], 'c': 'nan'}


def test_means_and_intervals():
    values = np.array([1.0, 2, 3, 6])
    mean, half, count = seeds.mean_and_interval([*values, np.nan, np.inf])
    assert (mean, count) == (3, 4) and half == pytest.approx(3.182446305 * values.std(ddof=1) / 2)
    assert runs.spread([1.0, 3, np.inf], digits=1) == '2.0 +- 12.7 (2 of 3)' and runs.spread([0.5], 100) == '50.00'
    assert runs.spread([np.nan]) == 'none finite'


def test_no_two_uses_of_no_two_seeds_share_a_key():
    made = [keys.named(keys.roots(seed, 1)[0], use) for seed in range(20) for use in ('init', 'data', 'shown', 'table', 'scores')]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in made}) == len(made)
    many = keys.roots(2**32 - 2, 4)
    assert jax.random.key_data(many)[2].tolist() == jax.random.key_data(jax.random.key(0)).tolist()


def test_callbacks_at_given_steps(tmp_path):
    seen = []
    note = lambda run: runs.Callback((1, 3), lambda step, state: seen.append((step, int(state.step))))
    train(tmp_path, small_study()._replace(notes=(note,)), steps=5)
    assert seen == [(1, 1), (3, 3)]


def test_other_models_than_games_are_trained_alike(tmp_path, capsys):
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class State:
        step: jax.Array
        w: jax.Array

    def step(state, batch):
        return State(state.step + 1, state.w + parallel.pmean(batch.mean())), {'loss': state.w}

    feed = data.resident(np.arange(16, dtype=np.float32), 8)
    trainer = gan_jax.Trainer(lambda batch, key: State(jnp.int32(0), jnp.float32(0)), step, 1)
    model = runs.Study(None, trainer, feed, jnp.zeros(1))
    assert float(train(tmp_path, model).state.w) == pytest.approx(30)
    with pytest.raises(InputError, match='--init-from requires a game'):
        train(tmp_path / 'other', model, init_from=str(tmp_path / 'r'))


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match='batch size 6 is not divisible by the 4 devices'):
        train(tmp_path, batch_size=6)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match='none has no checkpoint yet'):
        train(tmp_path, init_from=str(tmp_path / 'none'))


def test_results_that_process_0_cannot_write_end_all_processes(tmp_path, monkeypatch):
    def full(file, value):
        if hosts.leads():
            raise OSError(28, 'No space left on device', str(file))

    monkeypatch.setattr(evaluation, 'write_json', full)
    trained = types.SimpleNamespace(roots=np.zeros(()), path=tmp_path)
    found = coordination.together(monkeypatch, [lambda: runs.report(trained, lambda _: {'a': 1})] * 2)
    assert [error.errno for error in found] == [28, 28]
