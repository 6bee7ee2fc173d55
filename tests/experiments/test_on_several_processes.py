"""Experiments on several processes are those on one; they are trained by SGD, and compared by their checkpoints."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
import several_main

from gan_jax.runs.weights import read_checkpoint

COMMAND = str(processes.ROOT / 'tests/experiments/several_main.py')
RARE = '--sample-every 100 --checkpoint-every 100'
DCGAN = f"""dcgan --size 8 --width 4 --kernel-size 2 --latent-size 4 --batch-size 8 --penalties
    --optimizers sgd --schedule constant --discriminator-steps 3 --unroll-steps 2 --samples 20 --steps 2 --runner shard_map
    {RARE}"""
# Without the cycle loss: the derivative of a mean absolute difference jumps at 0, and rounding with it.
CYCLEGAN = f"""cyclegan --dataset digits --size 8 --width 2 --blocks 1 --batch-size 4 --samples 4 --receptive-field 1
    --pool-size 3 --cycle-weight 0 --optimizers sgd:learning_rate=0.001 --schedule constant --steps 3 --runner shard_map {RARE}"""
MODES = """mode_collapse --methods gan --width 4 --latent-size 2 --batch-size 12 --samples 50 --evaluations 2 --steps 4 --seeds 2
    --optimizers sgd --schedule constant"""


def run(text, path, *more):
    """In this process, on 4 devices."""
    several_main.run(*text.split(), '--runs-dir', str(path), '--name', 'r', *more)


def on(count, devices, text, path, *more):
    """In several processes, with as many devices each."""
    name, *flags = text.split()
    return processes.succeeded([COMMAND, name, *flags, '--runs-dir', str(path), '--name', 'r', *more], count, devices)


def states(path):
    """The newest step and its arrays."""
    return read_checkpoint(path, lambda state: state)


def assert_close(a, b, atol=1e-6):
    (step, mine), (other, theirs) = states(a), states(b)
    assert step == other
    for x, y in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x, y, atol=atol)


@pytest.fixture(scope='module')
def dcgan(tmp_path_factory):
    """DCGAN with batch norm, 3 steps of D and 2 unrolled ones, by one process with 4 devices."""
    path = tmp_path_factory.mktemp('dcgan')
    run(DCGAN, path)
    return path / 'r'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('count', 'devices', 'more'), [(2, 2, ()), (2, 2, ('--memory-limit', '0')), (4, 1, ('--memory-limit', '0'))]
)
def test_dcgan(count, devices, more, dcgan, tmp_path):
    ended = on(count, devices, DCGAN, tmp_path, *more)
    assert_close(tmp_path / 'r', dcgan)
    found, expected = (json.loads((path / 'results.json').read_text()) for path in (tmp_path / 'r', dcgan))
    assert found.keys() == expected.keys()
    assert (tmp_path / 'r/sampler.bin').exists() and ended[0].out.count('numbers') == 1
    assert all(process.out == '' for process in ended[1:])


@pytest.mark.slow
def test_cyclegan_with_its_pool(tmp_path):
    run(CYCLEGAN, tmp_path / 'one')
    on(2, 2, CYCLEGAN, tmp_path / 'two')
    assert_close(tmp_path / 'one/r', tmp_path / 'two/r', atol=1e-5)  # instance norms over few pixels amplify rounding


@pytest.mark.slow
def test_mode_collapse_with_seeds(tmp_path):
    run(MODES, tmp_path / 'one')
    on(2, 2, MODES, tmp_path / 'two')
    (one,), (two,) = (list((tmp_path / which / 'r').glob('*/gan')) for which in ('one', 'two'))
    assert_close(one, two)
    found, expected = (json.loads((path / 'results.json').read_text()) for path in (two, one))
    assert found['last']['modes'] == expected['last']['modes']
