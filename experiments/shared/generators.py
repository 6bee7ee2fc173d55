"""Trained runs, opened to draw with their generators: without their data, by their checkpoints or the weights kept of them."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from gan_jax import compilation, data, finite, latents, runs
from gan_jax.commandline import module_name
from gan_jax.errors import InputError
from gan_jax.files import load_arrays
from gan_jax.ranges import Checked, Positive, Seed, Text, Whole
from gan_jax.runs.generators import BLOCK, DESCRIPTION, WEIGHTS, check_finite, description, draw_latents, experiment_of
from gan_jax.runs.weights import load_weights, read_checkpoint, saved_steps
from gan_jax.typing import AnyArray, Variables


class Drawable(NamedTuple):
    """A run, what its experiment makes of it, and its generator's weights."""

    path: pathlib.Path
    made: Any
    """A `runs.Generator` or a `runs.Translator`."""
    weights: Variables
    step: int


def load(path: pathlib.Path, kind: str, checkpoint: int | None = None, **told: Any) -> Drawable:
    """A run by its newest checkpoint, or that of a step; if it has none, by the weights that were kept of it.

    `kind` is 'generator' or 'translator', the method of the experiment's `Config` that says how to draw; it is told what
    `generator.json` has of the data set, and `told`. Of several seeds it is the first that has not diverged. Raises `InputError`
    for a directory that is not a run, a run of another kind or version, and one that has not been trained yet or has diverged.
    """
    if not path.is_dir():
        raise InputError(f'there is no run {path}')
    runs.saved_identity(path)
    found = description(path)
    try:
        made = _method(path, kind)(**told, **found['data'])
    except TypeError as error:
        raise InputError(f'{path / DESCRIPTION} is of another version: {error}') from error
    if checkpoint is None and not saved_steps(path) and (path / WEIGHTS).is_file():
        step, weights = load_weights(path / WEIGHTS)
    else:
        several = found['seeds'] > 1
        needed = ('ema', 'generator', 'discriminator') if several else ('ema',)
        step, state = read_checkpoint(path, lambda state: {name: state[name] for name in needed}, checkpoint)
        average = jax.tree.map(lambda x: x[finite.first_of(state)], state['ema']) if several else state['ema']
        weights = made.weights(average)
    check_finite(path, weights, step)
    return Drawable(path, made, weights, step)


def _method(path: pathlib.Path, kind: str) -> Any:
    """The method of the run's own `Config`."""
    config_class = experiment_of(path).Config
    if not hasattr(config_class, kind):
        other = 'translate RUN IN OUT' if kind == 'generator' else 'generate RUN --out FOLDER'
        name = module_name(config_class)
        raise InputError(f'{path} is a run of {name}: its images are made by python -m experiments.{other}')
    return getattr(config_class.at(path), kind)


@dataclasses.dataclass(frozen=True)
class DrawOptions(Checked):
    """What is drawn by which run."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    checkpoint: Whole | None = None
    """The step of the checkpoint to draw with; the newest if it is not given."""
    seed: Seed = 0
    """Of the latents. Image i of a seed is the same, whatever the number of images."""
    truncation: Positive | None = None
    """Draw latents again whose entries are beyond this (Brock et al. 2019): smaller values give more typical and less varied
    images. Of normal latents only; about 1 is a usual choice."""
    of: tuple[str, ...] = ()
    """Draw only these classes, or captions that the run was trained on; of a run with labels or captions."""
    latents: Text | None = None
    """Your own latents instead: a .npy or .npz file of numbers [n, size]."""

    def load(self) -> Drawable:
        """The run, with a generator that draws what was asked for. Raises `InputError`."""
        trained = load(pathlib.Path(self.run), 'generator', self.checkpoint)
        generator: runs.Generator = trained.made
        size = _latent_size(generator)
        if self.truncation is not None:
            if self.latents or not generator.normal:
                these = 'those of --latents' if self.latents else "this run's, which are uniform"
                raise InputError(f'--truncation is for normal latents that are drawn, not for {these}')
            generator = generator._replace(latent=latents.truncated_normal(size, self.truncation))
        if self.of:
            generator = generator._replace(shares=self._shares(generator))
        return trained._replace(made=generator)

    def _shares(self, generator: runs.Generator) -> tuple[float, ...]:
        if not generator.conditions:
            raise InputError(f'--of is for runs with labels or captions, and {self.run} has none')
        if unknown := [name for name in self.of if name not in generator.conditions]:
            known = ', '.join(generator.conditions[:10]) + (', ...' if len(generator.conditions) > 10 else '')
            raise InputError(f'{self.run} does not know {unknown[0]!r}; it knows {known}')
        return tuple(float(name in self.of) / len(set(self.of)) for name in generator.conditions)

    def own_latents(self, generator: runs.Generator) -> np.ndarray | None:
        """Those of --latents, float32 `[n, size]`. Raises `InputError` for a file that has none."""
        if self.latents is None:
            return None
        arrays = load_arrays(self.latents)
        if len(arrays) != 1:
            raise InputError(f'{self.latents} holds {len(arrays)} arrays ({", ".join(arrays)}), and latents are one')
        ((_, found),) = arrays.items()
        numbers = np.issubdtype(found.dtype, np.number) and not np.iscomplexobj(found)
        rows = np.atleast_2d(found.astype(np.float32)) if numbers else np.empty(0)
        size = _latent_size(generator)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != size or not np.isfinite(rows).all():
            raise InputError(
                f'{self.latents} has {list(found.shape)} {found.dtype}; latents of {self.run} are finite [n, {size}]'
            )
        return rows


def _latent_size(generator: runs.Generator) -> int:
    return jax.eval_shape(generator.latent, jax.random.key(0)).shape[0]


def latents_of(generator: runs.Generator, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first latents `[number, size]` and conditions int `[number]` of a seed: those that `sampler.bin` draws, too."""
    key = jax.random.key(seed)
    block = compilation.jit(lambda b: draw_latents(generator, BLOCK, jax.random.fold_in(key, b)))
    parts = [jax.tree.map(np.asarray, block(np.uint32(b))) for b in range(-(-number // BLOCK))]
    z, conditions = (np.concatenate(x)[:number] for x in zip(*parts, strict=True))
    return z, conditions


def images_of(trained: Drawable, z: AnyArray, conditions: AnyArray) -> Iterator[np.ndarray]:
    """The images of latents `[n, size]` under conditions int `[n]`, uint8, in blocks `[BLOCK, h, w, c]`; the last is shorter.

    Raises `InputError` for images that are not finite.
    """
    block = compilation.jit(trained.made.generate)
    for i in range(0, len(z), BLOCK):
        rows, which = (np.asarray(x[i : i + BLOCK]) for x in (z, conditions))
        filled = BLOCK - len(rows)
        # Their own rows again: a generator may normalise by the block's statistics.
        z_block, which = np.pad(rows, [(0, filled), (0, 0)], mode='wrap'), np.pad(which, (0, filled), mode='wrap')
        images = block(trained.weights, z_block, which.astype(np.int32))
        yield np.asarray(data.to_uint8(images))[: len(rows)]
