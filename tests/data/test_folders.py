"""A folder of images as a data set: its splits, classes and cache, what is left out, and reading as needed."""

import os
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn
from PIL import Image

from gan_jax import data
from gan_jax.data import decoding, folders
from gan_jax.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp('cache')
    monkeypatch.setenv('GAN_JAX_CACHE', str(path))
    return path / 'folders'


def picture(file: pathlib.Path, level: int, mode: str = 'RGB') -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (10, 8), level).convert(mode).save(file)


def levels(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def test_folder_names_are_labels(tmp_path):
    for i, name in enumerate(('wrapper/cat/1.png', 'wrapper/cat/deep/2.png', 'wrapper/ant/1.png', 'wrapper/dog/1.png')):
        picture(tmp_path / name, i)
    found = data.load(str(tmp_path), size=8)
    assert found.classes == ('ant', 'cat', 'dog')
    assert dict(zip(levels(found.images), found.labels.tolist(), strict=True)) == {0: 1, 1: 1, 2: 0, 3: 2}
    assert found.labels.dtype == np.int32
    source = data.open_source(str(tmp_path), size=8)
    assert source.classes == found.classes and source.read([3, 0])['label'].tolist() == [2, 0]
    assert data.describe('here', found) == data.describe('here', source) == 'here: 4 images of 8 x 8 pixels, colour, 3 classes'


@pytest.mark.parametrize('names', [('1.png', 'cat/2.png', 'dog/3.png'), ('cat/1.png', 'cat/2.png'), ('1.png',)])
def test_folders_that_are_no_classes(names, tmp_path):
    for name in names:
        picture(tmp_path / name, 0)
    assert data.load(str(tmp_path), size=8)[1:3] == (None, ())


def test_splits_are_folders(tmp_path):
    for i, name in enumerate(('train/cat/1.png', 'train/dog/1.png', 'val/cat/1.png', 'val/dog/1.png')):
        picture(tmp_path / name, i)
    train, test = (data.load(str(tmp_path), split=split, size=8) for split in ('train', 'test'))
    assert (levels(train.images), levels(test.images)) == ([0, 1], [2, 3])  # 'val' serves where there is no 'test'
    assert train.classes == test.classes == ('cat', 'dog')
    picture(tmp_path / 'test/cat/1.png', 9)
    assert levels(data.load(str(tmp_path), split='test', size=8).images) == [9]
    assert data.folder_splits(tmp_path) == ('train', 'val', 'test')
    with pytest.raises(InputError, match="has no split 'valid'; it has splits train, val, test"):
        data.load(str(tmp_path), split='valid')
    with pytest.raises(InputError, match="has no split 'test'; it has no folders train and test"):
        data.load(str(tmp_path / 'val'), split='test')  # and not the training images again


@pytest.mark.parametrize('limit', [1e9, 1])
def test_broken_images_are_left_out_and_counted(limit, tmp_path):
    for i in range(12):
        picture(tmp_path / f'{"cat" if i % 2 else "dog"}/{i:02}.png', i)
    for i in (4, 7):
        (tmp_path / f'{"cat" if i % 2 else "dog"}/{i:02}.png').write_bytes(b'\x89PNG\r\n')
    options = {'split': 'train', 'size': 8, 'data_dir': None, 'memory_limit': limit}
    with pytest.raises(InputError, match=r'cannot read image .*07\.png'):
        found = data.load_or_open(str(tmp_path), **options)
        found.read(range(12))
    for _ in range(2):  # the second time from the cache
        found = data.load_or_open(str(tmp_path), skip_broken=True, **options)
        assert isinstance(found, data.Images if limit > 1 else data.FolderSource)
        assert data.describe('x', found) == (
            f'x: 10 images of 8 x 8 pixels, colour, 2 classes; unreadable files left out: 2 (first: {tmp_path}/cat/07.png)'
        )
        images, labels = found[:2] if limit > 1 else found.read(range(10)).values()
        assert levels(images) == [1, 3, 5, 9, 11, 0, 2, 6, 8, 10] and labels.tolist() == [0] * 5 + [1] * 5
    with pytest.raises(InputError, match=r'cannot read image .*07\.png'):  # nor does the cache hide it
        data.load(str(tmp_path), size=8).images  # noqa: B018
    for file in tmp_path.rglob('*.png'):
        file.write_bytes(b'')
    with pytest.raises(InputError, match=r'none of the 12 images in .* can be read'):
        data.load_or_open(str(tmp_path), skip_broken=True, **options)


def test_a_large_folder_is_read_as_needed_in_the_order_it_has_in_memory(tmp_path):
    for i in range(9):
        picture(tmp_path / f'{i}.png', i)
    options = {'split': 'train', 'size': 8, 'data_dir': None}
    small = data.load_or_open(str(tmp_path), memory_limit=9 * 8 * 8 * 3, **options)
    large = data.load_or_open(str(tmp_path), memory_limit=9 * 8 * 8 * 3 - 1, **options)
    assert isinstance(small, data.Images) and isinstance(large, data.FolderSource)
    feed = data.resident(small.images, 2)
    stream = data.feed(large, 2).batches(jax.random.key(3), 0)
    for step in range(5):
        np.testing.assert_array_equal(data.to_float(jnp.asarray(next(stream)['image'])), drawn(feed, step, 3))


def watched(monkeypatch, module, function: str) -> list[str]:
    """The names of the files that a function of a module is called with from here on."""
    names: list[str] = []
    call = getattr(module, function)
    monkeypatch.setattr(module, function, lambda file, *options: names.append(file.name) or call(file, *options))
    return names


def test_a_folder_is_decoded_once(tmp_path, monkeypatch, cache):
    for i in range(3):
        picture(tmp_path / f'{i}.png', i)
    decoded = watched(monkeypatch, folders, 'read_image')
    first = data.load(str(tmp_path), size=8)
    again = data.load(f'{tmp_path}{os.sep}', size=8)
    np.testing.assert_array_equal(first.images, again.images)
    assert sorted(decoded) == ['0.png', '1.png', '2.png'] and len(list(cache.iterdir())) == 1
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1  # damaged: decoded again, never believed
    entry.write_bytes(content)
    np.testing.assert_array_equal(data.load(str(tmp_path), size=8).images, first.images)
    assert len(decoded) == 6


def test_grey_folders_are_opened_once_and_by_threads(tmp_path, monkeypatch):
    for i in range(8):
        picture(tmp_path / f'{i}.png', i, 'L')
    opened = watched(monkeypatch, decoding, 'is_grey')
    serial, two = decoding.is_grey, threading.Barrier(2, timeout=5)  # which two threads pass together
    monkeypatch.setattr(decoding, 'is_grey', lambda file: (opened and two.wait(), serial(file))[1])
    assert data.FolderSource(tmp_path, 8).channels == 1
    assert len(opened) == 9  # the first image alone, before the others
    monkeypatch.setattr(decoding, 'is_grey', serial)
    for size in (8, 16):
        assert data.FolderSource(tmp_path, size).channels == 1
    assert opened[9:] == ['0.png'] * 2
    picture(tmp_path / '7.png', 7)
    assert data.FolderSource(tmp_path, 8).channels == 3
    picture(tmp_path / '7.png', 7, 'L')
    assert data.FolderSource(tmp_path, 8).channels == 1
    assert data.FolderSource(tmp_path, 8, channels=3).channels == 3


def test_colour_folders_are_known_by_their_first_colour_image(tmp_path, monkeypatch):
    for i in range(4):
        picture(tmp_path / f'{i}.png', i, 'L' if i < 2 else 'RGB')
    monkeypatch.setattr(decoding, '_BLOCK', 1)
    opened = watched(monkeypatch, decoding, 'is_grey')
    assert decoding.common_channels([tmp_path / '2.png', tmp_path / '0.png']) == 3 and opened == ['2.png']
    assert data.FolderSource(tmp_path, 8).channels == 3 and '3.png' not in opened


@pytest.mark.parametrize('skip', [False, True])
def test_a_broken_image_among_grey_ones(skip, tmp_path):
    for i in range(3):
        picture(tmp_path / f'{i}.png', i, 'L')
    (tmp_path / '1.png').write_bytes(b'')
    for _ in range(2):  # the cache does not hide it
        if skip:
            assert data.FolderSource(tmp_path, 8, skip_broken=True).channels == 1
        else:
            with pytest.raises(InputError, match=r'cannot read image .*1\.png: the file is empty'):
                data.FolderSource(tmp_path, 8)


def test_broken_images_of_a_large_folder_are_looked_for_once(tmp_path, monkeypatch):
    for i in range(4):
        picture(tmp_path / f'{i}.png', i)
    (tmp_path / '1.png').write_bytes(b'')
    open_source = lambda: data.open_source(str(tmp_path), size=8, skip_broken=True)
    first = open_source()
    decoded = watched(monkeypatch, folders, 'read_image')
    again = open_source()
    assert first.broken == again.broken == [f'{tmp_path}/1.png'] and len(again) == 3 and not decoded
    picture(tmp_path / '1.png', 1)
    assert len(open_source()) == len(decoded) == 4


CHANGES = {
    'another size': lambda path: {'size': 4},
    'other channels': lambda path: {'channels': 1},
    'a new image': lambda path: picture(path / '9.png', 9),
    'an image that is gone': lambda path: (path / '1.png').unlink(),
    'another name': lambda path: (path / '1.png').rename(path / '8.png'),
    'another content': lambda path: picture(path / '1.png', 200),
    'two names that were exchanged': lambda path: exchange(path / '1.png', path / '2.png'),
    'a content of the same size and time': lambda path: disguise(path / '1.bmp', 200),
}


def exchange(a: pathlib.Path, b: pathlib.Path) -> None:
    a.rename(a.with_suffix('.x'))
    b.rename(a)
    a.with_suffix('.x').rename(b)


def disguise(file: pathlib.Path, level: int) -> None:
    before = file.stat()
    picture(file, level)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


@pytest.mark.parametrize('change', CHANGES)
def test_the_cache_answers_for_these_files_in_this_state_alone(change, tmp_path):
    for name, level in (('0.png', 0), ('1.png', 1), ('1.bmp', 5), ('2.png', 2)):
        picture(tmp_path / name, level)
    data.load(str(tmp_path), size=8)
    changed = CHANGES[change](tmp_path)
    options = {'size': 8, **(changed if isinstance(changed, dict) else {})}
    found = data.load(str(tmp_path), **options)
    fresh = data.FolderSource(tmp_path, **options)
    np.testing.assert_array_equal(found.images, fresh.read(range(len(fresh)))['image'])


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'file'))
    picture(tmp_path / 'images/1.png', 1)
    assert levels(data.load(str(tmp_path / 'images'), size=8).images) == [1]


def test_channels_are_those_asked_for():
    grey, colour = (data.load('digits', size=8, channels=channels).images for channels in (1, 3))
    assert grey.shape[3] == 1 and colour.shape[3] == 3 and (colour == grey).all()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    luma = np.asarray(Image.fromarray(pixels[0]).convert('L'))
    np.testing.assert_array_equal(data.images.recoloured(pixels, 1)[0, ..., 0], luma)


def test_a_test_set_may_have_no_labels(tmp_path):
    for i, name in enumerate(('train/cat/1.png', 'train/dog/1.png', 'test/1.png', 'test/2.png')):
        picture(tmp_path / name, i)
    found = data.load(str(tmp_path), split='test', size=8)
    assert found.labels is None and levels(found.images) == [2, 3]
    picture(tmp_path / 'test/cat/3.png', 4)
    with pytest.raises(InputError, match='not in any of the 2 folders'):
        data.load(str(tmp_path), split='test', size=8)


@pytest.mark.parametrize('names', [('Training', 'Testing'), ('train', 'valid'), ('train', 'Test'), ('training', 'test')])
def test_other_names_of_splits_are_refused(names, tmp_path):
    for i, name in enumerate(names):
        for label in ('cat', 'dog'):
            picture(tmp_path / name / label / '1.png', i)
    with pytest.raises(InputError, match='must be the folders train, val and test: rename or link'):
        data.load(str(tmp_path), size=8)


def test_a_parent_may_be_called_as_a_class_is(tmp_path):
    for i, name in enumerate(('dogs/cats/1.png', 'dogs/dogs/1.png')):
        picture(tmp_path / 'pets' / name, i)
    found = data.load(str(tmp_path / 'pets'), size=8)
    assert found.classes == ('cats', 'dogs') and found.labels.tolist() == [0, 1]


def test_the_directory_of_a_run_is_no_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('photos', 'digits', 'mnist'):
        picture(tmp_path / name / 'samples.png', 0)
        (tmp_path / name / 'config.json').write_text('{}')
        (tmp_path / name / 'metrics.jsonl').write_text('')
    with pytest.raises(InputError, match='photos is the directory of a run'):
        data.load('photos', size=8)
    assert len(data.load('digits', size=8).images) == 1437
    assert not data.is_folder('digits') and not data.is_folder('mnist') and data.is_folder('./mnist')
    prepared = tmp_path / 'cifar10/3.0.2/dataset_info.json'
    prepared.parent.mkdir(parents=True)
    prepared.write_text('{}')
    assert not data.is_folder('cifar10')


def test_the_names_of_files_need_not_be_utf_8(tmp_path):
    picture(tmp_path / '1.png', 5)
    os.rename(tmp_path / '1.png', os.path.join(os.fsencode(tmp_path), b'caf\xe9.png'))
    assert levels(data.load(str(tmp_path), size=8).images) == [5]


def test_jfif_is_jpeg(tmp_path):
    picture(tmp_path / '1.png', 0)
    Image.new('L', (8, 8), 200).save(tmp_path / '2.jfif', 'JPEG')
    assert levels(data.load(str(tmp_path), size=8).images) == [0, 200]
