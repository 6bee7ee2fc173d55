"""Image data sets as arrays: their type, the handwritten digits, and conversion of size and colour."""

import importlib.util
import pathlib
from typing import NamedTuple

import numpy as np

from gan_jax import memory
from gan_jax.data.reading import Size, cropped, sides, size_of
from gan_jax.errors import InputError


class Images(NamedTuple):
    """A labelled or unlabelled set of images in memory."""

    images: np.ndarray
    """uint8, `[n, height, width, channels]`"""
    labels: np.ndarray | None
    """int32, `[n]`, or None."""
    classes: tuple[str, ...] = ()
    """A name for each label; empty without labels."""
    broken: tuple[str, ...] = ()
    """Files that were left out because they could not be read."""

    @property
    def size(self) -> Size:
        """Side of squares, or height and width."""
        return size_of(*self.images.shape[1:3])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.images.shape[3]


def digits(split: str = 'train') -> Images:
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 pixels with 16 grey levels (Alpaydin and Kaynak 1998), without a download.

    The data set comes without splits. Here 'test' consists of 360 images, 20 %, drawn once by a fixed seed, and 'train' of the
    other 1,437. Raises `InputError` for any other split.
    """
    if split not in ('train', 'test'):
        raise InputError(f"the digits have no split {split!r}; they have 'train' and 'test'")
    images, labels = _scikit_learn_digits()
    order = np.random.default_rng(0).permutation(len(images))
    chosen = np.sort(order[:360] if split == 'test' else order[360:])
    pixels = np.round(images[chosen] * (255 / 16)).astype(np.uint8)
    return Images(pixels[..., None], labels[chosen].astype(np.int32), tuple('0123456789'))


def _scikit_learn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Reads images `[n, 8, 8]` from 0 to 16 and labels from the package's file, because importing scikit-learn takes seconds."""
    package = importlib.util.find_spec('sklearn')
    for folder in (package and package.submodule_search_locations) or ():
        file = pathlib.Path(folder) / 'datasets' / 'data' / 'digits.csv.gz'
        if file.is_file():
            table = np.loadtxt(file, delimiter=',')
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    from sklearn.datasets import load_digits  # a release that keeps the file elsewhere

    data = load_digits()
    return data.images, data.target


def resize(images: np.ndarray, size: Size) -> np.ndarray:
    """Crops uint8 images `[n, h, w, c]` around their centres to the shape of `size`, and resizes them to it with antialiasing."""
    from PIL import Image

    if images.shape[1:3] == sides(size):
        return images
    height, width = sides(size)
    need = 2 * len(images) * height * width * images.shape[3]  # of all of them, and of the list that they are joined from
    memory.require(need, f'{len(images):,} images of {height} x {width} pixels', 'choose a smaller --size')
    grey = images.shape[3] == 1
    return np.stack([cropped(Image.fromarray(image.squeeze(-1) if grey else image), size) for image in images])


def recoloured(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Converts uint8 images `[n, h, w, 1 or 3]` to this number of channels, or leaves them unchanged if it is None.

    Grey is repeated in all three channels; colour becomes the luma of ITU-R 601, as in Pillow.
    """
    if channels in (None, images.shape[3]):
        return images
    if channels == 3:
        return images.repeat(3, axis=3)
    return (images @ np.array([[19595], [38470], [7471]], np.uint32) + 0x8000 >> 16).astype(np.uint8)
