"""Image data sets as arrays: handwritten digits, a folder, arrays of your own."""

import importlib.util
import pathlib
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')


class Images(NamedTuple):
    """A labelled or unlabelled set of images in memory."""

    images: np.ndarray
    """uint8, `[n, size, size, channels]`"""
    labels: np.ndarray | None
    """int32, `[n]`, or None"""
    classes: tuple[str, ...] = ()
    """A name for each label; empty without labels."""

    @property
    def size(self) -> int:
        return self.images.shape[1]

    @property
    def channels(self) -> int:
        return self.images.shape[3]


def digits(split: str = 'train') -> Images:
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, 16 grey levels (Alpaydin and Kaynak 1998). No network needed.

    The set has no split of its own. Here 'test' is 360 images, 20 %, drawn once by a fixed seed, and 'train' the other 1,437.
    """
    if split not in ('train', 'test'):
        raise InputError(f"the digits have splits 'train' and 'test', not {split!r}")
    images, labels = _scikit_learn_digits()
    order = np.random.default_rng(0).permutation(len(images))
    chosen = np.sort(order[:360] if split == 'test' else order[360:])
    pixels = np.round(images[chosen] * (255 / 16)).astype(np.uint8)
    return Images(pixels[..., None], labels[chosen].astype(np.int32), tuple('0123456789'))


def _scikit_learn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 8, 8]` from 0 to 16, and labels, from the file in the package: importing scikit-learn takes seconds."""
    package = importlib.util.find_spec('sklearn')
    for folder in (package and package.submodule_search_locations) or ():
        file = pathlib.Path(folder) / 'datasets' / 'data' / 'digits.csv.gz'
        if file.is_file():
            table = np.loadtxt(file, delimiter=',')
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    from sklearn.datasets import load_digits  # a release that keeps the file elsewhere

    data = load_digits()
    return data.images, data.target


def folder(path: str | pathlib.Path, size: int, channels: int = 3) -> Images:
    """Every image below a folder, cropped to its central square and resized; no labels.

    Raises `InputError` for a folder that is not there or holds no image, and for an image that cannot be read, by name.
    """
    files = image_files(path)
    images = np.empty((len(files), size, size, channels), np.uint8)
    for i, file in enumerate(files):
        images[i] = read_image(file, size, channels)
    return Images(images, None)


def image_files(path: str | pathlib.Path) -> list[pathlib.Path]:
    """The image files below a folder, sorted. Raises `InputError` if there is no such folder, or no image in it."""
    path = pathlib.Path(path)
    if not path.is_dir():
        raise InputError(f'no folder {path}')
    files = sorted(file for file in path.rglob('*') if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(f'no images in {path} (looked for {" ".join(SUFFIXES)})')
    return files


def read_image(file: pathlib.Path, size: int | None, channels: int) -> np.ndarray:
    """One image as uint8 `[h, w, channels]`: as it is, or cropped to its central square and resized to `size`.

    Raises `InputError`, with its name, for an image that cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            pixels = image.convert('RGB' if channels == 3 else 'L')
            return _square(pixels, size) if size else np.asarray(pixels).reshape(image.height, image.width, channels)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f'cannot read image {file}: {error}') from error


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 images `[n, h, w, c]`, cropped to the central square and resized to `[n, size, size, c]`, antialiased."""
    from PIL import Image

    if images.shape[1:3] == (size, size):
        return images
    grey = images.shape[3] == 1
    return np.stack([_square(Image.fromarray(image.squeeze(-1) if grey else image), size) for image in images])


def _square(image, size: int) -> np.ndarray:
    from PIL import Image

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array
