"""One film, or one sheet, of the pictures that several runs drew as they trained.

    python -m experiments.showcase runs/ring runs/dcgan runs/cyclegan --out showcase.gif
    python -m experiments.showcase runs/ring runs/dcgan runs/cyclegan --out showcase.png

Each run has a panel with its name and the step of the picture. A film shows every run from its first picture to its last,
however many steps that took; a sheet shows the last ones. The generators are not needed: the pictures are those in `samples/`,
and of a run on a mixture in the plane the points in `points/`.
"""

import dataclasses
import pathlib
from typing import Annotated

import numpy as np
import tyro

from experiments.shared import mixtures
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.ranges import Checked, Count, FileToWrite, Range, SomeNames
from gan_jax.runs import pictures

TITLE = 18
"""Height of a panel's title, in pixels."""
_HOLD = 8
"""How many frames the last picture of a film stays."""


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """A film or a sheet of several runs."""

    runs: Annotated[SomeNames, tyro.conf.Positional]
    """The runs' directories, such as runs/dcgan."""
    out: Annotated[str, FileToWrite()] = 'showcase.gif'
    """A .gif for a film, a .png for a sheet."""
    side: Annotated[int, Range(16, 2048)] = 240
    """Height and width of a panel, in pixels. Grids of images are cut to it, other pictures are shrunk."""
    columns: Count | None = None
    """Panels in a row; all of them if it is not given."""
    frames: Annotated[int, Range(2, 500)] = 20
    """Number of frames in a film."""
    rate: Annotated[float, Range(0.01, 50)] = 4.0
    """Frames a second."""


def main(config: Config) -> pathlib.Path:
    """Composes the film or the sheet, and returns its file. Raises `InputError` for a run without pictures."""
    out = pathlib.Path(config.out)
    if out.suffix.lower() not in ('.gif', '.png'):
        raise InputError(f'--out must end in .gif or .png, not {out}')
    drawn = {path.name: drawn_by(path) for path in map(pathlib.Path, config.runs)}
    if len(drawn) < len(config.runs):
        raise InputError('two of the runs have the same name, which is the title of their panels')
    moments = config.frames if out.suffix.lower() == '.gif' else 1
    frames = [frame(config, drawn, share) for share in np.linspace(1, 0, moments)[::-1]]
    if moments > 1:
        pictures.save_film(out, [*frames, *frames[-1:] * _HOLD], config.rate)
    else:
        pictures.save_picture(out, frames[0])
    print(f'{len(drawn)} runs, {len(frames)} frames of {frames[0].shape[1]} x {frames[0].shape[0]} pixels: {out}')
    return out


def drawn_by(path: pathlib.Path) -> list[pathlib.Path]:
    """The points of a run, or else its pictures, in the order of their steps. Raises `InputError` if there are neither."""
    runs.saved_identity(path)
    points = [file for file in path.glob('points/*.json') if file.stem.isdecimal()]
    found = sorted(points, key=step_of) or runs.pictures_of(path)
    if not found:
        raise InputError(f'{path} has no pictures in {path}/samples yet')
    return found


def step_of(file: pathlib.Path) -> int:
    """The step of a picture `step_N.png` or of points `N.json`."""
    return int(file.stem.removeprefix('step_'))


def frame(config: Config, drawn: dict[str, list[pathlib.Path]], share: float) -> np.ndarray:
    """All panels at a share of each run's pictures, uint8 `[h, w, 3]`."""
    chosen = {name: files[round(share * (len(files) - 1))] for name, files in drawn.items()}
    panels = [panel(file, f'{name}, step {step_of(file):,}', config.side) for name, file in chosen.items()]
    return pictures.image_grid(np.stack(panels), columns=min(config.columns or len(panels), len(panels)), gap=4)


def panel(file: pathlib.Path, title: str, side: int) -> np.ndarray:
    """One picture below its title, uint8 `[TITLE + side, side, 3]`. Raises `InputError` for a file that cannot be read."""
    from PIL import Image, ImageDraw

    picture = cloud(file, side) if file.suffix == '.json' else fitted(read(file), side)
    sheet = Image.new('RGB', (side, TITLE + side), 'white')
    sheet.paste(Image.fromarray(picture), ((side - picture.shape[1]) // 2, TITLE))
    ImageDraw.Draw(sheet).text((side // 2, TITLE // 2), title, 'black', anchor='mm', font_size=12)
    return np.asarray(sheet)


def read(file: pathlib.Path) -> np.ndarray:
    """A picture, uint8 `[h, w, 3]`. Raises `InputError` if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return np.asarray(opened.convert('RGB'))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises one or the other for a broken PNG
        raise InputError(f'cannot read {file}: {error}') from error


def cloud(file: pathlib.Path, side: int) -> np.ndarray:
    """The points of a run on a mixture as light on black, `[side, side, 3]`, over the same part of the plane at every step."""
    name = runs.saved_identity(file.parents[1])['data']
    reach = mixtures.limit(data.mixture(name))
    points = np.array(runs.read_json(file), np.float64).reshape(-1, 2)
    bins = -(-side // 2)
    counts, *_ = np.histogram2d(-points[:, 1], points[:, 0], bins, [[-reach, reach]] * 2)
    levels = np.round(255 * (1 - np.exp(-counts))).astype(np.uint8)
    return levels[..., None].repeat(2, 0).repeat(2, 1).repeat(3, 2)[:side, :side]


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture `[h, w, 3]` within `side x side`: of a grid the upper left images, of anything else all of it, smaller."""
    from PIL import Image

    if max(picture.shape[:2]) <= side:
        return picture
    rows, columns = (cut(picture, axis, side) for axis in (0, 1))
    if rows and columns:
        return picture[:rows, :columns]
    small = Image.fromarray(picture)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small)


def cut(picture: np.ndarray, axis: int, side: int) -> int:
    """The length to which a grid with white gaps is cut, at most `side` pixels; 0 for a picture that is not a grid."""
    white = (picture == 255).all((1 - axis, 2))
    gap = int(np.argmin(white))
    inner = np.flatnonzero(white[gap:side])
    return gap + int(inner[-1]) + 1 if 0 < gap <= 4 and len(inner) else 0
