"""One split of a TFDS data set, prepared if it is not yet, read by index."""

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
    """One split of a prepared image data set, read by index (a `feeds.Source`); images come resized to `size`.

    Args:
        name: as `names.parse` reads it. A split in it takes the place of 'train'.
        split: one of its splits, or a part of one as TFDS writes it; 'test' is `held_out_split`'s.
        size: the side of squares, or height and width; the data set's own if it is not given, which has to be square, or
            'native', which need not.
        data_dir: where it is prepared.

    Raises `InputError` for a name or a split that does not exist, for a set without images, and for what `prepare` refuses.
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
                raise InputError(f'the images of {named.prepared} are of several sizes, not square: give a size')
        elif size is None and height != width:
            raise InputError(f'the images of {named.prepared} are {height} x {width}, not square: give a size')
        if not hosts.agreed(pathlib.Path(made.data_dir).exists):
            hosts.in_turn(lambda: prepare(named.prepared, data_dir=data_dir))
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
        """`image`, uint8 `[n, size, size, channels]`, and `label`, int32 `[n]`, where the set has one."""
        try:
            records = self._records.__getitems__(list(indices))
        except RuntimeError as error:  # a file that is damaged or gone
            raise InputError(f'cannot read {self.name}: {one_line(error)}') from error
        batch = {'image': np.stack([self._image(record['image']) for record in records])}
        if self.classes:
            batch['label'] = np.array([record['label'] for record in records], np.int32)
        return batch

    def load(self) -> Images:
        """All images in memory. They are decoded once and kept in the cache, until a file of the prepared set changes."""

        def make() -> dict[str, np.ndarray]:
            rows = range(len(self))
            blocks = [rows[start : start + _BLOCK] for start in rows[::_BLOCK]]
            batches = list(decoding.in_threads(self.read, blocks, title=f'{self.name}, by {_BLOCK}'))
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
        """The labels of all records, int32 `[n]`, which are read for them; None without classes."""
        return np.array(self.column('label'), np.int32) if self.classes else None

    def column(self, name: str) -> list[Any]:
        """One feature, such as a file name, of all records. Raises `InputError` if there is no such feature."""
        if len(self) and name not in self._records[0]:
            raise InputError(f'there is no feature {name!r}; there are {", ".join(self._records[0])}')
        return [self._records[i][name] for i in range(len(self))]


def held_out_split(splits: Collection[str], training: str | None = None) -> str | None:
    """The split to judge on: 'test', or else 'validation'; None if there is neither that is not among the training images."""
    used = re.findall(r'[A-Za-z_]\w*', training or 'train')
    return next((split for split in _HELD_OUT if split in splits and split not in used), None)


def has_held_out(name: str, data_dir: str | os.PathLike | None = None) -> bool:
    """Whether a set has a split to judge on; True of one that is not prepared, whose splits are not known yet."""
    named = parse(name)
    splits = builder(named, data_dir).info.splits
    return not len(splits) or held_out_split(splits, named.split) is not None


def held_out(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """The name of what a set with this training split is judged on. Raises `InputError` if there is no such split."""
    named = parse(name)
    splits = builder(named, data_dir).info.splits
    return f'{named.prepared}:{_split(splits, named, "test") if len(splits) else "test"}'


def _split(splits: Any, name: Name, split: str) -> str:
    """The split that is read. Raises `InputError` for one that does not exist or is empty."""
    asked: str | None = name.split or split if split == 'train' else split
    if split == 'test':
        asked = held_out_split(splits, name.split)
    try:
        empty = splits[asked].num_examples == 0
    except Exception as error:  # TFDS has one exception for each way to write a split wrong, or a missing one
        hint = f'; {name.prepared}:{next(iter(splits))} names one' if asked == 'train' and len(splits) else ''
        other = f' other than {name.split}' if split == 'test' and name.split else ''
        raise InputError(f'{name.prepared} has splits {", ".join(splits)}, not {asked or split!r}{other}{hint}') from error
    if empty or asked is None:
        raise InputError(f'{asked!r} of {name.prepared} has no images')
    return asked


def _records(made: Any, name: Name, split: str) -> Any:
    """The records with their images as files. Raises `InputError` for data in another format, and damaged data."""
    import tensorflow_datasets as tfds

    images = [key for key, feature in made.info.features.items() if isinstance(feature, tfds.features.Image)]
    try:
        return made.as_data_source(split=split, decoders=dict.fromkeys(images, tfds.decode.SkipDecoding()))
    except NotImplementedError as error:
        raise InputError(
            f'{name.prepared} in {made.data_dir} is stored for TensorFlow only; prepare it anew with '
            f'python -m gan_jax.data.tfds {name.prepared} --data-dir NEW_FOLDER'
        ) from error
    except Exception as error:  # damaged files
        raise InputError(f'cannot read {name.prepared} in {made.data_dir}: {one_line(error)}') from error
