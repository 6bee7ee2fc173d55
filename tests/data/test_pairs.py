"""Pairs of images and unpaired sets: every layout of folders, what is refused, and jitter that keeps pairs aligned."""

import functools
import os
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn
from PIL import Image

from gan_jax import data, parallel
from gan_jax.data import PairSource
from gan_jax.errors import InputError

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'data'


def picture(path: pathlib.Path, *values: int, side: int = 8, height: int = 8) -> None:
    """Squares of one grey level each, side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.concatenate([np.full((height, side, 3), value, np.uint8) for value in values], axis=1)
    Image.fromarray(row).save(path)


def levels(images: np.ndarray) -> list[int]:
    assert images.dtype == np.uint8 and (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


def test_side_by_side(tmp_path):
    picture(tmp_path / '1.png', 10, 200)
    picture(tmp_path / '2.png', 20, 100, side=12, height=12)
    found = data.pairs(tmp_path, 4)
    assert found['input'].shape == found['target'].shape == (2, 4, 4, 3)
    assert levels(found['input']) == [10, 20] and levels(found['target']) == [200, 100]
    found = data.pairs(tmp_path, 4, direction='b_to_a', channels=1)
    assert levels(found['input']) == [200, 100] and levels(found['target']) == [10, 20]
    assert found['input'].shape == (2, 4, 4, 1)


@pytest.mark.parametrize('layout', ['{split}/{n}', 'A/{split}/{n}', '{split}/A/{n}'])
def test_splits_above_and_below(layout, tmp_path):
    for split, values in {'train': [1, 2, 3], 'val': [4], 'test': [5, 6]}.items():
        for n, value in enumerate(values):
            name = layout.format(split=split, n=n)
            if 'A' in layout:
                picture(tmp_path / f'{name}.png', value)
                picture(tmp_path / f'{name.replace("A", "B")}.bmp', 100 + value)
            else:
                picture(tmp_path / f'{name}.png', value, 100 + value)
    for split, values in {'train': [1, 2, 3], 'val': [4], 'test': [5, 6]}.items():
        found = data.pairs(tmp_path, 8, split=split)
        assert levels(found['input']) == values and levels(found['target']) == [100 + value for value in values]
    with pytest.raises(InputError, match="has no split 'valid'; it has splits train, val, test"):
        data.pairs(tmp_path, 8, split='valid')


def test_two_folders_below_each_other(tmp_path):
    picture(tmp_path / 'A/x/1.png', 1)
    picture(tmp_path / 'A/y/1.png', 2)
    picture(tmp_path / 'B/y/1.png', 102)
    picture(tmp_path / 'B/x/1.jpg', 101)
    assert levels(data.pairs(tmp_path, 8)['target']) == [101, 102]


def test_images_without_a_partner_are_named(tmp_path):
    for n in range(6):
        picture(tmp_path / f'A/{n}.png', n)
    picture(tmp_path / 'B/0.png', 0)
    with pytest.raises(InputError, match=r'no partner of the same name for .*1\.png, .*2\.png, .*3\.png and 2 more$') as error:
        data.pairs(tmp_path, 8)
    assert '\n' not in str(error.value)
    for n in range(1, 6):
        picture(tmp_path / f'B/{n}.png', n)
    picture(tmp_path / 'B/other.png', 0)
    with pytest.raises(InputError, match=r'no partner of the same name for .*B.other\.png$'):
        data.pairs(tmp_path, 8)


def broken(path):
    picture(path, 1, 2)
    path.write_bytes(path.read_bytes()[:50])


REFUSED = {
    r'no folder .*nowhere': ('nowhere', lambda path: None),
    r'no images in': ('.', lambda path: None),
    r'cannot read image .*3\.png': ('.', lambda path: broken(path / '3.png')),
    r'1\.png is 7 pixels wide: .* must have an even width': ('.', lambda path: picture(path / '1.png', 3, side=7)),
    r'A.1\.png is 8 x 8 pixels and .*B.1\.png 12 x 8: a pair must have one shape': (
        '.',
        lambda path: (picture(path / 'A/1.png', 3), picture(path / 'B/1.png', 3, side=12)),
    ),
    r'no folder .*B: folders A and B must both exist': ('.', lambda path: picture(path / 'A/1.png', 3)),
    r'1\.png and 1\.jpg share a name': (
        '.',
        lambda path: [picture(path / name, 3) for name in ('A/1.jpg', 'A/1.png', 'B/1.png')],
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_what_cannot_be_a_pair_is_refused_in_a_line(message, tmp_path):
    name, make = REFUSED[message]
    make(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        data.pairs(tmp_path / name, 8)
    assert '\n' not in str(error.value)


def test_splits_and_directions_that_are_not_there(tmp_path):
    picture(tmp_path / '1.png', 1, 2)
    assert len(data.PairSource(tmp_path, 8)) == 1
    with pytest.raises(InputError, match="has no split 'val'; it has no splits"):  # and not the training images in its place
        data.pairs(tmp_path, 8, split='val')
    with pytest.raises(InputError, match="direction must be 'a_to_b' or 'b_to_a', not 'AtoB'"):
        data.pairs(tmp_path, 8, direction='AtoB')


def test_splits_are_kept_beside_each_other(tmp_path, monkeypatch):
    splits = {'train': 10, 'val': 20}
    for split, level in splits.items():
        for n in range(2):
            picture(tmp_path / split / f'{n}.png', level + n, 100 + level + n)
            os.utime(tmp_path / split / f'{n}.png', ns=(0, 0))
    for times in range(2):
        for split, level in splits.items():
            assert levels(data.pairs(tmp_path, 8, split=split)['input']) == [level, level + 1], times
        monkeypatch.setattr(PairSource, '_pair', None)  # nothing is decoded a second time


def test_what_is_kept_of_images_is_not_taken_for_that_of_pairs(tmp_path):
    picture(tmp_path / 'A/1.png', 1)
    picture(tmp_path / 'B/1.png', 2)
    for source, count in (data.FolderSource, 2), (PairSource, 1):
        assert len(source(tmp_path, 8, skip_broken=True).readable()) == count


def test_a_folder_of_pairs_streams_in_the_order_that_it_has_in_memory(tmp_path):
    for n in range(6):
        picture(tmp_path / f'{n}.png', n, 100 + n)
    feed = data.resident(data.pairs(tmp_path, 8), 2)
    stream = data.feed(data.PairSource(tmp_path, 8), 2).batches(jax.random.key(3), 0)
    for step in range(3):
        expected = drawn(feed, step, 3)
        for name, images in next(stream).items():
            np.testing.assert_array_equal(data.to_float(jnp.asarray(images)), expected[name])


def test_unpaired_sets(tmp_path):
    for n in range(3):
        picture(tmp_path / f'a/{n}.png', n)
    for n in range(5):
        picture(tmp_path / f'b/{n}.png', 100 + n, height=12)
    found, broken = data.unpaired(tmp_path / 'a', tmp_path / 'b', 4)
    assert broken == []
    assert levels(found['a']) == [0, 1, 2] and levels(found['b']) == [100, 101, 102, 103, 104]
    with pytest.raises(InputError, match=r'no folder .*nowhere'):
        data.unpaired(tmp_path / 'a', tmp_path / 'nowhere', 4)


@pytest.mark.parametrize('layout', ['side by side', 'A and B'])
def test_pairs_that_cannot_be_read_are_left_out_with_both_images(layout, tmp_path):
    for n in range(5):
        if layout == 'A and B':
            picture(tmp_path / f'A/{n}.png', n)
            picture(tmp_path / f'B/{n}.png', 100 + n)
        else:
            picture(tmp_path / f'{n}.png', n, 100 + n)
    broken = [tmp_path / 'A/1.png', tmp_path / 'B/3.png'] if layout == 'A and B' else [tmp_path / '1.png', tmp_path / '3.png']
    for file in broken:
        file.write_bytes(b'')
    for _ in range(2):  # the second time from the cache
        source, found = data.PairSource(tmp_path, 4, skip_broken=True).load()
        assert levels(found['input']) == [0, 2, 4] and levels(found['target']) == [100, 102, 104]
        assert len(source) == 3 and [pathlib.Path(file).stem for file in source.broken] == ['1', '3']
        assert levels(data.PairSource(tmp_path, 4, skip_broken=True).readable().read([1, 2])['target']) == [102, 104]
        with pytest.raises(InputError, match=r'cannot read image .*1\.png: the file is empty'):
            data.pairs(tmp_path, 4)
    picture(next(tmp_path.rglob('2.png')), 1, 2, 3, side=5)  # read, but no pair with anything
    with pytest.raises(InputError, match=r'must have one shape|must have an even width'):
        data.pairs(tmp_path, 4, skip_broken=True)


def test_sets_without_pairs_leave_out_what_cannot_be_read(tmp_path):
    for side in 'ab':
        for n in range(3):
            picture(tmp_path / f'{side}/{n}.png', n)
    (tmp_path / 'b/1.png').write_bytes(b'')
    found, broken = data.unpaired(tmp_path / 'a', tmp_path / 'b', 4, skip_broken=True)
    assert levels(found['a']) == [0, 1, 2] and levels(found['b']) == [0, 2] and broken == [f'{tmp_path}/b/1.png']
    with pytest.raises(InputError, match=r'cannot read image .*b/1\.png'):
        data.unpaired(tmp_path / 'a', tmp_path / 'b', 4)


def test_sets_from_pairs_have_no_pair_left():
    paired = {'input': np.arange(11), 'target': np.arange(11)}
    sets = data.without_pairs(paired)
    assert sorted([*sets['a'], *sets['b']]) == list(range(11)) and len(sets['a']) == 5
    assert list(sets['a']) != sorted(sets['a'])
    np.testing.assert_array_equal(sets['a'], data.without_pairs(paired)['a'])


def test_joined_feeds_are_drawn_independently():
    make = lambda n: data.resident(np.arange(n, dtype=np.float32), 4)
    feed = data.joined({'a': make(8), 'b': make(12)})
    found = [drawn(feed, step) for step in range(6)]
    assert sorted(np.concatenate([batch['a'] for batch in found[:2]])) == list(range(8))
    assert sorted(np.concatenate([batch['b'] for batch in found[:3]])) == list(range(12))
    assert sorted(np.concatenate([batch['a'] for batch in found[2:4]])) == list(range(8))


# Jitter.


def test_loading_sizes():
    # Isola et al. 2017, appendix 6.2: 286 for 256.
    assert [data.loading_size(size) for size in (64, 128, 256)] == [72, 143, 286]


def coordinates(height: int, width: int) -> jax.Array:
    """An image that says in every pixel where it lies."""
    return jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij'), -1).astype(jnp.float32)


def test_jitter_is_a_crop_anywhere_and_a_mirror_half_of_the_time():
    image, keys = coordinates(7, 9), jax.random.split(jax.random.key(0), 4000)
    crops = np.asarray(jax.jit(jax.vmap(functools.partial(data.jitter, size=5), (None, 0)))(image, keys)).astype(int)
    assert crops.shape == (4000, 5, 5, 2)
    mirrored = crops[:, 0, 0, 1] > crops[:, 0, -1, 1]
    crops[mirrored] = crops[mirrored][:, :, ::-1]
    corners = crops[:, 0, 0]
    np.testing.assert_array_equal(crops, corners[:, None, None] + np.asarray(coordinates(5, 5)).astype(int))
    cells = np.zeros((3, 5, 2))  # corners from 0 to 7 - 5 and 9 - 5
    np.add.at(cells, (*corners.T, mirrored.astype(int)), 1)
    expected = 4000 / 30
    assert ((cells - expected) ** 2 / expected).sum() < 29 + 4 * np.sqrt(2 * 29)  # chi-squared, 29 degrees of freedom
    plain = jax.vmap(functools.partial(data.jitter, size=5, mirror=False), (None, 0))(image, keys[:100])
    assert (plain[:, 0, 0, 1] < plain[:, 0, -1, 1]).all()


def test_jitter_keeps_pairs_aligned():
    image = coordinates(9, 9)
    pair = {'input': image, 'target': 100 + image[..., :1]}
    both = jax.vmap(functools.partial(data.jitter, size=4), (None, 0))(pair, jax.random.split(jax.random.key(0), 50))
    np.testing.assert_array_equal(both['target'], 100 + both['input'][..., :1])
    assert len(np.unique(both['input'][:, 0, 0], axis=0)) > 10


def test_jitter_refuses_what_cannot_be_aligned():
    for example in ({'a': jnp.zeros((8, 8, 1)), 'b': jnp.zeros((9, 8, 1))}, jnp.zeros((8, 3, 1))):
        with pytest.raises(ValueError, match='cropped to 4 must have one height and width'):
            data.jitter(example, jax.random.key(0), size=4)


@pytest.mark.slow
def test_a_feed_jitters_each_example_anew_and_the_same_on_many_devices():
    images = {
        'input': np.asarray(coordinates(9, 9))[None].repeat(16, 0),
        'target': np.arange(16.0).reshape(16, 1, 1, 1).repeat(9, 1).repeat(9, 2),
    }
    feed = data.resident(images, 8, transform=functools.partial(data.jitter, size=4))
    first, second, again = (drawn(feed, step) for step in (0, 1, 0))
    assert first['input'].shape == (8, 4, 4, 2)
    assert len(np.unique(first['input'][:, 0, 0], axis=0)) > 3
    assert (first['input'] != second['input']).any()
    np.testing.assert_array_equal(first['input'], again['input'])
    split = jax.vmap(lambda _: drawn(feed, 0), axis_name=parallel.AXIS)(jnp.arange(4))
    for name, rows in split.items():
        np.testing.assert_array_equal(rows.reshape(first[name].shape), first[name])
    # The order of the examples is what it is without a transform.
    plain = data.resident(images, 8)
    np.testing.assert_array_equal(drawn(plain, 0)['target'][:, 0, 0, 0], first['target'][:, 0, 0, 0])


@pytest.mark.skipif(not (SHARED / 'facades' / 'facades.zip').is_file(), reason='the facades are not here')
def test_the_real_facades(tmp_path):
    with zipfile.ZipFile(SHARED / 'facades' / 'facades.zip') as archive:
        names = archive.namelist()
        # Isola et al. 2017: 400 training images; the validation and test images of the authors' archive.
        assert [sum(f'/{split}/' in name for name in names) for split in ('train', 'val', 'test')] == [400, 100, 106]
        archive.extractall(tmp_path, [name for name in names if '/val/' in name][:3])
    found = data.pairs(tmp_path / 'facades', 64, split='val', direction='b_to_a')
    assert found['input'].shape == (3, 64, 64, 3)
    # A label map has a dozen saturated colours; a photo has not.
    saturation = {name: np.ptp(images.astype(int), axis=-1).mean() for name, images in found.items()}
    assert saturation['input'] > 100 > saturation['target']
