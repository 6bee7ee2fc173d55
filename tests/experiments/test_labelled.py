"""The experiments on labelled images: what their tables count, what their splits share, and what they refuse."""

import dataclasses
import functools
import json
import re
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from experiments import conditional_gan, semi_supervised
from experiments.shared import labelled
from gan_jax import data, games, latents, networks, objectives, optimizers, runs
from gan_jax.errors import InputError
from gan_jax.metrics.classifier import Classifier

CONDITIONAL = {'dataset': 'digits', 'steps': 2, 'width': 4, 'latent_size': 4, 'kernel_size': 3, 'batch_size': 8, 'evaluate': 40}
SEMI_SUPERVISED = {
    'dataset': 'digits', 'splits': 2, 'steps': 4, 'batch_size': 20, 'labels': 20, 'd_features': (12, 8), 'g_features': (8,),
    'latent_size': 4, 'start': 50, 'baseline_steps': 3,
}  # fmt: skip


class Told(nn.Module):
    """An image is its latent, and its label."""

    @nn.compact
    def __call__(self, z, labels, *, train=True):
        return jnp.concatenate([z, labels[:, None].astype(z.dtype)], -1)


def test_a_row_of_the_picture_is_a_class_and_a_column_a_latent():
    game = games.conditional(Told(), networks.MLP((1,)), objectives.minimax(), latent=latents.normal(3))
    nobody = gan_jax.Player({}, {}, ())
    state = gan_jax.TrainState(jnp.int32(0), jax.random.key(0), nobody, nobody, {})
    draw = jax.jit(lambda state, labels, key: gan_jax.sample(game, state, {'label': labels}, key))
    rows = conditional_gan.class_rows(draw, state, 4, jax.random.key(1)).reshape(4, conditional_gan.COLUMNS, 4)
    np.testing.assert_array_equal(rows[..., 3], np.arange(4)[:, None] * np.ones(conditional_gan.COLUMNS))
    np.testing.assert_array_equal(rows[1:, :, :3], np.broadcast_to(rows[:1, :, :3], (3, conditional_gan.COLUMNS, 3)))
    assert len(np.unique(rows[0, :, 0])) == conditional_gan.COLUMNS


def test_samples_are_read_as_their_labels():
    # Images are their own class probabilities and their own features: 3 of 4 are right, of class 1 one of two. Around the class
    # means (.8, .2) and (.55, .45) the squared distances are .01 + .01 and .0225 + .0225 for both images of each.
    images = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.7, 0.3]])
    same = lambda x: x
    reading = conditional_gan.read(Classifier(same, same, None), images, np.array([0, 0, 1, 1]))
    assert reading.accuracy == 0.75
    np.testing.assert_array_equal(reading.accuracies, [1, 0.5])
    assert reading.variance == pytest.approx((0.02 + 0.045) / 2)


@pytest.mark.slow
@pytest.mark.parametrize('condition', conditional_gan.CONDITIONS)
def test_conditional_gan(condition, tmp_path, capsys):
    config = conditional_gan.Config(runs_dir=str(tmp_path), condition=condition, **CONDITIONAL)
    results = conditional_gan.main(config)
    assert results['accuracy_real'] > 0.95 and len(results['class_accuracies']) == 10
    assert results['accuracy'] == pytest.approx(np.mean(results['class_accuracies']))  # as many samples of each class
    assert 'read as their label' in capsys.readouterr().out
    with Image.open(tmp_path / 'conditional_gan/samples.png') as grid:
        assert grid.size == (10 * 66 + 2, 10 * 66 + 2)
    assert (tmp_path / 'conditional_gan/sampler.bin').exists()
    again = conditional_gan.main(dataclasses.replace(config, resume=True))
    assert again == results


def pictures(folder, count: int, level: int) -> None:
    """Grey images, each of its own level."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new('L', (8, 8), level + i).save(folder / f'{i:02}.png')


def test_a_folder_without_splits_holds_out_every_tenth_image_of_each_class(tmp_path, capsys):
    pictures(tmp_path / 'images/ant', 12, 0)
    pictures(tmp_path / 'images/bee', 3, 100)
    train, test = labelled.load(f'{tmp_path}/images', size=8)
    assert train.classes == test.classes == ('ant', 'bee')
    level = lambda found: found.images[:, 0, 0, 0].tolist()
    assert (level(test), test.labels.tolist()) == ([0, 10, 100], [0, 0, 1])
    assert (level(train), train.labels.tolist()) == ([*range(1, 10), 11, 101, 102], [0] * 10 + [1] * 2)
    assert '15 images of 8 x 8 pixels, grey, 2 classes\nof which 3 are held out' in capsys.readouterr().out
    pictures(tmp_path / 'images/cow', 1, 200)
    with pytest.raises(InputError, match='class 2 has 1 example: at least 2 are needed'):
        labelled.load(f'{tmp_path}/images', size=8)


def test_test_images_have_the_labels_of_the_training_folders(tmp_path):
    for i, name in enumerate(('train/ant', 'train/bee', 'train/cow', 'test/bee', 'test/cow')):
        pictures(tmp_path / name, 2, 10 * i)
    found = data.load(str(tmp_path), split='test', size=8)
    assert found.labels.tolist() == [1, 1, 2, 2] and found.classes == ('ant', 'bee', 'cow')
    with pytest.raises(InputError, match='no example of class 0'):
        labelled.load(str(tmp_path), size=8)
    pictures(tmp_path / 'test/dog', 1, 0)
    with pytest.raises(InputError, match=r'dog/00\.png is in none of the 3 folders of the training images'):
        labelled.load(str(tmp_path), size=8)


@pytest.mark.slow
def test_conditional_gan_on_a_folder_of_classes(tmp_path):
    for i, name in enumerate(('ant', 'bee', 'cow')):
        pictures(tmp_path / 'images' / name, 20, 60 * i)
    config = conditional_gan.Config(runs_dir=str(tmp_path), **{**CONDITIONAL, 'dataset': f'{tmp_path}/images'}, size=8)
    results = conditional_gan.main(config)
    assert len(results['class_accuracies']) == len(results['class_accuracies_real']) == 3


def prepared(side_by_side: bool, splits: int = 2) -> semi_supervised.Splits:
    config = semi_supervised.Config(**{**SEMI_SUPERVISED, 'side_by_side': side_by_side, 'splits': splits})
    train, _ = labelled.load('digits')
    subsets = [data.labelled_subset(train.labels, config.labels, classes=10, seed=i) for i in range(splits)]
    return semi_supervised.prepare(config, train, subsets)


def arrays(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


@pytest.mark.slow
def test_a_split_is_the_same_whatever_stands_beside_it():
    both, one_by_one, alone = prepared(True), prepared(False), prepared(False, splits=1)
    assert any(not np.array_equal(*x) for x in arrays(both.state.generator.params))  # weights of its own
    (state, rows), *others = (splits.advance(splits.state, 2) for splits in (both, one_by_one, alone))
    assert rows['supervised_loss'].shape == (2, 2) and not np.array_equal(*rows['supervised_loss'].T)
    for found in [state for state, _ in others]:
        for a, b in zip(arrays(state), arrays(found), strict=True):
            np.testing.assert_allclose(a[: len(b)], b, rtol=1e-4, atol=2e-5)
    for a, b in zip(*(arrays(splits.baseline()) for splits in (both, alone)), strict=True):
        np.testing.assert_allclose(a[:1], b, rtol=1e-4, atol=2e-5)


class Scaled(nn.Module):
    """Logits that are the image, times a parameter."""

    @nn.compact
    def __call__(self, x, *, train=True):
        return x.reshape(len(x), -1) * self.param('scale', nn.initializers.ones, ())


def test_errors_are_of_the_average_and_of_every_image():
    # By the average, +1, the largest pixel is the class; by the present parameter, -1, the smallest. 2 of the 5 labels are wrong.
    images = np.random.default_rng(0).permuted(np.tile(np.arange(3, dtype=np.uint8) * 100, (5, 1)), axis=1).reshape(5, 1, 3, 1)
    labels = images.reshape(5, 3).argmax(1)
    labels[:2] = (labels[:2] + 1) % 3
    optimizer = optax.chain(optax.sgd(0.1), optimizers.average_parameters())
    player = gan_jax.Player({'scale': jnp.float32(-1)}, {}, optimizer.init({'scale': jnp.float32(1)}))
    assert int(semi_supervised.errors(Scaled(), player, jnp.asarray(images), jnp.asarray(labels))) == 2


@pytest.mark.slow
def test_the_labels_alone_are_learned():
    # Three points, one label each, without noise: the supervised classifier ends up right on all of them.
    points, labels = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.array([2, 0, 1])
    classifier = networks.SemiSupervisedClassifier((8,), 3, input_noise=0.0, noise=0.0)
    optimizer = optax.chain(optax.adam(0.02), optimizers.average_parameters(0.9))
    train = functools.partial(semi_supervised.supervised, classifier, optimizer, lambda batch, step: batch, 80)
    player = jax.jit(train)(jax.random.key(0), {'image': points, 'label': labels})
    assert int(semi_supervised.errors(classifier, player, points, labels)) == 0
    assert int(semi_supervised.errors(classifier, player, points, labels[::-1])) == 2  # of (1, 0, 2) the 0 in the middle is right


@pytest.mark.slow
def test_unlabelled_digits_help(tmp_path, capsys):
    # 20 labels of 1,437; errors of 360.
    config = semi_supervised.Config(
        runs_dir=str(tmp_path),
        **{**SEMI_SUPERVISED, 'steps': 600, 'd_features': (128, 64, 64), 'g_features': (64, 64), 'baseline_steps': 400},
        features=('feature_matching:weight=0.016',),
        evaluate_every=200,
    )
    results = semi_supervised.main(config)
    # 77 and 70 beside 94 and 100 when this was written.
    assert np.mean(results['semi_supervised']) < 0.9 * np.mean(results['labels_alone'])
    out = capsys.readouterr().out
    assert '20 labels alone' in out and 'of 360' in out
    run = tmp_path / 'semi_supervised'
    rows = [json.loads(line) for line in (run / 'errors.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [0, 200, 400, 600]
    assert [rows[-1][f'split {i}'] for i in (1, 2)] == results['semi_supervised']
    assert {path.name for path in run.iterdir()} >= {'errors.png', 'samples.png', 'losses.png', 'results.json', 'checkpoints'}


@pytest.mark.slow
def test_the_generator_with_minibatch_discrimination(tmp_path):
    config = semi_supervised.Config(
        runs_dir=str(tmp_path), **SEMI_SUPERVISED, features=(), objective_weight=1.0, minibatch='discrimination:features=4'
    )
    config = dataclasses.replace(config, discriminator_steps=2, labels=30)
    results = semi_supervised.main(config)
    assert [len(counts) for counts in results.values()] == [2, 2]
    assert semi_supervised.main(dataclasses.replace(config, resume=True)) == results


def line_of(capsys, monkeypatch, path, experiment, *flags) -> str:
    """The one line that the command prints before it exits with 2, having written nothing."""
    monkeypatch.setattr(sys, 'argv', ['experiment', '--runs-dir', str(path / 'runs'), '--dataset', 'digits', *flags])
    with pytest.raises(SystemExit) as stop:
        runs.run_main(experiment.main, experiment.Config)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and len(line.splitlines()) == 1 and not (path / 'runs').exists()
    return line


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('experiment', 'flags', 'message'),
    [
        (conditional_gan, ['--condition', 'projecting'], "unknown condition 'projecting'; did you mean projection"),
        (
            conditional_gan,
            ['--condition', 'projection', '--g-norm', 'none'],
            "normalization 'none' knows no classes; 'batch' does",
        ),
        (conditional_gan, ['--augmentations', 'packing'], 'packing joins examples of different labels'),
        (
            conditional_gan,
            ['--condition', 'auxiliary_classifier', '--class-weight', '-1'],
            '--class-weight is from 0 to 1000000, not -1.0',
        ),
        (conditional_gan, ['--size', '30'], 'image size 30 is not supported'),
        (conditional_gan, ['--evaluate', '0'], '--evaluate is from 1 to 10000000, not 0'),
        (conditional_gan, ['--evaluate', '9'], '--evaluate is at least one sample of each of the 10 classes, not 9'),
        (conditional_gan, ['--batch-size', '30'], 'batch size 30 is not divisible by the 4 devices'),
        (semi_supervised, ['--labels', '105'], '105 labels are not the same number of each of 10 classes'),
        (semi_supervised, ['--labels', '1430'], r'1430 labels are 143 of each class, and class \d has \d+ examples'),
        (semi_supervised, ['--labels', '0'], '--labels is at least 1'),
        (semi_supervised, ['--splits', '0'], '--splits is from 1 to 10000, not 0'),
        (semi_supervised, ['--batch-size', '2000'], 'batch size 2000 is more than the 1437 examples'),
        (semi_supervised, ['--average', '2'], '--average is from 0 to 1, not 2.0'),
        (semi_supervised, ['--d-norm', 'batch'], "these networks' norms are the paper's"),
        (semi_supervised, ['--unsupervised-weight', '-1'], '--unsupervised-weight is from 0 to 1000000'),
        (semi_supervised, ['--d-features', '0'], '--d-features is from 1 to 65536, not 0'),
        (semi_supervised, ['--features', 'feature_match'], "unknown feature loss 'feature_match'"),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, experiment, flags, message):
    assert re.search(message, line_of(capsys, monkeypatch, tmp_path, experiment, *flags))


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('experiment', [conditional_gan, semi_supervised])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda labels: np.where(labels == 3, 10, labels), r'label 10 of example \d+ is not from 0 to 9 \(\d+ such labels\)'),
        (lambda labels: np.where(labels == 3, 4, labels), 'no example of class 3'),
        (lambda labels: None, 'digits has no labels'),
    ],
)
def test_wrong_labels_get_one_line(capsys, monkeypatch, tmp_path, experiment, change, message):
    load = data.load
    changed = lambda *arguments, **options: (found := load(*arguments, **options))._replace(labels=change(found.labels))
    monkeypatch.setattr(data, 'load', changed)
    assert re.search(message, line_of(capsys, monkeypatch, tmp_path, experiment))
