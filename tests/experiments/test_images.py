"""WGAN-GP's and SNGAN's experiments, and what becomes of a trained DCGAN: settings, counts, pictures, and what is refused."""

import dataclasses
import json
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, quick
from PIL import Image

import gan_jax
from experiments import sngan, wgan_gp
from experiments.dcgan import __main__ as dcgan
from experiments.dcgan import analyse, arithmetic, features
from experiments.ebgan import __main__ as ebgan
from experiments.lapgan import __main__ as lapgan
from experiments.shared import image_gan, resnets
from gan_jax import data, networks, optimizers, parallel, runs
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import Classifier

TINY = {'dataset': 'digits', 'size': 8, 'steps': 2, 'batch_size': 8, 'latent_size': 4, 'samples': 40, 'sample_every': 2}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(('experiment', 'g_size', 'pool'), [(wgan_gp, 1204483, 'mean'), (sngan, 4276739, 'sum')])
def test_the_papers_settings(experiment, g_size, pool):
    # Cards 5 and 9; parameters counted from the papers' tables in tests/test_resnet.py.
    config = experiment.Config()
    config.check()
    assert (config.dataset, config.batch_size, config.latent_size, config.minibatches) == ('cifar10', 64, 128, 5)
    assert (config.generator_batches, config.players().discriminator_steps, config.pool) == (2, 5, pool)
    generator, discriminator = config.networks(32, 3)
    d_size = 1053825 - (pool == 'sum')  # SNGAN's last layer has no bias (its code: l5, nobias)
    for network, example, size in ((generator, jnp.zeros((1, 128)), g_size), (discriminator, jnp.zeros((1, 32, 32, 3)), d_size)):
        assert count(jax.eval_shape(network.init, jax.random.key(0), example)['params']) == size
    assert (config.ema_decay, config.average) == (0, 0.999)  # samples are of the present generator
    assert config.statistics == generator.statistics == {'wgan_gp': 'batch', 'sngan': 'running'}[config.name]
    assert {'wgan_gp': 100_000, 'sngan': 50_000}[config.name] == config.steps
    assert config.objective == {'wgan_gp': 'wasserstein', 'sngan': 'hinge'}[config.name]
    assert (config.penalties, config.d_norm) == ((('wgan_gp:weight=10',), 'none') if pool == 'mean' else ((), 'spectral'))


@pytest.mark.parametrize('player', ['generator', 'discriminator'])
def test_rates_fall_to_zero_in_a_straight_line(player):
    # Adam's update at a constant gradient is the rate, whatever b1 and b2; D takes 5 updates in each of the 4 steps.
    config = dataclasses.replace(wgan_gp.Config(), steps=4)
    optimizer = getattr(config.players(), player)
    state, sizes = optimizer.init(jnp.zeros(())), []
    for _ in range(4 * (5 if player == 'discriminator' else 1)):
        update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        sizes.append(-float(update))
    expected = 2e-4 * np.array([1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(sizes, np.repeat(expected, 5) if player == 'discriminator' else expected, rtol=1e-4)
    assert config.identity()['decay_steps'] == 4


def test_dequantised_pixels_round_to_what_they_were():
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 2, 8, 8, 1)  # two minibatches of two images
    seen = []
    step = resnets.dequantised(lambda state, batch: seen.append(batch) or (state, {}))
    state = gan_jax.TrainState(jnp.int32(0), jax.random.key(0), None, None, None)
    for number in (0, 0, 1):
        step(state.replace(step=jnp.int32(number)), data.to_float(jnp.asarray(pixels)))
    first, again, later = np.asarray(seen)
    noise = (first - data.to_float(jnp.asarray(pixels))) * 127.5  # in grey levels
    assert first.shape == pixels.shape and (abs(noise) <= 0.5 + 1e-4).all()
    assert abs(noise.mean()) < 0.06 and noise.var() == pytest.approx(1 / 12, rel=0.2)  # 256 numbers U(-1/2, 1/2)
    np.testing.assert_array_equal(np.asarray(data.to_uint8(first))[abs(noise) < 0.499], pixels[abs(noise) < 0.499])
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(noise.round(4))) > 200 and (abs(first - later) > 1e-6).mean() > 0.9


def test_dequantising_noise_does_not_depend_on_the_devices():
    batch = jnp.zeros((3, 4, 2, 2, 1))
    state = gan_jax.TrainState(jnp.int32(5), jax.random.key(1), None, None, None)
    noise = lambda batch: resnets.dequantised(lambda state, batch: (state, batch))(state, batch)[1]
    whole = noise(batch)
    split = jax.vmap(noise, in_axes=1, out_axes=1, axis_name=parallel.AXIS)(batch.reshape(3, 2, 2, 2, 2, 1))
    np.testing.assert_array_equal(split.reshape(whole.shape), whole)


@pytest.mark.slow
@pytest.mark.parametrize(('experiment', 'dtype'), [(wgan_gp, 'float32'), (sngan, 'bfloat16')])
def test_residual_networks_on_digits(experiment, dtype, tmp_path, capsys):
    config = experiment.Config(runs_dir=str(tmp_path), g_width=4, d_width=4, dtype=dtype, **TINY)
    results = experiment.main(config)
    assert 0 <= results['confident'] <= 1 and np.isfinite(results['frechet_distance'])
    assert 'Fréchet distance' in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / config.name / 'metrics.jsonl').read_text().splitlines()]
    beside = results['average of G']
    assert np.isfinite(beside['frechet_distance']) and beside['frechet_distance'] != results['frechet_distance']
    assert rows[-1]['step'] == 2 and ('penalty' in rows[-1]) == (experiment is wgan_gp)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('experiment', 'options'),
    [
        (dcgan, {'width': 2, 'unroll_steps': 1}),
        (wgan_gp, {'g_width': 2, 'd_width': 2, 'discriminator_steps': 2}),
        (sngan, {'g_width': 2, 'd_width': 2, 'discriminator_steps': 2, 'memory_limit': 0}),
        (lapgan, {'halvings': 1, 'width': 2, 'coarse_width': 2, 'coarse_generator_width': 2, 'unroll_steps': 1}),
        (ebgan, {'width': 4, 'unroll_steps': 1, 'memory_limit': 0}),
    ],
)
def test_two_seeds_go_on_bit_for_bit_and_each_is_its_own_run(experiment, options, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, 'local_devices', lambda backend=None: jax.devices(backend)[:1])
    monkeypatch.setattr(jax, 'local_device_count', lambda: 1)

    def trained(name, **more):
        options_of_all = {**TINY, 'batch_size': 4, 'steps': 4, 'schedule': 'constant', **options}
        config = experiment.Config(name=name, runs_dir=str(tmp_path), **{**options_of_all, **more})
        return runs.train(config, experiment.study(config)._replace(generator=None))  # without its pictures

    whole = trained('whole', seeds=2)
    trained('parts', seeds=2, steps=2)
    close(trained('parts', seeds=2, resume=True).state.replace(key=None), whole.state.replace(key=None), 0)
    # Samples, because a bias before a batch norm has a gradient of rounding errors, and Adam gives those the size of any other.
    first, second, alone = (x.plays(8, block=8, ema=False) for x in (whole.seed(0), whole.seed(1), trained('alone', seed=1)))
    close(second, alone, 5e-4)
    assert max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)) > 0.01


def judged(generate):
    scores = lambda images: np.asarray(images).reshape(len(images), -1)[:, -3:]
    softmax = lambda images: np.asarray(jax.nn.softmax(20 * scores(images)))
    classifier = Classifier(softmax, scores, None)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 4)) * [1, 0.2, 0.2, 0.2]  # the weight, and a number for each of three classes
    z[:, 1:] += 3 * np.eye(3)[rng.integers(0, 3, 600)]
    seen = arithmetic.look(generate, classifier, z)
    concepts = arithmetic.find_concepts(z, seen, 4)  # of class 3 there is nothing
    return concepts, arithmetic.judge(generate, classifier, concepts)


def test_arithmetic_is_right_where_latents_are_concepts():
    concepts, found = judged(lambda z: np.asarray(z)[:, :, None, None] * np.array([8, 1, 1, 1])[:, None, None])
    assert list(concepts.median) == [0, 1, 2] and found['pairs'] == 6
    assert all(len(z) == 3 for z in (*concepts.heavy.values(), *concepts.light.values()))
    assert found['result']['both'] == 1 and found['heavy b']['both'] == 1
    assert found['light b'] == {'of class b': 1, 'heavier than the median of b': 0, 'both': 0}


def test_arithmetic_is_wrong_where_weight_is_another_direction_in_each_class():
    # Class 1's heavy is the other classes' light: what takes part in a pair with it comes out light.
    def generate(z):
        z = np.asarray(z)
        sign = np.where(z[:, 1:].argmax(1) == 1, -1, 1)
        return np.concatenate([8 * (sign * z[:, 0])[:, None], z[:, 1:]], 1)[:, :, None, None]

    _, found = judged(generate)
    assert found['result']['of class b'] == 1
    assert found['result']['heavier than the median of b'] == pytest.approx(2 / 6)  # (0, 2) and (2, 0)


def test_exemplars_are_of_the_heaviest_and_lightest_tenth():
    z = np.arange(60.0)[:, None]
    seen = arithmetic.Sight(np.repeat([0, 1], 30), np.where(np.arange(60) == 59, 0.8, 0.95), np.arange(60) / 60)
    concepts = arithmetic.find_concepts(z, seen, 3)
    assert list(concepts.median) == [0]  # of class 1 only 29 are recognised, whose tenth is two
    np.testing.assert_array_equal(concepts.light[0], z[:3])
    np.testing.assert_array_equal(concepts.heavy[0], z[27:30])
    assert concepts.median[0] == pytest.approx(14.5 / 60)


def test_statistics_are_those_of_the_images_given():
    # They begin at variance 1, of which even .9^50 would be more than what these activations have.
    network = networks.DCGANDiscriminator(width=2, kernel_size=3)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), train=False)
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), np.uint8)
    found = features.with_statistics(network, variables, images)
    ((_, exact), _) = network.apply(variables, data.to_float(jnp.asarray(images)), mutable=['batch_stats'], features_too=True)
    seen = features.features_of(network, found)(images)
    assert seen.shape == (40, 16 * (2 + 4))
    # The second layer is 4 x 4 already, and in training mode by the statistics of these very images.
    np.testing.assert_allclose(np.asarray(seen)[:, 32:].reshape(40, 4, 4, 4), exact[1], atol=0.15)
    assert abs(np.asarray(found['batch_stats']['BatchNorm_0']['var']) - 1).max() > 0.5


@pytest.mark.slow
def test_an_analysis(tmp_path, capsys):
    config = dcgan.Config(runs_dir=str(tmp_path), **{**TINY, 'size': 16}, width=4, kernel_size=3, checkpoint_every=1)
    dcgan.main(config)
    run = tmp_path / 'dcgan'
    results = analyse.main(analyse.Config(str(run)))
    assert results['steps'] == 2 and json.loads((run / 'analysis.json').read_text())['steps'] == 2
    assert set(results['probe']) == {'pixels', 'untrained D', 'trained D'}
    assert results['probe']['pixels']['features'] == 256 and results['probe']['trained D']['features'] == 16 * (4 + 8)
    assert results['probe']['pixels']['1000']['accuracy'] > 0.85
    ratios = results['interpolation']  # the nearest training image may be one and the same for all of an untrained generator's
    assert all(1 <= ratio <= 64 for name in ('straight lines', 'arcs') for ratio in ratios[name])
    assert len(ratios['nearest training images']) == 16
    assert results['neighbours']['pixels']['generated'] > 0
    out = capsys.readouterr().out
    assert 'linear SVM, held-out accuracy' in out and 'no arithmetic with classes' in out
    for name, columns, rows in (('interpolation', 9, 8), ('nearest', 7, 12)):
        with Image.open(run / f'{name}.png') as picture:
            assert picture.size == (columns * 66 + 2, rows * 66 + 2)
    assert (run / 'filters.png').exists()


@pytest.mark.slow
def test_an_analysis_without_labels(tmp_path, capsys):
    images = tmp_path / 'images'
    images.mkdir()
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(images / f'{i}.png')
    settings = {**TINY, 'dataset': str(images)}
    dcgan.main(dcgan.Config(runs_dir=str(tmp_path), **settings, width=4, kernel_size=3))
    results = analyse.main(analyse.Config(str(tmp_path / 'dcgan')))
    assert set(results) == {'steps', 'interpolation', 'neighbours'} and 'has no labels' in capsys.readouterr().out


def line_of(capsys, monkeypatch, experiment, *flags) -> str:
    """The one line that the command prints before it exits with 2."""
    monkeypatch.setattr(sys, 'argv', ['experiment', *flags])
    with pytest.raises(SystemExit) as stop:
        runs.run_main(experiment.main, experiment.Config)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(line.splitlines()) == 1
    return line


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('experiment', 'flags', 'message'),
    [
        (wgan_gp, ['--g-width', '0'], '--g-width must be from 1 to 65536, not 0'),
        (wgan_gp, ['--generator-batches', '0'], '--generator-batches must be from 1 to 1000, not 0'),
        (wgan_gp, ['--minibatch', 'stddev'], 'the residual discriminator has no --minibatch layer'),
        (wgan_gp, ['--batch-size', '30'], 'batch size 30 is not divisible by the 4 devices'),
        (sngan, ['--pool', 'max'], r"invalid choice 'max'"),
        (sngan, ['--size', '20'], 'image size 20 is not supported'),
        (sngan, ['--simultaneous'], 'simultaneous updates must be one per player, on one minibatch'),
        (sngan, ['--batch-size', '2000', '--g-width', '4', '--d-width', '4'], 'batch size 2000 is more than the 1437 examples'),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, experiment, flags, message):
    line = line_of(capsys, monkeypatch, experiment, '--dataset', 'digits', '--runs-dir', str(tmp_path / 'runs'), *flags)
    assert re.search(message, line) and not (tmp_path / 'runs').exists()


@pytest.mark.filterwarnings('default')
def test_what_cannot_be_analysed_gets_one_line(capsys, monkeypatch, tmp_path):
    line = lambda path: line_of(capsys, monkeypatch, analyse, str(path))
    assert 'is not a run that generates images: it does not contain generator.json' in line(tmp_path / 'none')
    config = dcgan.Config(name='run', runs_dir=str(tmp_path))
    run = runs.RunDirectory(config)
    runs.describe(run, wgan_gp.Config(), size=8, channels=1)
    assert 'is a run of experiments.wgan_gp, not of experiments.dcgan' in line(run.path)
    runs.describe(run, config, size=8, channels=1)
    assert 'has no checkpoint yet' in line(run.path)
    (run.path / 'checkpoints').mkdir()
    assert 'does not contain an intact checkpoint' in line(run.path)
    (run.path / 'config.json').write_text(json.dumps(wgan_gp.Config().identity()))
    assert 'is not a run of this experiment and version: options average, clusters, d_width' in line(run.path)


def test_the_present_generator_draws_by_the_statistics_of_its_batch_and_the_average_beside_it():
    # In WGAN-GP's samples every last map has mean 0 over the batch before ReLU, as in training, whatever the running averages.
    config = wgan_gp.Config(dataset='digits', size=8, g_width=4, d_width=4, latent_size=3, batch_size=4)
    game, players = config.make_game(8, 1), config.players()
    state = quick(lambda key: gan_jax.init(game, *players[:2], jnp.zeros((1, 8, 8, 1)), key))(jax.random.key(0))
    key, points = jax.random.key(1), jnp.zeros(6)
    moved = lambda tree, by: jax.tree.map(lambda leaf: leaf + by * jnp.abs(jax.random.normal(key, leaf.shape)), tree)
    player = state.generator
    player = player.replace(params=moved(player.params, 0.5), state=moved(player.state, 3.0))
    trained = quick(lambda v: game.play(v, points, key, train=True)[0])(player.variables)
    present = gan_jax.training.moving_average(state.ema, player.variables, config.ema_decay, state.step)
    close(present, player.variables, 0)
    state = state.replace(generator=player, ema=present)
    close(quick(lambda state: gan_jax.sample(game, state, points, key))(state), trained)
    by_averages = dataclasses.replace(config, statistics='running').make_game(8, 1)
    assert np.abs(gan_jax.sample(by_averages, state, points, key) - trained).max() > 1e-2

    (draw,) = config.others(8, 1).values()
    kept = optimizers.averaged(state.generator.opt_state)  # of the first parameters
    expected = game.play({'params': kept, **player.state}, points, key, train=True)[0]
    close(draw(state, key, 6), expected)
    assert np.abs(expected - trained).max() > 1e-2


def test_a_training_set_without_a_class_has_no_judge(monkeypatch, capsys):
    few = data.Images(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 2, 2]), ('a', 'b', 'c'))
    monkeypatch.setattr(image_gan.data, 'load_or_open', lambda *_, **__: few)
    monkeypatch.setattr(image_gan, 'held_out_images', lambda *_: None)
    found = image_gan.load(dcgan.Config())
    assert found.train.labels is None and 'no example of class 1' in capsys.readouterr().out
    with pytest.raises(InputError, match='no example of class 1'):
        image_gan.load(dcgan.Config(score_every=1))


def test_training_images_are_compared_in_any_order(monkeypatch):
    # Folders are listed class by class: the first 40 of 400 images are of one class.
    rng = np.random.default_rng(0)
    grey = lambda level, count: rng.integers(level, level + 20, (count, 2, 2, 1), np.uint8)
    draw = lambda each: np.concatenate([grey(60, each), grey(180, each)])
    train, held_out = (data.Images(draw(each), np.repeat([0, 1], each), ('dark', 'light')) for each in (200, 20))
    flat = lambda images: np.asarray(images).reshape(len(images), -1)
    chances = lambda images: np.stack([flat(images).mean(1) < 0, flat(images).mean(1) >= 0], 1).astype(float)
    monkeypatch.setattr(image_gan, 'train_classifier', lambda *_, **__: Classifier(chances, flat, None))
    trained = types.SimpleNamespace(config=types.SimpleNamespace(dataset='of two'), steps=0, tell=lambda *_: None)
    found = image_gan.beside_real(trained, held_out.images, train, train, held_out)
    assert found['frechet_distance'] == pytest.approx(0, abs=1e-5) and found['frechet_distance_training'] < 0.1
    assert found['class_shares'] == [0.5, 0.5]
    unsure = lambda images: np.full((len(images), 2), 0.5)  # no held-out image is recognised
    monkeypatch.setattr(image_gan, 'train_classifier', lambda *_, **__: Classifier(unsure, flat, None))
    assert image_gan.beside_real(trained, held_out.images, train, train, held_out)['confident_real'] == 0


def test_blocks_are_filled_with_their_own_rows():
    seen = []
    run = features.blocks_of(lambda x: seen.append(np.asarray(x)) or jnp.asarray(x), size=4)
    x = np.arange(6.0)[:, None] + 1
    np.testing.assert_array_equal(run(x), x)
    assert [block.shape for block in seen] == [(4, 1)] * 2 and min(block.min() for block in seen) == 1
