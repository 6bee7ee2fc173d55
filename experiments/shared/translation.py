"""Flags of pix2pix and CycleGAN, and their pictures of the same images over training."""

import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

import gan_jax
from experiments.shared.playing import played
from gan_jax import data, runs
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError
from gan_jax.ranges import BatchSize, Compared, Count, Width
from gan_jax.runs import pictures
from gan_jax.typing import AnyArray


@dataclasses.dataclass(frozen=True)
class TranslationOptions(runs.GameOptions):
    """Generators that translate images."""

    batch_size: BatchSize = 4
    """Examples in a minibatch; 1 in the papers, for 200 epochs."""
    width: Width = 16
    """Channels of the first layer of every network; the papers have 64."""
    g_norm: str = 'instance'
    """Normalization in G: batch, instance, layer, spectral, weight or none."""
    d_norm: str = 'instance'
    """Normalization in D, likewise."""
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """Dtype of the layers' computations; parameters, logits and losses are float32."""
    samples: Compared = 500
    """Maximal number of held-out images in the end table."""
    sample_every: Count = 250
    skip_broken: bool = False
    """Leave out unreadable images of a folder, with their partners, and report their number."""

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        if self.score_every:
            raise InputError(
                '--score-every requires images with labels; the end table compares held-out images and their translations'
            )
        if self.minibatch != 'none':
            raise InputError('--minibatch requires a D that judges whole images; here D judges patches')

    def played(self, rules: Callable[..., gan_jax.Game], *networks: Any, **settings: Any) -> gan_jax.Game:
        """The game `rules` of these networks with these options. Raises `InputError`.

        `rules` is `games.paired_translation` or `games.unpaired_translation`, and `settings` are its keyword arguments.
        """
        return played(self, rules, *networks, **settings)


def load_pairs(
    path: str | pathlib.Path, size: int, limit: int, *, skip_broken: bool = False, **options: Any
) -> tuple[dict[str, np.ndarray], ...]:
    """Pairs to train on, at the size they are cropped from (`data.loading_size`), and held-out pairs, at `size`.

    The held-out pairs are the split 'val', or else 'test'; in a folder without splits, every tenth pair. Both are uint8
    `{'input': [n, ...], 'target': [n, ...]}`. Prints their number. Raises `InputError` for a folder that cannot be read or has
    too few pairs.

    Args:
        path: The folder of pairs.
        size: Height and width.
        limit: Maximal number of held-out pairs.
        skip_broken: Whether to leave out images that cannot be read.
        **options: Further options of `data.PairSource`.
    """
    split = next((split for split in ('val', 'test') if split in data.pair_splits(path)), 'train')
    options |= {'skip_broken': skip_broken}
    source, train = data.PairSource(path, data.loading_size(size), split='train', **options).load()
    held_out = data.PairSource(path, size, split=split, **{**options, 'channels': source.channels}).readable()
    rows, judged = (np.arange(len(source)) for source in (source, held_out))
    if split == 'train':
        rows, judged = rows[rows % 10 > 0], judged[::10]
    if min(len(rows), len(judged)) < 2:
        raise InputError(f'{path} has {len(source)} pairs to train on, including those held out; at least 2 of each are required')
    judged = judged[:limit]
    broken = dict.fromkeys([*source.broken, *held_out.broken])  # without splits, both name the same files
    found = f'{len(rows):,} pairs of images to train on, {len(judged):,} held out'
    print(f'{path}: {found}{left_out(list(broken))}')
    return {name: images[rows] for name, images in train.items()}, held_out.read(judged.tolist())


def central(images: np.ndarray, size: int) -> np.ndarray:
    """The central squares of images, `[n, size, size, c]`."""
    cut = (images.shape[1] - size) // 2
    return images[:, cut : cut + size, cut : cut + size]


_GAP = 2

Columns = Sequence[tuple[str, AnyArray]]
"""Titled columns of images, each `[n, h, w, 1 or 3]`, uint8 or in [-1, 1]. Row i shows one image and its translations."""


def table_of_images(columns: Columns) -> np.ndarray:
    """The columns side by side as one picture `[H, W, 3]`."""
    shown = [np.asarray(x if x.dtype == np.uint8 else data.to_uint8(x)) for _, x in columns]
    shown = [np.broadcast_to(x, (*x.shape[:3], 3)) for x in shown]
    rows = np.stack(shown, 1).reshape(-1, *shown[0].shape[1:])
    return pictures.image_grid(rows, columns=len(columns), scale=max(1, 64 // shown[0].shape[1]), gap=_GAP)


def save_titled(path: pathlib.Path, columns: Columns) -> None:
    """Writes a picture of the columns with their titles."""
    pictures.save_figure(path, titled(table_of_images(columns), [title for title, _ in columns]))


def titled(picture: np.ndarray, titles: Sequence[str]) -> Any:
    """A figure of a picture with titles above its columns, which have equal width; it keeps every pixel.

    A picture of narrow columns is enlarged by a whole factor, so that titles fit, and long titles have several lines.
    """
    from matplotlib.figure import Figure

    dpi, letter = 110, 5.6  # letter: the mean width of one of 7 points, in pixels
    enlarged = math.ceil(100 * len(titles) / picture.shape[1])
    picture = picture.repeat(enlarged, 0).repeat(enlarged, 1)
    height, width = picture.shape[:2]
    titles = [textwrap.fill(title, int(width / len(titles) / letter)) for title in titles]
    figure = Figure(figsize=(width / dpi, height / dpi))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, interpolation='nearest')
    ax.set_xticks((np.arange(len(titles)) + 0.5) * width / len(titles), titles, fontsize=7)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return figure


def save_progress(run: runs.RunDirectory | None, titles: Sequence[str], changing: int, *, steps: int = 6) -> None:
    """Writes `progress.png` of an open run: column `changing` at several steps, geometrically spaced, and the other columns once.

    Pictures that cannot be read are left out.

    Args:
        run: The run.
        titles: Titles of the columns.
        changing: Index of the column that is shown at several steps.
        steps: Maximal number of steps to show.
    """
    from PIL import Image

    assert run is not None
    files = [picture for picture in run.pictures() if pictures.is_readable(picture)]
    chosen = [files[i] for i in np.unique(np.geomspace(1, len(files), steps).round().astype(int) - 1)]
    edge, *parts = zip(*(_columns(np.asarray(Image.open(file)), len(titles)) for file in chosen), strict=True)
    numbers = [f'step\n{int(file.stem.removeprefix("step_")):,}' for file in chosen]
    before, after = [part[-1] for part in parts[:changing]], [part[-1] for part in parts[changing + 1 :]]
    picture = np.concatenate([edge[0], *before, *parts[changing], *after], 1)
    pictures.save_figure(run.path / 'progress.png', titled(picture, [*titles[:changing], *numbers, *titles[changing + 1 :]]))


def _columns(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """The left edge of a picture of `table_of_images`, and its columns, each with the gap to its right."""
    return [picture[:, :_GAP], *np.split(picture[:, _GAP:], count, 1)]
