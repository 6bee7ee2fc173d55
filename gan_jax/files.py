"""Reading and writing files: atomic writes, JSON, arrays, and the cache directory."""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from gan_jax import hosts
from gan_jax.errors import InputError

_PART = re.compile(r'\.(.*)\.(\d+)\.part')
"""Unfinished folders `.NAME.PROCESS.part`, of other processes or of ones that were killed."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or an exhausted quota."""


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file atomically; with several processes, in process 0 alone. Raises `OSError` if that fails."""
    if not hosts.leads():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')  # another process may be writing the same file of the cache
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically. Non-finite numbers become null. Raises `OSError` if that fails."""
    write_whole(path, json_text(value).encode())


def write_json_or_print(path: str | pathlib.Path, value: Any) -> None:
    """`write_json`, or to standard output if the path is `-`."""
    if str(path) == '-':
        print(json_text(value), end='')
    else:
        write_json(pathlib.Path(path), value)


def json_text(value: Any) -> str:
    """A value as indented JSON, with a newline at its end. Non-finite numbers, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + '\n'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file. Raises `InputError` if the file cannot be read or is not valid JSON."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}') from error
    except (ValueError, RecursionError) as error:  # decoding errors are ValueErrors, too
        raise InputError(f'{path} is damaged: it is not JSON') from error


@contextlib.contextmanager
def new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write into, which becomes `path` once everything has been written, and is removed if anything fails.

    Raises `InputError`, before anything is written, if `path` is a file or a non-empty folder, or cannot be created.
    """
    there = path.is_dir()
    if path.exists() and not (there and all(_PART.fullmatch(other.name) for other in path.iterdir())):
        raise InputError(f'{path} exists and is {"not empty" if there else "a file"}; choose another folder')
    whole = path.resolve()  # a link may lead to another disk
    beside = whole if there else whole.parent  # a folder that exists may be a mount, which cannot be replaced
    for left in beside.glob('.*.part'):
        if (of := _PART.fullmatch(left.name)) and of[1] == whole.name and not _lives(int(of[2])):
            shutil.rmtree(left, ignore_errors=True)
    part = beside / f'.{whole.name}.{os.getpid()}.part'
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise InputError(f'cannot create the folder {path}: {error.strerror}') from error
    try:
        yield part
        if there:
            for file in sorted(part.iterdir()):
                os.replace(file, whole / file.name)
        else:
            os.rename(part, whole)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _lives(process: int) -> bool:
    if os.name == 'nt':  # where signal 0 is one
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def cache_directory() -> pathlib.Path:
    """The directory for expensive results (weights, classifiers, reference statistics): GAN_JAX_CACHE, or ~/.cache/gan_jax."""
    return pathlib.Path(os.environ.get('GAN_JAX_CACHE') or pathlib.Path.home() / '.cache' / 'gan_jax')


def fingerprint(*parts: np.ndarray | str) -> str:
    """16 hexadecimal digits that identify arrays (contents, shapes and types) and strings."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f'{part.dtype}{part.shape}'.encode())
            digest.update(as_bytes(part))
        else:
            digest.update(part.encode(errors='surrogateescape') + b'\0')  # names of files may not be UTF-8
    return digest.hexdigest()[:16]


def as_bytes(array: np.ndarray) -> memoryview:
    """The content of an array `[...]` of any type, also of those that NumPy's buffers cannot describe, such as bfloat16."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@contextlib.contextmanager
def _arrays(file: str | os.PathLike) -> Iterator[Any]:
    """Opens a file with NumPy and converts errors in the block to `InputError`. Never loads anything that would execute code."""
    try:
        with open(file, 'rb') as content:
            yield np.load(content, allow_pickle=False)
    except Exception as error:  # a damaged file may raise anything
        raise InputError(f'cannot read {file}: {_damage(error)}') from error


def load_arrays(file: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, or the array of a `.npy` file under the name 'array'.

    Raises `InputError` if the file cannot be read.
    """
    with _arrays(file) as found:
        arrays = {'array': found} if isinstance(found, np.ndarray) else dict(found)
        if others := [name for name, x in arrays.items() if not isinstance(x, np.ndarray)]:  # members of an arbitrary zip file
            raise ValueError(f'its member {others[0]} is not an array')
        return arrays


def array_names(file: str | os.PathLike) -> list[str]:
    """The names of the arrays in a `.npz` file, without reading the arrays. Raises `InputError` if the file cannot be read."""
    with _arrays(file) as found:
        return ['array'] if isinstance(found, np.ndarray) else list(found.files)


def _damage(error: Exception) -> str:
    """Explains in one line why a file of arrays cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, EOFError):
        return 'it is empty'
    if 'pickle' in str(error):
        return 'it is not a file of arrays of numbers'
    return ' '.join(str(error).split()) or type(error).__name__
