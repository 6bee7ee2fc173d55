"""Games on mixtures in the plane: `ring`, its sweep, and `unrolled_gan`."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from helpers import close

from experiments import unrolled_gan
from experiments.ring import __main__ as ring
from experiments.shared import mixtures
from gan_jax import runs
from gan_jax.errors import InputError, Interrupted
from gan_jax.runs import training

SMALL = {'seeds': 2, 'steps': 4, 'width': 4, 'latent_size': 2, 'batch_size': 8, 'samples': 50, 'sample_every': 2}


def small(path, **options) -> ring.Config:
    shared = {name: value for name, value in SMALL.items() if name != 'sample_every' or not options.get('sweep')}
    return ring.Config(**{'runs_dir': str(path), **shared, **options})


def nulls(each):
    """Figures of seeds as JSON has them."""
    return [{name: value if np.isfinite(value) else None for name, value in figures.items()} for figures in each]


def test_ring(tmp_path, capsys):
    options = {'penalties': ('r1', 'r2'), 'd_norm': 'spectral', 'minibatch': 'discrimination:features=3', 'optimizers': 'wgan'}
    result = ring.main(small(tmp_path, augmentations=('packing',), unroll_steps=1, **options))
    assert len(result['seeds']) == 2 and set(result['figures']) == {'modes', 'high_quality', 'reverse_kl'}
    assert '95 % interval' in capsys.readouterr().out
    assert (tmp_path / 'ring/samples.gif').exists() and (tmp_path / 'ring/samples.png').exists()
    assert json.loads((tmp_path / 'ring/results.json').read_text())['seeds'] == nulls(result['seeds'])
    course = mixtures.course(tmp_path / 'ring')
    assert [step for step, _ in course] == [0, 2, 4] and all(points.shape == (50, 2) for _, points in course)
    with pytest.raises(InputError, match='3 examples do not divide into packs of 2'):
        ring.main(small(tmp_path, name='odd', batch_size=3, augmentations=('packing',)))
    with pytest.raises(InputError, match='unknown penalty'):
        ring.main(small(tmp_path, name='odd', sweep=True, sweep_penalties=('r3',)))
    assert not (tmp_path / 'odd').exists()


def test_seeds_resume_bit_for_bit_and_are_the_runs_of_each_alone(tmp_path):
    steady = {'schedule': 'constant', 'penalties': ('r1',), 'penalty_decay': 1.0}
    whole = small(tmp_path, name='whole', **steady)
    state = runs.train(whole, ring.study(whole)).state
    part = small(tmp_path, name='part', steps=2, **steady)
    runs.train(part, ring.study(part))
    part = dataclasses.replace(part, steps=4, resume=True)
    data = lambda state: state.replace(key=jax.random.key_data(state.key))
    jax.tree.map(np.testing.assert_array_equal, data(runs.train(part, ring.study(part)).state), data(state))
    alone = dataclasses.replace(whole, name='alone', seed=1, seeds=1)
    close(data(runs.train(alone, ring.study(alone)).state), data(jax.tree.map(lambda x: x[1], state)), atol=1e-5)


@pytest.mark.slow
def test_a_sweep_goes_on_within_the_pair_where_it_stopped(tmp_path, capsys, monkeypatch):
    pairs = {'sweep_objectives': ('f_gan:divergence=kl',), 'sweep_penalties': ('none', 'r1:gamma=0.1+r2:gamma=0.1')}
    options = {'sweep': True, 'discriminator_steps': 1, **pairs}
    results = ring.main(small(tmp_path, **options))
    assert len(results) == 2 and all(len(result['modes']) == 2 for result in results.values())
    out = capsys.readouterr().out
    assert 'r1 gamma=0.1 + r2 gamma=0.1' in out and 'every mode in every seed: 0 of 0' in out
    assert (tmp_path / 'ring/samples.png').exists() and not list((tmp_path / 'ring').glob('*/samples'))
    advancing = training.advancing

    def stopped(config, *rest):
        advance = advancing(config, *rest)

        def one(state, n):
            if config.penalties and state.step[0] == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return advance(state, n)

        return one

    monkeypatch.setattr(training, 'advancing', stopped)
    with pytest.raises(Interrupted, match=r'stopped at step [23]'):
        ring.main(small(tmp_path / 'stopped', **options))
    monkeypatch.setattr(training, 'advancing', advancing)
    again = ring.main(small(tmp_path / 'stopped', resume=True, **options))
    assert capsys.readouterr().out.count('resumed') == 1
    without = lambda results: {name: {k: v for k, v in x.items() if k != 'seconds'} for name, x in results.items()}
    assert without(again) == without(results)


def test_pairs_that_diverge_cover_nothing(tmp_path, capsys):
    options = {'sweep_objectives': ('hinge',), 'sweep_penalties': ('none',), 'optimizers': 'adam:learning_rate=1e38'}
    (result,) = ring.main(small(tmp_path, sweep=True, **options)).values()
    assert result['diverged'] == [True] * 2 and result['modes'] == [0, 0] and result['reverse_kl'] == [np.inf] * 2
    assert '(2 diverged)' in capsys.readouterr().out


def test_unrolled_gan(tmp_path, capsys):
    config = unrolled_gan.Config(runs_dir=str(tmp_path), compare=(0, 1), **SMALL)
    results = unrolled_gan.main(config)
    assert set(results) == {'0', '1'} and len(results['1']['seeds']) == 2
    run = tmp_path / 'unrolled_gan'
    assert json.loads((run / 'results.json').read_text())['0']['seeds'] == nulls(results['0']['seeds'])
    assert (run / 'samples.png').exists() and (run / 'K1/samples.gif').exists()
    assert 'mean +- 95 % interval' in capsys.readouterr().out
    points = [mixtures.course(run / f'K{k}')[-1][1] for k in (0, 1)]
    assert (points[0] != points[1]).any()  # one of them looks ahead
    again = unrolled_gan.main(dataclasses.replace(config, resume=True))
    assert again['1']['seconds'] > results['1']['seconds']  # of all sessions
    assert again['1']['seeds'] == results['1']['seeds'] and 'resumed' in capsys.readouterr().out


def test_unrolled_gan_refuses_what_it_cannot_draw(tmp_path):
    for options in ({'data': 'madgan_1d'}, {'data': 'ring'}, {'objective': 'x'}, {'seeds': 0}, {'discriminator_steps': 2}):
        with pytest.raises(InputError):
            unrolled_gan.main(unrolled_gan.Config(runs_dir=str(tmp_path), **options))
    assert not list(tmp_path.iterdir())
