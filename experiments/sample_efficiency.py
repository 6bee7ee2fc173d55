"""How many samples a metric needs: its bias, its spread and its power at several sizes.

    python -m experiments.sample_efficiency mnist runs/mnist --extractor classifier:dataset=mnist
    python -m experiments.sample_efficiency cifar10 runs/cifar10 --measures frechet monge kernel --sizes 1000 5000 50000

For each size, subsets of that many real and generated images are drawn, and each measure compares them. As a control, it also
compares subsets of the real images with subsets of held-out real images. The table shows

- the mean over draws and its bias, its difference from the value of all images relative to the size of that value: it says
  little where that value is near 0;
- the standard deviation over draws, relative to the mean;
- the separation, by how many standard deviations the values of generated images differ from those of the control. Below about
  3, a single value at this size does not tell the two apart;
- the time of one value, without the extraction of features.

Draws are subsets of the same n images, so their spread is too small, by about 1 - sqrt(1 - size / n): 5 % at a tenth of the
smaller set, 30 % at half of it. At the size of the smaller set, every draw would be all of it: there the value is computed once,
and a spread and a separation are refused, instead of a bootstrap, whose duplicates would bias the measures of neighbours and of
pairs. Sizes that exceed the number of real or of generated images are left out, and there is no control at sizes that exceed the
number of held-out images.
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import numpy as np
import tyro

from gan_jax import runs
from gan_jax.errors import InputError, told_to_user
from gan_jax.files import write_json_or_print
from gan_jax.metrics import sources
from gan_jax.metrics.extractors import EXTRACTORS
from gan_jax.metrics.imagesets import check_shapes, collect, image_set
from gan_jax.metrics.measure import Found, Measure
from gan_jax.metrics.measures import MEASURES
from gan_jax.metrics.moments import feature_moments
from gan_jax.ranges import BatchSize, Checked, Compared, DataDir, FileToWrite, Range, Seed, Several, Side, SomeNames, Text
from gan_jax.registry import build


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Bias, spread and power of metrics at several numbers of images."""

    real: Annotated[Text, tyro.conf.Positional]
    """A data set with a test split, or a folder that contains the folders train and test."""
    fake: Annotated[Text, tyro.conf.Positional]
    """A run directory, a folder of images, an .npz file of images, or a data set."""
    measures: SomeNames = ('frechet', 'monge')
    """Measures of python -m gan_jax.metrics that compare features with those of real images."""
    extractor: str = 'inception'
    """Extractor of features, as in python -m gan_jax.metrics."""
    sizes: Annotated[tuple[Compared, ...], Several(1)] = (1000, 5000, 50_000)
    """Numbers of images, real and generated."""
    samples: Compared = 50_000
    """Images of a run to generate; other sources are used as a whole."""
    repetitions: Annotated[int, Range(2, 10_000)] = 10
    """Number of draws at each size."""
    resize: Side | None = None
    """Crop images to their central square and resize it to this height and width."""
    batch_size: BatchSize = 64
    """Images in a batch of the extractor."""
    seed: Seed = 0
    """Seed of the samples of a run and of the draws."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets. The default is TFDS_DATA_DIR."""
    json: Annotated[pathlib.Path, FileToWrite()] | None = None
    """Write the figures to this file."""


def main(config: Config) -> list[dict[str, Any]]:
    """Prints the table and returns its rows. Raises `InputError` for sources or measures that do not fit."""
    measures = {text: build(MEASURES, text) for text in config.measures}
    for text, measure in measures.items():
        if measure.held_out or measure.labelled or {measure.real, measure.fake} - {'moments', 'features'}:
            raise InputError(f'{text} does not compare features of generated and real images')
    some = np.random.default_rng(0).normal(size=(2, min(config.sizes), 8)).astype(np.float32)
    for measure in measures.values():
        _value(measure, *some)  # what cannot work must fail before features are extracted
    real, held_out, fake = _features(config)
    most = min(len(real), len(fake))
    sizes = [size for size in config.sizes if size <= most]
    if not sizes:
        raise InputError(f'--sizes {min(config.sizes)} exceeds the {most} images that the smaller set has')
    rows = []
    for text, measure in measures.items():
        whole = _value(measure, real, fake)
        for size in sizes:
            _value(measure, real[:size], fake[:size])  # compiles
            start = time.perf_counter()
            values = _draws(config, measure, real, fake, size, 0)
            seconds = (time.perf_counter() - start) / len(values)
            control = _draws(config, measure, real, held_out, size, 1) if size <= len(held_out) else np.full(1, np.nan)
            mean, (spread, of_control) = values.mean(), map(_deviation, (values, control))
            rows.append(
                {
                    'measure': text,
                    'size': size,
                    'mean': mean,
                    'whole': whole,
                    'bias': (mean - whole) / abs(whole) if whole else np.nan,
                    'spread': spread / abs(mean) if mean else np.nan,
                    'control': control.mean(),
                    'separation': abs(mean - control.mean()) / np.hypot(spread, of_control) if spread or of_control else np.nan,
                    'seconds': seconds,
                }
            )
    lines: list[tuple[Any, ...]] = [('measure', 'images', 'mean', 'bias', 'spread', 'control', 'separation', 'seconds')]
    for row in rows:
        shares = ('-' if np.isnan(row[name]) else f'{100 * row[name]:.3g} %' for name in ('bias', 'spread'))
        others = ('-' if np.isnan(row[name]) else f'{row[name]:.3g}' for name in ('control', 'separation', 'seconds'))
        lines.append((row['measure'], row['size'], f'{row["mean"]:.4g}', *shares, *others))
    title = f'{config.repetitions} draws; bias relative to all {len(real)} real and {len(fake)} generated images'
    print(runs.table(lines, title=title))
    if most in sizes:
        print(f'{most} images are all that the smaller set has: one value, without spread and separation')
    if config.json:
        write_json_or_print(config.json, rows)
    return rows


def _features(config: Config) -> list[np.ndarray]:
    """The features of the real, the held-out and the generated images."""
    extractor = build(EXTRACTORS, config.extractor, data_dir=config.data_dir)
    form: dict[str, Any] = {'size': config.resize, 'data_dir': config.data_dir}
    opened = [sources.open_source(config.real, split=split, **form) for split in ('train', 'test')]
    if opened[0].name == opened[1].name:
        raise InputError(f'{config.real} has no test split to draw the control from')
    opened.append(sources.open_source(config.fake, split='test', seed=config.seed, **form))
    sets = [image_set(source, seed=config.seed, resize=config.resize) for source in opened]
    found = []
    for images in sets:
        check_shapes(sets[0], images)
        count = config.samples if images.size is None else None
        found.append(collect(extractor, images.batches(count), {'features'}, batch_size=config.batch_size).features)
    return found


def _value(measure: Measure, real: np.ndarray, fake: np.ndarray) -> float:
    """The first figure of a measure."""
    given = [
        Found(len(x), feature_moments(x), x) if need == 'moments' else Found(len(x), features=x)
        for x, need in ((real, measure.real), (fake, measure.fake))
    ]
    with told_to_user():
        return measure.call(*given)[0][1]


def _deviation(values: np.ndarray) -> float:
    """The standard deviation of several values; NaN of one."""
    return float(values.std(ddof=1)) if len(values) > 1 else float('nan')


def _draws(config: Config, measure: Measure, real: np.ndarray, other: np.ndarray, size: int, stream: int) -> np.ndarray:
    """The values of subsets of both sets, `[repetitions]`; each is independent of the other sizes and measures.

    There is one value if every draw would be the whole of one set.
    """
    values = []
    for repetition in range(config.repetitions if size < min(len(real), len(other)) else 1):
        rng = np.random.default_rng([config.seed, size, stream, repetition])
        values.append(_value(measure, *(x[rng.permutation(len(x))[:size]] for x in (real, other))))
    return np.array(values)


if __name__ == '__main__':
    runs.run_main(main, Config)
