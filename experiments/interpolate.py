"""Makes a film of a trained run's images on paths between latents.

    python -m experiments.interpolate runs/dcgan
    python -m experiments.interpolate runs/dcgan --panels 1 --points 10 --steps 30 --out walk.gif
    python -m experiments.interpolate runs/dcgan --latents images/latents.npy

Each panel of the film visits its own latents and returns to the first: along arcs about the origin for normal latents, along
straight lines for uniform ones, and along straight lines in w for style-based generators. The label or caption of a panel does
not change.
"""

import dataclasses
import pathlib
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.shared import generators
from gan_jax import latents, runs
from gan_jax.errors import InputError
from gan_jax.ranges import FileToWrite, Range
from gan_jax.runs import pictures
from gan_jax.runs.generators import BLOCK


@dataclasses.dataclass(frozen=True)
class Config(generators.PathOptions):
    """A film of images between latents."""

    panels: Annotated[int, Range(1, 1000)] = 16
    """Films side by side; with --latents there is one, which visits them in order."""
    points: Annotated[int, Range(2, 1000)] = 6
    """Latents that each panel visits; with --latents, all of them."""
    steps: Annotated[int, Range(1, 1000)] = 16
    """Pictures from each latent to the next."""
    rate: Annotated[float, Range(0.01, 50)] = 15.0
    """Pictures per second, at most 50."""
    out: Annotated[str, FileToWrite()] | None = None
    """The film, a .gif that does not exist yet; by default film.gif in the run's directory, which is overwritten."""


def main(config: Config) -> pathlib.Path:
    """Draws the film and returns its file. Raises `InputError`."""
    out = check(config)
    trained = config.load()
    points, conditions = route(config, trained.made)
    space = generators.space_of(trained, config.way)
    points = np.asarray(space.points(points.reshape(-1, points.shape[-1]))).reshape(*points.shape[:2], -1)
    loops = jnp.concatenate([points, points[:, :1]], 1)
    walks = np.stack([latents.path(loop, config.steps, space.between)[:-1] for loop in loops], 1)  # [time, panel, size]
    told = np.broadcast_to(conditions, walks.shape[:2]).ravel()
    flat = walks.reshape(-1, walks.shape[-1])
    blocks = -(-len(flat) // BLOCK)
    drawn = tqdm(generators.images_of(space.trained, flat, told), total=blocks, unit='block', dynamic_ncols=True, leave=False)
    images = np.concatenate(list(drawn))
    images = images.reshape(*walks.shape[:2], *images.shape[1:])
    columns = int(np.ceil(walks.shape[1] ** 0.5))
    scale = max(1, (64 if columns > 1 else 256) // images.shape[2])
    frames = [pictures.image_grid(frame, columns=columns, scale=scale) for frame in images]
    pictures.save_film(out, frames, config.rate)
    print(f'{len(frames)} pictures by {config.run} at step {trained.step}, {walks.shape[1]} side by side: {out}')
    return out


def check(config: Config) -> pathlib.Path:
    """The file of the film. Raises `InputError` for options that cannot work, before anything is loaded or written."""
    if config.out is None:
        return pathlib.Path(config.run) / 'film.gif'
    out = pathlib.Path(config.out)
    if out.suffix.lower() != '.gif':
        raise InputError(f'--out must be a .gif, not {out}')
    if out.exists():
        raise InputError(f'{out} exists; choose another --out')
    return out


def route(config: Config, generator: runs.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The latents that each panel visits, `[panels, points, size]`, and the condition of each panel, int `[panels]`.

    Raises `InputError` for a file of latents that has only one.
    """
    own = config.own_latents(generator)
    if own is not None:
        if len(own) < 2:
            raise InputError(f'{config.latents} has one latent; a film requires at least 2')
        return own[None], generators.latents_of(generator, config.seed, 1)[1]
    drawn, conditions = generators.latents_of(generator, config.seed, config.panels * config.points)
    return drawn.reshape(config.panels, config.points, -1), conditions[:: config.points]


if __name__ == '__main__':
    runs.run_main(main, Config)
