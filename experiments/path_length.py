"""Measures the perceptual path length of a trained run: how fast its images change along paths between latents.

    python -m experiments.path_length runs/dcgan --extractor classifier:dataset=mnist

The paths are those of the latents: arcs about the origin for normal latents, straight lines for uniform ones, and straight lines
in w for style-based generators. The label or caption does not change along a path. The distance of two images is the squared
distance of their features, so the value is named after the extractor, and is PPL in the sense of Karras et al. (2019) only if
that distance is LPIPS.
"""

import dataclasses
import pathlib
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import generators
from gan_jax import compilation, runs
from gan_jax.errors import InputError
from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.metrics.paths import PathLength, perceptual_path_length
from gan_jax.ranges import BatchSize, Compared, DataDir, Positive, Range
from gan_jax.registry import build
from gan_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config(generators.PathOptions):
    """The perceptual path length of a run."""

    extractor: str = 'lpips'
    """Extractor of features, as in python -m gan_jax.metrics: the paper's lpips:weights=FILE,linear=FILE, or another that
    does not round images."""
    paths: Compared = 10_000
    """Number of paths; the paper uses 100,000."""
    epsilon: Annotated[Positive, Range(1e-6, 0.1)] = 1e-4
    """Length of the step along a path, of which 1 is the whole."""
    whole: bool = True
    """Measure at random places of the paths; otherwise at their beginnings, which the paper calls path endpoints."""
    batch_size: BatchSize = 32
    """Number of paths whose images are generated at a time."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets, for classifiers. The default is TFDS_DATA_DIR."""


def main(config: Config) -> dict[str, Any]:
    """Prints the path length, adds it to the run as `path_length.json`, and returns it. Raises `InputError` for bad options."""
    trained = config.load()
    if config.own_latents(trained.made) is not None:
        raise InputError('--latents does not apply: the ends of the paths are drawn')
    extractor = build(EXTRACTORS, config.extractor, data_dir=config.data_dir)
    if extractor.rounds or extractor.on_host:
        raise InputError(f'a path length requires an extractor that is smooth in the pixels, such as lpips, not {extractor.name}')
    space = generators.space_of(trained, config.way)
    z, conditions = generators.latents_of(trained.made, config.seed, 2 * config.paths)
    # The condition of a path is the last entry of its latents, which the path leaves unchanged.
    start, end = np.split(np.concatenate([space.points(z), conditions[:, None]], 1).astype(np.float32), 2)

    def along(a: Array, b: Array, t: Array) -> Array:
        return jnp.concatenate([space.between(a[:-1], b[:-1], t), a[-1:]])

    def images(weights: Any, rows: Array) -> Array:
        return space.trained.made.generate(weights, rows[:, :-1], rows[:, -1].astype(jnp.int32))

    def distance(a: Array, b: Array) -> Array:
        return jnp.square(extractor.apply(a).features - extractor.apply(b).features).sum(1)

    @compilation.jit
    @compilation.exact
    def measured(weights: Any, start: Array, end: Array) -> PathLength:
        generate = lambda rows: images(weights, rows)
        settings: dict[str, Any] = {'epsilon': config.epsilon, 'whole': config.whole, 'block': config.batch_size}
        return perceptual_path_length(generate, distance, start, end, along, jax.random.key(config.seed), **settings)

    found = measured(trained.weights, start, end)
    if not np.isfinite(found.mean):
        raise InputError(f'the images of {config.run} or their features are not finite')
    result = {
        'path_length': float(found.mean),
        'standard_error': float(found.standard_error),
        'paths': config.paths,
        'way': space.way,
        'epsilon': config.epsilon,
        'extractor': extractor.name,
        'step': trained.step,
    }
    mean, error = result['path_length'], result['standard_error']
    print(f'path length {mean:.4g} +- {error:.2g} (standard error) of {config.paths} paths, {space.way}')
    print(f'distance: squared distance of the features of {extractor.name}')
    runs.write_json(pathlib.Path(config.run) / 'path_length.json', result)
    return result


if __name__ == '__main__':
    runs.run_main(main, Config)
