"""pix2pix and CycleGAN from the command line: their data, pictures, figures, and what they say to bad input."""

import dataclasses
import itertools
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from study_checks import check_seeds, numbers

from experiments.cyclegan import __main__ as cyclegan
from experiments.cyclegan import report as cycle_report
from experiments.cyclegan import sets as two_sets
from experiments.pix2pix import __main__ as pix2pix
from experiments.pix2pix import report
from experiments.shared import translation
from gan_jax import data, runs
from gan_jax.data import decoding
from gan_jax.errors import InputError
from gan_jax.games.unpaired_translation import Translations
from gan_jax.metrics.extractors import EXTRACTORS, extract, squeezenet
from gan_jax.registry import build
from gan_jax.runs import run_main
from gan_jax.runs.pictures import save_picture
from gan_jax.runs.samples import frame_path


def pictures(folder, names, shape=(8, 16, 3), seed=0) -> dict[str, np.ndarray]:
    """Random images in a folder, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    made = {name: rng.integers(0, 256, shape, np.uint8) for name in names}
    for name, image in made.items():
        Image.fromarray(image).save(folder / f'{name}.png')
    return made


NAMES = [f'{i:02}' for i in range(20)]


# Data.


def test_held_out_pairs_are_the_split_or_every_tenth(tmp_path):
    pictures(tmp_path / 'split/train', NAMES[:4])
    for split in ('test', 'val'):
        made = pictures(tmp_path / 'split' / split, NAMES[:3], seed=len(split))
    train, held_out = translation.load_pairs(tmp_path / 'split', 8, 2)
    assert train['input'].shape == (4, 9, 9, 3)  # 286 / 256 of 8 pixels
    np.testing.assert_array_equal(held_out['input'], [made[name][:, :8] for name in NAMES[:2]])  # of val, before test
    np.testing.assert_array_equal(held_out['target'], [made[name][:, 8:] for name in NAMES[:2]])
    made = pictures(tmp_path / 'flat', NAMES)
    train, held_out = translation.load_pairs(tmp_path / 'flat', 8, 100, direction='b_to_a')
    assert len(train['input']) == 18
    np.testing.assert_array_equal(held_out['input'], [made[name][:, 8:] for name in ('00', '10')])
    pictures(tmp_path / 'few', NAMES[:10])
    with pytest.raises(InputError, match='10 pairs to train on, including those held out; at least 2'):
        translation.load_pairs(tmp_path / 'few', 8, 100)


def test_tasks_with_a_known_answer():
    grey = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(two_sets.inverted(grey).ravel(), [255, 204, 0])
    # A fifth of the way from yellow (250, 210, 60) to blue (30, 60, 200).
    np.testing.assert_array_equal(two_sets.coloured(grey)[0, 0], [[250, 210, 60], [206, 180, 88], [30, 60, 200]])
    with pytest.raises(InputError, match='requires grey images'):
        two_sets.coloured(np.zeros((1, 4, 4, 3), np.uint8))


def test_no_training_image_is_on_both_sides():
    sets = two_sets.load(cyclegan.Config(size=8))
    a, b = sets.train['a'], two_sets.inverted(sets.train['b'])
    all_digits = data.load('digits', size=8).images
    rows = lambda images: sorted(image.tobytes() for image in images)
    assert rows(np.concatenate([a, b])) == rows(all_digits)  # each digit once: half here, half there
    np.testing.assert_array_equal(sets.held_out['b'], 255 - sets.held_out['a'])
    assert sets.paired and len(sets.held_out['a']) == 360


def test_titles_fit_their_columns():
    """Of images of 28 pixels, too, whose columns are narrower than most titles."""
    names = ('held out', 'without D', 'adversarial autoencoder')
    figure = translation.titled(np.zeros((30, 90, 3), np.uint8), names)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == 3 and all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    wide = translation.titled(np.zeros((300, 900, 3), np.uint8), names)
    np.testing.assert_allclose(wide.get_size_inches() * 110, (900, 300))  # no larger than it must be


@pytest.mark.parametrize('layout', ['{split}{side}', '{split}/{side}', '{side}/{split}'])
def test_folders_of_two_sets(tmp_path, layout):
    for side, count in (('A', 3), ('B', 5)):
        for split in ('train', 'test'):
            pictures(tmp_path / layout.format(split=split, side=side), NAMES[:count], (8, 8, 3), seed=count)
    sets = two_sets.load(cyclegan.Config(task=str(tmp_path), size=8, receptive_field=16))
    assert [len(sets.train[side]) for side in 'ab'] == [3, 5] and not sets.paired
    assert [sets.held_out[side].shape for side in 'ab'] == [(3, 8, 8, 3)] * 2


def test_a_folder_of_two_sets_without_splits_and_one_of_pairs(tmp_path):
    for side, count in (('A', 11), ('B', 20)):
        pictures(tmp_path / 'two' / side, NAMES[:count], (9, 9, 3), seed=count)
    config = cyclegan.Config(task=str(tmp_path / 'two'), size=8, receptive_field=16)
    sets = two_sets.load(config)
    assert [len(sets.train[side]) for side in 'ab'] == [9, 18] and len(sets.held_out['a']) == 2
    made = pictures(tmp_path / 'pairs', NAMES, (9, 18, 3))
    sets = two_sets.load(cyclegan.Config(task=str(tmp_path / 'pairs'), size=8, receptive_field=16))
    assert sets.paired
    number = {image.tobytes(): i for i, whole in enumerate(made.values()) for image in (whole[:, :9], whole[:, 9:])}
    left, right = ({number[np.ascontiguousarray(image).tobytes()] for image in sets.train[side]} for side in 'ab')
    assert len(left) == len(right) == 9 and not left & right and not (left | right) & {0, 10}
    (tmp_path / 'one/trainA').mkdir(parents=True)
    with pytest.raises(InputError, match='there is no folder of the other set beside'):
        two_sets.load(cyclegan.Config(task=str(tmp_path / 'one')))


# Figures.


def test_errors_of_cyclegan():
    rng = np.random.default_rng(0)
    a, b = rng.integers(50, 200, (2, 5, 8, 8, 3), np.uint8)
    real_a, real_b = a / 127.5 - 1, b / 127.5 - 1
    sets = two_sets.Sets({'a': a[:2], 'b': b[:2]}, {'a': a, 'b': b}, paired=True)
    found = cycle_report.errors(sets, Translations(real_a + 0.2, real_b - 0.1, real_a, real_b + 0.4))
    # 0.2 in [-1, 1] is 0.1 in [0, 1].
    np.testing.assert_allclose(list(found['from the right answer'].values()), [0.05, 0.1], atol=1e-6)
    np.testing.assert_allclose(list(found['round trip'].values()), [0, 0.2], atol=1e-6)
    np.testing.assert_allclose(list(found['  input as it is'].values()), [np.abs(real_a - real_b).mean() / 2] * 2, rtol=1e-5)
    blind = [np.abs(x[:2].mean(0) / 255 - x / 255).mean() for x in (b * 1.0, a * 1.0)]
    np.testing.assert_allclose(list(found['  mean training image'].values()), blind, rtol=1e-5)
    alone = cycle_report.errors(sets._replace(paired=False), Translations(real_a, real_b, real_a, real_b))
    assert list(alone) == ['round trip']


def test_errors_of_pix2pix():
    rng = np.random.default_rng(0)
    train, targets = rng.integers(0, 256, (6, 8, 8, 3), np.uint8), rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    truth = targets / 127.5 - 1
    outputs = {'near': truth + 0.1, 'right': truth}
    found = report.figures(outputs, train, targets, build(EXTRACTORS, 'pixels'))
    blind = np.abs((train / 127.5 - 1).mean(0) - truth).mean()
    np.testing.assert_allclose([row.get('l1', 0) for row in found.values()], [0.1, 0, blind, 0], atol=1e-6)
    assert found['right']['frechet_distance'] < 1e-3 < found['near']['frechet_distance']
    assert found['right']['pair_distance_ratio'] == pytest.approx(1)


# Pictures.


def test_progress_shows_one_column_over_the_steps(tmp_path):
    run = runs.RunDirectory(runs.Options(runs_dir=str(tmp_path)))
    flat = lambda value, channels: np.full((2, 64, 64, channels), value, np.uint8)
    draw = lambda step: [('input', flat(9, 1)), ('output', flat(step, 3)), ('target', flat(200, 3))]
    for step in range(10):
        save_picture(frame_path(run, step), translation.table_of_images(draw(step)))
    translation.save_progress(run, ('input', 'output', 'target'), 1, steps=4)
    picture = np.asarray(Image.open(run.path / 'progress.png').convert('RGB')).astype(int)
    middle = picture[-40]  # through the second row of images
    changes = [int(pixel[0]) for pixel, before in zip(middle[1:], middle, strict=False) if (pixel != before).any()]
    shown = [value for value in changes if value != 255]
    assert shown == [9, 0, 1, 4, 9, 200]  # of the frames 1 to 10: those nearest to 1, 10^(1/3), 10^(2/3), 10


# SqueezeNet.


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = lambda shape: np.sqrt(2 / max(1, np.prod(shape[:-1])))
    return {name: (scale(shape) * rng.normal(size=shape)).astype(np.float32) for name, shape in squeezenet.shapes().items()}


def by_hand(weights: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """The features of one image in float64, by sums over windows."""

    def windows(x, k, stride):
        return np.lib.stride_tricks.sliding_window_view(x, (k, k), (0, 1))[::stride, ::stride]

    def conv(x, name, stride=1, pad=0):
        kernel = weights[f'{name}/kernel'].astype(np.float64)
        seen = windows(np.pad(x, ((pad, pad), (pad, pad), (0, 0))), len(kernel), stride)
        return np.maximum(np.einsum('hwcij,ijco->hwo', seen, kernel) + weights[f'{name}/bias'], 0)

    x = image[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]
    x = windows(conv(x, 'conv1', 2), 3, 2).max((3, 4))
    for i in range(2, 10):
        x = conv(x, f'fire{i}/squeeze1x1')
        x = np.concatenate([conv(x, f'fire{i}/expand1x1'), conv(x, f'fire{i}/expand3x3', pad=1)], -1)
        x = windows(x, 3, 2).max((3, 4)) if i in (3, 5) else x
    return x.mean((0, 1))


def test_squeezenet_against_sums_by_hand(tmp_path):
    np.savez(tmp_path / 'weights.npz', **weights())
    extractor = build(EXTRACTORS, f'squeezenet:path={tmp_path / "weights.npz"}')
    images = np.random.default_rng(1).integers(0, 256, (2, 47, 64, 3), np.uint8)
    (found,) = extract(extractor, [images], batch_size=2)
    expected = np.stack([by_hand(weights(), image) for image in images])
    np.testing.assert_allclose(found.features[:2], expected, rtol=1e-4, atol=1e-4 * expected.max())
    assert 'not FID' in extractor.name


def test_squeezenet_refuses_other_files_and_images(tmp_path):
    np.savez(tmp_path / 'some.npz', **{'conv1/kernel': np.zeros((3, 3, 3, 64))})
    for path, message in ((tmp_path / 'some.npz', 'conv1/bias is missing'), (tmp_path / 'none.npz', 'cannot read')):
        with pytest.raises(InputError, match=message):
            build(EXTRACTORS, f'squeezenet:path={path}')
    np.savez(tmp_path / 'weights.npz', **weights())
    extractor = build(EXTRACTORS, f'squeezenet:path={tmp_path / "weights.npz"}')
    for shape in ((1, 30, 64, 3), (1, 64, 64, 1)):
        with pytest.raises(InputError, match='RGB images of at least 31 x 31'):
            jax.eval_shape(extractor.apply, jax.ShapeDtypeStruct(shape, np.uint8))


# The command line.


def line_of(capsys, monkeypatch, path, experiment, *flags) -> str:
    """The one line that the command prints before it exits with 2."""
    monkeypatch.setattr(sys, 'argv', ['experiment', '--steps', '1', '--runs-dir', str(path / 'runs'), *flags])
    with pytest.raises(SystemExit) as stop:
        run_main(experiment.main, experiment.Config)
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip()
    assert len(line.splitlines()) == 1 and not (path / 'runs').exists()
    return line


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--size', '48'], 'image size 48 x 48 is not supported: a U-Net takes powers of two'),
        (
            ['--size', '8', '--receptive-field', '70'],
            'image size 8 is too small for a PatchGAN of receptive field 70; fields that fit',
        ),
        (['--receptive-field', '50'], 'receptive field 50 is not supported: PatchGAN takes 1, 16, 34, 70, 142, 286'),
        (['--l1-weight', '-1'], '--l1-weight must be from 0 to 1000000, not -1'),
        (['--objective-weight', 'nan'], '--objective-weight must be from 0 to 1000000, not nan'),
        (['--l1-weight', '0', '--objective-weight', '0'], 'G would learn nothing'),
        (['--dropout', '1'], '--dropout must be at least 0 and below 1'),
        (['--batch-size', '3'], 'batch size 3 is not divisible by the 4 devices'),
        (['--penalties', 'r3'], "unknown penalty 'r3'; did you mean"),
        (['--constant', '2'], '--constant is now --schedule linear:start=VALUE'),
        (['--compare-features', 'pixel'], "unknown extractor 'pixel'; did you mean pixels"),
        (['--features', 'pixels'], '--features pixels is --compare-features pixels now'),
        (['--score-every', '2'], '--score-every requires images with labels'),
        (['--g-norm', 'virtual'], "normalization 'virtual' requires a reference batch"),
        (['--dataset', 'nowhere'], 'no folder nowhere'),
    ],
)
def test_pix2pix_on_bad_input(capsys, monkeypatch, tmp_path, flags, message):
    if '--dataset' not in flags:
        pictures(tmp_path / 'pairs', NAMES, (8, 16, 3))
        flags = ['--dataset', str(tmp_path / 'pairs'), *(['--size', '16'] if '--size' not in flags else []), *flags]
        flags += ['--receptive-field', '16'] if '--receptive-field' not in flags else []
    assert message in line_of(capsys, monkeypatch, tmp_path, pix2pix, *flags)


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--cycle-weight', '-10'], '--cycle-weight must be from 0 to 1000000, not -10'),
        (['--identity-weight', '-1'], '--identity-weight must be from 0 to 1000000, not -1'),
        (['--task', 'coloured', '--identity-weight', '1'], '--identity-weight must be 0, because A has 1 channels and B has 3'),
        (['--size', '18'], 'image size 18 is not supported: the ResNet generator takes multiples of 4'),
        (['--receptive-field', '142'], 'image size 16 is too small for a PatchGAN of receptive field 142'),
        (['--pool-size', '-1'], '--pool-size must be from 0 to 1000000, not -1'),
        (['--blocks', '0'], '--blocks must be from 1 to 100, not 0'),
        (['--task', 'inverse'], "--task must be 'inverted', 'coloured' or a folder; there is no folder 'inverse'"),
    ],
)
def test_cyclegan_on_bad_input(capsys, monkeypatch, tmp_path, flags, message):
    assert message in line_of(capsys, monkeypatch, tmp_path, cyclegan, *flags)


def test_bad_images_are_named(capsys, monkeypatch, tmp_path):
    pictures(tmp_path / 'two/A', NAMES[:5], (8, 8, 3))
    pictures(tmp_path / 'two/B', NAMES[:4], (8, 8, 3))
    line = line_of(capsys, monkeypatch, tmp_path, pix2pix, '--dataset', str(tmp_path / 'two'))
    assert 'no partner of the same name for' in line and '04.png' in line
    (tmp_path / 'two/B/03.png').write_bytes(b'\x89PNG')
    line = line_of(capsys, monkeypatch, tmp_path, cyclegan, '--task', str(tmp_path / 'two'))
    assert 'cannot read image' in line and '03.png' in line


@pytest.mark.parametrize('split', ['train{}', 'train/{}', '{}/train'])
def test_two_sets_are_no_pairs_and_no_one_set(capsys, monkeypatch, tmp_path, split):
    for side in 'AB':
        pictures(tmp_path / 'sets' / split.format(side), [f'{side}{name}' for name in NAMES], (8, 16, 3))
    line = line_of(capsys, monkeypatch, tmp_path, cyclegan, '--dataset', f'{tmp_path}/sets')
    assert f'--task inverted would mix; use --task {tmp_path}/sets to translate between them' in line
    line = line_of(capsys, monkeypatch, tmp_path, pix2pix, '--dataset', f'{tmp_path}/sets')
    cure = 'no partner of the same name' if '/' in split else f'by python -m experiments.cyclegan --task {tmp_path}/sets;'
    assert cure in line


@pytest.mark.parametrize('names', [('photo', 'label'), ('a', 'b'), ('train/input', 'train/target')])
def test_pairs_in_folders_of_other_names_are_not_cut_in_two(capsys, monkeypatch, tmp_path, names):
    for name in names:
        pictures(tmp_path / 'pairs' / name, NAMES, (8, 16, 3))
    line = line_of(capsys, monkeypatch, tmp_path, pix2pix, '--dataset', f'{tmp_path}/pairs')
    assert 'have the same names: if they are pairs, call the folders A and B' in line


def test_a_data_set_to_invert_has_a_test_set_and_no_task_beside_it(capsys, monkeypatch, tmp_path):
    pictures(tmp_path / 'images', NAMES)
    line = line_of(capsys, monkeypatch, tmp_path, cyclegan, '--dataset', f'{tmp_path}/images', '--size', '8')
    assert "has no split 'test'; it has no folders train and test" in line
    line = line_of(capsys, monkeypatch, tmp_path, cyclegan, '--dataset', 'mnist', '--task', f'{tmp_path}/images')
    assert 'names the images; leave out --dataset' in line
    for split in ('train', 'val'):
        pictures(tmp_path / 'split' / split, NAMES[:6])
    sets = two_sets.load(cyclegan.Config(dataset=f'{tmp_path}/split', size=8))
    assert len(sets.train['a']) == len(sets.train['b']) == 3 and len(sets.held_out['a']) == 6


def test_a_default_size_is_refused_before_images_are_decoded(tmp_path, monkeypatch):
    for split in ('train', 'test'):
        pictures(tmp_path / split, 'ab', (8, 8, 3))
    monkeypatch.setattr(decoding, 'decode', lambda *_, **__: pytest.fail('images were decoded'))
    config = cyclegan.Config(dataset=str(tmp_path), receptive_field=286)
    with pytest.raises(InputError, match='image size 64 is too small for a PatchGAN of receptive field 286'):
        cyclegan.study(config)


def test_what_was_found_is_said_first(tmp_path, capsys):
    pictures(tmp_path / 'pairs', NAMES, (8, 16, 3))
    translation.load_pairs(tmp_path / 'pairs', 8, 1)
    assert capsys.readouterr().out == f'{tmp_path}/pairs: 18 pairs of images to train on, 1 held out\n'
    two_sets.load(cyclegan.Config(size=8))
    line = 'digits: 718 images of A and 719 of B to train on, 360 of each held out\n'
    assert capsys.readouterr().out == line


def test_broken_images_are_left_out_and_counted(tmp_path, capsys):
    pictures(tmp_path / 'pairs', NAMES, (8, 16, 3))
    (tmp_path / 'pairs/04.png').write_bytes(b'')
    _, judged = translation.load_pairs(tmp_path / 'pairs', 8, 5, skip_broken=True)
    said = f'17 pairs of images to train on, 2 held out; unreadable files left out: 1 (first: {tmp_path}/pairs/04.png)\n'
    assert capsys.readouterr().out == f'{tmp_path}/pairs: {said}' and len(judged['input']) == 2
    for name, count in (('trainA', 5), ('trainB', 6), ('testA', 3), ('testB', 3)):
        pictures(tmp_path / 'sets' / name, NAMES[:count])
    for name in ('trainB/02', 'testA/01'):
        (tmp_path / f'sets/{name}.png').write_bytes(b'')
    two_sets.load(cyclegan.Config(task=f'{tmp_path}/sets', size=8, skip_broken=True))
    said = f'of each held out; unreadable files left out: 2 (first: {tmp_path}/sets/trainB/02.png)\n'
    assert capsys.readouterr().out == f'{tmp_path}/sets: 5 images of A and 5 of B to train on, 2 {said}'
    for split in ('train', 'test'):
        pictures(tmp_path / 'one' / split, NAMES[:5])
        (tmp_path / 'one' / split / '03.png').write_bytes(b'')
    two_sets.load(cyclegan.Config(dataset=f'{tmp_path}/one', size=8, skip_broken=True))
    assert '2 images of A and 2 of B to train on, 4 of each held out; unreadable files left out: 2' in capsys.readouterr().out
    with pytest.raises(InputError, match=r'cannot read image .*03\.png'):
        two_sets.load(cyclegan.Config(dataset=f'{tmp_path}/one', size=8))


def test_grey_and_colour_splits_have_one_number_of_channels(tmp_path):
    for split, shape in (('train', (8, 16)), ('val', (8, 16, 3))):
        pictures(tmp_path / split, NAMES[:4], shape)
    train, held_out = translation.load_pairs(tmp_path, 8, 10)
    assert train['input'].shape[-1] == held_out['input'].shape[-1] == 1


# Whole runs.


SMALL = {'size': 8, 'width': 2, 'batch_size': 8, 'sample_every': 2, 'receptive_field': 1}


def small_pix2pix(path, **options) -> pix2pix.Config:
    if not (path / 'pairs').exists():
        pictures(path / 'pairs', [f'{i:02}' for i in range(40)], (9, 18, 3))
    values = {'steps': 4, 'dropout': 0.2}
    return pix2pix.Config(runs_dir=str(path), dataset=str(path / 'pairs'), **{**SMALL, **values, **options})


def small_cyclegan(path, **options) -> cyclegan.Config:
    return cyclegan.Config(
        runs_dir=str(path), **{**SMALL, 'blocks': 1, 'steps': 4, 'samples': 20, 'schedule': 'constant', **options}
    )


@pytest.mark.slow
def test_pix2pix_runs_and_resumes(tmp_path, capsys):
    config = small_pix2pix(tmp_path, compare_features='pixels')
    results = pix2pix.main(config)
    assert list(results) == ['pix2pix', 'L1 alone', 'mean training image', 'training targets']
    run = tmp_path / 'pix2pix'
    assert json.loads((run / 'results.json').read_text()) == results
    assert all((run / name).exists() for name in ('progress.png', 'validation.png', 'samples.gif', 'l1/progress.png'))
    assert 'features: pixels' in capsys.readouterr().out
    part = dataclasses.replace(config, name='part', steps=2, compare_l1=False)
    pix2pix.main(part)
    resumed = pix2pix.main(dataclasses.replace(part, steps=4, resume=True))
    assert resumed['pix2pix'] == results['pix2pix']  # bit for bit
    assert 'resumed' in capsys.readouterr().out


class Pixelwise(nn.Module):
    """A generator that is compiled in a moment."""

    channels: int

    @nn.compact
    def __call__(self, x, *, train=True):
        return jnp.tanh(nn.Dense(self.channels)(jnp.tanh(nn.Dense(4)(x))))


@pytest.fixture
def small_networks(monkeypatch):
    for module in (pix2pix, cyclegan):
        monkeypatch.setattr(module.Config, 'network', lambda self, channels: Pixelwise(channels))


@pytest.mark.slow
@pytest.mark.parametrize('make', [small_pix2pix, small_cyclegan])
def test_two_seeds_go_on_bit_for_bit_and_are_those_of_runs_alone(tmp_path, make, small_networks):
    module = pix2pix if make is small_pix2pix else cyclegan
    # Without norms: a bias before one has a gradient of rounding errors, and Adam gives those the size of any other.
    config = make(tmp_path, d_norm='none', g_norm='none')
    check_seeds(lambda config: runs.train(config, module.study(config)), config)


@pytest.mark.slow
def test_figures_of_several_seeds(tmp_path, capsys, small_networks):
    results = pix2pix.main(small_pix2pix(tmp_path, seeds=2))
    assert [list(each) for each in results['seeds']] == [['pix2pix', 'L1 alone', 'mean training image']] * 2
    assert results['seeds'][0]['L1 alone'] != results['seeds'][1]['L1 alone']
    assert results['figures']['L1 alone.l1']['seeds'] == 2 and results['figures']['mean training image.l1']['interval'] < 1e-9
    assert capsys.readouterr().out.count('validation pairs, after 4 steps') == 1
    results = cyclegan.main(small_cyclegan(tmp_path, seeds=2))
    assert results['figures']['round trip.a_to_b']['seeds'] == 2


@pytest.mark.slow
@pytest.mark.parametrize('make', [small_pix2pix, small_cyclegan])
def test_with_every_option_and_read_as_needed(tmp_path, make, small_networks):
    options = {
        'memory_limit': 0,
        'unroll_steps': 1,
        'augmentations': ('instance_noise', 'packing'),
        'features': ('feature_matching',),
        'penalties': ('r1',),
        'penalty_every': 2,
        'penalty_at': 'original',
        'steps': 2,
    }
    module = pix2pix if make is small_pix2pix else cyclegan
    config = make(tmp_path, name='read', **options)
    read = runs.train(config, module.study(config))
    config = make(tmp_path, name='held', **{**options, 'memory_limit': 1})
    held = runs.train(config, module.study(config))
    for a, b in zip(numbers(read.state), numbers(held.state), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    loaded = runs.load(tmp_path / 'read')
    np.testing.assert_array_equal(numbers(loaded.state)[0], numbers(read.state)[0])


@pytest.mark.slow
def test_pix2pix_at_256_pixels(tmp_path):
    pictures(tmp_path / 'pairs', NAMES, (286, 572, 3))
    options = {'size': 256, 'width': 2, 'batch_size': 4, 'receptive_field': 70, 'compare_l1': False}
    results = pix2pix.main(pix2pix.Config(runs_dir=str(tmp_path), dataset=str(tmp_path / 'pairs'), steps=2, **options))
    assert 0 < results['pix2pix']['l1'] < 2


@pytest.mark.slow
def test_cyclegan_runs(tmp_path):
    results = cyclegan.main(small_cyclegan(tmp_path, task='coloured', receptive_field=16, steps=2))
    assert 0 < results['from the right answer']['a_to_b'] < 1 and '  input as it is' not in results
    run = tmp_path / 'cyclegan'
    assert all((run / name).exists() for name in ('progress.png', 'validation.png', 'samples.gif', 'results.json'))


@pytest.mark.slow
def test_cyclegan_on_a_folder_of_pairs(tmp_path, small_networks):
    pictures(tmp_path / 'folder', NAMES, (9, 18, 3))
    results = cyclegan.main(small_cyclegan(tmp_path, task=str(tmp_path / 'folder'), steps=2))
    assert 0 < results['from the right answer']['a_to_b'] < 1 and '  input as it is' in results


def test_pix2pix_draws_one_image_at_a_time_where_batch_norm_goes_by_what_it_is_given():
    config = pix2pix.Config(g_norm='batch', size=8, width=2, dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 3))
    weights = jax.tree.map(
        lambda leaf: leaf + 0.2, config.network(3).init({'params': jax.random.key(0), 'noise': jax.random.key(2)}, x)
    )
    translate = config.translator(None, [3, 3]).translate
    together = translate(weights, x, jax.random.key(1))
    np.testing.assert_allclose(translate(weights, x[:1], jax.random.key(1)), together[:1], atol=1e-5)
    moved = translate(weights, x.at[1:].multiply(3), jax.random.key(1))
    np.testing.assert_allclose(moved[0], together[0], atol=1e-5)
    still = dataclasses.replace(config, dropout=0.0)
    own = still.translator(None, [3, 3]).translate(weights, x[:1], jax.random.key(1))
    trained, _ = still.network(3).apply(weights, x[:1], train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(own, trained, atol=1e-5)
    by_averages = dataclasses.replace(still, statistics='running').translator(None, [3, 3]).translate
    assert np.abs(by_averages(weights, x[:1], jax.random.key(1)) - own).max() > 1e-3
