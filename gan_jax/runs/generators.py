"""Trained generators: how to sample from them, and the files that preserve them without code or checkpoints.

In addition to `config.json`, the directory of a run contains:

    generator.json          the experiment, and what its networks require from the data set (shapes, classes)
    generator.safetensors   the final variables of the generator
    generator.bin           `(latents [BLOCK, size], conditions [BLOCK]) -> uint8 images [BLOCK, h, w, c]`, by `jax.export`
    sampler.bin             `(seed, block) -> uint8 images [BLOCK, h, w, c]`, by `jax.export`; its function is named by step

The output of `jax.export` is self-contained and can be read by releases of JAX for six months. The first two files and
`config.json` are in plain formats, and `python -m experiments.export RUN` regenerates the other two from them.
"""

import contextlib
import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, finite
from gan_jax.commandline import module_name, module_of
from gan_jax.data.feeds import to_uint8
from gan_jax.errors import InputError
from gan_jax.files import json_text, write_json
from gan_jax.latents import lerp, slerp, truncated_normal
from gan_jax.runs.directory import Options, RunDirectory
from gan_jax.runs.sampler import export, save_sampler
from gan_jax.runs.weights import save_weights
from gan_jax.training import TrainState
from gan_jax.typing import Array, Key, Variables

DESCRIPTION, WEIGHTS, EXPORTED = 'generator.json', 'generator.safetensors', 'generator.bin'
BLOCK = 100
"""Number of images that one call of an exported generator returns."""
_READABLE = datetime.timedelta(days=180)
"""The period for which newer releases of JAX can read the output of `jax.export`."""


class Styles(NamedTuple):
    """The two halves of a style-based generator (`networks.StyleGenerator`), for truncation and paths in w."""

    of: Callable[[Variables, Array], Array]
    """`(weights, latents [n, size]) -> w [n, style size]`, the mapping network."""
    synthesise: Callable[[Variables, Array, Array], Array]
    """`(weights, w [n, style size], conditions int [n]) -> images`, the synthesis network."""
    mean: Callable[[Variables], Array]
    """`weights -> w [style size]`, the average style."""

    def generate(self, weights: Variables, latents: Array, conditions: Array) -> Array:
        """Both halves, as `Generator.generate`: `(weights, latents [n, size], conditions int [n]) -> images [n, h, w, c]`."""
        return self.synthesise(weights, self.of(weights, latents), conditions)

    def truncated(self, truncation: float) -> 'Styles':
        """The halves with styles drawn towards their average (Karras et al. 2019, appendix B).

            w' = mean + truncation (w - mean)

        1 leaves the styles unchanged, and 0 replaces all of them by the average.
        """
        if truncation == 1:
            return self
        return self._replace(of=lambda weights, z: lerp(self.mean(weights), self.of(weights, z), truncation))


class Generator(NamedTuple):
    """How a trained generator maps latents to images. The caller provides the weights."""

    latent: Callable[[Key], Array]
    """Draws the latent `[size]` of one example from its key."""
    generate: Callable[[Variables, Array, Array], Array]
    """`(weights, latents [n, size], conditions int [n]) -> images [n, h, w, c]` in [-1, 1]."""
    conditions: tuple[str, ...] = ()
    """The classes or captions that images can be conditioned on; empty for an unconditional generator."""
    shares: tuple[float, ...] = ()
    """The probability of each condition; they sum to 1."""
    prior: Literal['normal', 'uniform', 'mixture'] = 'normal'
    """What latents are drawn from: independent entries, standard normal or uniform from 0 or about it, or a mixture."""
    codes: int = 0
    """Number of the first entries of a normal latent that are codes rather than noise: numbers, or a cluster as a one-hot vector
    (Chen et al. 2016; `latents.clustered`)."""
    weights: Callable[[Variables], Variables] = lambda average: average
    """Makes the variables to draw with from the average in a `TrainState`."""
    styles: Styles | None = None
    """The halves of which `generate` is composed, if the generator is style-based."""

    @property
    def latent_size(self) -> int:
        """The number of entries of a latent."""
        return jax.eval_shape(self.latent, jax.random.key(0)).shape[0]

    def arc(self, a: Array, b: Array, t: Array) -> Array:
        """The path from `a [size]` at t = 0 to `b [size]` at t = 1 that is a line between their codes and an arc beyond them."""
        k = self.codes
        return jnp.concatenate([lerp(a[:k], b[:k], t), slerp(a[k:], b[k:], t)])

    def truncated(self, truncation: float) -> 'Generator':
        """The generator of more typical and less varied images: the truncation trick.

        If it is style-based, `truncation` is the distance of w from its average as a share of the original, commonly .7, and 0
        draws the average (Karras et al. 2019, appendix B). Otherwise, entries of latents that are further than `truncation` from
        0 are redrawn, commonly about 1 (Brock et al. 2019, section 3.1); codes are not.

        Raises `ValueError` for a negative truncation, for 0 unless the generator is style-based, and for latents from a mixture,
        whose entries depend on each other.
        """
        if not truncation >= 0 or (truncation == 0 and self.styles is None):
            raise ValueError(f'truncation must be {"at least" if self.styles else "above"} 0, not {truncation}')
        if self.styles is not None:
            styles = self.styles.truncated(truncation)
            return self._replace(generate=styles.generate, styles=styles)
        if self.prior == 'mixture':
            raise ValueError('truncation applies to latents of independent entries, not to those of a mixture')
        if self.prior == 'uniform':
            return self._replace(latent=lambda key: min(1.0, truncation) * self.latent(key))
        noise = truncated_normal(self.latent_size - self.codes, truncation)
        if not self.codes:
            return self._replace(latent=noise)
        return self._replace(latent=lambda key: jnp.concatenate([self.latent(key)[: self.codes], noise(key)]))

    def sample(self, weights: Variables, n: int, key: Key, *, truncation: float | None = None) -> Array:
        """Draws n images `[n, h, w, c]` in [-1, 1].

        Args:
            weights: what `weights` makes of the average in a `TrainState`.
            n: number of images.
            key: the key of all images.
            truncation: as in `truncated`; by default, nothing is truncated.

        Raises `ValueError` as `truncated` does.
        """
        generator = self if truncation is None else self.truncated(truncation)
        return generator.generate(weights, *draw_latents(generator, n, key))


class Translator(NamedTuple):
    """How a trained generator translates images in one direction. The caller provides the weights."""

    translate: Callable[[Variables, Array, Key], Array]
    """`(weights, images [n, h, w, channels], key) -> images`, all in [-1, 1]."""
    size: int
    """Side of the training images."""
    channels: int
    """Number of channels of the input images."""
    weights: Callable[[Variables], Variables] = lambda average: average
    """Extracts the generator's variables from the average in a `TrainState`."""


def describe(run: RunDirectory, config: Options, **of_data: Any) -> None:
    """Writes `generator.json`: the experiment, and what its `generator` or `translator` requires from the data set.

    Raises `InputError` for a run that is resumed on data of other sizes or classes.
    """
    changed: list[str] = []
    seeds, file = getattr(config, 'seeds', 1), run.path / DESCRIPTION
    described = json.loads(json_text(of_data))
    if run.resume and file.is_file():
        with contextlib.suppress(InputError):  # a damaged one is written anew
            before = description(run.path)['data']
            changed = sorted(name for name in {**before, **described} if before.get(name) != described.get(name))
    if changed:
        raise InputError(f'the data of {run.path} have changed since it was begun ({", ".join(changed)}); use another --name')
    write_json(file, {'experiment': module_name(type(config)), 'data': described, 'seeds': seeds})


def description(path: pathlib.Path) -> dict[str, Any]:
    """Reads `generator.json`. Raises `InputError` if the run at `path` does not have it, or if it is damaged."""
    file = path / DESCRIPTION
    if not file.is_file():
        below = sorted(str(other.parent) for other in path.glob(f'*/{DESCRIPTION}'))
        where = f'; it contains the runs {", ".join(below)}' if below else ''
        raise InputError(f'{path} is not a run that generates images: it does not contain {DESCRIPTION}{where}')
    try:
        found = json.loads(file.read_text())
        return {'experiment': str(found['experiment']), 'data': dict(found['data']), 'seeds': int(found['seeds'])}
    except KeyError as error:
        raise InputError(f'{file} is damaged: it does not contain {error}') from error
    except (ValueError, TypeError) as error:
        raise InputError(f'{file} is damaged: {error}') from error


def experiment_of(path: pathlib.Path) -> Any:
    """The module of the experiment of the run at `path`. Raises `InputError` if this version does not have it."""
    experiment = description(path)['experiment']
    if not experiment.startswith('experiments.'):
        raise InputError(f'{path / DESCRIPTION} names {experiment!r}, which is not an experiment')
    try:
        module = module_of(experiment)
    except (ImportError, AttributeError) as error:
        raise InputError(f'{path} is a run of {experiment}, which this version does not have') from error
    if not (hasattr(module, 'Config') and hasattr(module, 'study')):
        raise InputError(f'{path} is a run of {experiment}, which this version does not have')
    return module


def draw_latents(generator: Generator, n: int, key: Key, *, first: int | Array = 0) -> tuple[Array, Array]:
    """Draws latents `[n, size]` and conditions int `[n]` of the examples `first`, `first + 1`, ... from a key.

    Each example depends only on the key and its number.

    Args:
        generator: the generator.
        n: number of examples.
        key: the key of all examples.
        first: number of the first example.
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
    """Saves the generator of the final state by `export_generator`, and prints where.

    Raises `InputError` if the generator is not finite.
    """
    weights = jax.tree.map(np.asarray, compilation.jit(generator.weights)(state.ema))
    print(export_generator(run.path, generator, weights, int(state.step)))


def save_translator(run: RunDirectory, state: TrainState) -> None:
    """Saves the weights of a run whose generator is a `Translator`. Raises `InputError` if they are not finite."""
    weights, step = jax.tree.map(np.asarray, state.ema), int(state.step)
    check_finite(run.path, weights, step)
    save_weights(run.path / WEIGHTS, weights, step)


def check_finite(path: pathlib.Path, weights: Variables, step: int) -> None:
    """Raises `InputError` if a generator's weights at a step of the run at `path` are not finite."""
    if not finite.is_finite(weights):
        raise InputError(f'the generator of {path} is not finite at step {step}: the run has diverged')


def export_generator(
    path: pathlib.Path, generator: Generator, weights: Variables, step: int, ema_width: float | None = None
) -> str:
    """Writes weights, with their `sampler.bin` and `generator.bin`.

    The date until which these can be read is added to `generator.json`. Returns a message for the user. Raises `InputError`, and
    writes nothing, if the weights or the images are not finite.

    Args:
        path: directory of the run.
        generator: the generator.
        weights: the generator's variables.
        step: the step of the weights.
        ema_width: relative width of the average that they are, if it is not the run's own.
    """
    latents = jax.eval_shape(lambda key: draw_latents(generator, BLOCK, key), jax.random.key(0))
    check_finite(path, weights, step)
    save_sampler(path, lambda key: generator.sample(weights, BLOCK, key), step)
    save_weights(path / WEIGHTS, weights, step)
    export(path / EXPORTED, lambda z, conditions: to_uint8(generator.generate(weights, z, conditions)), *latents)
    today = datetime.date.today()
    until = today + _READABLE
    found = description(path)
    dates = {'step': step, 'ema_width': ema_width, 'exported': str(today), 'readable_until': str(until), 'jax': jax.__version__}
    write_json(path / DESCRIPTION, {**found, **dates})
    return f'generator {path}/{EXPORTED}, sampler.bin, readable until {until}; python -m experiments.export {path} updates them'
