"""Inception's weights: a reader of PyTorch's files, converting, and what is downloaded, verified and kept.

No published weights are needed: the files hold random ones (`convert.random_arrays(0)`).
"""

import functools
import hashlib
import io
import pickle
import struct
import zipfile

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from experiments.benchmark.metrics import torch_state
from gan_jax.errors import InputError
from gan_jax.metrics import inception as command
from gan_jax.metrics.extractors import inception
from gan_jax.metrics.extractors.inception import convert, pytorch, weights


@functools.cache
def arrays() -> convert.Arrays:
    return convert.random_arrays(0)


@pytest.fixture(scope='module')
def variables():
    return convert.fold(arrays())


# The PyTorch file


def text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def integers(*values: int) -> bytes:
    return b''.join(b'J' + struct.pack('<i', value) for value in values)


def pickled(state: dict[str, np.ndarray], *, old: bool, strides=lambda array: array.strides) -> bytes:
    """What `torch.save` pickles of a state dict, in the pickle machine's own operations."""
    parts = [b'\x80\x02ccollections\nOrderedDict\n)R(']
    for i, (name, array) in enumerate(state.items()):
        storage = text('storage') + b'ctorch\nFloatStorage\n' + text(str(i)) + text('cpu') + integers(array.size)
        steps = integers(*(step // 4 for step in strides(array)))
        view = integers(0) + b'(' + integers(*array.shape) + b't(' + steps + b't\x89ccollections\nOrderedDict\n)R'
        parts += [text(name), b'ctorch._utils\n_rebuild_tensor_v2\n((', storage, b'N' if old else b'', b'tQ', view, b'tR']
    return b''.join([*parts, b'u.'])


def pth(main: bytes, storages: list[bytes], *, old: bool) -> bytes:
    """A `.pth` file around a pickle."""
    if old:
        head = [0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}]
        keys = pickle.dumps([str(i) for i in range(len(storages))], 2)
        tail = [struct.pack('<q', len(storage) // 4) + storage for storage in storages]
        return b''.join([*(pickle.dumps(x, 2) for x in head), main, keys, *tail])
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', main)
        archive.writestr('archive/byteorder', 'little')
        for i, storage in enumerate(storages):
            archive.writestr(f'archive/data/{i}', storage)
    return file.getvalue()


def saved(state: dict[str, np.ndarray], *, old: bool) -> bytes:
    return pth(pickled(state, old=old), [array.tobytes() for array in state.values()], old=old)


SMALL = {'a.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 4), 'a.bias': np.float32([0.5, -1])}
both = pytest.mark.parametrize('old', [False, True], ids=['zip', 'old'])


@both
def test_pytorch_files_are_read(old):
    found = pytorch.read_state_dict(saved(SMALL, old=old), 'x.pth')
    assert list(found) == list(SMALL)
    for name in SMALL:
        np.testing.assert_array_equal(found[name], SMALL[name])


@both
def test_what_torch_saves_is_read(old):
    torch = pytest.importorskip('torch')
    state = torch.nn.BatchNorm2d(3).state_dict()  # has a `_metadata`, and an int64
    x = torch.arange(24.0).reshape(4, 6)
    state |= {'turned': x.T, 'part': x[1:3, ::2], 'whole': x, 'half': x.half(), 'scalar': x[2, 3], 'none': x[:0]}
    state['parameter'] = torch.nn.Parameter(x)
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=not old)
    found = pytorch.read_state_dict(file.getvalue(), 'x.pth')
    assert list(found) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.detach().numpy())


class Asks:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@both
@pytest.mark.parametrize('place', ['value', 'key', 'state'])
def test_a_pickle_that_would_run_something_is_refused(old, place, tmp_path):
    mark = tmp_path / 'ran'
    asks = Asks(open, str(mark), 'w')
    content = {'value': {'a': asks}, 'key': {('a', asks): 1}, 'state': [asks]}[place]
    with pytest.raises(InputError, match=r'x\.pth as a PyTorch state dict: it requests _?io\.open, but only tensors are allowed'):
        pytorch.read_state_dict(pth(pickle.dumps(content, 2), [], old=old), 'x.pth')
    with pytest.raises(InputError, match='it requests'):
        pytorch.read_state_dict(pickle.dumps(asks, 2), 'x.pth')  # where the old format has its magic number
    assert not mark.exists()


@pytest.mark.parametrize(
    'name',
    ['collections\nOrderedDict.__init__', 'collections\ndeque', 'torch\nload', 'torch._utils\n_rebuild_qtensor', 'os\nsystem'],
)
def test_nothing_else_can_be_named(name):
    with pytest.raises(InputError, match='it requests ' + name.replace('\n', '.')):
        pytorch.read_state_dict(pth(b'\x80\x02c' + name.encode() + b'\n.', [], old=False), 'x.pth')


@both
def test_damaged_pytorch_files_are_refused(old):
    whole = saved(SMALL, old=old)
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 60, len(whole) - 1):
        with pytest.raises(InputError, match=r'cannot read x\.pth as a PyTorch state dict'):
            pytorch.read_state_dict(whole[:size], 'x.pth')
    storages = [array.tobytes() for array in SMALL.values()]
    beyond = pickled(SMALL, old=old, strides=lambda array: (4000,) * array.ndim)  # a view of memory that is not the file's
    with pytest.raises(InputError, match='buffer'):
        pytorch.read_state_dict(pth(beyond, storages, old=old), 'x.pth')
    with pytest.raises(InputError, match='something other than a dictionary of tensors'):
        pytorch.read_state_dict(pth(pickle.dumps({'a': 1}, 2), [], old=old), 'x.pth')
    with pytest.raises(InputError, match='storage 1 has 4 bytes, not 8'):
        pytorch.read_state_dict(pth(pickled(SMALL, old=old), [storages[0], b'1234'], old=old), 'x.pth')


# Converting


def test_the_release_gives_the_same_arrays():
    found = convert.from_torch(torch_state(arrays()))
    assert list(found) == list(arrays())
    assert all(np.array_equal(found[name], arrays()[name]) for name in arrays())


def test_weights_of_other_networks_are_refused():
    state = torch_state(arrays())
    with pytest.raises(InputError, match=r'not the weights of .*: Mixed_7c.branch_pool.bn.running_var is missing'):
        convert.from_torch({name: x for name, x in state.items() if name != 'Mixed_7c.branch_pool.bn.running_var'})
    with pytest.raises(InputError, match=r'fc.weight is \(2048, 1000\), not \(2048, 1008\)'):  # torchvision's
        convert.from_torch(state | {'fc.weight': state['fc.weight'][:1000]})


# Loading and keeping


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    """A file like the PyTorch release."""
    path = tmp_path_factory.mktemp('release') / 'release.pth'
    path.write_bytes(saved(torch_state(arrays()), old=True))
    return path


@pytest.fixture
def trusted(release, monkeypatch, tmp_path):
    """The file as the only known one, and an empty cache."""
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'cache'))
    data = release.read_bytes()
    source = weights.PYTORCH._replace(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    monkeypatch.setattr(weights, 'PYTORCH', source)
    return source


def same(found, expected) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def test_without_weights_the_message_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path))
    with pytest.raises(InputError) as refusal:
        inception.load()
    source = weights.PYTORCH
    for part in (str(tmp_path), source.file, source.url, source.sha256, 'inception download', 'inception convert FILE'):
        assert part in str(refusal.value)
    with pytest.raises(InputError, match=r'cannot read Inception weights: .*nowhere'):
        inception.load(tmp_path / 'nowhere.pth')


def test_weights_are_verified_converted_and_kept(trusted, release, variables):
    found = inception.load(release)
    assert found.source == trusted.sha256[:8] and same(found.variables, variables)
    assert weights.kept().exists()
    again = inception.load()
    assert again.source == found.source and same(again.variables, variables)


def test_an_unwritable_cache_only_warns(trusted, release, monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match='could not be stored for later use'):
        inception.load(release)


def test_other_and_truncated_files_are_refused(trusted, release, tmp_path):
    data = release.read_bytes()
    path = tmp_path / 'cut.pth'
    path.write_bytes(data[:-1000])
    found = hashlib.sha256(data[:-1000]).hexdigest()
    expected = rf'expected sha256 {trusted.sha256} \({len(data):,} bytes\), found {found} \({len(data) - 1000:,} bytes\)'
    with pytest.raises(InputError, match=rf'cut.pth is not {trusted.file}, or is truncated or damaged: {expected}'):
        inception.load(path)
    assert not weights.kept().exists()
    with pytest.raises(InputError, match='the file is truncated or damaged'):
        inception.load(path, verify=False)


def test_unverified_weights_are_called_so(monkeypatch, release, variables, tmp_path):
    monkeypatch.setenv('GAN_JAX_CACHE', str(tmp_path))
    with pytest.raises(InputError, match='expected sha256 6726825d'):
        inception.load(release)
    found = inception.load(release, verify=False)
    assert found.source == f'unverified {hashlib.sha256(release.read_bytes()).hexdigest()[:8]}'
    assert same(found.variables, variables)
    assert not weights.kept().exists()


def test_damaged_kept_weights_are_refused(trusted):
    path = weights.kept()
    weights.save(path, arrays(), trusted.sha256)
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b'\0\0\0\0')
    with pytest.raises(InputError, match=r'is damaged: expected fingerprint \w{16}, found \w{16}; obtain it again by'):
        inception.load()
    path.write_bytes(data[:-4])
    with pytest.raises(InputError, match='which may be truncated'):
        inception.load()
    path.write_bytes(safetensors.save(arrays()))
    with pytest.raises(InputError, match='does not say that it was converted from'):
        inception.load()
    assert inception.load(path, verify=False).source.startswith('unverified ')


def test_commands(trusted, release, variables, tmp_path, capsys):
    command.main(command.Download(url=release.as_uri()))
    assert same(inception.load().variables, variables)
    out = capsys.readouterr()
    assert trusted.sha256 in out.out and f'converted to {weights.kept()}' in out.out and '100%' in out.err
    elsewhere = tmp_path / 'elsewhere.safetensors'
    command.main(command.Convert(str(release), to=str(elsewhere)))
    assert inception.load(elsewhere).source == trusted.sha256[:8]
    with pytest.raises(InputError, match=r'cannot download file:.*obtain the file otherwise'):
        command.main(command.Download(url=(tmp_path / 'nothing').as_uri()))
    with pytest.raises(InputError, match='cannot write'):
        command.main(command.Convert(str(release), to=str(elsewhere / 'x')))
