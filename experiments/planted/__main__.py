"""Planted failures: which metric finds what, on real images that are damaged in a known way.

    python -m experiments.planted --dataset mnist
    python -m experiments.planted --kinds dropped:classes=1 blur:sigma=0.5 copies:share=0.02 --seeds 10

Each seed divides the images of a data set at random into a training set, held-out images and new images. The new images stand for
the samples of a perfect generator: the three parts are exchangeable, so any difference that a metric reports is due to chance.

The first table has the measures of fidelity and diversity, the second those of copies: means over seeds, with half of the 95 %
interval (Student's t), and the largest of the p-values. A star marks a failure that is found: the mean lies on the worse side of
the 95 % prediction interval of one more set of new images, or every p-value is below .05. A question mark marks one that is not
found, although the measure claims to judge this kind of failure. Fewer than one figure in 40 has a star by chance.

Distances to the nearest training image (ratio, p_value, nearer, nearer_p_value; see `metrics.memorisation_test`) are of pixels,
all others of the extractor's features. Measures of moments and of copies compare with the whole training set, others with as many
training images as there are samples.
"""

import dataclasses
import math
import pathlib
import sys

import numpy as np

from experiments.planted.failures import KINDS
from experiments.planted.pool import division, figures_of_kinds, outputs_of, pool_of
from experiments.planted.report import NEW, is_found, report
from gan_jax import runs
from gan_jax.errors import InputError, told_to_user
from gan_jax.metrics.measures import MEASURES
from gan_jax.ranges import BatchSize, Compared, DataDir, Seed, SeedCount, Side, SomeNames, Text, check_seeds
from gan_jax.registry import build


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    """Which metric finds which planted failure."""

    name: str = 'planted'
    dataset: Text = 'digits'
    """A data set, a folder or a file of images; its training and test images are pooled."""
    kinds: SomeNames = (
        'dropped', 'duplicates', 'blur', 'noise', 'resize',
        'copies:share=0.001', 'copies:share=0.01', 'copies:share=0.1', 'copies:share=0.1,shift=1',
    )  # fmt: skip
    """Failures to plant: dropped:classes=2, duplicates:share=0.1, blur:sigma=1, noise:sigma=0.1, resize:scale=0.5, and
    copies:share=0.1,shift=0."""
    measures: SomeNames = ('frechet', 'kernel', 'prdc', 'clipped', 'score:splits=1', 'vendi', 'authenticity', 'copying')
    """Measures, as in python -m gan_jax.metrics."""
    extractor: Text = 'classifier'
    """Extractor of features, as in python -m gan_jax.metrics; by default the classifier of the data set."""
    samples: Compared | None = None
    """Number of samples and of held-out images; by default a sixth of all images, but at most 5,000. At least half of
    all images are the training set."""
    size: Side | None = None
    """Height and width to which images are cropped and resized."""
    batch_size: BatchSize = 64
    """Images in a batch of the extractor."""
    seed: Seed = 0
    """The first seed."""
    seeds: SeedCount = 5
    """Number of seeds, each of which divides the images anew."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets. The default is TFDS_DATA_DIR."""


def main(config: Config) -> dict[str, dict[str, list[float]]]:
    """Plants every failure, prints the tables, and returns them as kind -> figure -> values `[seeds]`.

    Raises `InputError` for options that do not fit.
    """
    from tqdm import tqdm

    check_seeds(config.seed, config.seeds)
    failures = {text: build(KINDS, text) for text in config.kinds}
    measures = [build(MEASURES, text) for text in config.measures]
    if labelled := [text for text, measure in zip(config.measures, measures, strict=True) if measure.labelled]:
        raise InputError(f'{labelled[0]} requires the classes of both sets, which planted failures do not keep')
    pool = pool_of(config, {'features'} | {measure.fake for measure in measures})
    _, parts = division(pool, config.seed)
    for failure in failures.values():
        pool.outputs(failure.plant(parts, np.random.default_rng(0))[:2])  # what cannot work must fail before the run is created
    fake, real = (pool.outputs(images) for images in (parts.new[: pool.samples], parts.new[-pool.samples :]))
    with told_to_user():
        for measure in measures:
            measure.call(outputs_of(real, np.arange(pool.samples)), fake, *([real] if measure.held_out else []))
    run = runs.RunDirectory(config)
    found_of_all = pool.outputs(pool.images)
    file = run.path / 'seeds.json'
    done = _finished(file) if file.exists() else {}
    seeds = range(config.seed, config.seed + config.seeds)
    total, interval = len(seeds) * (1 + len(failures)), 0.2 if sys.stderr.isatty() else 30
    with tqdm(total=total, unit='set', desc=config.dataset, mininterval=interval) as bar:
        for seed in seeds:
            kept = done.setdefault(str(seed), {})
            bar.update(len(kept))
            for kind, figures in figures_of_kinds(pool, found_of_all, measures, failures, seed, kept):
                kept[kind] = figures
                runs.write_json(file, done)
                bar.update()
    each = [done[str(seed)] for seed in seeds]
    results = {kind: {name: [one[kind][name] for one in each] for name in each[0][NEW]} for kind in (NEW, *failures)}
    found = {kind: {name: is_found(name, results[kind][name], results[NEW][name]) for name in results[NEW]} for kind in failures}
    runs.write_json(run.path / 'results.json', {**results, 'found': found})
    sizes = f'{pool.samples:,} of {len(pool.images):,} images, {len(seeds)} seeds'
    print(report(results, failures, f'{config.dataset}, {sizes}; * found, ? not found by a measure that claims to'))
    print(f'features: {pool.extractor.name}; numbers {run.path / "results.json"}')
    return results


def _finished(file: pathlib.Path) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of a run that was stopped, as seed -> kind -> name -> value; JSON has null for those that are not finite."""
    with_nan = lambda figures: {name: math.nan if x is None else x for name, x in figures.items()}
    return {seed: {kind: with_nan(figures) for kind, figures in kinds.items()} for seed, kinds in runs.read_json(file).items()}


if __name__ == '__main__':
    runs.run_main(main, Config)
