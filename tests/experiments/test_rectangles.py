"""Rectangular images, from folders to samples and scores."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, generate, sngan
from experiments.conditional_gan import __main__ as conditional_gan
from experiments.dcgan import __main__ as dcgan
from experiments.ebgan import __main__ as ebgan
from experiments.lapgan import __main__ as lapgan
from gan_jax import data, networks
from gan_jax.data import decoding
from gan_jax.data.folders import FolderSource
from gan_jax.data.reading import cropped
from gan_jax.errors import InputError
from gan_jax.networks.dcgan import smallest_map


def picture(file, height, width, level=0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), level, np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'rows', 'columns'),
    [
        (8, 16, (4, 4), (0, 8), (4, 12)),
        (8, 16, 4, (0, 8), (4, 12)),
        (8, 16, (4, 8), (0, 8), (0, 16)),
        (8, 16, (8, 4), (0, 8), (6, 10)),
        (16, 8, (2, 8), (7, 9), (0, 8)),
        (9, 9, (3, 6), (2, 6), (0, 9)),  # 4.5 of the 9 rows, rounded
    ],
)
def test_images_are_cropped_about_their_centres(height, width, size, rows, columns):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 1), np.uint8)
    h, w = data.sides(size)
    box = (columns[0], rows[0], columns[1], rows[1])
    expected = Image.fromarray(image[..., 0]).resize((w, h), Image.Resampling.BICUBIC, box=box)
    found = cropped(Image.fromarray(image[..., 0]), size)
    np.testing.assert_array_equal(found[..., 0], expected)
    np.testing.assert_array_equal(data.resize(image[None], size)[0], found)


def test_sizes_that_can_be_halved_as_often_as_the_shorter_side():
    found = {(64, 96): (4, 6, 4), (96, 64): (6, 4, 4), (28, 56): (7, 14, 2), (32, 40): (4, 5, 3), (64, 64): (4, 4, 4)}
    assert {size: smallest_map(size) for size in found} == found and smallest_map(28) == (7, 7, 2)
    for size, message in (((64, 72), 'if one side is 64, the other must be a multiple of 16'), ((48, 64), 'image size 48')):
        with pytest.raises(InputError, match=message):
            smallest_map(size)


@pytest.mark.parametrize('height', [8, 24])
def test_networks_of_rectangles(height):
    x = jnp.zeros((2, height, 16, 1))
    shape = lambda network, *inputs: jax.tree.map(
        lambda x: x.shape, jax.eval_shape(lambda *args: network.init_with_output(jax.random.key(0), *args)[0], *inputs)
    )
    size = data.size_of(height, 16)
    for generator in (networks.DCGANGenerator(size, 1, 2), networks.SNGANGenerator(size, 1, 2)):
        assert shape(generator, jnp.zeros((2, 3))) == x.shape
    for discriminator in (networks.DCGANDiscriminator(2), networks.SNGANDiscriminator(2)):
        assert shape(discriminator, x) == (2,)
    assert shape(networks.ConvAutoencoder(2), x)[0] == x.shape


@pytest.mark.parametrize('limit', [1e9, 1])
def test_folders_of_rectangles(limit, tmp_path):
    for i in range(3):
        picture(tmp_path / f'{i}.png', 20, 30, i)
    options = {'split': 'train', 'data_dir': None, 'memory_limit': limit}
    for size, shape in (((8, 12), (8, 12)), ('native', (20, 30)), (None, (64, 64))):
        found = data.load_or_open(str(tmp_path), size=size, **options)
        images = found.images if limit > 1 else found.read(range(3))['image']
        assert images.shape == (3, *shape, 3) and images[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert found.size == data.size_of(*shape)
        assert data.describe('x', found) == f'x: 3 images of {shape[0]} x {shape[1]} pixels, colour'
    picture(tmp_path / '9.png', 30, 20)
    with pytest.raises(InputError, match=r'9\.png is 30 x 20, but other images are 20 x 30: give a size'):
        found = data.load_or_open(str(tmp_path), size='native', **options)
        found.read(range(4))
    (tmp_path / '0.png').write_bytes(b'')
    (tmp_path / '9.png').unlink()
    assert data.load_or_open(str(tmp_path), size='native', skip_broken=True, **options).size == (20, 30)


def test_arrays_are_squares_unless_their_own_size_is_asked_for(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((2, 8, 16, 3), np.uint8))
    options = {'split': 'train', 'data_dir': None, 'memory_limit': 1e9}
    with pytest.raises(InputError, match='8 x 16, not square: give a size'):
        data.load_or_open(str(tmp_path / 'a.npy'), size=None, **options)
    assert data.load_or_open(str(tmp_path / 'a.npy'), size='native', **options).size == (8, 16)
    assert data.load(str(tmp_path / 'a.npy'), size=(4, 12)).size == (4, 12)


@pytest.mark.parametrize(
    ('size', 'message'),
    [
        ('64x', "--size must be a side, HEIGHTxWIDTH such as 64x96, or native, not '64x'"),
        ('64x96x3', 'HEIGHTxWIDTH'),
        ('0x8', 'must be from 1 to 8192, not 0'),
        ('-8x8', 'HEIGHTxWIDTH'),
        ('wide', 'HEIGHTxWIDTH'),
        ('64x72', 'if one side is 64, the other must be a multiple of 16'),
        ('12x24', 'image size 12'),
        (0, 'must be from 1 to 8192, not 0'),
    ],
)
def test_sizes_that_mean_nothing(size, message):
    with pytest.raises(InputError, match=message):
        dcgan.Config(size=size).check()
    assert dcgan.Config(size='8x24').shape == (8, 24) and dcgan.Config(size='8x8').shape == 8


@pytest.mark.parametrize('experiment', [dcgan, conditional_gan])
@pytest.mark.parametrize('limit', [0, 1])
def test_a_common_size_is_refused_before_images_are_decoded(experiment, limit, tmp_path, monkeypatch):
    for i in range(4):
        picture(tmp_path / 'ab'[i % 2] / f'{i}.png', 20, 30, i)
    monkeypatch.setattr(decoding, 'decode', lambda *_, **__: pytest.fail('images were decoded'))
    monkeypatch.setattr(FolderSource, 'read', lambda *_: pytest.fail('images were read'))
    config = experiment.Config(dataset=str(tmp_path), size='native', batch_size=4, memory_limit=limit)
    with pytest.raises(InputError, match='image size 20 is not supported: these networks take 28'):
        experiment.study(config)


def test_lapgan_is_for_squares():
    with pytest.raises(InputError, match='LAPGAN requires square images'):
        lapgan.Config(size='32x64').check()


@pytest.mark.slow
@pytest.mark.parametrize('experiment', [dcgan, sngan, ebgan])
def test_a_run_on_rectangles(experiment, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, count in (('train', 24), ('test', 16)):
        for i in range(count):
            file = tmp_path / f'photos/{split}/{"ab"[i % 2]}/{i}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 44), np.uint8)).save(file)
    shared = {'name': 'run', 'runs_dir': str(tmp_path), 'dataset': str(tmp_path / 'photos'), 'size': '8x24', 'batch_size': 8}
    widths = {dcgan: {'width': 2}, sngan: {'g_width': 2, 'd_width': 2}, ebgan: {'network': 'convolutional', 'width': 2}}[
        experiment
    ]
    experiment.main(experiment.Config(**shared, **widths, steps=2, samples=8, sample_every=1, checkpoint_every=2))
    assert f'{tmp_path}/photos: 24 images of 8 x 24 pixels, grey, 2 classes' in capsys.readouterr().out
    run = tmp_path / 'run'
    assert json.loads((run / 'config.json').read_text())['size'] == '8x24'
    with Image.open(run / 'samples.png') as grid:  # 8 by 8 images, enlarged, with gaps of 2
        scale = max(1, 64 // 8)
        assert grid.size == (8 * (24 * scale + 2) + 2, 8 * (8 * scale + 2) + 2)
    out = generate.main(generate.Config(run=str(run), out=str(tmp_path / 'images'), number=2))
    with Image.open(out / '000000.png') as image:
        assert image.size == (24, 8)
    scores = evaluate.main(evaluate.Config(run=str(run), extractor='pixels', measures=('frechet',), samples=8))
    assert all(math.isfinite(score['value']) for score in scores)
