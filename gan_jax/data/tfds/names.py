"""The names of TFDS data sets, SET[/CONFIG][:VERSION][:SPLIT], and the builders that they stand for."""

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
"""So many configs are listed in full."""
TENSORFLOW = "TensorFlow: pip install 'gan_jax[prepare]'"


class Name(NamedTuple):
    """What the name of a data set says."""

    set: str
    config: str | None
    """The variant of the set, such as the size of its images; TFDS's default if None."""
    version: str | None
    split: str | None
    """What takes the place of the split 'train': another split, a part such as `train[:50%]`, or several, `train+test`."""

    @property
    def variant(self) -> str:
        """The name without version and split."""
        return self.set if self.config is None else f'{self.set}/{self.config}'

    @property
    def prepared(self) -> str:
        """The name without the split: what is prepared."""
        return self.variant if self.version is None else f'{self.variant}:{self.version}'


def directory(data_dir: str | os.PathLike | None) -> str:
    """The folder of the prepared sets: the argument, or `TFDS_DATA_DIR`, or TFDS's own default."""
    return str(data_dir or os.environ.get('TFDS_DATA_DIR') or pathlib.Path.home() / 'tensorflow_datasets')


def parse(text: str) -> Name:
    """The parts of a name: 'imagenet_resized/32x32', 'mnist:3.0.1', 'mnist:test', 'svhn_cropped:3.1.0:train+extra'.

    Raises `InputError` for text in another form.
    """
    found = _NAME.fullmatch(text)
    if not found:
        raise InputError(f'{text!r} is not the name of a data set, SET[/CONFIG][:VERSION][:SPLIT]')
    return Name(*found.groups())


def is_known(text: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether the name begins with that of a set in TFDS, or of one that is prepared in `data_dir`."""
    name = re.split('[/:]', text)[0]
    return bool(name) and (name in _known() or (pathlib.Path(directory(data_dir)) / name).is_dir())


def builder(name: Name, data_dir: str | os.PathLike | None) -> Any:
    """TFDS's builder of what is named; where it can be, one that needs no TensorFlow.

    Raises `InputError` for a set, a config or a version that does not exist, and for prepared data that cannot be read.
    """
    import tensorflow_datasets as tfds

    folder = pathlib.Path(directory(data_dir))
    known = name.set in _known()
    if not known and not is_known(name.set, data_dir):
        raise InputError(f"unknown data set {name.set!r}: it is not 'digits', no folder, and not in TFDS{_hint(name.set)}")
    if known and name.config is not None and not (folder / name.set / name.config).is_dir():
        _check_config(name, tfds.builder_cls(name.set).builder_configs)
    if name.prepared in without_tensorflow():
        return without_tensorflow()[name.prepared](data_dir=str(folder), file_format='array_record')
    if known and name.version is not None and not (folder / name.variant / name.version).is_dir():
        _check_version(name, builder(name._replace(version=None), data_dir))
        if name.variant in without_tensorflow():
            return builder(name._replace(version=None), data_dir)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints eight lines where TensorFlow is missing
            return tfds.builder(name.prepared, data_dir=str(folder))
    except ImportError as error:
        raise InputError(f'{name.variant} needs {TENSORFLOW}') from error
    except Exception as error:  # what a builder raises at names and at damaged files has no common type
        raise InputError(f'cannot open data set {name.prepared} in {folder}: {one_line(error)}') from error


def _check_config(name: Name, configs: Collection[str]) -> None:
    there = list(dict.fromkeys(config.partition(':')[0] for config in configs))
    if name.config in there:
        return
    near = there if len(there) <= _LISTED else difflib.get_close_matches(str(name.config), there, 3, 0.4)
    more = '' if len(near) == len(there) else f' and {len(there) - len(near)} others'
    has = f'configs {", ".join(near)}{more}' if there else 'no configs'
    raise InputError(f'there is no folder {name.variant}, and data set {name.set} has {has}, not {name.config!r}')


def _check_version(name: Name, newest: Any) -> None:
    """Raises `InputError` if no version of the builder is the name's, in which * stands for any number."""
    try:
        if any(version.match(name.version) for version in newest.versions):
            return
    except (ValueError, AssertionError):  # not written as a version is
        pass
    versions = ', '.join(map(str, newest.versions))
    raise InputError(f'data set {name.variant} has version {versions}, not {name.version!r}')


def _known() -> Collection[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), ['digits', *_known()], 3)
    return f'; did you mean {" or ".join(near)}?' if near else ''
