"""What pix2pix and CycleGAN share: their flags, and pictures of the same images over training."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import optax

import gan_jax
from gan_jax import data, parallel, runs
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, Optimizers, linear_decay
from gan_jax.penalties import PENALTIES, Penalty
from gan_jax.ranges import BatchSize, Count, Seed, Share, Text, Weight, Width
from gan_jax.registry import build
from gan_jax.runs import pictures, samples
from gan_jax.typing import AnyArray


@dataclasses.dataclass(frozen=True)
class TranslationOptions(runs.Options):
    """Methods are written NAME or NAME:setting=value,setting=value, with the names and settings of the library's factories."""

    steps: Count = 10_000
    batch_size: BatchSize = 1
    width: Width = 16
    """Channels of the first layer of every network; the papers have 64."""
    objective: str = 'non_saturating'
    """minimax, non_saturating, wasserstein, least_squares, hinge, relativistic, relativistic_average, or f_gan:divergence=kl."""
    objective_weight: Weight = 1.0
    penalties: tuple[str, ...] = ()
    """Any of r1:gamma=1, r2:gamma=1, roth:gamma=0.1, wgan_gp:weight=10, dragan:weight=10; the papers have none."""
    optimizers: str = 'adam'
    """Both players', by paper: adam (2e-4, beta1 .5, as in both papers), wgan, wgan_gp, ttur."""
    constant: Share = 1.0
    """The share of the steps after which the learning rates fall linearly to 0; 1 for rates that do not fall."""
    ema_decay: Share = 0.999
    """Of the averaged generator, which draws all pictures and numbers; 0 for the present one, as in the papers."""
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    """What the layers compute in; parameters, logits and losses are float32."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over several devices."""
    init_from: Text | None = None
    """Start from the networks of this run's newest checkpoint; optimizers and schedules begin anew."""
    seed: Seed = 0
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, with their partners, and count them."""
    sample_every: Count = 250
    checkpoint_every: Count = 2000

    free: ClassVar[tuple[str, ...]] = ('sample_every', 'checkpoint_every')

    def identity(self) -> dict[str, Any]:
        """Rates that fall over the whole run make its length part of what it is."""
        return super().identity() | ({} if self.constant == 1 else {'decay_steps': self.steps})

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        return {'steps' if name == 'decay_steps' else name: value for name, value in identity.items()}

    def check(self) -> None:
        """Raises `InputError` for a name, a count or a weight that does not work, before anything is loaded or written."""
        runs.check_objective(self.objective)
        nothing: Any = None  # a game is made of its networks only when it is initialised
        self.train_step(nothing, None)
        self.method(None)
        parallel.check_divisible(self.batch_size)

    def method(self, axis_name: str | None) -> tuple[Objective, list[Penalty]]:
        """The objective and the penalties. Raises `InputError`."""
        penalties = [build(PENALTIES, text, axis_name=axis_name) for text in self.penalties]
        return build(OBJECTIVES, self.objective, axis_name=axis_name), penalties

    def players(self) -> Optimizers:
        """Both optimizers with their falling rates. Raises `InputError`."""
        pair = build(OPTIMIZERS, self.optimizers)
        if self.constant == 1:
            return pair
        factor = linear_decay(self.steps, self.constant)
        # Optimizers count their own updates, of which D may take several in a step.
        scaled = lambda optimizer, updates: optax.chain(optimizer, optax.scale_by_schedule(lambda n: factor(n // updates)))
        return Optimizers(
            scaled(pair.generator, 1), scaled(pair.discriminator, pair.discriminator_steps), pair.discriminator_steps
        )

    def train_step(self, game: gan_jax.Game, axis_name: str | None) -> gan_jax.training.Step:
        """The game's train step. Raises `InputError`."""
        players = self.players()
        try:
            return gan_jax.make_train_step(
                game,
                players.generator,
                players.discriminator,
                discriminator_steps=players.discriminator_steps,
                ema_decay=self.ema_decay,
                axis_name=axis_name,
            )
        except ValueError as error:
            raise InputError(str(error)) from error


def load_pairs(
    path: str | pathlib.Path, size: int, limit: int, *, skip_broken: bool = False, **options: Any
) -> tuple[dict[str, np.ndarray], ...]:
    """Pairs to train on, at the size that they are cropped from (`data.loading_size`), and at most `limit` held-out ones.

    Those are the split 'val', or 'test'; of a folder without splits, every tenth pair. `options` are `data.PairSource`'s.
    Raises `InputError` for a folder that cannot be read, or that has too few pairs.
    """
    split = next((split for split in ('val', 'test') if split in data.pair_splits(path)), 'train')
    options |= {'skip_broken': skip_broken}
    source, train = data.PairSource(path, data.loading_size(size), split='train', **options).load()
    held_out = data.PairSource(path, size, split=split, **{**options, 'channels': source.channels}).readable()
    rows, judged = (np.arange(len(source)) for source in (source, held_out))
    if split == 'train':
        rows, judged = rows[rows % 10 > 0], judged[::10]
    if min(len(rows), len(judged)) < 2:
        raise InputError(f'{path} has {len(source)} pairs to train on, held-out ones included: at least 2 of each are needed')
    judged = judged[:limit]
    broken = dict.fromkeys([*source.broken, *held_out.broken])  # of a folder without splits, they are the same
    found = f'{len(rows):,} pairs of images to train on, {len(judged):,} held out'
    print(f'{path}: {found}{left_out(list(broken))}')
    return {name: images[rows] for name, images in train.items()}, held_out.read(judged.tolist())


def central(images: np.ndarray, size: int) -> np.ndarray:
    """The central squares of images."""
    cut = (images.shape[1] - size) // 2
    return images[:, cut : cut + size, cut : cut + size]


_GAP = 2

Columns = Sequence[tuple[str, AnyArray]]
"""Titled columns of images, each `[n, h, w, 1 or 3]`, uint8 or in [-1, 1]: row i is about one image."""


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
    """A figure of a picture whose columns, of one width, have titles; pixel for pixel."""
    from matplotlib.figure import Figure

    dpi = 110
    height, width = picture.shape[:2]
    figure = Figure(figsize=(width / dpi, height / dpi))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, interpolation='nearest')
    ax.set_xticks((np.arange(len(titles)) + 0.5) * width / len(titles), titles, fontsize=7)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return figure


def picture_every(run: runs.RunDirectory, draw: Callable[[gan_jax.TrainState], Columns], *, every: int) -> runs.Callback:
    """A callback that draws the same images' columns to `samples/step_N.png` and `samples.png`."""

    def call(step: int, state: gan_jax.TrainState) -> None:
        picture = table_of_images(draw(state))
        for path in (samples.frame_path(run, step), run.path / 'samples.png'):
            pictures.save_picture(path, picture)

    return runs.Callback(every, call)


def save_progress(run: runs.RunDirectory, titles: Sequence[str], changing: int, *, steps: int = 6) -> pathlib.Path:
    """Writes `progress.png`: of column `changing` what was drawn at several steps, ever further apart, and the others once.

    Pictures that cannot be read are left out."""
    from PIL import Image

    files = [picture for picture in run.pictures() if pictures.is_readable(picture)]
    chosen = [files[i] for i in np.unique(np.geomspace(1, len(files), steps).round().astype(int) - 1)]
    edge, *parts = zip(*(_columns(np.asarray(Image.open(file)), len(titles)) for file in chosen), strict=True)
    numbers = [f'step\n{int(file.stem.removeprefix("step_")):,}' for file in chosen]
    before, after = [part[-1] for part in parts[:changing]], [part[-1] for part in parts[changing + 1 :]]
    picture = np.concatenate([edge[0], *before, *parts[changing], *after], 1)
    path = run.path / 'progress.png'
    pictures.save_figure(path, titled(picture, [*titles[:changing], *numbers, *titles[changing + 1 :]]))
    return path


def _columns(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """The left edge of a picture of `table_of_images`, and its columns, each with the gap to its right."""
    return [picture[:, :_GAP], *np.split(picture[:, _GAP:], count, 1)]
