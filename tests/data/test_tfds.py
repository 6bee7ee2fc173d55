"""TFDS: names, what a set needs, preparing without TensorFlow, and splits."""

import gzip
import io
import os
import pathlib
import shutil
import sys
import tarfile

import numpy as np
import pytest
import requests
from PIL import Image

from gan_jax import data
from gan_jax.data import tfds as gan_tfds
from gan_jax.data.tfds import __main__ as command
from gan_jax.data.tfds import preparation
from gan_jax.data.tfds.source import held_out_split
from gan_jax.errors import InputError

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'data'

pytestmark = pytest.mark.filterwarnings('default')  # what TFDS warns of is not ours


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('mnist', ('mnist', None, None, None)),
        ('mnist:3.0.1', ('mnist', None, '3.0.1', None)),
        ('mnist:3.*.*', ('mnist', None, '3.*.*', None)),
        ('mnist:test', ('mnist', None, None, 'test')),
        ('mnist:train[10:20]', ('mnist', None, None, 'train[10:20]')),
        ('imagenet_resized/32x32', ('imagenet_resized', '32x32', None, None)),
        ('svhn_cropped:3.1.0:train+extra', ('svhn_cropped', None, '3.1.0', 'train+extra')),
        ('cifar10_corrupted/fog_1:1.0.0:test[:5%]', ('cifar10_corrupted', 'fog_1', '1.0.0', 'test[:5%]')),
    ],
)
def test_names_have_a_config_a_version_and_a_split(text, parts):
    assert gan_tfds.parse(text) == parts


REFUSED = {
    '': 'is not a data set name',
    'mnist/': 'is not a data set name',
    'two words': 'is not a data set name',
    'mnits': "unknown data set 'mnits'.*did you mean mnist",
    'MNIST': 'did you mean mnist',
    'kaggle:sets': "unknown data set 'kaggle'",
    'nowhere/images': 'no folder nowhere/images',
    'mnist:9.9.9': "data set mnist has no version '9.9.9'; it has 3.0.1",
    'mnist:3.0.1x': "data set mnist has no version '3.0.1x'; it has 3.0.1",
    'imagenet_resized/32x32:9.0.0': "imagenet_resized/32x32 has no version '9.0.0'; it has 0.1.0",
    'mnist/small': "no folder mnist/small, and data set mnist has no config 'small'; it has no configs",
    'imagenet_resized/33x33': "imagenet_resized has no config '33x33'; it has configs 8x8, 16x16, 32x32, 64x64",
    'cifar10_corrupted/fog_9': "has no config 'fog_9'; it has configs fog_5, fog_4, fog_3 and 92 others",
    'div2k': "data set div2k has no feature 'image'; it has lr, hr",
    'celeb_a': 'the images of celeb_a are 218 x 178, not square: give a size',
    'cycle_gan/horse2zebra': 'the images of cycle_gan/horse2zebra have several sizes: give a size',
}


@pytest.mark.parametrize('name', REFUSED)
def test_names_that_do_not_work_get_one_line_before_anything_is_written(name, tmp_path):
    with pytest.raises(InputError, match=REFUSED[name]) as error:
        data.open_source(name, data_dir=tmp_path / 'sets')
    assert len(str(error.value).splitlines()) == 1 and not any(tmp_path.iterdir())


@pytest.fixture
def no_tensorflow(monkeypatch):
    monkeypatch.setattr(preparation.importlib.util, 'find_spec', lambda name: None)


@pytest.fixture
def no_network(monkeypatch):
    """What is asked for; TFDS itself may not even begin."""
    import tensorflow_datasets as tfds

    asked = []

    def refuse(url, **options):
        asked.append((url, options['timeout']))
        raise requests.exceptions.ConnectionError('no route\nto the host')

    monkeypatch.setattr(requests, 'head', refuse)
    monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', lambda *_, **__: pytest.fail('a download'))
    return asked


def test_without_a_network_one_question_is_asked(no_network, tmp_path):
    with pytest.raises(InputError, match=r'cannot download mnist: no connection to storage.googleapis.com \(ConnectionError\)'):
        data.load('mnist', data_dir=tmp_path / 'sets')
    ((url, timeout),) = no_network
    assert url.startswith('https://storage.googleapis.com') and timeout <= 5 and not any(tmp_path.iterdir())


def test_files_that_are_here_need_no_network(no_network, tmp_path):
    manual = tmp_path / 'files'
    idx_files(manual, np.random.default_rng(0))
    with pytest.raises(pytest.fail.Exception, match='a download'):  # so far it comes
        gan_tfds.prepare('mnist', data_dir=tmp_path / 'sets', manual_dir=manual)
    assert not no_network
    (manual / 'train-labels-idx1-ubyte.gz').unlink()
    with pytest.raises(InputError, match='no connection'):
        gan_tfds.prepare('mnist', data_dir=tmp_path / 'sets', manual_dir=manual)


NEEDS = {
    'imagenet_resized/32x32': r"needs TensorFlow: pip install 'gan_jax\[prepare\]'$",
    'celeb_a_hq/256': r'needs TensorFlow.*; and files that you must download yourself, for python -m gan_jax.data.tfds '
    r'celeb_a_hq/256 --manual-dir FOLDER \(FOLDER should contain multiple tar files',
}


@pytest.mark.parametrize('name', NEEDS)
def test_what_is_missing_is_said_before_a_download_begins(name, no_tensorflow, no_network, tmp_path):
    with pytest.raises(InputError, match=NEEDS[name]) as error:
        data.load(name, size=16, data_dir=tmp_path)
    assert len(str(error.value).splitlines()) == 1 and not no_network and not any(tmp_path.iterdir())


def test_the_command_says_in_one_line_what_does_not_work(no_network, tmp_path, monkeypatch, capsys):
    for arguments, message in (
        (['mnist'], 'cannot download mnist: no connection'),
        (['mnist:3.0.1:test'], "mnist:3.0.1 is prepared with all its splits, so leave out 'test'"),
        (['mnist', '--manual-dir', str(tmp_path / 'none')], 'no folder'),
    ):
        monkeypatch.setattr(sys, 'argv', ['', *arguments, '--data-dir', str(tmp_path)])
        with pytest.raises(SystemExit) as error:
            command.main()
        told = capsys.readouterr().err
        assert error.value.code == 2 and message in told and len(told.splitlines()) == 1


@pytest.fixture(scope='module')
def small_set(tmp_path_factory):
    """A folder with imagenet_resized/32x32 of six training images, of levels 0 to 5, and four for validation, of 100 to 103."""
    import tensorflow_datasets as tfds

    class Small(tfds.builder_cls('imagenet_resized'), skip_registration=True):
        name = 'imagenet_resized'

        def _split_generators(self, _):
            return {'train': self._generate_examples(range(6)), 'validation': self._generate_examples(range(100, 104))}

        def _generate_examples(self, levels):
            for level in levels:
                content = io.BytesIO()
                Image.new('RGB', (32, 32), (level,) * 3).save(content, 'PNG')
                yield level, {'image': content.getvalue(), 'label': level}

    folder = tmp_path_factory.mktemp('sets')
    Small(config='32x32', data_dir=folder).download_and_prepare(file_format='array_record')
    return folder


@pytest.mark.parametrize(
    ('name', 'split', 'levels'),
    [
        ('imagenet_resized/32x32', 'train', range(6)),
        ('imagenet_resized/32x32', 'test', range(100, 104)),  # its only other split
        ('imagenet_resized/32x32', 'validation', range(100, 104)),
        ('imagenet_resized/32x32:0.1.0', 'train', range(6)),
        ('imagenet_resized/32x32:0.*.*:train[:50%]', 'train', None),  # three in the order of the files
        ('imagenet_resized/32x32:train[:50%]', 'test', range(100, 104)),
        ('imagenet_resized/32x32:train+validation', 'train', [*range(6), *range(100, 104)]),
        ('imagenet_resized/32x32:validation', 'train', range(100, 104)),
    ],
)
def test_a_set_with_configs_has_its_splits_and_parts_of_them(name, split, levels, small_set):
    found = data.load(name, split=split, data_dir=small_set)
    assert found.images.shape[1:] == (32, 32, 3) and found.labels.tolist() == found.images[:, 0, 0, 0].tolist()
    if levels is None:
        assert len(found.images) == 3 and set(found.labels) < set(range(6))
    else:
        assert sorted(found.labels) == list(levels)


def test_what_is_trained_on_is_not_judged_on(small_set):
    name = 'imagenet_resized/32x32'
    assert data.has_test_set(name, small_set) and data.has_test_set(f'{name}:train[:2]', small_set)
    for training in ('validation', 'train+validation[:1]'):
        assert not data.has_test_set(f'{name}:{training}', small_set)
        with pytest.raises(InputError, match=f"has no split 'test' other than {training[:5]}"):
            data.load(f'{name}:{training}', split='test', data_dir=small_set)
    assert data.held_out_name(f'{name}:train[:50%]', small_set) == f'{name}:validation'
    assert not data.has_test_set('digits:test') and len(data.load('digits:test').images) == 360
    with pytest.raises(InputError, match='leaves no images to evaluate on'):
        data.load('digits:test', split='test')


@pytest.mark.parametrize('split', ['extra', 'train[:x]', 'train[7:]', 'train[', 'train+'])
def test_splits_that_do_not_exist_get_one_line(split, small_set):
    with pytest.raises(InputError, match=r'has no split .*; it has train, validation|has no images') as error:
        data.load(f'imagenet_resized/32x32:{split}', data_dir=small_set)
    assert len(str(error.value).splitlines()) == 1


def test_a_set_is_decoded_once(small_set, tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    sets = shutil.copytree(small_set, tmp_path / 'sets')
    load = lambda split='train', size=None: data.load('imagenet_resized/32x32', split=split, size=size, data_dir=sets)
    decoded = []
    read = gan_tfds.TfdsSource._image
    monkeypatch.setattr(gan_tfds.TfdsSource, '_image', lambda self, content: decoded.append(1) or read(self, content))
    first, again = load(), load()
    assert len(decoded) == 6 and (first.images == again.images).all() and (first.labels == again.labels).all()
    assert load(size=16).images.shape[1:] == (16, 16, 3) and load('test').labels.min() == 100 and len(decoded) == 16
    os.utime(next(sets.rglob('dataset_info.json')))  # prepared anew
    load()
    assert len(decoded) == 22


@pytest.mark.parametrize('damaged', ['dataset_info.json', 'imagenet_resized-train.array_record-00000-of-00001'])
@pytest.mark.parametrize('content', [None, 0.3])
def test_damaged_sets_get_one_line(damaged, content, small_set, tmp_path):
    sets = shutil.copytree(small_set, tmp_path / 'sets')
    (file,) = sets.rglob(damaged)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(content * file.stat().st_size)])
    with pytest.raises(InputError, match='imagenet_resized/32x32') as error:
        data.load('imagenet_resized/32x32', data_dir=sets)
    assert len(str(error.value).splitlines()) == 1


def idx_files(folder: pathlib.Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """MNIST's file format with 3 train and 2 test images."""
    folder.mkdir()
    images = {'train': rng.integers(0, 256, (3, 28, 28), np.uint8), 't10k': rng.integers(0, 256, (2, 28, 28), np.uint8)}
    for split, x in images.items():
        header = b''.join(int(n).to_bytes(4, 'big') for n in (2051, *x.shape))
        (folder / f'{split}-images-idx3-ubyte.gz').write_bytes(gzip.compress(header + x.tobytes()))
        labels = b''.join(int(n).to_bytes(4, 'big') for n in (2049, len(x))) + bytes(range(len(x)))
        (folder / f'{split}-labels-idx1-ubyte.gz').write_bytes(gzip.compress(labels))
    return images


def cifar_archive(folder: pathlib.Path, rng: np.random.Generator) -> np.ndarray:
    """CIFAR-10's binary archive with 2 images a file."""
    folder.mkdir()
    images = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    with tarfile.open(folder / 'cifar-10-binary.tar.gz', 'w:gz') as tar:
        for i, name in enumerate([*(f'data_batch_{n}' for n in range(1, 6)), 'test_batch']):
            records = b''.join(bytes([i]) + image.transpose(2, 0, 1).tobytes() for image in images[2 * i : 2 * i + 2])
            member = tarfile.TarInfo(f'cifar-10-batches-bin/{name}.bin')
            member.size = len(records)
            tar.addfile(member, io.BytesIO(records))
    return images


@pytest.mark.parametrize('name', ['mnist', 'fashion_mnist', 'cifar10'])
def test_prepared_without_tensorflow(name, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    manual = tmp_path / 'files'
    images = {'train': cifar_archive(manual, rng)[:10]} if name == 'cifar10' else idx_files(manual, rng)
    # The checksums of the real files cannot hold for these; everything else is the real thing.
    monkeypatch.setattr(tfds.download.DownloadManager, 'download', lambda self, urls: _local(manual, urls))
    gan_tfds.prepare(name, data_dir=tmp_path / 'tfds', manual_dir=manual)
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
    for found in (data.load(name), data.load(name, data_dir=tmp_path / 'tfds')):
        np.testing.assert_array_equal(
            np.sort(found.images.sum((1, 2, 3))), np.sort(images['train'].reshape(len(found.images), -1).sum(1))
        )
    with pytest.raises(InputError, match="has no split 'valid'; it has train, test"):
        data.load(name, split='valid')
    assert len(found.classes) == 10
    source = data.open_source(name, size=16)
    assert source.read([0, 2])['image'].shape == (2, 16, 16, 3 if name == 'cifar10' else 1)


def _local(folder, urls):
    if isinstance(urls, dict):
        return {key: _local(folder, url) for key, url in urls.items()}
    return folder / urls.rsplit('/', 1)[1]


@pytest.mark.skipif(not (SHARED / 'mnist').is_dir(), reason='the original MNIST files are not here')
def test_the_real_mnist(tmp_path):
    gan_tfds.prepare('mnist', data_dir=tmp_path, manual_dir=SHARED / 'mnist')
    test = data.load('mnist', split='test', data_dir=os.fspath(tmp_path))
    assert test.images.shape == (10_000, 28, 28, 1)
    # Class counts of the MNIST test set.
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize('training', ['all', 'all[:50%]', 'train+test'])
def test_nothing_is_held_out_of_every_split(training):
    assert held_out_split(('train', 'test'), training) is None
    assert held_out_split(('train', 'test'), 'train') == 'test'
