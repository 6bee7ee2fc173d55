"""Finds, verifies and keeps the weights of the Inception network. Only `download` uses a network connection."""

import hashlib
import http.client
import io
import json
import pathlib
import tarfile
import urllib.request
import warnings
import zlib
from typing import NamedTuple

from gan_jax.errors import InputError
from gan_jax.files import cache_directory, fingerprint, write_whole
from gan_jax.metrics.inception import convert, graphdef, pytorch
from gan_jax.metrics.inception.convert import Arrays
from gan_jax.typing import Variables

COMMAND = 'python -m gan_jax.metrics.inception'
_AGAIN = f'get it again by {COMMAND} download or convert'


class Source(NamedTuple):
    """A published file of the weights."""

    file: str
    url: str
    sha256: str
    size: int
    """in bytes"""


PYTORCH = Source(
    'pt_inception-2015-12-05-6726825d.pth',
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
    '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
    95_628_359,
)
TENSORFLOW = Source(
    'classify_image_graph_def.pb',
    'https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/classify_image_graph_def.pb',
    '009d6814d1bc560d4e7b236e170e9b2d5ca6f4b57bd8037f6db05776204415c6',
    95_673_916,
)
"""Published first in http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz, which is read as such."""
SOURCES = (PYTORCH, TENSORFLOW)


class Weights(NamedTuple):
    """What `load` found."""

    variables: Variables
    """of `network.InceptionV3`"""
    source: str
    """The first digits of the sha256 of the published file, after the word "unverified" if it was not compared."""


def load(path: str | pathlib.Path | None = None, *, verify: bool = True) -> Weights:
    """The weights in a file, or without a path those kept from an earlier call.

    A file is the PyTorch release (`.pth`), the TensorFlow graph (`.pb`, or the `.tgz` it comes in), or one that this module
    wrote (`.safetensors`); its first bytes say which. Its sha256 has to be the published one; it is then kept, converted, as
    `kept()` for calls without a path. `verify=False` takes any weights that fit the network, and keeps nothing.

    Raises `InputError` if there are no weights, saying what to fetch and from where; for another, damaged or truncated file, with
    the sha256 expected and found; for the weights of another network.
    """
    if path is None and not kept().exists():
        raise InputError(
            f'no Inception weights in {kept().parent}: run {COMMAND} download, or fetch {PYTORCH.file} from {PYTORCH.url} '
            f'(sha256 {PYTORCH.sha256}) and run {COMMAND} convert FILE'
        )
    path = path or kept()
    arrays, digest = read(read_file(path), str(path), verify=verify)
    if verify and not kept().exists():
        try:
            save(kept(), arrays, digest)
        except OSError as error:
            warnings.warn(f'the Inception weights are not kept for the next time: {error}', stacklevel=2)
    return Weights(convert.fold(arrays), digest[:8] if verify else f'unverified {digest[:8]}')


def kept() -> pathlib.Path:
    """Where converted weights are kept."""
    return cache_directory() / 'inception-2015-12-05.safetensors'


def read_file(path: str | pathlib.Path) -> bytes:
    """The bytes of a file. Raises `InputError` if it cannot be read."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f'cannot read Inception weights: {error}') from error


def read(data: bytes, name: str, *, verify: bool = True) -> tuple[Arrays, str]:
    """The arrays in a file's bytes, and the sha256 of the published file. `name` is for messages. Raises `InputError`."""
    if data[:2] == b'\x1f\x8b':
        data = _unpacked(data, name)
    if data[8:9] == b'{':
        return _read_converted(data, name, verify)
    source = TENSORFLOW if data[:1] == b'\n' else PYTORCH  # a graph begins with the key of its field 1
    digest = hashlib.sha256(data).hexdigest()
    if verify and digest != source.sha256:
        raise InputError(
            f'{name} is not {source.file}, or is truncated or damaged: expected sha256 {source.sha256} ({source.size:,} bytes), '
            f'found {digest} ({len(data):,} bytes)'
        )
    if source is TENSORFLOW:
        return convert.from_graph(graphdef.read_constants(data, name)), digest
    return convert.from_torch(pytorch.read_state_dict(data, name)), digest


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            member = archive.extractfile(TENSORFLOW.file)
            return member.read() if member else b''
    except (tarfile.TarError, LookupError, EOFError, OSError, zlib.error) as error:
        raise InputError(f'cannot unpack {TENSORFLOW.file} from {name}, which may be truncated: {error}') from error


def _read_converted(data: bytes, name: str, verify: bool) -> tuple[Arrays, str]:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])
        arrays = convert.from_arrays(safetensors.load(data))
    except (SafetensorError, ValueError) as error:
        raise InputError(f'cannot read Inception weights {name}, which may be truncated: {error}; {_AGAIN}') from error
    if not verify:
        return arrays, hashlib.sha256(data).hexdigest()
    metadata = header.get('__metadata__', {})
    if metadata.get('source_sha256') not in [source.sha256 for source in SOURCES]:
        raise InputError(f'{name} does not say that it was converted from {PYTORCH.file} or {TENSORFLOW.file}; {_AGAIN}')
    found = _fingerprint(arrays)
    if metadata.get('fingerprint') != found:
        raise InputError(f'{name} is damaged: expected fingerprint {metadata.get("fingerprint")}, found {found}; {_AGAIN}')
    return arrays, metadata['source_sha256']


def save(path: pathlib.Path, arrays: Arrays, digest: str) -> None:
    """Writes converted weights as safetensors, with the sha256 of the published file and a fingerprint of the arrays."""
    from safetensors import numpy as safetensors

    metadata = {'source_sha256': digest, 'fingerprint': _fingerprint(arrays)}
    write_whole(path, safetensors.save(arrays, metadata=metadata))


def _fingerprint(arrays: Arrays) -> str:
    return fingerprint(*(part for name in sorted(arrays) for part in (name, arrays[name])))


def download(url: str = PYTORCH.url) -> bytes:
    """The bytes at a URL, with a progress bar. Raises `InputError` if there are none."""
    from tqdm import tqdm

    parts = []
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            size = int(response.headers.get('Content-Length') or 0)
            with tqdm(total=size or None, unit='B', unit_scale=True, desc=url.rpartition('/')[2], dynamic_ncols=True) as bar:
                while part := response.read(1 << 20):
                    parts.append(part)
                    bar.update(len(part))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f'cannot download {url}: {error}; fetch it in another way, and run {COMMAND} convert FILE') from error
    return b''.join(parts)
