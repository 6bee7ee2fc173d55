"""What a trained generator is: how it is drawn from, and the files that keep it when the code and the checkpoints are gone.

A run's directory has, beside its `config.json`:

    generator.json          which experiment made it, and what its networks know of the data set (shapes, classes)
    generator.safetensors   the generator's variables at the end
    generator.bin           `(latents [BLOCK, size], conditions [BLOCK]) -> uint8 images [BLOCK, h, w, c]`, by `jax.export`
    sampler.bin             `(seed, block) -> uint8 images [BLOCK, h, w, c]`, by `jax.export`; its function's name says the step

What `jax.export` writes contains all that it needs, and is readable for six months of releases of JAX. The first two files and
`config.json` are plain, and from them `python -m experiments.export RUN` makes the other two again.
"""

import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import finite
from gan_jax.commandline import module_name, module_of
from gan_jax.data.feeds import to_uint8
from gan_jax.errors import InputError
from gan_jax.files import write_json
from gan_jax.runs.directory import Options, RunDirectory
from gan_jax.runs.sampler import export, save_sampler
from gan_jax.runs.weights import save_weights
from gan_jax.training import TrainState
from gan_jax.typing import Array, Key, Variables

DESCRIPTION, WEIGHTS, EXPORTED = 'generator.json', 'generator.safetensors', 'generator.bin'
BLOCK = 100
"""Images that one call of an exported generator makes."""
_READABLE = datetime.timedelta(days=180)
"""For how long newer releases of JAX read what `jax.export` wrote."""


class Generator(NamedTuple):
    """How a trained generator makes images of latents. The weights are the caller's."""

    latent: Callable[[Key], Array]
    """One example's latent `[size]` from its key."""
    generate: Callable[[Variables, Array, Array], Array]
    """`(weights, latents [n, size], conditions int [n]) -> images [n, h, w, c]` in [-1, 1]."""
    conditions: tuple[str, ...] = ()
    """What the images can be of, classes or captions; empty if there is no choice."""
    shares: tuple[float, ...] = ()
    """How often each condition is drawn; they sum to 1."""
    normal: bool = True
    """Whether latents are standard normal. Otherwise every set of them is convex."""
    weights: Callable[[Variables], Variables] = lambda average: average
    """The generator's variables, of the average that a `TrainState` holds."""


class Translator(NamedTuple):
    """How a trained generator makes images of images, in one direction. The weights are the caller's."""

    translate: Callable[[Variables, Array, Key], Array]
    """`(weights, images [n, h, w, channels], key) -> images`, all in [-1, 1]."""
    size: int
    """The side of the images that it was trained on."""
    channels: int
    """Of the images that it takes."""
    weights: Callable[[Variables], Variables] = lambda average: average
    """The generator's variables, of the average that a `TrainState` holds."""


def describe(run: RunDirectory, config: Options, **of_data: Any) -> None:
    """Writes `generator.json`: the experiment, and what its `generator` or `translator` has to be told of the data set."""
    seeds = getattr(config, 'seeds', 1)
    write_json(run.path / DESCRIPTION, {'experiment': module_name(type(config)), 'data': of_data, 'seeds': seeds})


def description(path: pathlib.Path) -> dict[str, Any]:
    """What `describe` wrote. Raises `InputError` if the run at `path` has none."""
    file = path / DESCRIPTION
    if not file.is_file():
        below = sorted(str(other.parent) for other in path.glob(f'*/{DESCRIPTION}'))
        where = f'; its runs are {", ".join(below)}' if below else ''
        raise InputError(f'{path} is not a run that makes images: it has no {DESCRIPTION}{where}')
    try:
        found = json.loads(file.read_text())
        return {'experiment': str(found['experiment']), 'data': dict(found['data']), 'seeds': int(found['seeds'])}
    except KeyError as error:
        raise InputError(f'{file} is damaged: it has no {error}') from error
    except (ValueError, TypeError) as error:
        raise InputError(f'{file} is damaged: {error}') from error


def experiment_of(path: pathlib.Path) -> Any:
    """The module of the experiment whose run lies at `path`. Raises `InputError` for one that this version does not have."""
    experiment = description(path)['experiment']
    if not experiment.startswith('experiments.'):
        raise InputError(f'{path / DESCRIPTION} names {experiment!r}, which is not an experiment')
    try:
        module = module_of(experiment)
    except (ImportError, AttributeError) as error:
        raise InputError(f'{path} is a run of {experiment}, which this version does not have') from error
    if not hasattr(module, 'Config'):
        raise InputError(f'{path} is a run of {experiment}, which this version does not have')
    return module


def draw_latents(generator: Generator, n: int, key: Key, *, first: int | Array = 0) -> tuple[Array, Array]:
    """Latents `[n, size]` and conditions int `[n]` of the examples `first`, `first + 1`, ... of a key.

    Each is a function of the key and its number alone.
    """
    condition_key, latent_key = jax.random.split(key) if generator.conditions else (key, key)
    numbers = first + jnp.arange(n)
    latents = jax.vmap(lambda i: generator.latent(jax.random.fold_in(latent_key, i)))(numbers)
    if not generator.conditions:
        return latents, jnp.zeros(n, jnp.int32)
    logits = jnp.log(jnp.asarray(generator.shares))
    draw = lambda i: jax.random.categorical(jax.random.fold_in(condition_key, i), logits)
    return latents, jax.vmap(draw)(numbers).astype(jnp.int32)


def save_generator(run: RunDirectory, generator: Generator, state: TrainState) -> None:
    """Keeps the generator of the last state by `export_generator`, and says so."""
    weights = jax.tree.map(np.asarray, generator.weights(state.ema))
    print(export_generator(run.path, generator, weights, int(state.step)))


def save_translator(run: RunDirectory, state: TrainState) -> None:
    """Keeps the weights of a run whose generator is a `Translator`."""
    weights, step = jax.tree.map(np.asarray, state.ema), int(state.step)
    check_finite(run.path, weights, step)
    save_weights(run.path / WEIGHTS, weights, step)


def check_finite(path: pathlib.Path, weights: Variables, step: int) -> None:
    """Raises `InputError` if a generator's weights of a step of the run at `path` are not finite."""
    if not finite.is_finite(weights):
        raise InputError(f'the generator of {path} is not finite at step {step}: the run has diverged')


def export_generator(path: pathlib.Path, generator: Generator, weights: Variables, step: int) -> str:
    """Writes these weights, their `sampler.bin` and `generator.bin`, and to `generator.json` until when those can be read.

    Returns what to tell the user. Raises `InputError`, and writes nothing, if the weights or the images are not finite.
    """
    latents = jax.eval_shape(lambda key: draw_latents(generator, BLOCK, key), jax.random.key(0))
    check_finite(path, weights, step)
    save_sampler(path, lambda key: generator.generate(weights, *draw_latents(generator, BLOCK, key)), step)
    save_weights(path / WEIGHTS, weights, step)
    export(path / EXPORTED, lambda z, conditions: to_uint8(generator.generate(weights, z, conditions)), *latents)
    today = datetime.date.today()
    until = today + _READABLE
    found = description(path)
    dates = {'step': step, 'exported': str(today), 'readable_until': str(until), 'jax': jax.__version__}
    write_json(path / DESCRIPTION, {**found, **dates})
    return f'generator {path}/{EXPORTED}, sampler.bin, readable until {until}; python -m experiments.export {path} renews them'
