"""Pictures of a run. All files are written atomically."""

import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gan_jax.files import write_whole


def image_grid(images: np.ndarray, *, columns: int = 8, scale: int = 1, gap: int = 2) -> np.ndarray:
    """Arranges uint8 images `[n, h, w, c]` row by row in one picture `[H, W, c]`.

    Args:
        images: uint8 `[n, h, w, c]`.
        columns: number of images in a row.
        scale: side of the square by which each pixel is replaced.
        gap: width of the white gaps between images, in pixels.
    """
    images = np.asarray(images).repeat(scale, 1).repeat(scale, 2)
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    picture = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        picture[top : top + height, left : left + width] = image
    return picture


def save_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a uint8 picture `[h, w, 1 or 3]` as PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(out, 'PNG')
    write_whole(path, out.getvalue())


def save(path: pathlib.Path, picture: Any) -> None:
    """Writes a uint8 image `[h, w, c]` or a matplotlib figure as PNG."""
    (save_picture if isinstance(picture, np.ndarray) else save_figure)(path, picture)


def is_readable(path: pathlib.Path) -> bool:
    """Whether a picture can be read; prints a message if it cannot."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError):  # Pillow raises any of these for a broken PNG
        print(f'{path} is damaged and has been omitted')
        return False
    return True


def save_animation(path: pathlib.Path, frames: Sequence[pathlib.Path], *, seconds: float = 8.0) -> None:
    """Writes pictures in order as an animated GIF of approximately the given length, with a pause on the last one."""
    from PIL import Image

    duration = [max(40, int(1000 * seconds / len(frames)))] * (len(frames) - 1) + [2000]
    _save_gif(path, [Image.open(frame) for frame in frames], duration)


def save_film(path: pathlib.Path, frames: Sequence[np.ndarray], rate: float) -> None:
    """Writes uint8 pictures `[h, w, 1 or 3]` as a looping animated GIF, with `rate` pictures per second."""
    from PIL import Image

    images = [Image.fromarray(frame.squeeze(-1) if frame.shape[-1] == 1 else frame) for frame in frames]
    _save_gif(path, images, 10 * min(65_535, max(1, round(100 / rate))))  # GIF durations are in hundredths of a second


def _save_gif(path: pathlib.Path, images: Sequence[Any], milliseconds: int | list[int]) -> None:
    from PIL import Image

    first, *others = [image.convert('P', palette=Image.Palette.ADAPTIVE) for image in images]
    out = io.BytesIO()
    first.save(out, 'GIF', save_all=True, append_images=others, duration=milliseconds, loop=0)
    write_whole(path, out.getvalue())


def save_figure(path: pathlib.Path, figure: Any) -> None:
    """Writes a matplotlib figure as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=110, bbox_inches='tight')
    write_whole(path, out.getvalue())


def loss_curves(rows: Sequence[dict[str, float]]) -> Any:
    """A figure of the logged values, with the losses above and everything else below."""
    names = [name for name in rows[0] if name not in ('step', 'images_per_second')]
    groups = [[name for name in names if name.endswith('_loss')], [name for name in names if not name.endswith('_loss')]]
    return curves(rows, [group for group in groups if group])


def curves(rows: Sequence[dict[str, float]], groups: Sequence[Sequence[str]], *, title: str = '') -> Any:
    """A figure of logged values over steps, with one panel for each group of names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6 * len(groups)))
    axes = np.atleast_1d(figure.subplots(len(groups), 1, sharex=True))
    for ax, group in zip(axes, groups, strict=True):
        for name in group:
            ax.plot([row['step'] for row in rows], [row.get(name, np.nan) for row in rows], label=name.replace('_', ' '), lw=1)
        ax.legend(frameon=False)
        ax.spines[['top', 'right']].set_visible(False)
    axes[0].set_title(title, fontsize=8)
    axes[-1].set_xlabel('step')
    return figure


def scatter(panels: Sequence[tuple[str, np.ndarray]], centres: np.ndarray, *, limit: float, columns: int | None = None) -> Any:
    """A figure of point clouds `[n, 2]`, each in a titled panel, over the centres of the modes.

    Args:
        panels: titles and point clouds.
        centres: `[modes, 2]`.
        limit: largest absolute coordinate shown.
        columns: number of panels in a row; all of them by default.
    """
    from matplotlib.figure import Figure

    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.9 * rows))
    for i, (title, points) in enumerate(panels):
        ax = figure.add_subplot(rows, columns, i + 1)
        ax.scatter(centres[:, 0], centres[:, 1], s=60, facecolors='none', edgecolors='0.6', lw=0.8)
        ax.scatter(points[:, 0], points[:, 1], s=2, alpha=0.4, lw=0)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect='equal')
        ax.set_title(title, fontsize=8)
    return figure
