"""One name for every image data set: `digits`, a folder's path, or a TFDS name."""

import os
import pathlib

from gan_jax.data.images import Images, digits, folder, resize
from gan_jax.data.tfds import TfdsSource

DIGITS_SIZE = 16
"""The digits are 8 x 8; by default they are enlarged to this."""


def load(name: str, *, split: str = 'train', size: int | None = None, data_dir: str | os.PathLike | None = None) -> Images:
    """An image data set in memory, uint8 `[n, size, size, channels]`.

    `name` is 'digits', the path of a folder of images (which has no splits: `split` is ignored), or a TFDS name. `size` is
    the data set's own if it is not given; 16 for the digits, 64 for a folder. Raises `InputError` for a name that is none.
    """
    if name == 'digits':
        data = digits(split)
        return data._replace(images=resize(data.images, size or DIGITS_SIZE))
    if is_folder(name):
        return folder(name, size or 64)
    source = TfdsSource(name, split, size=size, data_dir=data_dir)
    batch = source.read(range(len(source)))
    return Images(batch['image'], batch.get('label'), source.classes)


def open_source(
    name: str, *, split: str = 'train', size: int | None = None, data_dir: str | os.PathLike | None = None
) -> TfdsSource:
    """A TFDS data set read from disk as it is needed, for `data.stream`."""
    return TfdsSource(name, split, size=size, data_dir=data_dir)


def load_or_open(
    name: str, *, split: str, size: int | None, data_dir: str | os.PathLike | None, memory_limit: float
) -> Images | TfdsSource:
    """`load`, or `open_source` for a TFDS data set of more than `memory_limit` bytes of pixels."""
    if name != 'digits' and not is_folder(name):
        source = TfdsSource(name, split, size=size, data_dir=data_dir)
        if len(source) * source.size**2 * source.channels > memory_limit:
            return source
    return load(name, split=split, size=size, data_dir=data_dir)


def is_folder(name: str) -> bool:
    """Whether a data set's name is the path of a folder: one that exists, or that is spelled with a separator."""
    return pathlib.Path(name).is_dir() or os.sep in name or name.startswith(('.', '~'))
