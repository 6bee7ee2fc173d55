"""Every experiment runs, small; and what a command line says to bad input."""

import ast
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from experiments.dcgan import __main__ as dcgan
from experiments.shared import image_gan
from gan_jax.commandline import module_of
from gan_jax.errors import InputError
from gan_jax.registry import choices
from gan_jax.runs import run_main, table

ROOT = pathlib.Path(__file__).parents[2]


def small(path, **options) -> dcgan.Config:
    values = {'steps': 4, 'width': 4, 'batch_size': 8, 'samples': 40, 'sample_every': 2, 'latent_size': 4, 'kernel_size': 3}
    return dcgan.Config(runs_dir=str(path), **{**values, **options})


def test_dcgan_on_digits(tmp_path, capsys):
    results = dcgan.main(small(tmp_path))
    assert 0 <= results['confident'] <= results['confident_real'] <= 1
    assert results['classifier_accuracy'] > 0.95 and results['neighbour_ratio'] > 0
    run = tmp_path / 'dcgan'
    names = {path.name for path in run.iterdir()}
    assert names >= {
        'config.json', 'metrics.jsonl', 'losses.png', 'samples.png', 'samples.gif', 'neighbours.png', 'checkpoints',
        'tensorboard', 'results.json',
    }  # fmt: skip
    assert not [name for name in names if name.endswith('.part')]
    with Image.open(run / 'samples.png') as grid:
        assert grid.size == (8 * 66 + 2, 8 * 66 + 2)
    out = capsys.readouterr().out
    assert 'recognised with probability >= .9' in out and 'median distance to nearest training image' in out


@pytest.mark.slow
def test_scores_of_a_run(tmp_path, capsys):
    config = small(tmp_path, steps=2, score_every=1, samples=60)
    dcgan.main(config)
    rows = [json.loads(line) for line in (tmp_path / config.name / 'scores.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [0, 1, 2] and all(row['frechet_distance'] > 0 for row in rows)
    found = evaluate.main(evaluate.Config(str(tmp_path / config.name), samples=50))
    assert {row['name'] for row in found} > {'frechet_distance', 'precision', 'classifier_score', 'neighbour_distance_ratio'}
    assert 'features: classifier of digits' in capsys.readouterr().out
    for bad, message in ((tmp_path, 'does not contain config.json'), (tmp_path / 'none', 'is not a run')):
        with pytest.raises(InputError, match=message):
            evaluate.main(evaluate.Config(str(bad)))


@pytest.mark.slow
def test_dcgan_on_a_folder_with_every_option(tmp_path):
    images = tmp_path / 'images'
    images.mkdir()
    for i in range(12):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 24, 3), np.uint8)).save(images / f'{i}.png')
    config = small(
        tmp_path,
        dataset=str(images),
        size=8,
        discriminator_steps=2,
        unroll_steps=1,
        runner='shard_map',
        dtype='bfloat16',
        objective='relativistic_average',
        penalties=('r2',),
        penalty_every=2,
        penalty_decay=0.1,
        augmentations=('instance_noise:sigma=0.1,updates=8', 'packing'),
        features=('feature_matching',),
        g_norm='virtual',
        d_norm='spectral',
        minibatch='stddev',
        historical_averaging=0.1,
        clip_weights=0.5,
    )
    assert dcgan.main(config)['median_neighbour_distance'] > 0


def pictures(folder: pathlib.Path, count: int, seed: int = 0) -> None:
    """Random images in colour."""
    folder.mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)):
        Image.fromarray(image).save(folder / f'{i}.png')


@pytest.mark.slow
def test_dcgan_on_a_folder_of_classes_read_as_needed(tmp_path, capsys):
    for i, name in enumerate(('train/ant', 'train/bee', 'test/ant', 'test/bee')):
        pictures(tmp_path / 'images' / name, 8, seed=i)
    (tmp_path / 'images/train/ant/torn.png').write_bytes(b'')
    config = small(
        tmp_path, dataset=f'{tmp_path}/images', size=8, channels=1, skip_broken=True, memory_limit=0, steps=2, score_every=1
    )
    results = dcgan.main(config)
    assert 0 <= results['classifier_accuracy'] <= 1 and len(results['class_shares']) == 2
    line = f'{tmp_path}/images: 16 images of 8 x 8 pixels, grey, 2 classes; '
    assert line + f'unreadable files left out: 1 (first: {tmp_path}/images/train/ant/torn.png)\n' in capsys.readouterr().out


@pytest.mark.parametrize('count', [1, 2])
def test_a_folder_of_one_image_or_two_has_an_end_table(count, tmp_path, capsys):
    pictures(tmp_path / 'images', count)
    config = small(tmp_path, dataset=f'{tmp_path}/images', size=8)
    found = image_gan.load(config)
    assert f'images: {count} images of 8 x 8 pixels, colour\n' in capsys.readouterr().out
    study = types.SimpleNamespace(data=found)
    trained = types.SimpleNamespace(config=config, study=study, path=tmp_path, steps=1, first=True, tell=print)
    results = image_gan.compare(trained, np.zeros((40, 8, 8, 3), np.uint8))
    assert found.held_out is None and results['median_neighbour_distance'] > 0 and (tmp_path / 'neighbours.png').is_file()


def test_test_sets_are_loaded_as_the_training_set_is(tmp_path):
    for i, name in enumerate(('train', 'test')):
        pictures(tmp_path / 'images' / name, 2, seed=i)
    for channels in (1, 3):
        config = small(tmp_path, dataset=f'{tmp_path}/images', size=8, channels=channels)
        found = image_gan.load(config)
        assert found.train.images.shape == found.held_out.images.shape == (2, 8, 8, channels)
    (tmp_path / 'images/test/0.png').unlink()
    with pytest.raises(InputError, match='has 1 test image; samples are compared with at least 2'):
        image_gan.load(config)


def test_every_experiment_is_listed_and_begins_with_one_line():
    folder = ROOT / 'experiments'
    files = {path.stem: path for path in folder.glob('[!_]*.py')}
    files |= {path.parent.name: path for path in folder.glob('*/__main__.py')}
    listed = subprocess.run([sys.executable, '-m', 'experiments'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == len(files)
    for name, path in files.items():
        doc = ast.get_docstring(ast.parse(path.read_text()))
        assert doc and doc.splitlines()[0].endswith('.') and f'python -m experiments.{name} ' in listed


def experiments_by_name() -> dict[str, Any]:
    """The modules that `python -m experiments` lists, those that have options."""
    folder = ROOT / 'experiments'
    names = [*(path.stem for path in folder.glob('[!_]*.py')), *(path.parent.name for path in folder.glob('*/__main__.py'))]
    found = {name: module_of(f'experiments.{name}') for name in names}
    return {name: module for name, module in found.items() if hasattr(module, 'Config')}


@pytest.mark.parametrize(('name', 'module'), experiments_by_name().items())
def test_the_help_has_a_line_for_every_flag_and_lists_every_method(capsys, monkeypatch, name, module):
    monkeypatch.setattr(sys, 'argv', [name, '--help'])
    with pytest.raises(SystemExit) as stop:
        run_main(module.main, module.Config)
    text = ' '.join(re.sub('[│╭╰─╮╯]', ' ', capsys.readouterr().out).split())
    assert not stop.value.code
    kind = r'(?:{None}\|)?(?:(?:INT|FLOAT|STR)(?:\|STR)?|\[[^]]*\]\]|{[\w,]+})'
    without = re.findall(rf'--(?:no-)?([\w-]+)(?: {kind})? \(default', text)
    assert not without, f'flags without a word of help: {without}'
    fields = {field.name for field in dataclasses.fields(module.Config)}
    for option, members in getattr(module.Config, 'tables', {}).items():
        if option in fields:
            assert f'--{option.replace("_", "-")}: {" ".join(choices(members))}' in text


def test_the_help_of_options_without_a_docstring_begins_with_the_methods(capsys, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Bare(image_gan.ImageOptions):
        pass

    monkeypatch.setattr(sys, 'argv', ['bare', '--help'])
    with pytest.raises(SystemExit):
        run_main(dcgan.main, Bare)
    text = capsys.readouterr().out
    assert 'Bare(' not in text and text.splitlines()[2].startswith('Methods are NAME')


def line_of(capsys, monkeypatch, path, *flags) -> str:
    """The one line that the command prints before it exits with 2."""
    monkeypatch.setattr(sys, 'argv', ['dcgan', '--runs-dir', str(path / 'runs'), *flags])
    before = set(os.listdir(path))
    with pytest.raises(SystemExit) as stop:
        run_main(dcgan.main, dcgan.Config)
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip()
    assert len(line.splitlines()) == 1
    assert set(os.listdir(path)) == before  # nothing half-written
    return line


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--stepz', '3'], r'Unrecognized options: --stepz.*did you mean --steps\?'),
        (['--steps', 'x'], '--steps must be a whole number, at least 1, not'),
        (['--steps', '0'], '--steps must be at least 1'),
        (['--samples', '1'], '--samples must be from 2 to 10000000, not 1'),
        (['--evaluate', '9'], '--evaluate is now --samples'),
        (['--analyse', 'x'], '--analyse is now python -m experiments.dcgan.analyse RUN'),
        (['--channels', '2'], "invalid choice '2'"),
        (['--dtype', 'int8'], r"invalid choice 'int8'.*float32"),
        (['--dataset', 'mnits'], 'unknown data set .*did you mean mnist'),
        (['--size', '30'], r'image size 30 is not supported: these networks take 28 and 4 \* 2\^n'),
        (['--batch-size', '30'], 'batch size 30 is not divisible by the 4 devices'),
        (['--batch-size', '4096'], 'batch size 4096 is more than the 1437 examples'),
        (['--resume'], 'nothing to resume'),
        (['--objective', 'minmax'], "unknown objective 'minmax'; did you mean minimax"),
        (['--objective', 'energy_margin'], 'energy_margin requires a D that returns energies, as in experiments.ebgan'),
        (['--objective', 'f_gan:divergence=kll'], "unknown divergence 'kll'; did you mean kl"),
        (['--penalties', 'r1', 'wgangp'], "unknown penalty 'wgangp'; did you mean wgan_gp"),
        (['--penalties', 'r1:weight=1'], "penalty r1 has no setting 'weight'; it has: gamma"),
        (['--penalty-every', '0'], '--penalty-every must be at least 1, not 0'),
        (['--penalty-decay', '0'], '--penalty-decay must be above 0 and at most 1, not 0.0'),
        (['--augmentations', 'instance_noise:sigma=1,updates=0'], 'updates must be at least 1, not 0'),
        (['--features', 'feature_match'], "unknown feature loss 'feature_match'; did you mean feature_matching"),
        (['--d-norm', 'virtual'], "normalization 'virtual' is only for generators"),
        (['--minibatch', 'std'], "unknown minibatch layer 'std'; did you mean stddev"),
        (['--optimizers', 'rmsprop'], "unknown optimizers 'rmsprop'; known: adam"),
        (['--optimizers', 'adam:learning_rate=-1'], 'learning_rate must be at least 0, not -1'),
        (['--clip-weights', '0'], '--clip-weights must be above 0'),
        (['--schedule', 'cosine:end=2'], 'end must be from 0 to 1, not 2'),
        (['--simultaneous', '--discriminator-steps', '2'], 'simultaneous updates must be one per player'),
        (['--penalties', 'r1:gamma=-1'], 'gamma must be from 0 to 1000000, not -1'),
    ],
)
def test_bad_input_gets_one_line(capsys, monkeypatch, tmp_path, flags, message):
    import re

    assert re.search(message, line_of(capsys, monkeypatch, tmp_path, *flags))


def test_bad_folders_get_one_line(capsys, monkeypatch, tmp_path):
    pictures(tmp_path / 'two', 2)
    line = line_of(capsys, monkeypatch, tmp_path, '--dataset', f'{tmp_path}/two', '--batch-size', '64')
    assert 'batch size 64 is more than the 2 examples' in line
    line = line_of(capsys, monkeypatch, tmp_path, '--dataset', f'{tmp_path}/two', '--score-every', '1')
    assert '--score-every requires labels' in line
    (tmp_path / 'empty').mkdir()
    assert 'no images in' in line_of(capsys, monkeypatch, tmp_path, '--dataset', str(tmp_path / 'empty'))
    (tmp_path / 'empty/torn.png').write_bytes(b'\x89PNG')
    assert 'torn.png' in line_of(capsys, monkeypatch, tmp_path, '--dataset', str(tmp_path / 'empty'))


def test_tables_are_aligned():
    assert table([('', 'a'), ('row', 1.23456), ('longer', 'x')]).splitlines() == [
        '            a',
        '------  -----',
        'row     1.235',
        'longer      x',
    ]
