"""The names of TFDS data sets, SET[/CONFIG][:VERSION][:SPLIT], and the builders they denote."""

import contextlib
import difflib
import io
import os
import pathlib
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from gan_jax.data.tfds.builders import without_tensorflow
from gan_jax.errors import InputError, one_line

_NAME = re.compile(r'(\w+)(?:/([^/:]+))?(?::([\d*][^:]*))?(?::([A-Za-z_].*))?')
_LISTED = 12
"""Number of configs up to which all are listed."""
TENSORFLOW = "TensorFlow: pip install 'gan_jax[prepare]'"
"""What a message about missing TensorFlow says."""


class Name(NamedTuple):
    """The parts of a data set's name."""

    set: str
    config: str | None
    """The variant of the data set, such as the size of its images; None for TFDS's default."""
    version: str | None
    split: str | None
    """Replaces the split 'train': another split, a part such as `train[:50%]`, or several, `train+test`."""

    @property
    def variant(self) -> str:
        """The name without version and split."""
        return self.set if self.config is None else f'{self.set}/{self.config}'

    @property
    def prepared(self) -> str:
        """The name without the split, which identifies what is prepared."""
        return self.variant if self.version is None else f'{self.variant}:{self.version}'


def directory(data_dir: str | os.PathLike | None) -> str:
    """Returns the folder of prepared data sets: the argument, `TFDS_DATA_DIR`, or TFDS's default."""
    return str(data_dir or os.environ.get('TFDS_DATA_DIR') or pathlib.Path.home() / 'tensorflow_datasets')


def parse(text: str) -> Name:
    """Parses a name: 'imagenet_resized/32x32', 'mnist:3.0.1', 'mnist:test', 'svhn_cropped:3.1.0:train+extra'.

    Raises `InputError` for text in any other form.
    """
    found = _NAME.fullmatch(text)
    if not found:
        raise InputError(f'{text!r} is not a data set name of the form SET[/CONFIG][:VERSION][:SPLIT]')
    return Name(*found.groups())


def is_known(text: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Returns whether a name begins with that of a data set in TFDS, or of one that is prepared in `data_dir`."""
    name = re.split('[/:]', text)[0]
    return bool(name) and (name in _known() or (pathlib.Path(directory(data_dir)) / name).is_dir())


def builder(name: Name, data_dir: str | os.PathLike | None) -> Any:
    """Returns the TFDS builder of a data set, or one that does not need TensorFlow if this library has it.

    Raises `InputError` for a data set, config or version that does not exist, for a builder that requires TensorFlow if it is
    missing, and for prepared data that cannot be read.
    """
    import tensorflow_datasets as tfds

    folder = pathlib.Path(directory(data_dir))
    known = name.set in _known()
    if not known and not is_known(name.set, data_dir):
        raise InputError(f"unknown data set {name.set!r}: it is not 'digits', not a folder and not in TFDS{_hint(name.set)}")
    if known and name.config is not None and not (folder / name.set / name.config).is_dir():
        _check_config(name, tfds.builder_cls(name.set).builder_configs)
    if name.prepared in without_tensorflow():
        return without_tensorflow()[name.prepared](data_dir=str(folder), file_format='array_record')
    if known and name.version is not None and not (folder / name.variant / name.version).is_dir():
        _check_version(name, builder(name._replace(version=None), data_dir))
        if name.variant in without_tensorflow():
            return builder(name._replace(version=None), data_dir)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints eight lines if TensorFlow is missing
            return tfds.builder(name.prepared, data_dir=str(folder))
    except ImportError as error:
        raise InputError(f'{name.variant} needs {TENSORFLOW}') from error
    except Exception as error:  # what a builder raises for names and damaged files has no common type
        raise InputError(f'cannot open data set {name.prepared} in {folder}: {one_line(error)}') from error


def _check_config(name: Name, configs: Collection[str]) -> None:
    there = list(dict.fromkeys(config.partition(':')[0] for config in configs))
    if name.config in there:
        return
    near = there if len(there) <= _LISTED else difflib.get_close_matches(str(name.config), there, 3, 0.4)
    more = '' if len(near) == len(there) else f' and {len(there) - len(near)} others'
    has = f'configs {", ".join(near)}{more}' if there else 'no configs'
    raise InputError(f'there is no folder {name.variant}, and data set {name.set} has no config {name.config!r}; it has {has}')


def _check_version(name: Name, newest: Any) -> None:
    """Raises `InputError` if the builder has no version that matches the name's, in which * stands for any number."""
    try:
        if any(version.match(name.version) for version in newest.versions):
            return
    except (ValueError, AssertionError):  # not a valid version
        pass
    versions = ', '.join(map(str, newest.versions))
    raise InputError(f'data set {name.variant} has no version {name.version!r}; it has {versions}')


def _known() -> Collection[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), ['digits', *_known()], 3)
    return f'; did you mean {" or ".join(near)}?' if near else ''
