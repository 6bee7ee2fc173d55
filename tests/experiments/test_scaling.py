"""What a step exchanges, counted in compiled programs."""

import functools

import jax
import jax.numpy as jnp
import pytest

import gan_jax
from experiments.benchmark import scaling, steps
from gan_jax import compilation

PROGRAM = """
%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = f32[4]{0} all-reduce(%y), replica_groups={}
}

%condition (p: (s32[], f32[4])) -> pred[] {
  %less = pred[] compare(%i, %n)
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %both = (f32[10]{0}, bf16[2,3]{1,0}) all-reduce(%a, %b), to_apply=%add
  %loop = (s32[], f32[4]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %rows = f32[8]{0} all-gather-start(%c)
}
"""
SCATTERED = """
HloModule step, num_partitions=8

ENTRY %main (p: f32[4]) -> f32[4] {
  %pairs = f32[10]{0} reduce-scatter(%a), replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={0}
  %fours = f32[10]{0} reduce-scatter(%b), replica_groups=[2,4]<=[8], dimensions={0}
  %all = f32[10]{0} reduce-scatter(%b), replica_groups={}, dimensions={0}
}
"""


def test_exchanges_of_a_loop_count_as_often_as_it_runs():
    found = scaling.exchanges(PROGRAM.replace('to_apply=%add', ''))
    assert sorted(found) == sorted(
        [scaling.Exchange('all-reduce', 52), scaling.Exchange('all-gather', 32), *[scaling.Exchange('all-reduce', 16)] * 5]
    )


def test_a_reduce_scatter_sends_what_the_group_has_before():
    assert [exchange.bytes for exchange in scaling.exchanges(SCATTERED)] == [80, 160, 320]


def test_the_ring_sends_an_array_twice():
    link = scaling.Link(bandwidth=1e9, latency=0.0, speed=1.0)
    assert scaling.seconds([scaling.Exchange('all-reduce', 10**9)], 4, link) == pytest.approx(2 * 3 / 4)
    assert scaling.seconds([scaling.Exchange('all-gather', 10**9)], 4, link) == pytest.approx(3 / 4)
    assert scaling.seconds([scaling.Exchange('all-gather', 0)] * 3, 8, link._replace(latency=1e-6)) == pytest.approx(9e-6)
    assert scaling.seconds([scaling.Exchange('all-reduce', 0)] * 3, 8, link._replace(latency=1e-6)) == pytest.approx(18e-6)


@pytest.mark.parametrize(('unroll_steps', 'updates'), [(0, 2), (3, 8)])
def test_a_step_reduces_each_players_gradient_once(unroll_steps, updates, optimised):
    # Unrolled updates exchange D's gradient, and its derivative on the way back.
    training = steps.dcgan(8, 1, 4, 2, 2, unroll_steps=unroll_steps)
    program = scaling.compiled(training, 4)
    trained = jax.eval_shape(lambda: training.game.init(training.start, jax.random.key(0)))
    smallest = min(4 * sum(x.size for x in jax.tree.leaves(player['params'])) for player in trained)
    found = scaling.exchanges(program.as_text())
    assert sum(x.kind == 'all-reduce' and x.bytes >= smallest for x in found) == updates


def test_operations_of_a_loop_count_as_often_as_it_runs(monkeypatch):
    training = steps.unrolled_ring(128, 64, 2, unroll_steps=4)
    found = scaling.operations(training)
    monkeypatch.setattr(jax.lax, 'scan', functools.partial(jax.lax.scan, unroll=True))
    trainer = gan_jax.trainer(training.game, training.optimizers, unroll_steps=4)
    state = jax.eval_shape(trainer.init, training.start, jax.random.key(0))
    without_loops = jax.jit(trainer.step).lower(state, jnp.zeros((64, 2))).cost_analysis()['flops']
    assert found == pytest.approx(without_loops, rel=0.01)


def test_operations_include_those_of_convolutions(monkeypatch):
    monkeypatch.setattr(compilation, 'keep_out_of_cache', lambda: True)  # allows calls of oneDNN on a CPU, which hide them
    # D's layers, each [pixels] [channels in] [channels out], in at least 7 passes over 64 images: 2 forward and 3 backward for D,
    # and one of each for G.
    products = 64 * 5 * 5 * (16**2 * 3 * 64 + 8**2 * 64 * 128 + 4**2 * 128 * 256)
    assert scaling.operations(steps.dcgan(32, 3, 64, 5, 64)) > 7 * 2 * products
