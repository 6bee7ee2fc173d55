"""Data: modes, orders, splits, folders, and batches that are a function of (seed, step)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn
from PIL import Image

from gan_jax import data
from gan_jax.data import MIXTURES, order
from gan_jax.errors import InputError


@pytest.mark.parametrize('name', MIXTURES)
def test_mixtures_have_the_modes_they_say(name):
    mixture = MIXTURES[name]
    modes = {'ring': 8, 'grid': 25, 'madgan': 5, 'flow': 4}[name.split('_')[0]]
    distance = np.linalg.norm(mixture.centres[:, None] - mixture.centres, axis=-1)
    assert len(mixture.centres) == modes
    assert (distance[~np.eye(modes, dtype=bool)] > 3 * mixture.stds.max()).all()  # a closed linspace has one centre twice
    points = np.asarray(jax.vmap(mixture.sample)(jax.random.split(jax.random.key(0), 8000)))
    nearest = np.linalg.norm(points[:, None] - mixture.centres, axis=-1).argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / 8000, 1 / modes, atol=0.025)
    for i in range(modes):
        np.testing.assert_allclose(points[nearest == i].std(0), mixture.stds[i], rtol=0.2)


def test_the_four_scales_of_the_literature():
    rings = [MIXTURES[f'ring_{name}'] for name in ('unrolled', 'veegan', 'wgan_gp')]
    radii = [float(np.linalg.norm(ring.centres, axis=1).max()) for ring in rings]
    np.testing.assert_allclose(radii, [2, 1, 2 / 1.414])
    np.testing.assert_allclose([ring.stds[0] for ring in rings], [0.02, 0.01, 0.02 / 1.414])
    assert set(MIXTURES['grid_veegan'].centres.ravel()) == {-4, -2, 0, 2, 4}
    with pytest.raises(InputError, match='known: ring_unrolled'):
        data.mixture('ring')


@pytest.mark.parametrize('size', [1, 2, 3, 64, 1437])
def test_an_epoch_is_a_permutation(size):
    values = np.asarray(order.shuffled(jnp.arange(size), size, jax.random.key(1)))
    assert sorted(values) == list(range(size))


def test_permutations_are_even_and_differ_between_epochs():
    first = jax.vmap(lambda key: order.shuffled(jnp.arange(5), 5, key))(jax.random.split(jax.random.key(0), 2000))
    for position in first.T:
        assert np.bincount(position, minlength=5).min() > 320  # of 400 expected
    epochs = [np.concatenate([order.batch_indices(100, 10, 10 * e + i, jax.random.key(2)) for i in range(10)]) for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100))
    assert (epochs[0] != epochs[1]).mean() > 0.9


def test_batches_are_a_function_of_seed_and_step():
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    draw = lambda seed, step: drawn(data.resident(images, 8), step, seed)
    np.testing.assert_array_equal(draw(0, 3), draw(0, 3))
    assert (draw(0, 3) != draw(0, 4)).any() and (draw(0, 3) != draw(1, 3)).any()
    assert draw(0, 0).dtype == jnp.float32 and float(draw(0, 0).min()) >= -1 and float(draw(0, 0).max()) <= 1
    np.testing.assert_array_equal(data.to_uint8(data.to_float(jnp.asarray(images))), images)
    stacked = drawn(data.resident(images, 8, minibatches=2), 1)
    np.testing.assert_array_equal(stacked, np.stack([draw(0, 2), draw(0, 3)]))
    with pytest.raises(InputError, match='batch size 64 is more than the 40'):
        data.resident(images, 64)


class ArraySource:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return {'image': self.images[np.asarray(indices)]}


@pytest.mark.parametrize('minibatches', [1, 3])
def test_a_stream_is_the_resident_order_from_any_start(minibatches):
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), np.uint8)
    jitter = lambda image, key: image + jax.random.normal(key)
    feed = data.resident(images, 8, minibatches=minibatches, transform=jitter)
    key = jax.random.key(5)
    pick = lambda batch: batch['image']
    on_disk = data.feed(ArraySource(images), 8, minibatches=minibatches, transform=jitter, pick=pick)
    in_memory = data.feed(images, 8, minibatches=minibatches, transform=jitter, memory_limit=100)
    assert isinstance(data.feed(images, 8), data.Feed)
    for stream in (on_disk, in_memory):
        batches = stream.batches(stream.own(0, key), 4)
        for step in range(4, 8):
            found = stream.prepare(jnp.asarray(next(batches)), key, jnp.int32(step))
            np.testing.assert_allclose(found, drawn(feed, step, 5), atol=1e-6)


@pytest.mark.parametrize('minibatches', [1, 3])
def test_a_host_reads_only_its_own_rows(minibatches):
    numbers, read = np.arange(40), []

    class Recorded(ArraySource):
        def read(self, indices):
            read.append(len(indices))
            return super().read(indices)

    first = lambda source, *rows: next(
        data.feed(source, 8, minibatches=minibatches, pick=lambda x: x['image']).batches(jax.random.key(5), 4, *rows)
    )
    np.testing.assert_array_equal(first(Recorded(numbers), slice(2, 5)), first(ArraySource(numbers))[..., 2:5])
    assert set(read) == {3}


def test_digits():
    train, test = data.load('digits'), data.load('digits', split='test', size=8)
    assert train.images.shape == (1437, 16, 16, 1) and test.images.shape == (360, 8, 8, 1)
    assert train.images.dtype == np.uint8 and test.images.max() == 255
    assert set(test.labels) == set(range(10)) and len(train.classes) == 10
    with pytest.raises(InputError, match="no split 'valid'"):
        data.load('digits', split='valid')


def test_folder(tmp_path):
    (tmp_path / 'sub').mkdir()
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(tmp_path / 'a.png')
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / 'sub/b.jpg')
    found = data.load(str(tmp_path), size=8)
    assert found.images.shape == (2, 8, 8, 3) and found.labels is None
    assert (found.images[0] == 7).all()
    (tmp_path / 'broken.png').write_bytes((tmp_path / 'a.png').read_bytes()[:40])
    with pytest.raises(InputError, match=r'cannot read image .*broken\.png'):
        data.load(str(tmp_path))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='no images in'):
        data.load(str(tmp_path / 'empty'))
    with pytest.raises(InputError, match='no folder'):
        data.load(str(tmp_path / 'nowhere'))


def test_images_are_cropped_and_resized_with_antialiasing():
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 255
    assert abs(int(data.resize(stripes, 16).mean()) - 127) < 3 and data.resize(stripes, 16).std() < 20
