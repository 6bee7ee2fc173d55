"""Samples over training: a grid of the same latents every so often, and at the end all of them as an animation."""

from collections.abc import Callable

import numpy as np

from gan_jax.data.feeds import to_uint8
from gan_jax.runs import pictures
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.loop import Callback
from gan_jax.training import TrainState
from gan_jax.typing import Array


def image_samples(run: RunDirectory, sampler: Callable[[TrainState], Array], *, every: int, columns: int = 8) -> Callback:
    """A callback that draws `sampler(state)`, images `[n, h, w, c]` in [-1, 1], to `samples/step_N.png` and `samples.png`."""

    def call(step: int, state: TrainState) -> None:
        images = np.asarray(to_uint8(sampler(state)))
        grid = pictures.image_grid(images, columns=columns, scale=max(1, 64 // images.shape[1]))
        for path in (frame_path(run, step), run.path / 'samples.png'):
            pictures.save_picture(path, grid)

    return Callback(every, call)


def frame_path(run: RunDirectory, step: int):
    """Where the picture of a step lies."""
    return run.path / 'samples' / f'step_{step:07d}.png'


def animate(run: RunDirectory) -> None:
    """Writes all the pictures of `samples/` as `samples.gif`, without those that cannot be read."""
    frames = [picture for picture in run.pictures() if pictures.is_readable(picture)]
    if len(frames) > 1:
        pictures.save_animation(run.path / 'samples.gif', frames)
