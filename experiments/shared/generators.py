"""Loads the generators of trained runs from their checkpoints or exported weights, without their data."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro

from gan_jax import averages, compilation, data, finite, latents, runs
from gan_jax.averages import RelativeWidth
from gan_jax.commandline import module_name
from gan_jax.errors import InputError, told_to_user
from gan_jax.files import load_arrays
from gan_jax.ranges import Checked, Range, Seed, Text, Whole
from gan_jax.runs.generators import (
    BLOCK,
    DESCRIPTION,
    WEIGHTS,
    check_finite,
    description,
    draw_latents,
    experiment_of,
)
from gan_jax.runs.weights import load_weights, read_checkpoint, saved_steps
from gan_jax.typing import AnyArray, Array, Variables


class Drawable(NamedTuple):
    """A trained run that images can be drawn with."""

    path: pathlib.Path
    made: Any
    """A `runs.Generator` or a `runs.Translator`."""
    weights: Variables
    """The weights of the averaged generator."""
    step: int
    """The step of these weights."""


def load(
    path: pathlib.Path, kind: str, checkpoint: int | None = None, *, ema_width: float | None = None, **told: Any
) -> Drawable:
    """Loads a run from its newest checkpoint, from that of a given step, or, if it has no checkpoints, from its exported weights.

    Of several seeds, the first that has not diverged is loaded. Raises `InputError` for a directory that is not a run, for a run
    of another kind or version, for one that has not been trained yet or has diverged, and for one without the averages that
    `ema_width` requires.

    Args:
        path: The run's directory.
        kind: 'generator' or 'translator', the method of the experiment's `Config` that defines how to draw.
        checkpoint: Step of the checkpoint; by default the newest.
        ema_width: Relative width of the generator's average, which is then reconstructed from all checkpoints up to that step
            (`averages.reconstructed`); by default the average that the run samples with.
        **told: Arguments of that method, in addition to those in `generator.json`, which describe the data set.
    """
    if not path.is_dir():
        raise InputError(f'there is no run {path}')
    runs.saved_identity(path)
    found = description(path)
    try:
        made = _method(path, kind)(**told, **found['data'])
    except TypeError as error:
        raise InputError(f'{path / DESCRIPTION} was written by another version: {error}') from error
    if ema_width is None and checkpoint is None and not saved_steps(path) and (path / WEIGHTS).is_file():
        step, weights = load_weights(path / WEIGHTS)
    else:
        several = found['seeds'] > 1
        needed = ('ema', 'generator', 'discriminator') if several else ('ema',)
        step, state = read_checkpoint(path, lambda state: {name: state[name] for name in needed}, checkpoint)
        seed = finite.first_of(state) if several else None
        average = _of_seed(state['ema'], seed) if ema_width is None else _reconstructed(path, step, ema_width, seed)
        weights = compilation.jit(made.weights)(average)
    check_finite(path, weights, step)
    return Drawable(path, made, weights, step)


def _of_seed(tree: Any, seed: int | None) -> Any:
    return tree if seed is None else jax.tree.map(lambda x: x[seed], tree)


def _reconstructed(path: pathlib.Path, step: int, width: float, seed: int | None) -> Variables:
    """The generator's average of another relative width at a step. Raises `InputError` for a run without averages."""
    widths = runs.saved_identity(path).get('ema_widths') or ()
    if not widths:
        raise InputError(f'--ema-width requires a run with averages; {path} was trained without --ema-widths 0.05 0.1')
    snapshots = [(at, own) for at in saved_steps(path) for own in widths]

    def stored(numbers: Sequence[int]) -> Iterator[Variables]:
        for at, own in itertools.groupby((divmod(number, len(widths)) for number in numbers), lambda each: each[0]):
            _, found = read_checkpoint(path, lambda state: {'averages': state['averages']}, snapshots[at * len(widths)][0])
            yield from (_of_seed(found['averages'][number]['average'], seed) for _, number in own)

    with told_to_user(f'--ema-width {width}'):
        return averages.reconstructed(snapshots, stored, step, width)


def _method(path: pathlib.Path, kind: str) -> Any:
    """The method of the `Config` of the run's experiment. Raises `InputError` if it has none."""
    config_class = experiment_of(path).Config
    if not hasattr(config_class, kind):
        other = 'translate RUN IN OUT' if kind == 'generator' else 'generate RUN --out FOLDER'
        name = module_name(config_class)
        raise InputError(f'{path} is a run of {name}; its images are made by python -m experiments.{other}')
    return getattr(config_class.at(path), kind)


@dataclasses.dataclass(frozen=True)
class TrainedOptions(Checked):
    """The trained generator of a run."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    checkpoint: Whole | None = None
    """Step of the checkpoint to take the generator from; by default the newest."""
    ema_width: RelativeWidth | None = None
    """Relative width of the generator's average, for runs with --ema-widths, whose checkpoints it is reconstructed from."""

    def load(self) -> Drawable:
        """The run with its generator. Raises `InputError` as the function `load` does."""
        return load(pathlib.Path(self.run), 'generator', self.checkpoint, ema_width=self.ema_width)


@dataclasses.dataclass(frozen=True)
class DrawOptions(TrainedOptions):
    """A run and the latents to draw from it."""

    seed: Seed = 0
    """Seed of the latents. Image i of a seed is the same for any number of images."""
    truncation: Annotated[float, Range(0)] | None = None
    """Draw more typical and less varied images, by redrawing entries of latents beyond this value, commonly about 1 (Brock et al.
    2019). For style-based generators: the distance of w from its average as a share of the original, commonly .7; 0 draws the
    average (Karras et al. 2019)."""
    of: tuple[str, ...] = ()
    """Draw only these classes, or these captions among those the run was trained on; for runs with labels or captions."""
    latents: Text | None = None
    """Draw from your own latents: a .npy or .npz file of numbers [n, size]."""

    def load(self) -> Drawable:
        """The run, with a generator that draws according to these options.

        Raises `InputError` as the function `load` does, and for options that do not apply to the run.
        """
        trained = super().load()
        generator: runs.Generator = trained.made
        if self.truncation is not None:
            if self.latents and generator.styles is None:
                raise InputError('--truncation applies to latents that are drawn, not to those of --latents')
            with told_to_user():
                generator = generator.truncated(self.truncation)
        if self.of:
            generator = generator._replace(shares=self._shares(generator))
        return trained._replace(made=generator)

    def _shares(self, generator: runs.Generator) -> tuple[float, ...]:
        if not generator.conditions:
            raise InputError(f'--of requires a run with labels or captions; {self.run} has none')
        if unknown := [name for name in self.of if name not in generator.conditions]:
            known = ', '.join(generator.conditions[:10]) + (', ...' if len(generator.conditions) > 10 else '')
            raise InputError(f'{self.run} does not know {unknown[0]!r}; it knows {known}')
        return tuple(float(name in self.of) / len(set(self.of)) for name in generator.conditions)

    def own_latents(self, generator: runs.Generator) -> np.ndarray | None:
        """The latents of --latents, float32 `[n, size]`, or None if there are none.

        Raises `InputError` for a file that does not hold such latents.
        """
        if self.latents is None:
            return None
        arrays = load_arrays(self.latents)
        if len(arrays) != 1:
            raise InputError(f'{self.latents} holds {len(arrays)} arrays ({", ".join(arrays)}); latents are a single array')
        ((_, found),) = arrays.items()
        numbers = np.issubdtype(found.dtype, np.number) and not np.iscomplexobj(found)
        rows = np.atleast_2d(found.astype(np.float32)) if numbers else np.empty(0)
        size = generator.latent_size
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != size or not np.isfinite(rows).all():
            raise InputError(
                f'{self.latents} has {list(found.shape)} {found.dtype}; latents of {self.run} are finite [n, {size}]'
            )
        return rows


Way = Literal['arc', 'line', 'w']


@dataclasses.dataclass(frozen=True)
class PathOptions(DrawOptions):
    """Paths between the latents that are drawn from a run."""

    way: Way | None = None
    """Path between latents, or a line in w, the default for style-based generators; otherwise arc for normal latents and line for
    others."""


class Space(NamedTuple):
    """Where the paths between latents lie."""

    way: Way
    points: Callable[[AnyArray], AnyArray]
    """`latents [n, size] -> points [n, ...]`, the ends of paths."""
    between: Callable[[Array, Array, Array], Array]
    """`(a, b, t) -> point`, from a at t = 0 to b at t = 1."""
    trained: Drawable
    """The run, whose generator draws from points."""


def space_of(trained: Drawable, way: Way | None) -> Space:
    """The space of paths of a kind, by default w for style-based generators, arc for normal latents and line for others.

    Raises `InputError` for w if the generator is not style-based.
    """
    generator: runs.Generator = trained.made
    styles = generator.styles
    way = way or ('w' if styles else 'arc' if generator.prior == 'normal' else 'line')
    if way != 'w':
        return Space(way, lambda z: z, generator.arc if way == 'arc' else latents.lerp, trained)
    if styles is None:
        raise InputError(f'--way w requires a style-based generator, such as that of stylegan2; {trained.path} has arc and line')
    mapped = compilation.jit(styles.of)
    return Space(
        way,
        lambda z: np.asarray(mapped(trained.weights, z)),
        latents.lerp,
        trained._replace(made=generator._replace(generate=styles.synthesise)),
    )


def latents_of(generator: runs.Generator, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first latents `[number, size]` and conditions int `[number]` of a seed, which are those that `sampler.bin` draws."""
    key = jax.random.key(seed)
    block = compilation.jit(lambda b: draw_latents(generator, BLOCK, jax.random.fold_in(key, b)))
    parts = [jax.tree.map(np.asarray, block(np.uint32(b))) for b in range(-(-number // BLOCK))]
    z, conditions = (np.concatenate(x)[:number] for x in zip(*parts, strict=True))
    return z, conditions


def images_of(trained: Drawable, z: AnyArray, conditions: AnyArray) -> Iterator[np.ndarray]:
    """The images of latents `[n, size]` under conditions int `[n]`, uint8, in blocks `[BLOCK, h, w, c]`; the last may be shorter.

    Raises `InputError` for images that are not finite.
    """
    block = compilation.jit(trained.made.generate)
    for i in range(0, len(z), BLOCK):
        rows, which = (np.asarray(x[i : i + BLOCK]) for x in (z, conditions))
        filled = BLOCK - len(rows)
        # The block is padded with its own rows, because a generator may normalise by its statistics.
        z_block, which = np.pad(rows, [(0, filled), (0, 0)], mode='wrap'), np.pad(which, (0, filled), mode='wrap')
        images = block(trained.weights, z_block, which.astype(np.int32))
        yield np.asarray(data.to_uint8(images))[: len(rows)]
