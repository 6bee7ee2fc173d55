"""Reads the tensors of a PyTorch `.pth` file without PyTorch, and without executing arbitrary code from its pickle.

A pickle is a program, and `torch.load` on a file of unknown origin could run anything. Here a pickle can only build dictionaries
and name tensors, and a file that requests more is rejected. Both formats are supported: the zip archive that PyTorch has written
since 1.6, and the older one, which consists of five pickles followed by the numbers.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gan_jax.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    'FloatStorage': '<f4',
    'DoubleStorage': '<f8',
    'HalfStorage': '<f2',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
}


class _Storage(NamedTuple):
    """A block of numbers in the file."""

    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage, with offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Module:
    """Stands for a module of a TorchScript archive, whose code is not read. Its attributes are parameters and other modules."""


class _Unpickler(pickle.Unpickler):
    """Supports only ordered dictionaries, tensors, storages, and, as a `_Module`, any class that TorchScript generates.

    It records where numbers are located, but does not read them.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if (module, name) == ('torch._utils', '_rebuild_parameter'):
            return lambda tensor, *_: tensor
        if module == 'torch' and name in _STORAGES:
            return _STORAGES[name]
        if module.startswith('__torch__'):
            return type(name, (_Module,), {})  # a new class, so a file cannot change what the next one is read with
        raise ValueError(f'it requests {module}.{name}, but only tensors are allowed')

    def persistent_load(self, saved: Any) -> _Storage:
        kind, dtype, key, _, length, *view = saved
        if kind != 'storage' or dtype not in _STORAGES.values() or any(view):
            raise ValueError('it contains a storage of an unknown kind')
        return self.storages.setdefault(key, _Storage(key, dtype, length))


def read_state_dict(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The tensors of a saved state dict, or of a module in a TorchScript archive, by name, as NumPy arrays.

    `name` is the name of the file in messages. Raises `InputError` for a file that is damaged, that is not a state dict, or whose
    pickle requests anything other than tensors.
    """
    try:
        tensors, numbers = _read_zip(data) if zipfile.is_zipfile(io.BytesIO(data)) else _read_old(data)
        tensors = dict(_parameters(tensors)) if isinstance(tensors, _Module) else tensors
        if not isinstance(tensors, dict) or not all(isinstance(value, _Tensor) for value in tensors.values()):
            raise ValueError('it contains something other than a dictionary of tensors')
        return {str(key): _array(tensor, numbers[tensor.storage.key]) for key, tensor in tensors.items()}
    except (pickle.UnpicklingError, LookupError, UnicodeDecodeError, TypeError, AttributeError) as error:  # in words of pickle
        raise InputError(f'cannot read {name} as a PyTorch state dict: it is another file, or damaged') from error
    except Exception as error:  # a damaged pickle or archive can raise nearly anything
        raise InputError(f'cannot read {name} as a PyTorch state dict: {str(error) or type(error).__name__}') from error


def _parameters(module: _Module, prefix: str = '') -> Iterator[tuple[str, _Tensor]]:
    """The tensors of a TorchScript module and of those inside it, named as in its state dict."""
    for name, value in vars(module).items():
        if isinstance(value, _Module):
            yield from _parameters(value, f'{prefix}{name}.')
        elif isinstance(value, _Tensor):
            yield prefix + name, value


def _read_zip(data: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename.partition('/')[2]: member for member in archive.infolist()}
        if 'byteorder' in members and archive.read(members['byteorder']) != b'little':
            raise ValueError('its numbers are big-endian')
        unpickler = _Unpickler(io.BytesIO(archive.read(members['data.pkl'])))
        tensors = unpickler.load()
        numbers = {}
        for key, storage in unpickler.storages.items():
            member = members[f'data/{key}']
            _check_size(storage, member.file_size)
            numbers[key] = archive.read(member)
    return tensors, numbers


def _read_old(data: bytes) -> tuple[Any, dict[str, bytes]]:
    file = io.BytesIO(data)
    magic, protocol, system = (_Unpickler(file).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or not system['little_endian']:
        raise ValueError('it has an unknown format')
    unpickler = _Unpickler(file)
    tensors, keys = unpickler.load(), _Unpickler(file).load()
    numbers = {}
    for key in keys:
        storage = unpickler.storages[key]
        file.seek(8, io.SEEK_CUR)  # skips the repeated length
        numbers[key] = file.read(_bytes(storage))
        _check_size(storage, len(numbers[key]))
    return tensors, numbers


def _bytes(storage: _Storage) -> int:
    return storage.length * np.dtype(storage.dtype).itemsize


def _check_size(storage: _Storage, found: int) -> None:
    if found != _bytes(storage):
        raise ValueError(f'storage {storage.key} has {found} bytes, not {_bytes(storage)}: the file is truncated or damaged')


def _array(tensor: _Tensor, numbers: bytes) -> np.ndarray:
    dtype = np.dtype(tensor.storage.dtype)
    strides = [step * dtype.itemsize for step in tensor.strides]
    # numpy checks that the view lies within the buffer
    return np.ndarray(tensor.shape, dtype, numbers, tensor.offset * dtype.itemsize, strides).copy()
