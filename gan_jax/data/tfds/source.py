"""One split of a TFDS data set, read by index, and prepared first if necessary."""

import io
import os
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np

from gan_jax import hosts
from gan_jax.data import decoding
from gan_jax.data.images import Images
from gan_jax.data.reading import Size, cropped, decode, size_of
from gan_jax.data.tfds.names import Name, builder, parse
from gan_jax.data.tfds.preparation import prepare
from gan_jax.errors import InputError, one_line

_BLOCK = 256
_HELD_OUT = ('test', 'validation', 'val', 'valid', 'dev')


class TfdsSource:
    """One split of a prepared image data set, read by index (a `feeds.Source`), with images cropped and resized to `size`.

    Args:
        name: parsed by `names.parse`; a split in it replaces 'train'.
        split: name of a split, or a part of one in TFDS's notation; 'test' is the one chosen by `held_out_split`.
        size: side of squares, or height and width; None for the size of the data set, which must then be square; 'native' for
            the size of the data set, which need not be square.
        data_dir: folder of prepared data sets.

    Raises `InputError` for a name or a split that does not exist, for a data set without images, and for whatever `prepare`
    rejects.
    """

    def __init__(
        self, name: str, split: str, *, size: Size | Literal['native'] | None = None, data_dir: str | os.PathLike | None = None
    ) -> None:
        import tensorflow_datasets as tfds

        named = parse(name)
        made = builder(named, data_dir)
        features = dict(made.info.features or {})
        if not isinstance(features.get('image'), tfds.features.Image):
            raise InputError(f"data set {named.prepared} has no feature 'image'; it has {', '.join(features) or 'none'}")
        height, width, channels = features['image'].shape
        if height is None or width is None:
            if size in (None, 'native'):
                raise InputError(f'the images of {named.prepared} have several sizes: give a size')
        elif size is None and height != width:
            raise InputError(f'the images of {named.prepared} are {height} x {width}, not square: give a size')
        missing = not pathlib.Path(made.data_dir).exists()
        if missing or hosts.count() > 1:
            hosts.in_turn(lambda: prepare(named.prepared, data_dir=data_dir))  # does nothing if it is there
            made = builder(named, data_dir)
        self.name, self.path = named.prepared, pathlib.Path(made.data_dir)
        self.split = _split(made.info.splits, named, split)
        self._records = _records(made, named, self.split)
        self.channels: int = 1 if channels == 1 else 3
        self.size: Size = size_of(height, width) if size is None or size == 'native' else size
        label = features.get('label')
        self.classes: tuple[str, ...] = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns `image`, uint8 `[n, height, width, channels]`, and, if the data set has classes, `label`, int32 `[n]`.

        Raises `InputError` for records that cannot be read.
        """
        try:
            records = self._records.__getitems__(list(indices))
        except RuntimeError as error:  # a damaged or missing file
            raise InputError(f'cannot read {self.name}: {one_line(error)}') from error
        batch = {'image': np.stack([self._image(record['image']) for record in records])}
        if self.classes:
            batch['label'] = np.array([record['label'] for record in records], np.int32)
        return batch

    def load(self) -> Images:
        """Loads all images into memory. They are decoded once and cached until a file of the prepared data set changes.

        Raises `InputError` for records that cannot be read.
        """

        def make() -> dict[str, np.ndarray]:
            rows = range(len(self))
            blocks = [rows[start : start + _BLOCK] for start in rows[::_BLOCK]]
            batches = list(decoding.in_threads(self.read, blocks, title=f'{self.name}, in blocks of {_BLOCK}'))
            return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

        form = f'{self.path.resolve()} {self.split} {self.size} {self.channels}'
        batch = decoding.kept_or_made('tfds', form, decoding.state_of(self.path), make)
        return Images(batch['image'], batch.get('label'), self.classes)

    def _image(self, content: bytes) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(content)) as image:
                return cropped(decode(image, self.channels), self.size)
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise InputError(f'cannot read an image of {self.name}: {one_line(error)}') from error

    def every_label(self) -> np.ndarray | None:
        """Returns the labels of all records, int32 `[n]`, by reading every record; None without classes."""
        return np.array(self.column('label'), np.int32) if self.classes else None

    def column(self, name: str) -> list[Any]:
        """Returns one feature, such as a file name, of all records. Raises `InputError` if there is no such feature."""
        if len(self) and name not in self._records[0]:
            raise InputError(f'there is no feature {name!r}; the features are {", ".join(self._records[0])}')
        return [self._records[i][name] for i in range(len(self))]


def held_out_split(splits: Collection[str], training: str | None = None) -> str | None:
    """Returns the split to evaluate on, 'test' or else a validation split; None if there is none outside the training images."""
    used = re.findall(r'[A-Za-z_]\w*', training or 'train')
    if 'all' in used:  # in TFDS, every split
        return None
    return next((split for split in _HELD_OUT if split in splits and split not in used), None)


def has_held_out(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Returns whether a data set has a split to evaluate on; True if it is not prepared, since its splits are not yet known."""
    named = parse(name)
    splits = builder(named, data_dir).info.splits
    return not len(splits) or held_out_split(splits, named.split) is not None


def held_out(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """Returns the name of the data set's images to evaluate on, given its training split.

    Raises `InputError` if there is no such split.
    """
    named = parse(name)
    splits = builder(named, data_dir).info.splits
    return f'{named.prepared}:{_split(splits, named, "test") if len(splits) else "test"}'


def _split(splits: Any, name: Name, split: str) -> str:
    """Returns the name of the split to read. Raises `InputError` if it does not exist or is empty."""
    asked: str | None = name.split or split if split == 'train' else split
    if split == 'test':
        asked = held_out_split(splits, name.split)
    try:
        empty = splits[asked].num_examples == 0
    except Exception as error:  # TFDS has a different exception for each kind of invalid or missing split
        hint = f'; choose one, as in {name.prepared}:{next(iter(splits))}' if asked == 'train' and len(splits) else ''
        other = f' other than {name.split}' if split == 'test' and name.split else ''
        raise InputError(f'{name.prepared} has no split {asked or split!r}{other}; it has {", ".join(splits)}{hint}') from error
    if empty or asked is None:
        raise InputError(f'{asked!r} of {name.prepared} has no images')
    return asked


def _records(made: Any, name: Name, split: str) -> Any:
    """Opens the records with undecoded images. Raises `InputError` for data in another format, and for damaged data."""
    import tensorflow_datasets as tfds

    images = [key for key, feature in made.info.features.items() if isinstance(feature, tfds.features.Image)]
    try:
        return made.as_data_source(split=split, decoders=dict.fromkeys(images, tfds.decode.SkipDecoding()))
    except NotImplementedError as error:
        raise InputError(
            f'{name.prepared} in {made.data_dir} is stored for TensorFlow only; prepare it again with '
            f'python -m gan_jax.data.tfds {name.prepared} --data-dir NEW_FOLDER'
        ) from error
    except Exception as error:  # damaged files
        raise InputError(f'cannot read {name.prepared} in {made.data_dir}: {one_line(error)}') from error
