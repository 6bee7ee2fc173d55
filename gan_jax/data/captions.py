"""Images with captions: a folder with a CSV, and TFDS data sets with a folder of text files."""

import csv
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from gan_jax.data import decoding
from gan_jax.data.reading import files_below, read_image
from gan_jax.errors import InputError

FILE_COLUMNS = ('file', 'image', 'filename', 'file_name')
CAPTION_COLUMN = 'caption'
FILE_NAMES = {'caltech_birds2011': 'image/filename', 'caltech_birds2010': 'image/filename', 'oxford_flowers102': 'file_name'}
"""The feature of a TFDS data set that names an image's file."""


class Captioned(NamedTuple):
    """Images with captions, in memory."""

    images: np.ndarray
    """uint8, `[n, size, size, channels]`"""
    captions: list[list[str]]
    """Of each image, at least one."""
    labels: np.ndarray
    """int32, `[n]`: what the captions are about. Captions of one label may be true of each other's images."""
    wrong: list[list[str]] | None = None
    """Captions that are nearly true of each image, and false; None if there are none but other images' captions."""

    broken: tuple[str, ...] = ()
    """Files that could not be read and were left out."""

    def take(self, rows: np.ndarray) -> 'Captioned':
        """The images of these rows."""
        wrong = self.wrong and [self.wrong[i] for i in rows]
        return Captioned(self.images[rows], [self.captions[i] for i in rows], self.labels[rows], wrong)


def captioned_folder(
    path: str | pathlib.Path, size: int, *, captions: str = 'captions.csv', channels: int = 3, skip_broken: bool = False
) -> Captioned:
    """A folder of images and its CSV of captions: columns `file` (or `image`) and `caption`, any others, several rows an image.

    Files are named relative to the folder, or to its folder `images`. A caption in the last column may have commas without
    quotes about it. Images are cropped to their central square and resized; each has a label of its own. Raises `InputError`,
    with file and line, for columns that are missing, a row without a caption or with too many columns, a quote that is not
    closed, and for an image that is missing or that cannot be read; `skip_broken` leaves out the latter.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise InputError(f'no folder {path}')
    find = lambda name: next((file for file in (path / name, path / 'images' / name) if name and file.is_file()), None)
    texts: dict[pathlib.Path, list[str]] = {}
    for name, caption, place in _rows(path / captions):
        file = find(name)
        if file is None:
            raise InputError(f'{place}: no image {name!r} in {path}')
        if any(find(cell.strip()) for line in caption.splitlines()[1:] for cell in line.split(',')):
            raise InputError(f'{place}: the caption of {name} goes on into other rows: a quote is not closed')
        texts.setdefault(file, []).append(caption)
    read = lambda files: read_image(files[0], size, channels)
    examples = [(file,) for file in texts]
    found = decoding.decode(examples, read, folder=path, form=f'captioned {size} {channels}', skip_broken=skip_broken)
    fine = [texts[file] for file, readable in zip(texts, found.readable, strict=True) if readable]
    broken = tuple(str(file) for file, readable in zip(texts, found.readable, strict=True) if not readable)
    return Captioned(found.images, fine, np.arange(len(fine), dtype=np.int32), broken=broken)


def _rows(file: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """`(image, caption, where that stands)` of each row."""
    rows = _cells(file)
    _, columns = next(rows, (0, []))
    name = next((column for column in FILE_COLUMNS if column in columns), None)
    if name is None or CAPTION_COLUMN not in columns:
        raise InputError(f"{file} has columns {', '.join(columns) or 'none'}; captions are in columns 'file' and 'caption'")
    empty = True
    for line, cells in rows:
        empty, place = False, f'{file} line {line}'
        if len(cells) > len(columns) and columns[-1] != CAPTION_COLUMN:
            raise InputError(f'{place}: {len(cells)} columns, and not {len(columns)}; a caption with a comma is put in quotes')
        cells[len(columns) - 1 :] = [','.join(cells[len(columns) - 1 :])]
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        if not row[name]:
            raise InputError(f'{place}: no file is named')
        if not any(c.isalnum() for c in row.get(CAPTION_COLUMN, '')):
            raise InputError(f'{place}: the caption of {row[name]} is empty')
        yield row[name], row[CAPTION_COLUMN], place
    if empty:
        raise InputError(f'{file} has no rows')


def _cells(file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row of a CSV that is not empty, and the line that it begins in."""
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
        why = 'a quote is not closed, or text follows where it is' if quoted else error
        raise InputError(f'{file} line {line}: {why}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'cannot read captions {file}: {error}') from error


class NamedSource(Protocol):
    """A data set on disk whose images have file names, as `TfdsSource` is."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """`image`, uint8 `[n, size, size, channels]`, and `label`, int32 `[n]`, where there are labels."""

    def column(self, name: str) -> list:
        """One feature of all records, in order."""


def captioned_source(source: NamedSource, folder: str | pathlib.Path, file_name: str) -> Captioned:
    """A data set of files and the captions of each, from `folder/**/STEM.txt`, a caption in each line.

    That is the form of the captions that Reed et al. published for CUB-200 and Oxford flowers; FILE_NAMES has the two sets'
    `file_name` features. Labels are the data set's classes, or one for each image if it has none. Raises `InputError` for a
    folder that holds no text files, for images without a file of captions, by name, and for an empty one.
    """
    captions = join_captions([pathlib.PurePosixPath(_text(name)) for name in source.column(file_name)], pathlib.Path(folder))
    batch = source.read(range(len(source)))
    labels = batch.get('label', np.arange(len(source), dtype=np.int32))
    return Captioned(batch['image'], captions, labels.astype(np.int32))


def join_captions(names: Sequence[pathlib.PurePath], folder: pathlib.Path) -> list[list[str]]:
    """The captions of each image by its file's name, whatever folder and suffix; see `captioned_source`."""
    files: dict[str, pathlib.Path] = {}
    for file in files_below(folder, ('.txt',)):
        if file.stem in files:
            raise InputError(f'{file} and {files[file.stem]} are captions of one name')
        files[file.stem] = file
    if not files:
        raise InputError(f'no text files of captions in {folder}')
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
