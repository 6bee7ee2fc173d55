"""Finds, verifies and stores the weights of the Inception network. Only `download` uses a network connection."""

import hashlib
import http.client
import pathlib
import urllib.request
import warnings
from typing import NamedTuple

from gan_jax.errors import InputError
from gan_jax.files import cache_directory, fingerprint, write_whole
from gan_jax.metrics.extractors.inception import convert, pytorch
from gan_jax.metrics.extractors.inception.convert import Arrays
from gan_jax.typing import Variables

COMMAND = 'python -m gan_jax.metrics.inception'
_AGAIN = f'obtain it again by {COMMAND} download or convert'


class Published(NamedTuple):
    """A published file of weights."""

    file: str
    url: str
    sha256: str
    size: int
    """Size in bytes."""


PYTORCH = Published(
    'pt_inception-2015-12-05-6726825d.pth',
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
    '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
    95_628_359,
)


class Weights(NamedTuple):
    """The result of `load`."""

    variables: Variables
    """Variables of `network.InceptionV3`."""
    source: str
    """The first digits of the sha256 of the published file, or, after the word "unverified", those of the file that was read."""


def load(path: str | pathlib.Path | None = None, *, verify: bool = True) -> Weights:
    """Loads the weights from a file, or, without a path, those stored by an earlier call.

    The file is the PyTorch release (`.pth`) or was written by this module (`.safetensors`); its first bytes determine which. Its
    sha256 must be the published one. The weights are then converted and stored at `kept()` for calls without a path.
    `verify=False` accepts any weights that fit the network, and stores nothing.

    Raises `InputError` if there are no weights, stating what to download and from where; for another, damaged or truncated file,
    stating the expected and the actual sha256; and for the weights of another network.
    """
    if path is None and not kept().exists():
        raise InputError(
            f'no Inception weights in {kept().parent}: run {COMMAND} download, or get {PYTORCH.file} from {PYTORCH.url} '
            f'(sha256 {PYTORCH.sha256}) and run {COMMAND} convert FILE'
        )
    path = path or kept()
    arrays, digest = read_file(path, verify=verify)
    if verify and not kept().exists():
        try:
            save(kept(), arrays, digest)
        except OSError as error:
            warnings.warn(f'the Inception weights could not be stored for later use: {error}', stacklevel=2)
    return Weights(convert.fold(arrays), digest[:8] if verify else f'unverified {digest[:8]}')


def kept() -> pathlib.Path:
    """The path of the stored, converted weights."""
    return cache_directory() / 'inception-2015-12-05.safetensors'


def read_file(path: str | pathlib.Path, *, verify: bool = True) -> tuple[Arrays, str]:
    """The arrays in a file, and the sha256 of the published file. Raises `InputError` as `load` does."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f'cannot read Inception weights: {error}') from error
    if data[8:9] == b'{':  # the header of safetensors, after its length
        return _read_converted(path, verify)
    return read(data, str(path), verify=verify)


def read(data: bytes, name: str, *, verify: bool = True) -> tuple[Arrays, str]:
    """The arrays in the bytes of the PyTorch release, and their sha256.

    `name` is the name of the file in messages. Raises `InputError` for another, damaged or truncated file.
    """
    digest = hashlib.sha256(data).hexdigest()
    if verify and digest != PYTORCH.sha256:
        raise InputError(
            f'{name} is not {PYTORCH.file}, or is truncated or damaged: '
            f'expected sha256 {PYTORCH.sha256} ({PYTORCH.size:,} bytes), found {digest} ({len(data):,} bytes)'
        )
    return convert.from_torch(pytorch.read_state_dict(data, name)), digest


def _read_converted(path: str | pathlib.Path, verify: bool) -> tuple[Arrays, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'numpy') as saved:
            metadata = saved.metadata() or {}
            arrays = convert.from_arrays({name: saved.get_tensor(name) for name in saved.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f'cannot read Inception weights {path}, which may be truncated: {error}; {_AGAIN}') from error
    found = _fingerprint(arrays)
    if not verify:
        return arrays, found
    if metadata.get('source_sha256') != PYTORCH.sha256:
        raise InputError(f'{path} does not say that it was converted from {PYTORCH.file}; {_AGAIN}')
    if metadata.get('fingerprint') != found:
        raise InputError(f'{path} is damaged: expected fingerprint {metadata.get("fingerprint")}, found {found}; {_AGAIN}')
    return arrays, metadata['source_sha256']


def save(path: pathlib.Path, arrays: Arrays, digest: str) -> None:
    """Writes converted weights as safetensors, with the sha256 of the published file and a fingerprint of the arrays."""
    from safetensors import numpy as safetensors

    metadata = {'source_sha256': digest, 'fingerprint': _fingerprint(arrays)}
    write_whole(path, safetensors.save(arrays, metadata=metadata))


def _fingerprint(arrays: Arrays) -> str:
    return fingerprint(*(part for name in sorted(arrays) for part in (name, arrays[name])))


def download(url: str = PYTORCH.url) -> bytes:
    """The bytes at a URL, with a progress bar. Raises `InputError` if the download fails."""
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
        raise InputError(f'cannot download {url}: {error}; obtain the file otherwise and run {COMMAND} convert FILE') from error
    return b''.join(parts)
