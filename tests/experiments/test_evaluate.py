"""`experiments.evaluate`: at the run's size, against the whole training set, from the sampler or from a checkpoint."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, export
from experiments.dcgan import __main__ as dcgan
from experiments.shared import image_gan
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.keys import roots
from gan_jax.metrics import sources
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.neighbours import memorisation_test, nearest_distance
from gan_jax.runs import sampler, weights
from gan_jax.runs.advance import first_state
from gan_jax.runs.checkpoints import Checkpoints

RNG = np.random.default_rng(0)
TINY = {'dataset': 'digits', 'size': 8, 'width': 2, 'latent_size': 3, 'schedule': 'constant'}
TRAIN, TEST = (RNG.integers(0, 256, (n, 12, 12, 3), np.uint8) for n in (40, 24))


def write(folder, images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{i:03}.png')


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    write(tmp_path / 'photos' / 'train', TRAIN)
    write(tmp_path / 'photos' / 'test', TEST)
    return tmp_path / 'photos'


def run_of(path, images, **options):
    """A run whose sampler draws these images, uint8 `[n, h, w, c]`, and whose data set's size was not given."""
    path.mkdir()
    (path / 'config.json').write_text(json.dumps({'size': None, **options}))
    floats = jnp.asarray(images / 127.5 - 1, jnp.float32)
    sampler.save_sampler(path, lambda key: floats, 7)
    return str(path)


def scores(run, **options):
    options = {'extractor': 'pixels', 'measures': ('frechet',), **options}
    return {row['name']: row for row in evaluate.main(evaluate.Config(run, **options))}


def small(images):
    """As a run of 8 pixels and grey levels has them."""
    return data.images.recoloured(data.resize(images, 8), 1)


def test_a_folder_is_compared_at_the_size_and_channels_of_the_run(photos, tmp_path, capsys):
    fakes = RNG.integers(0, 256, (24, 8, 8, 1), np.uint8)
    found = scores(run_of(tmp_path / 'run', fakes, dataset=str(photos)))
    vectors = lambda x: x.reshape(len(x), -1) / np.float32(127.5) - 1
    real = data.FolderSource(photos, 8, split='test', channels=1).load().images
    expected = float(frechet_distance_from_features(vectors(real), vectors(fakes)))
    assert found['frechet_distance']['value'] == pytest.approx(expected, rel=1e-4)
    assert found['frechet_distance']['step'] == 7 and found['frechet_distance']['reals'] == 24
    assert 'the samples are from step 7' in capsys.readouterr().out


def test_copies_of_any_training_image_are_found(photos, tmp_path, capsys):
    copies = data.FolderSource(photos, 8, split='train').load().images[-24:]
    row = scores(run_of(tmp_path / 'run', copies, dataset=str(photos)))['neighbour_distance_ratio']
    assert row['value'] == 0 and row['p_value'] < 1e-8 and row['nearer'] == 24 and row['nearer_p_value'] < 1e-8
    assert f'p-value of samples not being nearer {row["p_value"]:.3g}' in capsys.readouterr().out


def test_measures_of_copies_compare_with_the_whole_training_set(photos, tmp_path):
    copies = data.FolderSource(photos, 8, split='train').load().images
    run = run_of(tmp_path / 'run', copies, dataset=str(photos))
    found = scores(run, measures=('authenticity', 'frechet'), samples=40)
    assert found['auth_pct']['value'] == 0 and found['auth_pct']['reals'] == 40
    assert found['frechet_distance']['reals'] == 24  # held-out images


def test_blocks_of_the_training_set_are_the_training_set():
    train, held_out = (x.astype(np.float32) for x in (TRAIN, TEST))
    blocks = [train[:16], train[16:32], train[32:]]  # the last one shorter
    whole, parts = (memorisation_test(train[:9] + 1, x, held_out) for x in (train, blocks))
    assert parts == whole
    np.testing.assert_array_equal(nearest_distance(train, iter(blocks)), 0)
    with pytest.raises(ValueError, match='at least one example'):
        nearest_distance(train, [])


def loaded(path, *images):
    """A run with this data, to be compared with."""
    study = types.SimpleNamespace(data=image_gan.ImageData(*images))
    return types.SimpleNamespace(config=dcgan.Config(), study=study, path=path, steps=1, first=True, tell=print)


def test_a_training_set_on_disk_is_searched_to_its_end(photos):
    source = data.FolderSource(photos, 12)
    assert [len(block) for block in image_gan.blocks_of(source, 16)] == [16, 16, 8]
    whole = np.concatenate(list(image_gan.blocks_of(source, 16)))
    np.testing.assert_array_equal(whole, np.concatenate(list(image_gan.blocks_of(source.load()))))
    copies = source.load().images[-9:]
    found = image_gan.compare(loaded(photos.parent, source, source.load()._replace(labels=None), data.Images(TEST, None)), copies)
    assert found['neighbour_ratio'] == 0 and found['neighbour_p_value'] < 1e-5


def test_a_folder_without_test_images_is_compared_with_its_training_images(photos, tmp_path):
    fakes = RNG.integers(0, 256, (10, 12, 12, 3), np.uint8)
    found = scores(run_of(tmp_path / 'run', fakes, dataset=str(photos / 'train')))
    assert found['frechet_distance']['reals'] == 40 and 'neighbour_distance_ratio' not in found
    np.savez(tmp_path / 'train.npz', TRAIN)
    assert scores(run_of(tmp_path / 'other', fakes, dataset=str(tmp_path / 'train.npz'))) == found


@pytest.fixture(scope='module')
def stopped(tmp_path_factory):
    """A run on the digits with checkpoints 1 and 2, and without a sampler."""
    config = dcgan.Config(runs_dir=str(tmp_path_factory.mktemp('runs')), **TINY)
    state = first_state(config, dcgan.study(config), roots(0, 1))
    run = runs.RunDirectory(config)
    runs.describe(run, config, size=8, channels=1)
    with Checkpoints(run.path / 'checkpoints') as checkpoints:
        for step in (1, 2):
            moved = jax.tree.map(lambda x, by=step / 10: x + by if x.dtype == jnp.float32 else x, state.ema)
            checkpoints.save(step, state.replace(step=jnp.int32(step), ema=moved))
    return run.path


def test_a_stopped_run_is_scored_from_its_checkpoints(stopped, monkeypatch):
    with pytest.raises(InputError, match=r'without sampler\.bin.*experiments.evaluate .* --checkpoint STEP scores any'):
        scores(str(stopped))
    first, second = (scores(str(stopped), checkpoint=step, samples=50) for step in (1, 2))
    assert [row['frechet_distance']['step'] for row in (first, second)] == [1, 2]
    assert first['frechet_distance']['value'] != second['frechet_distance']['value']
    export.main(export.Config(str(stopped)))
    assert scores(str(stopped), samples=50)['frechet_distance'] == second['frechet_distance']
    assert sources.open_source(str(stopped)).note == ''
    export.main(export.Config(str(stopped), checkpoint=1))
    assert 'is from step 1, and the newest checkpoint is from step 2' in sources.open_source(str(stopped)).note
    with pytest.raises(InputError, match='has no checkpoint of step 3; available steps are 1, 2'):
        scores(str(stopped), checkpoint=3)


def test_a_diverged_generator_is_neither_drawn_with_nor_exported(stopped, tmp_path):
    step, state = weights.read_checkpoint(stopped, lambda state: {'ema': state['ema']})
    huge = jax.tree.map(lambda x: np.full_like(x, 1e30) if x.dtype == np.float32 else x, state['ema'])
    generator = dcgan.Config(latent_size=3, width=2).generator(8, 1)
    (tmp_path / 'generator.json').write_text((stopped / 'generator.json').read_text())
    for broken, message in (
        (huge, 'images are not finite'),
        (jax.tree.map(lambda x: x * np.nan, huge), 'is not finite at step 2'),
    ):
        with pytest.raises(InputError, match=message):
            runs.generators.export_generator(tmp_path, generator, broken, step)
    assert [file.name for file in tmp_path.iterdir()] == ['generator.json']


def test_a_checkpoint_that_was_cut_short_is_not_read(stopped):
    file = max((stopped / 'checkpoints' / '1').rglob('*'), key=lambda file: file.stat().st_size * file.is_file())
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    try:
        with pytest.raises(InputError, match=r'checkpoint 1 of .* is damaged: .* has changed since it was written'):
            scores(str(stopped), checkpoint=1)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'samples': 0}, '--samples must be from 2 to 10000000, not 0'),
        ({'samples': 1}, '--samples must be from 2'),
        ({'seed': -1}, '--seed must be from 0'),
        ({'batch_size': 0}, '--batch-size must be from 1'),
        ({'protocol': ('fid5k',), 'extractor': 'pixels'}, 'a protocol fixes measures'),
        ({'dataset': 'nowhere/photos'}, 'was trained on nowhere/photos, which is not found, relative to the folder'),
        ({'dataset': 'images.npz'}, r'was trained on images\.npz, which is not found, relative'),
        ({'dataset': '/nowhere'}, 'was trained on /nowhere, which is not found; give its location with --dataset'),
    ],
)
def test_what_cannot_be_evaluated(photos, tmp_path, options, message):
    run = run_of(tmp_path / 'run', TEST, dataset='photos/that/moved')
    with pytest.raises(InputError, match=message):
        evaluate.main(evaluate.Config(run, **options))
    assert not (tmp_path / 'run' / 'scores.json').exists()


def test_a_data_set_that_moved_is_named(photos, tmp_path, monkeypatch):
    run = run_of(tmp_path / 'run', TEST, dataset='photos')
    monkeypatch.chdir(tmp_path)
    here = scores(run)
    monkeypatch.chdir(tmp_path / 'run')
    with pytest.raises(InputError, match=r"unknown data set 'photos'|was trained on photos"):
        scores(run)
    assert scores(run, dataset=str(photos)) == here


def test_a_run_does_not_go_back(stopped):
    """`--resume --steps 1` of a run at step 2 would say "after 1 steps" of what was trained for 2."""
    config = dcgan.Config(runs_dir=str(stopped.parent), **TINY, steps=1, resume=True)
    with pytest.raises(InputError, match='is already at step 2; --steps must not be less, got 1'):
        dcgan.main(config)
