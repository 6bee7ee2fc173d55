"""Scores a trained run on its own data set: distances in the features of a classifier of that set, or protocols on Inception.

    python -m experiments.evaluate runs/dcgan
    python -m experiments.evaluate runs/cifar10 --protocol fid50k_full is50k
    python -m experiments.evaluate runs/stopped --checkpoint 8000

The images are drawn anew by the run's sampler, or by the generator of one of its checkpoints, and the data set's images are
converted to their size and channels. Folders and files of images are compared by Inception, or with --extractor pixels.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from experiments.shared import generators
from gan_jax import compilation, data, runs
from gan_jax.averages import RelativeWidth
from gan_jax.data.loading import is_array_file
from gan_jax.errors import InputError
from gan_jax.metrics import command, sources
from gan_jax.metrics.measures import TRAIN
from gan_jax.metrics.neighbours import memorisation_test
from gan_jax.metrics.reporting import Scored, report
from gan_jax.ranges import BatchSize, Checked, Compared, DataDir, Names, Seed, Text, Whole
from gan_jax.runs.generators import BLOCK, DESCRIPTION

_NEIGHBOURS = 1000
"""Number of samples and of held-out images whose nearest training images are searched for."""


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Scores of a run on its data set."""

    run: Annotated[Text, tyro.conf.Positional]
    """The run's directory, such as runs/dcgan."""
    checkpoint: Whole | None = None
    """Score the generator of the checkpoint at this step instead of sampler.bin."""
    ema_width: RelativeWidth | None = None
    """Score the generator's average of this relative width instead, for runs with --ema-widths."""
    dataset: Text | None = None
    """The present location of the run's data set, if it has moved."""
    protocol: Names = ()
    """Protocols, as in python -m gan_jax.metrics."""
    measures: Names = ()
    """Measures, as in python -m gan_jax.metrics; by default frechet, kernel and prdc, and with a classifier also score. Those
    that look for copies compare with the whole training set."""
    extractor: str | None = None
    """Extractor of features, as in python -m gan_jax.metrics; by default the classifier of the run's data set, or Inception for a
    folder or a file of images."""
    samples: Compared | None = None
    """Samples of the run; without a protocol, by default as many as there are held-out images, but at most 10,000."""
    batch_size: BatchSize = 64
    """Images in a batch of the extractor."""
    seed: Seed = 0
    """Seed of the samples."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets; by default TFDS_DATA_DIR."""


def main(config: Config) -> list[dict[str, Any]]:
    """Prints the scores, writes them to the run as `scores.json`, and returns them.

    Raises `InputError` for a run, a data set or options that cannot be evaluated.
    """
    if config.protocol and (config.samples or config.measures or config.extractor):
        raise InputError('a protocol fixes measures, extractor and samples; omit --protocol or the others')
    path = pathlib.Path(config.run)
    where = str(path) if os.sep in str(path) else os.path.join(os.curdir, path)  # a run may be called as a data set is
    options = runs.saved_identity(path)
    flags: dict[str, Any] = {name: getattr(config, name) for name in ('protocol', 'batch_size', 'seed', 'data_dir')}
    asked = command.Config((str(options.get('dataset')), where), skip_broken=bool(options.get('skip_broken')), **flags)
    command.chosen(dataclasses.replace(asked, measures=config.measures, extractor=config.extractor))  # refuses unknown names
    dataset = _dataset(path, options, config.dataset, config.data_dir)
    split = 'test' if data.has_test_set(dataset, config.data_dir) else 'train'
    asked = dataclasses.replace(asked, images=(dataset, where))
    exported = config.checkpoint is None and config.ema_width is None
    samples = sources.open_source(where, seed=config.seed) if exported else _of_checkpoint(path, config)
    opened = [samples]
    real = _opener(asked, samples, opened)
    context: dict[str, Any] = {}
    if not config.protocol:
        compared = real(split)
        count = min(compared.size or 0, 10_000)
        context = {'dataset': dataset, 'size': data.size_of(*samples.shape[:2]), 'channels': samples.shape[2]}
        extractor = config.extractor or _default_extractor(dataset, config.data_dir)
        scored = extractor.startswith(('classifier', 'inception'))
        measures = config.measures or ('frechet', 'kernel', 'prdc', *(['score'] if scored else []))
        asked = dataclasses.replace(asked, measures=measures, extractor=extractor, split=split)
        asked = dataclasses.replace(asked, samples=config.samples or count, reals=count)
    protocols = command.chosen(asked)
    if not config.protocol:  # a copy of a training image is found only among all of them
        protocols |= {text: p._replace(reals=None) for text, p in protocols.items() if p.measure.split == TRAIN}
    (scores,) = command.scored(asked, protocols, real, [samples], command.extractors_of(asked, **context))
    report([Scored(samples, scores)], None, opened[1:])
    width = config.ema_width if not exported else _exported_width(path)
    if exported and width is not None:
        print(f'the sampler of {path} draws by the average of relative width {width:g}')
    rows = [{**score._asdict(), 'step': samples.step} | ({} if width is None else {'ema_width': width}) for score in scores]
    if not config.protocol and data.has_test_set(dataset, config.data_dir):
        rows.append(_neighbours(real, samples))
    runs.write_json(path / 'scores.json', rows)
    print(f'numbers {path}/scores.json')
    return rows


def _exported_width(path: pathlib.Path) -> float | None:
    """The relative width of the average that `sampler.bin` draws by; None for the run's own."""
    file = path / DESCRIPTION
    return runs.read_json(file).get('ema_width') if file.is_file() else None


def _dataset(path: pathlib.Path, options: dict[str, Any], moved: str | None, data_dir: str | None) -> str:
    """The data set of a run. Raises `InputError` if it does not consist of images, or if its folder or file is not found."""
    if 'dataset' not in options:
        raise InputError(f'{path} has no data set of images on which to score it')
    name = moved or options['dataset']
    if (data.is_folder(name, data_dir) or is_array_file(name)) and not pathlib.Path(name).exists():
        where = '' if os.path.isabs(name) else f', relative to the folder in which it was started, not to {os.getcwd()}'
        raise InputError(f'{path} was trained on {name}, which is not found{where}; give its location with --dataset')
    return name


def _opener(
    asked: command.Config, like: sources.OpenedImages, opened: list[sources.OpenedImages]
) -> Callable[[str], sources.OpenedImages]:
    """A function that opens the real images of a split, once, in the size and channels of `like`, and adds them to `opened`."""
    height, width, channels = like.shape
    form: Any = {
        'size': data.size_of(height, width),
        'channels': channels,
        'data_dir': asked.data_dir,
        'skip_broken': asked.skip_broken,
    }

    @functools.cache
    def real(split: str) -> sources.OpenedImages:
        if split != 'test':
            command.check_split(asked)
        text = data.held_out_name(asked.real, asked.data_dir) if split == 'test' else asked.real
        opened.append(sources.open_source(text, split=split, **form))
        return opened[-1]

    return real


def _of_checkpoint(path: pathlib.Path, config: Config) -> sources.OpenedImages:
    """The samples of a checkpoint, which are those that `sampler.bin` draws if it is of the same step."""
    trained = generators.load(path, 'generator', config.checkpoint, ema_width=config.ema_width)
    generator: runs.Generator = trained.made

    def images(weights: Any, seed: Any, number: Any) -> Any:
        return generator.sample(weights, BLOCK, jax.random.fold_in(jax.random.key(seed), number))

    block = compilation.jit(images)
    draw = lambda number: np.asarray(data.to_uint8(block(trained.weights, np.uint32(config.seed), np.uint32(number))))
    shape = jax.eval_shape(images, trained.weights, np.uint32(0), np.uint32(0)).shape
    return sources.drawn(f'{path} at step {trained.step}', draw, shape)._replace(step=trained.step)


def _default_extractor(dataset: str, data_dir: str | None) -> str:
    return 'inception' if data.is_folder(dataset, data_dir) or is_array_file(dataset) else 'classifier'


def _neighbours(real: Callable[[str], sources.OpenedImages], samples: sources.OpenedImages) -> dict[str, Any]:
    """Tests whether the generator has copied its training data, by distances in pixels to the nearest of all training images."""
    held_out, train = real('test'), real('train')
    count = min(_NEIGHBOURS, held_out.size or 0)
    floats = lambda source, count: (block / np.float32(127.5) for block in sources.batches(source, count))
    generated, held_out_images = (np.concatenate(list(floats(source, count))) for source in (samples, held_out))
    test = memorisation_test(generated, floats(train, None), held_out_images)
    print(
        f'median distance to the nearest training image, in pixels: samples {test.generated:.4g}, held-out {test.held_out:.4g}, '
        f'ratio {test.ratio:.3g}; p-value of samples not being nearer {test.p_value:.3g}'
    )
    print(f'samples nearer than every held-out image: {test.nearer} of {count}, p-value {test.nearer_p_value:.3g}')
    name, value = 'neighbour_distance_ratio', test.ratio
    return {
        'name': name,
        'value': value,
        **{field: getattr(test, field) for field in ('p_value', 'nearer', 'nearer_p_value')},
        'extractor': 'pixels',
        'fakes': count,
        'step': samples.step,
    }


if __name__ == '__main__':
    runs.run_main(main, Config)
