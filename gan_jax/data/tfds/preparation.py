"""Preparing a TFDS data set: what it needs is said first, then it is downloaded and written as array_record."""

import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

from gan_jax.data.tfds.builders import without_tensorflow
from gan_jax.data.tfds.names import TENSORFLOW, builder, directory, parse
from gan_jax.errors import InputError, one_line

_TIMEOUT = 5.0
"""Seconds that a host has for an answer."""


def prepare(name: str, *, data_dir: str | os.PathLike | None = None, manual_dir: str | os.PathLike | None = None) -> None:
    """Downloads a data set (or finds its original files in `manual_dir`) and writes it as array_record.

    Raises `InputError` for an unknown name and, before anything is downloaded, if the set needs TensorFlow and there is none,
    if it is made of files that people download themselves and those are not there, or if its host does not answer; then for
    whatever stops TFDS.
    """
    import tensorflow_datasets as tfds

    named = parse(name)
    if named.split is not None:
        raise InputError(f'{named.prepared} is prepared with all its splits, so leave out {named.split!r}')
    made = builder(named, data_dir)
    if pathlib.Path(made.data_dir).exists():
        return
    if manual_dir is not None and not os.path.isdir(manual_dir):
        raise InputError(f'no folder {manual_dir}')
    files = pathlib.Path(manual_dir or pathlib.Path(directory(data_dir)) / 'downloads' / 'manual')
    _check_means(made, name, files)
    _check_connection(made, name, files)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir and str(manual_dir), try_download_gcs=False)
    try:
        with _quiet():
            made.download_and_prepare(download_config=config, file_format='array_record')
    except ImportError as error:
        raise InputError(f'preparing {name} needs more than is installed: {one_line(error)}') from error
    except Exception as error:  # a network, a disk, a damaged download and TFDS itself may all fail
        raise InputError(f'cannot prepare {name} in {directory(data_dir)}: {one_line(error)}') from error


def _check_means(made: Any, name: str, files: pathlib.Path) -> None:
    """Raises `InputError` if TensorFlow is missing, or files that TFDS does not download."""
    needs = []
    if made.name not in without_tensorflow() and importlib.util.find_spec('tensorflow') is None:
        needs.append(TENSORFLOW)
    if made.MANUAL_DOWNLOAD_INSTRUCTIONS and not (files.is_dir() and any(files.iterdir())):
        instructions = ' '.join(made.MANUAL_DOWNLOAD_INSTRUCTIONS.split()).replace('manual_dir', 'FOLDER').rstrip('.')
        command = f'python -m gan_jax.data.tfds {name} --manual-dir FOLDER'
        needs.append(f'files that you download yourself, for {command} ({instructions})')
    if needs:
        raise InputError(f'preparing {name} needs {"; and ".join(needs)}')


def _check_connection(made: Any, name: str, files: pathlib.Path) -> None:
    """Raises `InputError` if a host with files that are not here does not answer: TFDS would ask for minutes, and warn.

    A set of several configs has more files than one of them needs, so of such a set only nothing at all is too little.
    """
    import requests
    import tensorflow_datasets as tfds

    known = tfds.builder_cls(made.name).url_infos or {}  # which a class of another module does not find
    downloaded = _downloaded(pathlib.Path(made.data_dir_root) / 'downloads')
    missing = [url for url, info in known.items() if url not in downloaded and not (files / str(info.filename)).is_file()]
    if len(missing) < len(known) and made.name not in without_tensorflow():
        return
    hosts = {urllib.parse.urlsplit(url).hostname: url for url in missing if url.startswith('http')}
    for host, url in hosts.items():
        try:
            requests.head(url, timeout=_TIMEOUT)
        except requests.exceptions.RequestException as error:
            raise InputError(
                f'cannot download {name}: no connection to {host} ({type(error).__name__}); from its files in a folder, '
                f'python -m gan_jax.data.tfds {name} --manual-dir FOLDER prepares it'
            ) from error


def _downloaded(folder: pathlib.Path) -> set[str]:
    """The addresses of the files that TFDS has downloaded to a folder."""
    found: set[str] = set()
    for note in folder.rglob('*.INFO'):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.update(json.loads(note.read_text())['urls'])
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that urllib3 has for each of TFDS's attempts."""
    log = logging.getLogger('urllib3.connectionpool')
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
