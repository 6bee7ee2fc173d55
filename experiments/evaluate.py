"""Scores a trained run on its own data set: distances in the features of a classifier of that set, or protocols on Inception.

    python -m experiments.evaluate runs/dcgan
    python -m experiments.evaluate runs/cifar10 --protocol fid50k_full is50k

The run's sampler makes the images, anew. A data set without labels is compared by Inception, or with --extractor pixels.
"""

import dataclasses
import pathlib
from typing import Annotated, Any

import numpy as np
import tyro

from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.metrics import __main__ as metrics
from gan_jax.metrics import sources
from gan_jax.metrics.neighbours import memorisation_test
from gan_jax.ranges import BatchSize, Checked, Names, Samples, Seed, Text


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Scores of a run on its data set."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    protocol: Names = ()
    """As in python -m gan_jax.metrics."""
    measures: Names = ()
    """As in python -m gan_jax.metrics; by default frechet, kernel, prdc, and of a classifier the score."""
    extractor: str | None = None
    """As in python -m gan_jax.metrics; by default the classifier of the run's data set, or Inception if that has no labels."""
    samples: Samples | None = None
    """Of the run; without a protocol as many as there are held-out images, but no more than 10,000."""
    batch_size: BatchSize = 64
    seed: Seed = 0
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""


def main(config: Config) -> list[dict[str, Any]]:
    """Prints the scores, and writes them to the run as `scores.json`."""
    path = pathlib.Path(config.run)
    options = runs.saved_identity(path)
    if 'dataset' not in options:
        raise InputError(f'{path} has no data set of images to be scored on')
    dataset, size = options['dataset'], options.get('size')
    asked: dict[str, Any] = {'protocol': config.protocol}
    if not config.protocol:
        held_out = sources.open_source(dataset, split='test', size=size, data_dir=config.data_dir)
        count = min(held_out.size or 0, 10_000)
        extractor = config.extractor or _default_extractor(dataset, size, config.data_dir)
        scored = extractor.startswith(('classifier', 'inception'))
        measures = config.measures or ('frechet', 'kernel', 'prdc', *(['score'] if scored else []))
        asked = {
            'measures': measures,
            'extractor': extractor,
            'samples': config.samples or count,
            'reals': count,
            'split': 'test',
        }
    elif config.samples or config.measures or config.extractor:
        raise InputError('a protocol fixes measures, extractor and samples: leave out the one or the other')
    scores = metrics.main(
        metrics.Config(
            dataset, str(path), resize=size, batch_size=config.batch_size, seed=config.seed, data_dir=config.data_dir, **asked
        )
    )
    rows = [score._asdict() for score in scores]
    if not config.protocol:
        rows += _neighbours(path, dataset, size, config)
    runs.write_json(path / 'scores.json', rows)
    print(f'numbers {path}/scores.json')
    return rows


def _default_extractor(dataset: str, size: int | None, data_dir: str | None) -> str:
    if data.is_folder(dataset):
        return 'inception'
    settings = {'dataset': dataset, 'size': size, 'data_dir': data_dir}
    return 'classifier:' + ','.join(f'{name}={value!r}' for name, value in settings.items() if value is not None)


def _neighbours(path: pathlib.Path, dataset: str, size: int | None, config: Config) -> list[dict[str, Any]]:
    """Has the generator copied its training data? Distances in pixels, of 1,000 samples."""
    if data.is_folder(dataset):
        return []
    opened = {
        name: sources.open_source(text, split=split, size=size, data_dir=config.data_dir, seed=config.seed)
        for name, text, split in (('run', str(path), ''), ('train', dataset, 'train'), ('test', dataset, 'test'))
    }
    read = lambda name, count: np.concatenate(list(sources.batches(opened[name], count))) / np.float32(127.5)
    count = min(1000, opened['test'].size or 0)
    test = memorisation_test(read('run', count), read('train', min(20_000, opened['train'].size or 0)), read('test', count))
    print(
        f'median distance to the nearest training image, in pixels: samples {test.generated:.4g}, held-out {test.held_out:.4g}, '
        f'ratio {test.ratio:.3g}'
    )
    return [{'name': 'neighbour_distance_ratio', 'value': test.ratio, 'extractor': 'pixels', 'fakes': count}]


if __name__ == '__main__':
    runs.run_main(main, Config)
