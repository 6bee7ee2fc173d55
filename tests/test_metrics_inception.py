"""Inception of 2015-12-05: the network against torch-fidelity's, its quirks one by one, resizes, readers, and kept weights.

No published weights are needed. The network has random ones (`convert.random_arrays(0)`); a stored table holds the features that
torch-fidelity makes with them in float64, every fourth column of each output. To write that table anew, where torch and
torch-fidelity are installed: `python tests/test_metrics_inception.py`.
"""

import functools
import hashlib
import importlib
import importlib.util
import io
import pathlib
import pickle
import struct
import tarfile
import zipfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import numpy as safetensors

from experiments.metric_speed import torch_fidelity_network, torch_state
from gan_jax.errors import InputError
from gan_jax.metrics import inception
from gan_jax.metrics.inception import __main__ as command
from gan_jax.metrics.inception import convert, graphdef, network, preprocessing, pytorch, weights

TABLE = pathlib.Path(__file__).parent / 'data' / 'inception_features.npz'


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
    # 21,820,000 numbers in convolutions and batch norms; scopes of the irregular layers, from the TensorFlow graph.
    found = network.layers()
    assert len(found) == len({layer.name for layer in found}) == len({layer.scope for layer in found}) == 94
    assert sum(np.prod(layer.shape) + 4 * layer.shape[-1] for layer in found) == 21_820_000
    layers = {layer.name: layer[1:] for layer in found}
    assert layers['Conv2d_4a_3x3'] == ('conv_4', (3, 3, 80, 192))
    assert layers['Mixed_5b.branch3x3dbl_3'] == ('mixed/tower_1/conv_2', (3, 3, 96, 96))
    assert layers['Mixed_6a.branch3x3'] == ('mixed_3/conv', (3, 3, 288, 384))
    assert layers['Mixed_6a.branch3x3dbl_1'] == ('mixed_3/tower/conv', (1, 1, 288, 64))
    assert layers['Mixed_6b.branch7x7dbl_5'] == ('mixed_4/tower_1/conv_4', (1, 7, 128, 192))
    assert layers['Mixed_7a.branch7x7x3_4'] == ('mixed_8/tower_1/conv_3', (3, 3, 192, 192))
    assert layers['Mixed_7c.branch3x3dbl_3b'] == ('mixed_10/tower_1/mixed/conv_1', (3, 1, 384, 384))
    assert layers['Mixed_7c.branch_pool'] == ('mixed_10/tower_2/conv', (1, 1, 2048, 192))
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
        with pytest.raises(ValueError, match='outputs of the network are 64, 192, 768, 2048, logits_unbiased, logits'):
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
    with pytest.raises(InputError, match=r'x\.pth as a PyTorch state dict: it asks for _?io\.open, and only tensors are read'):
        pytorch.read_state_dict(pth(pickle.dumps(content, 2), [], old=old), 'x.pth')
    with pytest.raises(InputError, match='it asks for'):
        pytorch.read_state_dict(pickle.dumps(asks, 2), 'x.pth')  # where the old format has its magic number
    assert not mark.exists()


@pytest.mark.parametrize(
    'name',
    ['collections\nOrderedDict.__init__', 'collections\ndeque', 'torch\nload', 'torch._utils\n_rebuild_qtensor', 'os\nsystem'],
)
def test_nothing_else_can_be_named(name):
    with pytest.raises(InputError, match='it asks for ' + name.replace('\n', '.')):
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
    with pytest.raises(InputError, match='storage 1 is of 4 bytes, not 8'):
        pytorch.read_state_dict(pth(pickled(SMALL, old=old), [storages[0], b'1234'], old=old), 'x.pth')


# The TensorFlow graph


def graph_of(constants: dict[str, np.ndarray]) -> bytes:
    """A `GraphDef` with these constants among other nodes, written by the protocol buffers that tensorboardX brings."""
    from tensorboardX.proto import graph_pb2

    graph = graph_pb2.GraphDef()
    graph.node.add(name='ExpandDims', op='ExpandDims', input=['Cast', 'dim']).attr['T'].type = 1
    graph.node.add(name='dim', op='Const').attr['value'].tensor.int_val.append(7)
    for name, array in constants.items():
        node = graph.node.add(name=name, op='Const')
        node.attr['dtype'].type = 1
        tensor = node.attr['value'].tensor
        tensor.dtype = 1
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        if name.endswith('gamma'):
            tensor.float_val.extend(array.tolist())
        else:
            tensor.tensor_content = array.tobytes()
    graph.versions.producer = 8
    return graph.SerializeToString()


def test_constants_of_a_graph_are_read():
    constants = {'conv/conv2d_params': SMALL['a.weight'], 'conv/batchnorm/gamma': SMALL['a.bias'], 's': np.float32(3).reshape(())}
    constants |= {f'{n} numbers': np.arange(n, dtype=np.float32) for n in (75, 1000, 50_000)}  # lengths of 2 and 3 bytes
    found = graphdef.read_constants(graph_of(constants), 'x.pb')
    assert list(found) == list(constants)
    for name in constants:
        np.testing.assert_array_equal(found[name], constants[name])


def test_a_short_list_of_floats_repeats_its_last():
    from tensorboardX.proto import graph_pb2

    graph = graph_pb2.GraphDef()
    tensor = graph.node.add(name='ones', op='Const').attr['value'].tensor
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=4)
    tensor.float_val.extend([2, 1])
    np.testing.assert_array_equal(graphdef.read_constants(graph.SerializeToString(), 'x')['ones'], [2, 1, 1, 1])
    tensor.ClearField('float_val')
    with pytest.raises(InputError, match='cannot read x as a TensorFlow graph'):  # no numbers are not zeros
        graphdef.read_constants(graph.SerializeToString(), 'x')


def test_damaged_graphs_are_refused_or_found_incomplete():
    whole = graph_of({'conv/conv2d_params': SMALL['a.weight'], 'conv/batchnorm/gamma': SMALL['a.bias']})
    for size in range(len(whole)):
        try:
            found = graphdef.read_constants(whole[:size], 'x.pb')
        except InputError as refusal:
            assert 'cannot read x.pb as a TensorFlow graph' in str(refusal)
            continue
        assert len(found) < 2 or size > len(whole) - 5  # cut between two nodes, or in the version
    with pytest.raises(InputError, match='no field begins'):
        graphdef.read_constants(b'\x0b\x01', 'x.pb')


# Converting


def test_both_releases_give_the_same_arrays():
    scopes = {layer.name: layer.scope for layer in network.layers()}
    kinds = {'kernel': 'conv2d_params', 'gamma': 'batchnorm/gamma', 'beta': 'batchnorm/beta'}
    kinds |= {'mean': 'batchnorm/moving_mean', 'variance': 'batchnorm/moving_variance'}
    constants = {f'{scopes[n.split("/")[0]]}/{kinds[n.split("/")[1]]}': x for n, x in arrays().items() if 'logits' not in n}
    constants |= {'softmax/weights': arrays()['logits/kernel'], 'softmax/biases': arrays()['logits/bias']}
    for found in (convert.from_torch(torch_state(arrays())), convert.from_graph(constants)):
        assert list(found) == list(arrays())
        assert all(np.array_equal(found[name], arrays()[name]) for name in arrays())


def test_weights_of_other_networks_are_refused():
    state = torch_state(arrays())
    with pytest.raises(InputError, match=r'no weights of Inception 2015-12-05: Mixed_7c.branch_pool.bn.running_var is not there'):
        convert.from_torch({name: x for name, x in state.items() if name != 'Mixed_7c.branch_pool.bn.running_var'})
    with pytest.raises(InputError, match=r'fc.weight makes \(2048, 1000\), not \(2048, 1008\)'):  # torchvision's
        convert.from_torch(state | {'fc.weight': state['fc.weight'][:1000]})
    with pytest.raises(InputError, match='conv/conv2d_params is not there'):
        convert.from_graph({})


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
    monkeypatch.setattr(weights, 'SOURCES', (source, weights.TENSORFLOW))
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
    with pytest.warns(UserWarning, match='not kept for the next time'):
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
    with pytest.raises(InputError, match=r'is damaged: expected fingerprint \w{16}, found \w{16}; get it again by'):
        inception.load()
    path.write_bytes(data[:-4])
    with pytest.raises(InputError, match='which may be truncated'):
        inception.load()
    path.write_bytes(safetensors.save(arrays()))
    with pytest.raises(InputError, match='does not say that it was converted from'):
        inception.load()
    assert inception.load(path, verify=False).source.startswith('unverified ')


def test_the_graph_is_read_out_of_its_archive(monkeypatch, tmp_path):
    content = graph_of({'conv/conv2d_params': arrays()['Conv2d_1a_3x3/kernel']})
    monkeypatch.setattr(weights, 'TENSORFLOW', weights.TENSORFLOW._replace(sha256=hashlib.sha256(content).hexdigest()))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as archive:
        member = tarfile.TarInfo('classify_image_graph_def.pb')
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    for data in (content, file.getvalue()):  # verified and read, and found to hold one layer
        with pytest.raises(InputError, match='conv/batchnorm/gamma is not there'):
            weights.read(data, 'x')
    with pytest.raises(InputError, match=r'cannot unpack classify_image_graph_def.pb from x, which may be truncated'):
        weights.read(file.getvalue()[:-2000], 'x')
    with pytest.raises(InputError, match=r'x is not classify_image_graph_def.pb, or .* expected sha256 \w{64} .* found \w{64}'):
        weights.read(content + b'\0', 'x')


def test_commands(trusted, release, variables, tmp_path, capsys):
    command.main(command.Download(url=release.as_uri()))
    assert same(inception.load().variables, variables)
    out = capsys.readouterr()
    assert trusted.sha256 in out.out and f'converted to {weights.kept()}' in out.out and '100%' in out.err
    elsewhere = tmp_path / 'elsewhere.safetensors'
    command.main(command.Convert(str(release), to=str(elsewhere)))
    assert inception.load(elsewhere).source == trusted.sha256[:8]
    with pytest.raises(InputError, match=r'cannot download file:.*fetch it in another way'):
        command.main(command.Download(url=(tmp_path / 'nothing').as_uri()))
    with pytest.raises(InputError, match='cannot write'):
        command.main(command.Convert(str(release), to=str(elsewhere / 'x')))


if __name__ == '__main__':
    columns = {name: x[:, ::4] for name, x in zip(network.OUTPUTS, torch_fidelity_outputs(IMAGES), strict=True)}
    np.savez_compressed(TABLE, **columns)
