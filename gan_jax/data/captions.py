"""Images with captions: a folder with a CSV file, and TFDS data sets with a folder of text files."""

import csv
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from gan_jax.data import decoding
from gan_jax.data.reading import files_below, read_image
from gan_jax.errors import InputError

FILE_COLUMNS = ('file', 'image', 'filename', 'file_name')
"""Accepted names of the column with the image's file."""
CAPTION_COLUMN = 'caption'
FILE_NAMES = {'caltech_birds2011': 'image/filename', 'caltech_birds2010': 'image/filename', 'oxford_flowers102': 'file_name'}
"""For each TFDS data set, the feature that contains the file names of its images."""


class Captioned(NamedTuple):
    """Images with captions, in memory."""

    images: np.ndarray
    """uint8, `[n, size, size, channels]`"""
    captions: list[list[str]]
    """At least one for each image."""
    labels: np.ndarray
    """int32, `[n]`: what the captions describe. Captions may be true of all images with the same label."""
    wrong: list[list[str]] | None = None
    """False but nearly true captions of each image; None if other images' captions are the only false ones."""

    broken: tuple[str, ...] = ()
    """Files that were left out because they could not be read."""

    def take(self, rows: np.ndarray) -> 'Captioned':
        """Returns the images of these rows with their captions and labels."""
        wrong = self.wrong and [self.wrong[i] for i in rows]
        return Captioned(self.images[rows], [self.captions[i] for i in rows], self.labels[rows], wrong)


def captioned_folder(
    path: str | pathlib.Path, size: int, *, captions: str = 'captions.csv', channels: int = 3, skip_broken: bool = False
) -> Captioned:
    """Loads a folder of images with captions in a CSV file.

    The columns are `file` (or `image`) and `caption`; other columns are ignored, and an image can have several rows. Files are
    named relative to the folder or to its subfolder `images`. A caption in the last column may contain commas without being
    quoted. Images are cropped to their central square and resized; each has its own label.

    Args:
        path: the folder.
        size: side to which images are resized.
        captions: name of the CSV file in the folder.
        channels: number of channels, 1 or 3.
        skip_broken: whether to leave out images that cannot be read.

    Raises `InputError`, with file and line, for missing columns, a row without a caption or with too many columns, an unclosed
    quote, a missing image and, unless `skip_broken`, an image that cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise InputError(f'no folder {path}')

    def find(name: str) -> pathlib.Path | None:
        try:
            return next((file for file in (path / name, path / 'images' / name) if name and file.is_file()), None)
        except (OSError, ValueError):  # text that no file could have as its name
            return None

    texts: dict[pathlib.Path, list[str]] = {}
    for name, caption, place in _rows(path / captions):
        file = find(name)
        if file is None:
            raise InputError(f'{place}: no image {name!r} in {path}')
        if any(find(cell.strip()) for line in caption.splitlines()[1:] for cell in line.split(',')):
            raise InputError(f'{place}: the caption of {name} continues into other rows: a quote is not closed')
        texts.setdefault(file, []).append(caption)
    read = lambda files: read_image(files[0], size, channels)
    examples = [(file,) for file in texts]
    found = decoding.decode(examples, read, folder=path, form=f'captioned {size} {channels}', skip_broken=skip_broken)
    fine = [texts[file] for file, readable in zip(texts, found.readable, strict=True) if readable]
    broken = tuple(str(file) for file, readable in zip(texts, found.readable, strict=True) if not readable)
    return Captioned(found.images, fine, np.arange(len(fine), dtype=np.int32), broken=broken)


def _rows(file: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Yields `(image, caption, position in the file)` for each row."""
    rows = _cells(file)
    _, columns = next(rows, (0, []))
    columns = [column.strip() for column in columns]
    if repeated := next((column for column in columns if column and columns.count(column) > 1), None):
        raise InputError(f'{file} has several columns {repeated!r}')
    name = next((column for column in FILE_COLUMNS if column in columns), None)
    if name is None or CAPTION_COLUMN not in columns:
        raise InputError(f"{file} must have columns 'file' and 'caption'; its columns: {', '.join(columns) or 'none'}")
    empty = True
    for line, cells in rows:
        empty, place = False, f'{file} line {line}'
        if len(cells) > len(columns) and columns[-1] != CAPTION_COLUMN:
            raise InputError(f'{place}: {len(cells)} columns instead of {len(columns)}; captions with a comma must be quoted')
        cells[len(columns) - 1 :] = [','.join(cells[len(columns) - 1 :])]
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        if not row[name]:
            raise InputError(f'{place}: the file name is empty')
        if not any(c.isalnum() for c in row.get(CAPTION_COLUMN, '')):
            raise InputError(f'{place}: the caption of {row[name]} is empty')
        yield row[name], row[CAPTION_COLUMN], place
    if empty:
        raise InputError(f'{file} has no rows')


def _cells(file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the first line and the cells of each row that is not empty."""
    line = 1
    try:
        with open(file, newline='', encoding='utf-8-sig') as lines:
            reader = csv.reader(lines, strict=True)
            for cells in reader:
                if any(cells):
                    yield line, cells
                line = reader.line_num + 1
    except csv.Error as error:
        quoted = 'end of data' in str(error) or 'expected after' in str(error)
        why = 'a quote is not closed, or text follows its end' if quoted else error
        raise InputError(f'{file} line {line}: {why}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'cannot read captions {file}: {error}') from error


class NamedSource(Protocol):
    """A data set on disk whose images have file names, such as a `TfdsSource`."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns `image`, uint8 `[n, size, size, channels]`, and, if there are labels, `label`, int32 `[n]`."""

    def column(self, name: str) -> list:
        """Returns one feature of all records, in order."""


def captioned_source(source: NamedSource, folder: str | pathlib.Path, file_name: str) -> Captioned:
    """Loads a data set of image files together with captions from `folder/**/STEM.txt`, one caption per line.

    This is the format in which Reed et al. published captions for CUB-200 and Oxford flowers; FILE_NAMES contains `file_name`
    for these sets. Labels are the classes of the data set, or one for each image if it has none. Raises `InputError` for a
    folder without text files, for images without a file of captions, and for a file without captions.
    """
    captions = join_captions([pathlib.PurePosixPath(_text(name)) for name in source.column(file_name)], pathlib.Path(folder))
    batch = source.read(range(len(source)))
    labels = batch.get('label', np.arange(len(source), dtype=np.int32))
    return Captioned(batch['image'], captions, labels.astype(np.int32))


def join_captions(names: Sequence[pathlib.PurePath], folder: pathlib.Path) -> list[list[str]]:
    """Returns the captions of each image by the stem of its file name, in whatever folder; see `captioned_source`.

    Raises `InputError` if there are no text files, if two have the same stem, or if an image has no captions.
    """
    files: dict[str, pathlib.Path] = {}
    for file in files_below(folder, ('.txt',)):
        if file.stem in files:
            raise InputError(f'{file} and {files[file.stem]} are captions of the same name')
        files[file.stem] = file
    if not files:
        raise InputError(f'no text files with captions in {folder}')
    missing = [str(name) for name in names if name.stem not in files]
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        raise InputError(f'no captions in {folder} for {", ".join(missing[:3])}{more}')
    return [_lines(files[name.stem]) for name in names]


def _lines(file: pathlib.Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding='utf-8').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'cannot read captions {file}: {error}') from error
    if not any(any(c.isalnum() for c in line) for line in lines):
        raise InputError(f'{file} has no captions')
    return [line for line in lines if any(c.isalnum() for c in line)]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
