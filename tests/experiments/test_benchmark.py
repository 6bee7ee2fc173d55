"""The benchmark: every step can be taken, its twin in PyTorch has its parameters, and the command prints and compares."""

import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import metrics, steps, suite
from experiments.benchmark.worker import Work, worker
from gan_jax.errors import InputError

SETTINGS = [('dcgan', {'unroll_steps': 1}), ('unrolled_ring', {'seeds': 3}), *((name, {}) for name in steps.STEPS)]


def first_state(training: steps.Training):
    init = lambda key: gan_jax.init(training.game, *training.optimizers[:2], training.start, key)
    return jax.eval_shape(init, jax.random.key(0))


@pytest.mark.parametrize(('name', 'settings'), SETTINGS)
def test_every_step_takes_a_batch_of_its_feed(name, settings):
    training = steps.STEPS[name](**settings)
    step = gan_jax.make_train_step(training.game, *training.optimizers[:2], unroll_steps=training.unroll_steps)
    state = first_state(training)
    draw = lambda state: step(state, training.feed.by(jax.random.key(0))(training.feed.data, state.step))
    after, log = jax.eval_shape(draw, state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert {'discriminator_loss', 'generator_loss'} <= set(log)


@pytest.mark.parametrize('name', steps.STEPS)
def test_the_twin_has_the_same_parameters(name):
    pytest.importorskip('torch')
    from experiments.benchmark import torch_steps

    state = first_state(steps.STEPS[name]())
    ours = sum(leaf.size for player in (state.generator, state.discriminator) for leaf in jax.tree.leaves(player.params))
    modules = torch_steps.STEPS[name]().modules
    assert ours == sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


@pytest.mark.slow  # the suite below is written by the same steps
def test_a_game_at_the_sizes_of_the_command_line(capsys):
    options = {'size': 8, 'width': 4, 'batch_size': 4, 'unroll_steps': (0, 1), 'repetitions': 1, 'steps': 1}
    rows = benchmark.main(benchmark.Config(game='dcgan', **options))
    assert [row['name'] for row in rows] == [f'JAX, {kind} step, K = {k}' for k in (0, 1) for kind in ('plain', 'scanned')]
    assert all(row['seconds'] > 0 and row['peak_bytes'] > 1e7 for row in rows)
    assert 'ms / step' in capsys.readouterr().out


def test_penalties_are_timed_side_by_side(capsys):
    options = {'penalties': ('none', 'finite_r1@2'), 'size': 8, 'batch_size': 4, 'repetitions': 1, 'steps': 1}
    rows = benchmark.main(benchmark.Config(**options))
    assert [row['name'] for row in rows] == ['none', 'finite_r1@2'] and all(row['seconds'] > 0 for row in rows)
    assert 'of the first' in capsys.readouterr().out
    both, lazy = steps.penalties_of('r1:gamma=2+r2'), steps.penalties_of('r1_r2@8')
    assert len(both) == 2 and [penalty.every for penalty in lazy] == [8] and steps.penalties_of('none') == []


def test_every_metric_is_a_choice_and_in_the_suite():
    (choices, _) = typing.get_args(typing.get_type_hints(benchmark.Config)['metric'])
    assert typing.get_args(choices) == tuple(metrics.METRICS)
    assert set(metrics.METRICS) <= {entry.name for entry in suite.SUITE.values()}


PACKAGES = {'kernel_subsets': 'torch_fidelity', 'precision_recall': 'torch_fidelity', 'density_coverage': 'prdc'}


@pytest.mark.parametrize('name', ['frechet', 'kernel_gaussian', 'neighbours', *PACKAGES])
def test_candidates_compute_the_same_number(name):
    """Ours and those of other packages, as far as they are installed."""
    if package := PACKAGES.get(name):
        pytest.importorskip(package, exc_type=ImportError)
    values = [call() for call in metrics.candidates(name, dimension=16, samples=max(100, metrics.LEAST.get(name, 0))).values()]
    assert len(values) > 1
    np.testing.assert_allclose(values, values[0], rtol=2e-4, atol=2e-5)


def test_a_suite_is_written_and_compared_with(capsys, tmp_path):
    options = {'suite': True, 'only': ('ring, MLP',), 'repetitions': 1}
    found = benchmark.main(benchmark.Config(**options, json=tmp_path / 'suite.json'))
    assert suite.load(tmp_path / 'suite.json') == json.loads(json.dumps(found))
    (ours,) = found['ring, MLP']
    ours['seconds'] = 4 * ours['seconds']
    suite.report(found, suite.load(tmp_path / 'suite.json'))
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == '4.00'


def test_ratios_are_of_the_fastest_other(capsys):
    row = lambda seconds: {'seconds': seconds, 'images': 8, 'compile_seconds': 1.0, 'peak_bytes': 10**9}
    found = {'a': [row(1.0), row(4.0), row(2.0)], 'b': [row(1.0), row(8.0)]}
    suite.report(found, {})
    assert 'geometric mean of 2 ratios 0.250, largest 0.50' in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path):
    broken = tmp_path / 'broken.json'
    broken.write_text('{')
    untimed = tmp_path / 'untimed.json'
    untimed.write_text('{"workloads": {"DCGAN": [{"seconds": null}]}}')
    for options, line in [
        ({'suite': True, 'compare': broken}, 'is not the JSON of an earlier suite'),
        ({'suite': True, 'compare': untimed}, 'is not the JSON of an earlier suite'),
        ({'suite': True, 'only': ('nothing',)}, 'no workload has such a name'),
        ({'compare': broken}, 'require --suite'),
        ({'penalties': ('r1@0',)}, 'a number of updates, at least 1'),
        ({'penalties': ('r3',)}, "unknown penalty 'r3'"),
        ({'penalties': ('r1',), 'width': 8}, '--width does not apply to --penalties'),
    ]:
        with pytest.raises(InputError, match=line):
            benchmark.main(benchmark.Config(**options))
    with pytest.raises(InputError, match='unexpected keyword'), worker(Work('jax', 'unrolled_ring', {'nothing': 1})):
        pass
