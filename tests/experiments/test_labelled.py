"""The experiments on labelled images: what their tables count, what their splits share, and what they refuse."""

import dataclasses
import functools
import json
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from PIL import Image
from study_checks import check_seeds

import gan_jax
from experiments.conditional_gan import __main__ as conditional_gan
from experiments.semi_supervised import __main__ as semi_supervised
from experiments.semi_supervised import few_labels, report
from experiments.shared import conditional, labelled, recognition
from gan_jax import data, latents, networks, optimizers, runs
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import Classifier

CONDITIONAL = {'dataset': 'digits', 'steps': 2, 'width': 4, 'latent_size': 4, 'kernel_size': 3, 'batch_size': 8, 'samples': 40}
SEMI_SUPERVISED = {
    'dataset': 'digits', 'seeds': 2, 'steps': 4, 'batch_size': 20, 'labels': 20, 'd_features': (12, 8), 'g_features': (8,),
    'latent_size': 4, 'start': 50, 'baseline_steps': 3,
}  # fmt: skip


def test_a_row_of_the_picture_is_a_class_and_a_column_a_latent():
    told = lambda weights, z, labels: jnp.concatenate([z, labels[:, None].astype(z.dtype)], -1)
    generator = runs.Generator(latents.normal(3), told, tuple('abcd'), (0.25,) * 4)
    nobody = gan_jax.Player({}, {}, ())
    state = gan_jax.TrainState(jnp.int32(0), jax.random.key(0), nobody, nobody, {})
    columns = conditional.COLUMNS
    rows = conditional.class_rows(generator, state, jax.random.key(1)).reshape(4, columns, 4)
    np.testing.assert_array_equal(rows[..., 3], np.arange(4)[:, None] * np.ones(columns))
    np.testing.assert_array_equal(rows[1:, :, :3], np.broadcast_to(rows[:1, :, :3], (3, columns, 3)))
    assert len(np.unique(rows[0, :, 0])) == columns


def test_samples_are_read_as_their_labels():
    # Images are their own class probabilities and their own features: 3 of 4 are right, of class 1 one of two. Around the class
    # means (.8, .2) and (.55, .45) the squared distances are .01 + .01 and .0225 + .0225 for both images of each.
    images = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.7, 0.3]])
    same = lambda x: x
    reading = recognition.read(Classifier(same, same, None), images, np.array([0, 0, 1, 1]))
    assert reading.accuracy == 0.75
    np.testing.assert_array_equal(reading.accuracies, [1, 0.5])
    assert reading.variance == pytest.approx((0.02 + 0.045) / 2)


def test_distances_do_not_depend_on_the_order_of_the_data_or_on_shares(monkeypatch):
    # The samples are the held-out images themselves, 80 % of class 0, so that their distance is 0. Every second one of class 1 is
    # read as class 0. Training images are listed class by class: the first 100 are of class 0 alone, at a distance of .13.
    rng = np.random.default_rng(0)
    test_labels, train_labels = np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [800, 200])
    images_of = lambda seen: np.stack([1 - seen, seen], 1) + 0.1 * rng.normal(size=(len(seen), 2))
    test, train = (images_of(labels * (np.arange(len(labels)) % 2)) for labels in (test_labels, train_labels))
    splits = [labelled.Labelled(*pair, ('a', 'b')) for pair in ((train, train_labels), (test, test_labels))]

    def drawn(labels, use='table'):
        each = [iter(np.resize(test[test_labels == k], (len(labels), 2))) for k in (0, 1)]
        return np.stack([next(each[k]) for k in labels])

    same = lambda x: x
    monkeypatch.setattr(recognition, 'train_classifier', lambda *_, **__: Classifier(same, same, None))
    trained = types.SimpleNamespace(
        config=types.SimpleNamespace(samples=100, dataset='of two', title='GAN'),
        study=types.SimpleNamespace(data=labelled.LabelledData(None, *splits)),
        images=drawn,
        steps=0,
        tell=lambda *_: None,
    )
    found = recognition.evaluate(trained)
    assert found['class_accuracies'] == [1, 0.5] and found['accuracy'] == 0.75  # of equally many of each class
    assert found['frechet_distance'] == pytest.approx(0, abs=1e-6)
    assert found['frechet_distance_training'] < 0.05


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


EXPERIMENTS = {
    conditional_gan: {**CONDITIONAL, 'schedule': 'constant', 'discriminator_steps': 2, 'unroll_steps': 1, 'size': 8},
    semi_supervised: SEMI_SUPERVISED,
}


@pytest.mark.slow
@pytest.mark.parametrize('experiment', EXPERIMENTS)
def test_seeds_go_on_and_are_what_they_are_alone(experiment, tmp_path):
    # An optimizer that divides by no root near 0, where rounding would be a whole step.
    config = experiment.Config(**EXPERIMENTS[experiment], runs_dir=str(tmp_path))
    config = dataclasses.replace(config, optimizers='improved_gan', sample_every=100)
    check_seeds(lambda config: runs.train(config, experiment.study(config)), config)


def pictures(folder, count: int, level: int) -> None:
    """Grey images, each of its own level."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new('L', (8, 8), level + i).save(folder / f'{i:02}.png')


def test_a_folder_without_splits_holds_out_every_tenth_image_of_each_class(tmp_path, capsys):
    pictures(tmp_path / 'images/ant', 12, 0)
    pictures(tmp_path / 'images/bee', 3, 100)
    config = conditional_gan.Config(dataset=f'{tmp_path}/images', size=8)
    _, train, test = labelled.load(config)
    assert train.classes == test.classes == ('ant', 'bee')
    level = lambda found: found.images[:, 0, 0, 0].tolist()
    assert (level(test), test.labels.tolist()) == ([0, 10, 100], [0, 0, 1])
    assert (level(train), train.labels.tolist()) == ([*range(1, 10), 11, 101, 102], [0] * 10 + [1] * 2)
    assert '15 images of 8 x 8 pixels, grey, 2 classes\nof which 3 are held out' in capsys.readouterr().out
    streamed = labelled.load(dataclasses.replace(config, memory_limit=0))
    read = streamed.source.read(range(len(streamed.source)))
    for ours, theirs in ((read, train), (streamed.train._asdict(), train), (streamed.test._asdict(), test)):
        np.testing.assert_array_equal(ours['image' if 'image' in ours else 'images'], theirs.images)
        np.testing.assert_array_equal(ours['label' if 'label' in ours else 'labels'], theirs.labels)
    pictures(tmp_path / 'images/cow', 1, 200)
    with pytest.raises(InputError, match='class 2 has 1 example: at least 2 are needed'):
        labelled.load(config)


def test_a_class_that_is_rare_among_many_images_is_in_memory(tmp_path, monkeypatch):
    for i, (name, count) in enumerate((('ant', 30), ('bee', 30), ('cow', 2))):
        pictures(tmp_path / 'images' / name, count, 60 * i)
    monkeypatch.setattr(labelled, 'TRAIN', 5)
    monkeypatch.setattr(labelled, 'TEST', 4)
    found = labelled.load(conditional_gan.Config(dataset=f'{tmp_path}/images', size=8, memory_limit=0))
    for part, count in ((found.train, 5), (found.test, 4)):
        assert len(part.images) == count and set(part.labels.tolist()) == {0, 1, 2}
        np.testing.assert_array_equal(part.images[:, 0, 0, 0] // 60, part.labels)


def test_test_images_have_the_labels_of_the_training_folders(tmp_path):
    for i, name in enumerate(('train/ant', 'train/bee', 'train/cow', 'test/bee', 'test/cow')):
        pictures(tmp_path / name, 2, 10 * i)
    found = data.load(str(tmp_path), split='test', size=8)
    assert found.labels.tolist() == [1, 1, 2, 2] and found.classes == ('ant', 'bee', 'cow')
    with pytest.raises(InputError, match='no example of class 0'):
        labelled.load(conditional_gan.Config(dataset=str(tmp_path), size=8))
    pictures(tmp_path / 'test/dog', 1, 0)
    with pytest.raises(InputError, match=r'dog/00\.png is not in any of the 3 folders of the training images'):
        labelled.load(conditional_gan.Config(dataset=str(tmp_path), size=8))


@pytest.mark.slow
def test_conditional_gan_on_a_folder_of_classes_read_as_needed(tmp_path):
    for i, name in enumerate(('ant', 'bee', 'cow')):
        pictures(tmp_path / 'images' / name, 20, 60 * i)
    options = {**CONDITIONAL, 'dataset': f'{tmp_path}/images', 'size': 8, 'memory_limit': 0, 'score_every': 1}
    config = conditional_gan.Config(runs_dir=str(tmp_path), **options)
    results = conditional_gan.main(config)
    assert len(results['class_accuracies']) == len(results['class_accuracies_real']) == 3
    rows = [json.loads(line) for line in (tmp_path / 'conditional_gan/scores.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [0, 1, 2] and all(row['frechet_distance'] > 0 for row in rows)


def test_every_seed_has_its_own_labels():
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    train = labelled.Labelled(images, np.arange(60, dtype=np.int32) % 3, tuple('abc'))
    feed = few_labels.few_labels(semi_supervised.Config(labels=6, batch_size=8), train)
    first, again, second = (feed.own(number, jax.random.key(seed))['examples'] for number, seed in ((0, 1), (1, 1), (0, 2)))
    np.testing.assert_array_equal(first['image'], again['image'])
    assert set(np.ravel(first['image'])) != set(np.ravel(second['image'])) and first['image'].shape == (12, 1, 1, 1)
    assert len(np.unique(first['image'])) == 6 and np.bincount(first['label']).tolist() == [4, 4, 4]
    np.testing.assert_array_equal(np.ravel(first['image']) % 3, first['label'])


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
    assert int(report.errors(Scaled(), player, jnp.asarray(images), jnp.asarray(labels))) == 2


@pytest.mark.slow
def test_the_labels_alone_are_learned():
    # Three points, one label each, without noise: the supervised classifier ends up right on all of them.
    points, labels = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.array([2, 0, 1])
    classifier = networks.SemiSupervisedClassifier((8,), 3, input_noise=0.0, noise=0.0)
    optimizer = optax.chain(optax.adam(0.02), optimizers.average_parameters(0.9))
    train = functools.partial(few_labels.supervised, classifier, optimizer, lambda step: {'image': points, 'label': labels}, 80)
    player = jax.jit(train)(jax.random.key(0))
    assert int(report.errors(classifier, player, points, labels)) == 0
    assert int(report.errors(classifier, player, points, labels[::-1])) == 2  # of (1, 0, 2) the 0 in the middle is right


@pytest.mark.slow
def test_unlabelled_digits_help(tmp_path, capsys):
    # 20 labels of 1,437; errors of 360. Splits differ by as much as the unlabelled images are worth, so there are ten of them.
    config = semi_supervised.Config(
        runs_dir=str(tmp_path),
        **{
            **SEMI_SUPERVISED,
            'seeds': 10,
            'steps': 600,
            'd_features': (128, 64, 64),
            'g_features': (64, 64),
            'baseline_steps': 400,
        },
        features=('feature_matching:weight=0.016',),
        evaluate_every=200,
    )
    results = semi_supervised.main(config)
    counts = [[found[name] for found in results['seeds']] for name in ('labels_alone', 'semi_supervised')]
    fewer = np.subtract(*counts)
    assert fewer.mean() > 2 * fewer.std(ddof=1) / np.sqrt(10)  # 11.6 +- 3.7 when this was written
    out = capsys.readouterr().out
    assert '20 labels alone' in out and 'of 360' in out
    run = tmp_path / 'semi_supervised'
    rows = [json.loads(line) for line in (run / 'errors.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [0, 200, 400, 600]
    assert [rows[-1][f'seed {i}'] for i in range(10)] == [found['semi_supervised'] for found in results['seeds']]
    assert {path.name for path in run.iterdir()} >= {'errors.png', 'samples.png', 'losses.png', 'results.json', 'checkpoints'}


@pytest.mark.slow
def test_the_generator_with_minibatch_discrimination(tmp_path):
    config = semi_supervised.Config(
        runs_dir=str(tmp_path), **SEMI_SUPERVISED, features=(), objective_weight=1.0, minibatch='discrimination:features=4'
    )
    config = dataclasses.replace(config, discriminator_steps=2, labels=30, memory_limit=0, unroll_steps=1, seeds=1)
    results = semi_supervised.main(config)
    assert set(results) == {'semi_supervised', 'labels_alone'}
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
            "normalization 'none' does not support classes; use 'batch'",
        ),
        (conditional_gan, ['--augmentations', 'packing'], 'packing joins examples of different labels'),
        (
            conditional_gan,
            ['--condition', 'auxiliary_classifier', '--class-weight', '-1'],
            '--class-weight must be from 0 to 1000000, not -1.0',
        ),
        (conditional_gan, ['--size', '30'], 'image size 30 is not supported'),
        (conditional_gan, ['--samples', '0'], '--samples must be from 2 to 10000000, not 0'),
        (conditional_gan, ['--samples', '9'], '--samples must be at least one sample of each of the 10 classes, not 9'),
        (conditional_gan, ['--batch-size', '30'], 'batch size 30 is not divisible by the 4 devices'),
        (semi_supervised, ['--labels', '105'], '105 labels cannot be split evenly among 10 classes'),
        (semi_supervised, ['--labels', '1430'], r'1430 labels require 143 of each class, but class \d has \d+ examples'),
        (semi_supervised, ['--labels', '0'], '--labels must be at least 1'),
        (semi_supervised, ['--seeds', '0'], '--seeds must be from 1 to 10000, not 0'),
        (semi_supervised, ['--splits', '3'], '--splits is now --seeds'),
        (semi_supervised, ['--batch-size', '2000'], 'batch size 2000 is more than the 1437 examples'),
        (semi_supervised, ['--average', '2'], '--average must be from 0 to 1, not 2.0'),
        (semi_supervised, ['--d-norm', 'batch'], "these networks' norms are the paper's"),
        (semi_supervised, ['--unsupervised-weight', '-1'], '--unsupervised-weight must be from 0 to 1000000'),
        (semi_supervised, ['--d-features', '0'], '--d-features must be from 1 to 65536, not 0'),
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
        (lambda labels: np.where(labels == 3, 10, labels), r'label 10 of example \d+ is outside 0 to 9 \(\d+ such labels\)'),
        (lambda labels: np.where(labels == 3, 4, labels), 'no example of class 3'),
        (lambda labels: None, 'digits has no labels'),
    ],
)
def test_wrong_labels_get_one_line(capsys, monkeypatch, tmp_path, experiment, change, message):
    load = data.load_or_open

    def changed(*arguments, **options):
        found = load(*arguments, **options)
        labels = change(found.labels)
        return found._replace(labels=labels, classes=() if labels is None else found.classes)

    monkeypatch.setattr(data, 'load_or_open', changed)
    assert re.search(message, line_of(capsys, monkeypatch, tmp_path, experiment))


def test_ac_gans_generator_may_learn_from_the_classes_alone():
    conditional_gan.Config(condition='auxiliary_classifier', objective_weight=0.0).check()


def test_a_test_set_without_labels_holds_out_training_images(tmp_path, capsys):
    for name in ('train/ant', 'train/bee', 'test'):
        pictures(tmp_path / name, 20, 9)
    config = conditional_gan.Config(dataset=str(tmp_path), size=8)
    found = labelled.load(config, lambda size: None)
    assert 'of which 4 are held out' in capsys.readouterr().out
    assert found.train.labels.tolist() == [0] * 18 + [1] * 18 and found.test.labels.tolist() == [0, 0, 1, 1]
