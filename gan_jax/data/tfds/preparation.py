"""Preparing a TFDS data set: checking what it requires, then downloading it and writing it as array_record."""

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
"""Seconds within which a host must answer."""


def prepare(name: str, *, data_dir: str | os.PathLike | None = None, manual_dir: str | os.PathLike | None = None) -> None:
    """Downloads a data set, or finds its original files in `manual_dir`, and writes it as array_record.

    Raises `InputError` for an unknown name and, before any download, if the data set requires TensorFlow and it is missing, if
    it requires files that users must download themselves and they are missing, or if its host does not answer; also for any
    error in TFDS.
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
        raise InputError(f'preparing {name} needs packages that are not installed: {one_line(error)}') from error
    except Exception as error:  # a network, a disk, a download or TFDS itself may fail in many ways
        raise InputError(f'cannot prepare {name} in {directory(data_dir)}: {one_line(error)}') from error


def _check_means(made: Any, name: str, files: pathlib.Path) -> None:
    """Raises `InputError` if TensorFlow is missing, or if files are missing that TFDS does not download."""
    needs = []
    if made.name not in without_tensorflow() and importlib.util.find_spec('tensorflow') is None:
        needs.append(TENSORFLOW)
    if made.MANUAL_DOWNLOAD_INSTRUCTIONS and not (files.is_dir() and any(files.iterdir())):
        instructions = ' '.join(made.MANUAL_DOWNLOAD_INSTRUCTIONS.split()).replace('manual_dir', 'FOLDER').rstrip('.')
        command = f'python -m gan_jax.data.tfds {name} --manual-dir FOLDER'
        needs.append(f'files that you must download yourself, for {command} ({instructions})')
    if needs:
        raise InputError(f'preparing {name} needs {"; and ".join(needs)}')


def _check_connection(made: Any, name: str, files: pathlib.Path) -> None:
    """Raises `InputError` if a host of missing files does not answer: TFDS would retry for minutes, with warnings.

    A data set with several configs lists more files than one of them needs, so it is rejected only if all are missing.
    """
    import requests
    import tensorflow_datasets as tfds

    known = tfds.builder_cls(made.name).url_infos or {}  # which a class of another module cannot find
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
                f'cannot download {name}: no connection to {host} ({type(error).__name__}); to prepare it from its files, '
                f'run python -m gan_jax.data.tfds {name} --manual-dir FOLDER'
            ) from error


def _downloaded(folder: pathlib.Path) -> set[str]:
    """Returns the URLs of the files that TFDS has downloaded to a folder."""
    found: set[str] = set()
    for note in folder.rglob('*.INFO'):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.update(json.loads(note.read_text())['urls'])
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the warning that urllib3 logs for each attempt of TFDS."""
    log = logging.getLogger('urllib3.connectionpool')
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
