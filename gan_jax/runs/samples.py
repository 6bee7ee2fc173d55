"""Samples during training: grids of the same latents at regular intervals, and finally an animation of all of them."""

import pathlib

import numpy as np

from gan_jax.data.feeds import to_uint8
from gan_jax.runs import pictures
from gan_jax.runs.directory import RunDirectory
from gan_jax.typing import AnyArray


def grid(images: AnyArray, *, columns: int = 8) -> np.ndarray:
    """A picture of images `[n, h, w, c]` in [-1, 1]. Raises `InputError` for images that are not finite."""
    shown = np.asarray(to_uint8(images))
    return pictures.image_grid(shown, columns=columns, scale=max(1, 64 // shown.shape[1]))


def frame_path(run: RunDirectory, step: int) -> pathlib.Path:
    """The path of the picture of a step."""
    return run.path / 'samples' / f'step_{step:07d}.png'


def animate(run: RunDirectory) -> None:
    """Writes all readable pictures in `samples/` as `samples.gif`."""
    frames = [picture for picture in run.pictures() if pictures.is_readable(picture)]
    if len(frames) > 1:
        pictures.save_animation(run.path / 'samples.gif', frames)
