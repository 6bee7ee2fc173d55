"""The comparison of cures for mode collapse: every method runs, is counted rightly, resumes, and may diverge."""

import dataclasses
import json
import os
import re
import signal
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mode_collapse import __main__ as mode_collapse
from experiments.mode_collapse import cells, methods, problems, report, search
from experiments.mode_collapse.history import History
from experiments.mode_collapse.methods import METHODS, standard
from gan_jax import data, keys, runs
from gan_jax.errors import Interrupted
from gan_jax.metrics.extractors import Outputs
from gan_jax.metrics.modes import mode_coverage
from gan_jax.registry import build
from gan_jax.runs import run_main


def small(path, *methods, **options) -> mode_collapse.Config:
    values = {'seeds': 2, 'steps': 4, 'evaluations': 2, 'width': 4, 'batch_size': 12, 'latent_size': 3, 'samples': 50}
    if options.get('data') == problems.STACKED:
        del values['width']  # of networks on mixtures
    return mode_collapse.Config(runs_dir=str(path), methods=methods or ('gan',), **{**values, **options})


@pytest.fixture(autouse=True)
def little_data(monkeypatch):
    monkeypatch.setattr(methods, 'BOOSTED', 200)
    monkeypatch.setattr(History, 'choosing', 20)
    monkeypatch.setattr(cells, 'CLASSIFIER_STEPS', 2)


QUICK = ('gan',)


@pytest.mark.parametrize('name', [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS])
def test_every_method_trains_and_is_counted(name, tmp_path, capsys):
    result = mode_collapse.main(small(tmp_path, name))[name]
    assert result['steps'] == ([1, 2, 3, 4] if name == 'adagan' else [2, 4]) and result['diverged'] == [False] * 2
    for moment in ('last', 'best'):
        assert set(result[moment]) == {'modes', 'high_quality', 'reverse_kl'}
        assert all(len(values) == 2 for values in result[moment].values())
    run = tmp_path / 'mode_collapse/ring'
    assert json.loads((run / 'results.json').read_text())[name] == result == json.loads((run / name / 'results.json').read_text())
    assert (run / 'samples.png').exists()
    out = capsys.readouterr().out
    assert 'a perfect sampler: 8 modes, at least 98.89 % high quality' in out and (name == 'gan' or f'  {name}: ' in out)


def made(path, *methods, **options):
    """The cells of a small comparison, by method."""
    config = mode_collapse.complete(small(path, *methods, **options))
    problem = problems.make(config)
    return {text: mode_collapse.make_cell(config, problem, text) for text in config.methods}


def test_methods_play_what_they_are_named_after(tmp_path):
    # D's view of a batch of 12, and how many minibatches a step takes: the papers'.
    chosen = made(tmp_path, *mode_collapse.EVERY_METHOD)
    assert {text: config.unroll_steps for text, (config, _) in chosen.items() if config.unroll_steps} == {'unrolled:steps=5': 5}
    steps = {text for text, (config, study) in chosen.items() if config.minibatches == study.trainer.minibatches == 5}
    assert steps == {'wasserstein', 'wasserstein_gp'}
    key, batch = jax.random.key(0), jnp.zeros((12, 2))
    inputs, plays = {}, {}
    for text, (_, study) in chosen.items():
        g, d = jax.eval_shape(study.game.init, batch, key)
        inputs[text] = d['params']['Dense_0']['kernel'].shape[0]
        plays[text] = jax.eval_shape(lambda g, play=study.game.play: play(g, batch, key)[0], g).shape
    assert {text: n for text, n in inputs.items() if n != 2} == {f'packing:size={m}': 2 * m for m in (2, 3, 4)}
    assert {text: shape for text, shape in plays.items() if shape != (12, 2)} == {'madgan': (4, 12, 2)}
    shared = jax.eval_shape(chosen['madgan'][1].game.init, batch, key)[0]['params']
    assert {name: layer['bias'].shape for name, layer in shared.items()} == {
        'Dense_0': (4,),
        'Dense_1': (4, 4),
        'Dense_2': (4, 2),
    }
    assert chosen['feature_matching'][0].objective_weight == 0
    assert [chosen[text][0].objective for text in ('rpgan_r1_r2', 'gan_r1')] == ['relativistic', 'non_saturating']


def test_packing_keeps_examples_or_packs(tmp_path):
    for text, (config, study) in made(tmp_path, 'packing:size=3', 'packing:size=3,keep=packs').items():
        batch = 36 if text.endswith('packs') else 12
        assert config.batch_size == batch and (study.data.trial.settings.get('batch_size', 12)) == batch
        real = jax.eval_shape(study.feed.draw, study.feed.data, jax.random.key(0), jnp.int32(0))
        assert real.shape == (batch, 2)


def test_published_values_belong_to_methods_and_name_their_source(monkeypatch):
    for (_, text), value in report.PUBLISHED.items():
        build(METHODS, text)
        for source in re.findall(r'\(([^)]*)\)', value):
            assert source.split(',')[0] in report.SOURCES
            assert ('unverified' in source) == ('MAD-GAN' in source)


@pytest.mark.parametrize(
    ('options', 'title', 'key'),
    [
        ({'data': 'grid'}, '', 'grid'),
        ({'data': 'stacked_mnist'}, '', 'metz_quarter'),
        ({'data': 'stacked_mnist', 'size': 28}, '', 'metz_quarter'),
        ({'data': 'stacked_mnist', 'size': 16}, ' of mnist at 16 pixels', ''),
        ({'data': 'stacked_mnist', 'digits': 'digits'}, ' of digits', ''),
    ],
)
def test_published_values_stand_beside_their_own_data_alone(options, title, key):
    config = mode_collapse.Config(**options)
    assert (mode_collapse.of_digits(config), mode_collapse.published_under(config)) == (title, key)
    assert key in {data for data, _ in report.PUBLISHED} or not key


def test_a_single_mode_is_a_data_set_too():
    problem = problems.mixture_problem(data.mixture('gmm:modes=1'), width=4, latent_size=3)
    points = problem.feed(500, 1).draw((), jax.random.key(0), jnp.int32(0))
    scores = problem.score(points)
    assert int(scores['modes']) == 1 and float(scores['high_quality']) > 0.95


def test_the_best_checkpoint_is_chosen_on_other_samples(tmp_path):
    mixture = data.Mixture(np.array([[-1.0, 0], [1, 0]]), np.full(2, 0.1))
    problem = problems.mixture_problem(mixture, width=4, latent_size=3)
    log = History(problem, tmp_path)
    A, B, NOWHERE = [-1.0, 0], [1.0, 0], [0.0, 9]
    both, one, none = [A, B] * 10, [A] * 20, [NOWHERE] * 20
    rows = {  # of each seed: what is chosen on, then what is reported
        1: [(one, both), (both, none)],
        2: [(both, one), (one, both)],
        3: [(none, both), (both[:10] + none[10:], both)],
    }
    for step, seeds in rows.items():
        observed = jnp.array([chosen + reported for chosen, reported in seeds])
        log.write(step, observed, np.array([True, True]), jnp.zeros((2, 1, 2)))
    result = log.result((1, 2, 3), 2)
    assert result['best_step'] == [2, 1]  # most modes; of equal modes the highest quality
    assert result['best']['modes'] == [1, 0] and result['last']['modes'] == [2, 2]
    assert result['best']['reverse_kl'] == [pytest.approx(np.log(2)), None]
    assert result['over_time']['modes'] == [[2, 0], [1, 2], [2, 2]]
    later = log.result((1, 2, 3, 4), 2)  # to which no seed came
    assert later['last'] == {'modes': [0, 0], 'high_quality': [0, 0], 'reverse_kl': [None] * 2}
    assert later['best'] == result['best'] and later['best_step'] == [2, 1]


@pytest.mark.slow
def test_a_cell_that_diverges_is_reported_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(METHODS, 'explosive', lambda: standard(optimizers='adam:learning_rate=1e38'))
    results = mode_collapse.main(small(tmp_path, 'explosive', 'gan'))
    assert results['explosive']['diverged'] == [True, True] and results['gan']['diverged'] == [False, False]
    assert results['explosive']['last'] == {'modes': [0, 0], 'high_quality': [0, 0], 'reverse_kl': [None, None]}
    out = capsys.readouterr().out
    assert 'every seed diverged' in out and re.search(r'explosive .* none finite .* 2 of 2', out)
    assert not re.search(r'^gan .* of 2 ', out, re.M)


@pytest.mark.slow
def test_a_component_that_diverges_leaves_the_earlier_ones_their_scores(tmp_path, monkeypatch):
    make = runs.component_trainer

    def trainer(*args, **options):
        train = make(*args, **options)
        lost = lambda x: jnp.full_like(x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x
        return lambda weights, number, key: jax.tree.map(lost if number == 1 else jnp.copy, train(weights, number, key))

    monkeypatch.setattr(runs, 'component_trainer', trainer)
    write, finite = History.write, []
    monkeypatch.setattr(History, 'write', lambda log, *args: finite.append(np.asarray(args[2]).tolist()) or write(log, *args))
    name = 'adagan:components=2'
    assert mode_collapse.main(small(tmp_path, name))[name]['diverged'] == [True, True]
    assert finite == [[True, True], [False, False]]


def test_a_seed_that_diverged_covers_nothing(tmp_path):
    problem = problems.mixture_problem(data.mixture('ring_veegan'), width=4, latent_size=3)
    log = History(problem, tmp_path)
    count = History.choosing + 80
    ring_points = jnp.broadcast_to(
        jnp.asarray(data.mixture('ring_veegan').centres, jnp.float32)[jnp.arange(count) % 8], (2, count, 2)
    )
    log.write(1, ring_points, np.array([False, True]), jnp.arange(2.0)[:, None])
    assert log.result((1,), 2)['last'] == {
        'modes': [0, 8], 'high_quality': [0, 1], 'reverse_kl': [None, pytest.approx(0, abs=1e-6)]
    }  # fmt: skip
    assert np.load(tmp_path / 'shown/0000001.npy').tolist() == [1]
    assert bool(cells.all_finite([jnp.ones(2)])) and not cells.all_finite([jnp.ones(2), jnp.array([jnp.inf])])


def test_one_seed_of_two_diverges_and_the_other_goes_on(tmp_path, capsys):
    (config, study), *_ = made(tmp_path).values()

    def step(state, batch):
        state, metrics = study.trainer.step(state, batch)
        lost = (state.step >= 3) & (jax.random.key_data(state.key) == unlucky).all()
        params = jax.tree.map(lambda x: jnp.where(lost, jnp.nan, x), state.generator.params)
        return state.replace(generator=state.generator.replace(params=params)), metrics

    first = study.trainer.init(study.example, keys.named(keys.roots(config.seed, 1)[0], 'init'))
    unlucky = jax.random.key_data(first.key)
    result = cells.train(config, study._replace(trainer=study.trainer._replace(step=step)))
    assert result['diverged'] == [True, False] and 'seed 0 diverged' in capsys.readouterr().out
    assert result['last']['reverse_kl'][0] is None and result['last']['modes'][0] == 0
    alone = cells.train(dataclasses.replace(config, name='alone', seed=1, seeds=1), study_of(config, seed=1, seeds=1))
    for name in ('modes', 'high_quality', 'reverse_kl'):
        for both, one in zip(result['over_time'][name], alone['over_time'][name], strict=True):
            assert both[1] == pytest.approx(one[0], abs=1e-5)


def study_of(config, **changes):
    return cells.study(dataclasses.replace(config, **changes))


def without_times(results):
    return {text: {k: v for k, v in result.items() if k != 'seconds'} for text, result in results.items()}


@pytest.mark.slow
@pytest.mark.parametrize('method', ['packing', 'adagan:components=2'])
def test_a_sweep_that_was_stopped_goes_on_where_it_was(method, tmp_path, monkeypatch):
    methods = ('gan', method)
    straight = mode_collapse.main(small(tmp_path / 'straight', *methods))
    train, write, trained = cells.train, History.write, []
    monkeypatch.setattr(cells, 'train', lambda config, study: trained.append(config.method) or train(config, study))

    def stop(log, step, *rest):
        write(log, step, *rest)
        if step == 2 and log.path.name != 'gan':
            if method == 'packing':
                os.kill(os.getpid(), signal.SIGINT)
            else:
                raise Interrupted(signal.SIGINT, step)

    monkeypatch.setattr(History, 'write', stop)
    with pytest.raises(Interrupted, match='stopped at step 2'):
        mode_collapse.main(small(tmp_path / 'stopped', *methods))
    assert len(trained) == 2 and not (tmp_path / 'stopped/mode_collapse/ring/results.json').exists()
    monkeypatch.setattr(History, 'write', write)
    trained.clear()
    again = mode_collapse.main(small(tmp_path / 'stopped', *methods, resume=True))
    assert trained == [method]
    assert without_times(again) == without_times(straight)
    trained.clear()
    more = mode_collapse.main(small(tmp_path / 'stopped', 'gan', resume=True))
    assert trained == [] and more['gan'] == again['gan']


@pytest.mark.slow
def test_a_cell_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path):
    mode_collapse.main(small(tmp_path))
    run = tmp_path / 'mode_collapse/ring'
    before = json.loads((run / 'gan/results.json').read_text())
    (run / 'gan/results.json').unlink()
    for step in (run / 'gan/checkpoints').glob('[0-9]*'):
        step.rename(run / f'gan/checkpoints/{step.name}.orbax-checkpoint-tmp')  # as a save that was cut short leaves it
    after = mode_collapse.main(small(tmp_path, resume=True))
    assert without_times(after) == without_times({'gan': before})


@pytest.mark.slow
def test_a_method_with_other_settings_is_another_cell(tmp_path, monkeypatch):
    mode_collapse.main(small(tmp_path, 'packing'))
    monkeypatch.setitem(METHODS, 'packing', lambda: build(METHODS, 'historical_averaging'))
    result = mode_collapse.main(small(tmp_path, 'packing', resume=True))['packing']
    assert result['settings'] == {'historical_averaging': 1.0}


@pytest.mark.slow
def test_points_on_a_line_and_random_mixtures(tmp_path, capsys):
    for name, modes, inside in (('gmm1d', 5, 'at least 99.73'), ('gmm:modes=7', 7, 'at least 98.89')):
        mode_collapse.main(small(tmp_path, data=name, steps=1))
        assert f'{modes} modes, {inside} % high quality' in capsys.readouterr().out
    assert (tmp_path / 'mode_collapse/gmm_modes=7/samples.png').exists()
    # Scores of the scaled mixture are those of the mixture itself.
    mixture = data.mixture('gmm:modes=7')
    points = jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 500))
    problem = problems.mixture_problem(mixture, width=4, latent_size=3)
    low, high = mixture.centres.min(0), mixture.centres.max(0)
    scaled = (points - (low + high) / 2) / ((high - low).max() / 2)
    unscaled = mode_coverage(points, mixture.centres, mixture.stds)
    assert float(jnp.abs(problem.score(scaled)['high_quality'] - unscaled.high_quality)) < 0.003
    drawn = problem.feed(200, 1).draw((), jax.random.key(0), 0)
    assert float(problem.score(drawn)['high_quality']) > 0.97 and int(problem.score(drawn)['modes']) == 7


@pytest.mark.slow
def test_stacked_digits(tmp_path, capsys, monkeypatch):
    # A "classifier" that reads the digit from the brightness: image number i has brightness 20 i.
    digits = data.Images(np.repeat(20 * np.arange(10, dtype=np.uint8), 64).reshape(10, 8, 8, 1), np.arange(10, dtype=np.int32))
    logits = lambda x: -jnp.square((x.mean((1, 2, 3)) + 1)[:, None] * 127.5 - 20 * jnp.arange(10))
    extractor = types.SimpleNamespace(apply=lambda x: Outputs(x, logits(x)))
    monkeypatch.setattr(problems, 'train_classifier', lambda *_, **__: types.SimpleNamespace(extractor=extractor))
    monkeypatch.setattr(data, 'load', lambda *_, **__: digits)
    problem = problems.stacked_problem(digits, 'digits', pair='metz_quarter', latent_size=3)
    feed = problem.feed(3000, 1)
    batch = feed.draw(feed.data, jax.random.key(0), jnp.int32(0))
    observed = problem.observer()(batch)
    values = np.round((np.asarray(batch)[:, 0, 0] + 1) * 127.5 / 20).astype(int)
    np.testing.assert_array_equal(observed[:, 0], values @ [100, 10, 1])
    assert int(problem.score(observed)['modes']) == len(np.unique(observed[:, 0])) > 900
    assert float(problem.score(observed)['recognised']) == 1
    blurred = batch.at[..., 0].add(10 / 127.5)  # between two digits in one channel: read, and not recognised
    assert float(problem.score(problem.observer()(blurred))['recognised']) == pytest.approx(2 / 3, abs=0.04)
    noise_first = {'modes': jnp.array([500.0, 300.0]), 'kl': jnp.ones(2), 'recognised': jnp.array([0.1, 0.9])}
    assert int(problem.rank(noise_first).argmax()) == 1
    options = {'data': 'stacked_mnist', 'batch_size': 6, 'steps': 2, 'evaluations': 1, 'samples': 30}
    result = mode_collapse.main(small(tmp_path, 'madgan:generators=2', **options))['madgan:generators=2']
    assert (
        set(result['last']) == {'modes', 'kl', 'recognised'}
        and (tmp_path / 'mode_collapse/stacked_mnist_metz_quarter/samples.png').exists()
    )
    out = capsys.readouterr().out
    assert 'a perfect sampler: 29.6 modes' in out and '100.0% recognised' in out  # 1000 (1 - .999^30)
    mode_collapse.main(small(tmp_path, 'unrolled:steps=1', name='sampled', **options))
    run = tmp_path / 'sampled/stacked_mnist_metz_quarter/unrolled_steps=1'
    assert (run / 'sampler.bin').exists() and (run / 'samples.png').exists()
    assert runs.load(run).seed(1).images(5).shape == (5, 8, 8, 3)


@pytest.mark.slow
def test_time_of_many_seeds_beside_single_runs(tmp_path, capsys):
    ratios = mode_collapse.main(small(tmp_path, 'gan', compare_serial=True))
    assert ratios['gan'] > 0 and '2 seeds in one program' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--data', 'rings'], "unknown mixture 'rings'"),
        (['--methods', 'pack'], "unknown method 'pack'; did you mean packing"),
        (['--methods', 'packing:m=2'], "method packing has no setting 'm'; it has: size, keep"),
        (['--methods', 'packing:keep=pairs'], "keep must be examples or packs, not 'pairs'"),
        (['--methods', 'packing:size=7'], '60 examples do not divide into packs of 7'),
        (['--methods', 'madgan:generators=0'], 'generators must be from 1 to 100, not 0'),
        (['--methods', 'adagan:components=0'], 'components must be from 1 to 1000, not 0'),
        (['--methods', 'unrolled:steps=-1'], 'steps must be from 0 to 1000, not -1'),
        (['--methods', 'unrolled:steps=1.5'], "method 'unrolled:steps=1.5': steps must be a whole number, not 1.5"),
        (['--methods', 'adagan:components=many'], "components must be a whole number, not 'many'"),
        (['--methods', 'historical_averaging:weight=abc'], "weight must be a number, not 'abc'"),
        (['--methods', 'minibatch_discrimination:features=0'], 'features must be from 1 to 65536, not 0'),
        (['--methods'], '--methods'),
        (['--seeds', '0'], '--seeds must be from 1 to 10000, not 0'),
        (['--steps', '0'], '--steps must be at least 1'),
        (['--evaluations', '0'], '--evaluations must be at least 1'),
        (['--decay', '2'], '--decay is now --schedule cosine:end=VALUE'),
        (['--schedule', 'cosine:end=2'], 'end must be from 0 to 1, not 2'),
        (['--optimizers', 'rmsprop'], "unknown optimizers 'rmsprop'"),
        (['--optimizers', ''], "unknown optimizers ''"),
        (['--learning-rate', '-1'], '--learning-rate must be at least 0'),
        (['--data', 'stacked_mnist', '--digits', 'digits', '--networks', 'metz_third'], 'unknown networks for stacked MNIST'),
        (['--data', 'stacked_mnist', '--digits', 'digits', '--networks', 'r3gan'], "the networks 'r3gan' have no minibatch"),
        (['--resume'], 'nothing to resume'),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, flags, message):
    monkeypatch.setattr(sys, 'argv', ['mode_collapse', '--runs-dir', str(tmp_path), *flags])
    with pytest.raises(SystemExit) as stop:
        run_main(mode_collapse.main, mode_collapse.Config)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(line.splitlines()) == 1 and message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_examples_are_searched_and_pairs_measured(tmp_path, capsys):
    """No one of 4,000 samples is nearer to an example than what the search found."""
    config = small(tmp_path, 'gan', 'unrolled:steps=1', 'madgan', invert=3)
    results = mode_collapse.main(config)
    out = capsys.readouterr().out
    table = [line for line in out.split('inversion, MSE')[1].splitlines() if re.match('gan|unrolled|madgan', line)]
    assert len(table) == 2 and set(results) == {'gan', 'unrolled:steps=1', 'madgan'}  # madgan has no one latent space
    assert (tmp_path / 'mode_collapse/ring/distances.png').exists()

    problem = problems.make(config)
    config, study = mode_collapse.make_cell(mode_collapse.complete(config), problem, 'gan')
    config = runs.part(config, 'gan')
    found, state = search.search(config, study, 3), cells.restored(config, study)
    real = search.examples(config, study, 3)
    z = jax.vmap(problem.latent)(jax.random.split(jax.random.key(5), 20))  # L-BFGS from three latents ends in local minima
    for seed, errors in enumerate(found.errors):
        variables = jax.tree.map(lambda x, seed=seed: x[seed], state.generator.variables)
        points = study.data.trial.generator.apply(variables, z, train=False)
        nearest = jnp.square(points[:, None] - real[None, :3]).mean(-1).min(0)
        assert errors.mean() <= nearest.mean() and errors.min() >= 0
