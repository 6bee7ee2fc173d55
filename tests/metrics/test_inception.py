"""Inception of 2015-12-05: the network against torch-fidelity's, its quirks one by one, and resizes.

No published weights are needed. The network has random ones (`convert.random_arrays(0)`); a stored table holds the features that
torch-fidelity makes with them in float64, every fourth column of each output. To write that table anew, where torch and
torch-fidelity are installed: `python tests/test_metrics_inception.py`.
"""

import functools
import importlib
import importlib.util
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.benchmark.metrics import torch_fidelity_network
from gan_jax.errors import InputError
from gan_jax.metrics.extractors import inception
from gan_jax.metrics.extractors.inception import convert, network, preprocessing

TABLE = pathlib.Path(__file__).parent / 'inception_features.npz'


@functools.cache
def arrays() -> convert.Arrays:
    return convert.random_arrays(0)


def pictures() -> np.ndarray:
    """Two smooth colour pictures with a little noise, uint8 `[2, 48, 64, 3]`; on noise alone some mistakes hardly show."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:1:48j, 0:1:64j]
    wave = lambda: np.sin(2 * np.pi * (rng.uniform(0.5, 4) * x + rng.uniform(0.5, 4) * y + rng.uniform()))
    smooth = [[128 + 100 * wave() * wave() + rng.uniform(-20, 20) for _ in range(3)] for _ in range(2)]
    return np.clip(np.round(np.moveaxis(smooth, 1, -1) + 8 * rng.normal(size=(2, 48, 64, 3))), 0, 255).astype(np.uint8)


IMAGES = pictures()


def torch_fidelity_outputs(images: np.ndarray) -> list[np.ndarray]:
    """By torch-fidelity's network in float64."""
    import torch

    net = torch_fidelity_network(arrays(), network.OUTPUTS).double()
    net.feature_extractor_internal_dtype = torch.float64
    with torch.inference_mode():
        return [x.numpy() for x in net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))]


@pytest.fixture(scope='module')
def variables():
    return convert.fold(arrays())


@pytest.fixture(scope='module')
def outputs(variables):
    found = jax.jit(inception.inception(variables, outputs=network.OUTPUTS))(IMAGES)
    return dict(zip(network.OUTPUTS, map(np.asarray, found), strict=True))


@pytest.fixture(scope='module')
def table():
    with np.load(TABLE) as file:
        return dict(file)


def error(found, expected) -> float:
    """Largest difference, relative to the largest number expected."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# The network


def test_the_94_layers():
    # 21,820,000 numbers in convolutions and batch norms.
    found = network.layers()
    assert len(found) == len({layer.name for layer in found}) == 94
    assert sum(np.prod(layer.shape) + 4 * layer.shape[-1] for layer in found) == 21_820_000
    layers = {layer.name: layer.shape for layer in found}
    assert layers['Conv2d_4a_3x3'] == (3, 3, 80, 192)
    assert layers['Mixed_5b.branch3x3dbl_3'] == (3, 3, 96, 96)
    assert layers['Mixed_6a.branch3x3'] == (3, 3, 288, 384)
    assert layers['Mixed_6a.branch3x3dbl_1'] == (1, 1, 288, 64)
    assert layers['Mixed_6b.branch7x7dbl_5'] == (1, 7, 128, 192)
    assert layers['Mixed_7a.branch7x7x3_4'] == (3, 3, 192, 192)
    assert layers['Mixed_7c.branch3x3dbl_3b'] == (3, 1, 384, 384)
    assert layers['Mixed_7c.branch_pool'] == (1, 1, 2048, 192)
    assert len(convert.shapes()) == 472


def test_outputs_match_torch_fidelity(outputs):
    pytest.importorskip('torch')
    if importlib.util.find_spec('torch_fidelity') is None:
        pytest.skip('torch-fidelity is not installed')
    for name, expected in zip(network.OUTPUTS, torch_fidelity_outputs(IMAGES), strict=True):
        assert expected.std(0).mean() > 0.01 * np.abs(expected).mean(), 'images that look the same test nothing'
        assert error(outputs[name], expected) < 1e-5


@pytest.mark.parametrize('name', network.OUTPUTS)
def test_outputs_match_the_stored_table(outputs, table, name):
    assert error(outputs[name][:, ::4], table[name]) < 1e-5


def average_with_padding(x):
    return nn.avg_pool(x, (3, 3), padding='SAME')


def centred(images, resize):
    return preprocessing.RESIZES[resize](preprocessing.levels(images)) / 127.5 - 1


# What ports of this network get wrong, and by how much it moves the features at least.
MISTAKES = {
    'batch norm epsilon 1e-5': lambda patch: patch.setattr(convert, 'fold', functools.partial(convert.fold, epsilon=1e-5)),
    'average pools that count the padding': lambda patch: patch.setitem(network.POOLS, 'average', average_with_padding),
    'average pool in 7c': lambda patch: patch.setitem(network.SECTIONS['2048'], 'Mixed_7c', network._mixed_7('average')),
    'max pool in 7b': lambda patch: patch.setitem(network.SECTIONS['2048'], 'Mixed_7b', network._mixed_7('max')),
    'half-pixel resize': lambda patch: patch.setitem(preprocessing.RESIZES, 'tf1', preprocessing.half_pixel),
    'x / 127.5 - 1': lambda patch: patch.setattr(inception, 'preprocess', centred),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_every_known_mistake_would_show(mistake, table, monkeypatch):
    MISTAKES[mistake](monkeypatch)
    found = inception.inception(convert.fold(arrays()), outputs='2048')(IMAGES)
    assert error(np.asarray(found)[:, ::4], table['2048']) > 2e-3


def test_outputs_by_name(variables, outputs):
    shallow = ('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3')
    first = {'params': {name: variables['params'][name] for name in shallow}}  # the others are not even asked for
    found = inception.inception(first, outputs='64')(IMAGES)
    np.testing.assert_allclose(found, outputs['64'], rtol=1e-5)
    alone = inception.inception(first, outputs=('64',))(IMAGES[1:])
    assert isinstance(alone, tuple)
    np.testing.assert_allclose(alone[0], outputs['64'][1:], rtol=1e-5)
    np.testing.assert_allclose(outputs['logits'] - outputs['logits_unbiased'], [arrays()['logits/bias']] * 2, atol=1e-5)
    for names in ('pool3', ('2048', 'pool3'), ()):
        with pytest.raises(ValueError, match='outputs must be among 64, 192, 768, 2048, logits_unbiased, logits'):
            inception.inception(variables, outputs=names)(IMAGES)


# Preprocessing


def bilinear(image: np.ndarray, positions) -> np.ndarray:
    """Float64 reference, `[h, w] -> [299, 299]`: between the pixels below and above `positions(i, size)`, edges repeated."""
    for _ in range(2):  # rows, then by transposition columns
        size = len(image)
        at = np.clip([positions(i, size) for i in range(299)], 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None]
        image = (image[low] * (1 - share) + image[np.minimum(low + 1, size - 1)] * share).T
    return image


SIZES = [(2, 2), (32, 32), (28, 45), (299, 299), (600, 411), (1024, 1024)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize(
    ('resize', 'positions'),
    [('tf1', lambda i, n: i * n / 299), ('half_pixel', lambda i, n: (i + 0.5) * n / 299 - 0.5)],
)
def test_bilinear_resizes(resize, positions, size):
    x = np.random.default_rng(0).integers(0, 256, size).astype(np.float64)
    found = jax.jit(preprocessing.RESIZES[resize])(jnp.asarray(x, jnp.float32)[None, :, :, None])
    # Positions are float32, as in the originals: at 1024 pixels they are off by up to 6e-5 of a pixel, of 255 levels.
    np.testing.assert_allclose(found[0, :, :, 0], bilinear(x, positions), atol=1e-3 if max(size) < 600 else 2e-2)


def test_tf1_resize_in_closed_form():
    # Two pixels 0 and 255 are 149.5 output pixels apart, and beyond the second one the edge is repeated.
    x = jnp.array([0.0, 255.0]).reshape(1, 2, 1, 1)
    expected = 255 * np.minimum(np.arange(299) / 149.5, 1)
    np.testing.assert_allclose(preprocessing.tf1(x)[0, :, 7, 0], expected, atol=1e-4)


@pytest.mark.parametrize('size', SIZES)
def test_clean_resize_is_pillows(size):
    x = np.random.default_rng(0).choice([0, 60, 255], size).astype(np.uint8)
    wide = np.asarray(Image.fromarray(x.astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC))
    found = np.asarray(jax.jit(preprocessing.clean)(jnp.asarray(x, jnp.float32)[None, :, :, None]))[0, :, :, 0]
    np.testing.assert_allclose(found, np.clip(wide, 0, 255), atol=1e-2)
    if max(size) < 299:
        assert found.min() == 0 and found.max() == 255
        assert wide.min() < -1 and wide.max() > 256, 'there was something to clip'
        assert np.abs(found - np.round(found)).max() > 0.4, 'and nothing is rounded'


def test_images_of_every_kind_mean_the_same():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for floats in (levels / np.float32(127.5) - 1, jnp.asarray(levels / 127.5 - 1, jnp.bfloat16).astype(jnp.float32)):
        rounded = np.round((np.asarray(floats, np.float64) + 1) * 127.5)
        np.testing.assert_array_equal(preprocessing.levels(floats), rounded)
    np.testing.assert_array_equal(preprocessing.levels(levels / np.float32(127.5) - 1), levels)
    np.testing.assert_array_equal(preprocessing.levels(np.array([-1.2, 0.0, 1.2]).reshape(1, 1, 3, 1)).ravel(), [0, 128, 255])
    assert np.isnan(preprocessing.levels(np.full((1, 1, 1, 1), np.nan))).all()
    grey = preprocessing.preprocess(levels)
    np.testing.assert_array_equal(grey, preprocessing.preprocess(np.repeat(levels, 3, -1)))
    assert grey.shape == (1, 299, 299, 3)
    flat = lambda level: float(preprocessing.preprocess(np.full((1, 8, 8, 3), level, np.uint8))[0, 0, 0, 0])
    assert (flat(0), flat(128), flat(255)) == (-1, 0, 127 / 128)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (np.zeros((2, 8, 8, 4), np.uint8), r'1 or 3 channels\], got \(2, 8, 8, 4\)'),
        (np.zeros((8, 8, 3), np.uint8), r'got \(8, 8, 3\)'),
        (np.zeros((2, 8, 8, 3), np.int32), 'uint8, or floats in .*, got int32'),
    ],
)
def test_other_arrays_are_no_images(images, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.preprocess(images)
    with pytest.raises(InputError, match='unknown resize'):
        preprocessing.preprocess(np.zeros((2, 8, 8, 3), np.uint8), 'bicubic')


if __name__ == '__main__':
    columns = {name: x[:, ::4] for name, x in zip(network.OUTPUTS, torch_fidelity_outputs(IMAGES), strict=True)}
    np.savez_compressed(TABLE, **columns)
