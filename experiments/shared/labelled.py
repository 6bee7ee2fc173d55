"""Loading of labelled images, for experiments that learn from labels."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.shared import image_gan
from gan_jax import data, runs
from gan_jax.data.feeds import Feed, Rows, Stream
from gan_jax.errors import InputError
from gan_jax.ranges import Text

TRAIN, TEST = 20_000, 10_000
"""Maximal numbers of training and test images in memory, for data sets that are read as needed."""


@dataclasses.dataclass(frozen=True)
class LabelledOptions(runs.GameOptions, runs.DataOptions):
    """A game on labelled images."""

    dataset: Text = 'mnist'
    """A TFDS name of labelled images, 'digits' (offline), or a folder with one folder of images per class. It may hold folders
    train and test; otherwise every tenth image is held out."""


class Labelled(NamedTuple):
    """Images of one split, in memory. Every class has examples."""

    images: np.ndarray
    """uint8, `[n, height, width, channels]`"""
    labels: np.ndarray
    """int32, `[n]`"""
    classes: tuple[str, ...]
    """Names of the labels."""


class LabelledData(NamedTuple):
    """The data a run is trained on and judged by."""

    source: Any
    """`{'image': [n, h, w, c], 'label': [n]}`, or a source of such batches."""
    train: Labelled
    """The training images; of a source, at most TRAIN, drawn at random with one of each class."""
    test: Labelled

    def judge(self, name: str) -> runs.Judge:
        """The scorer of a run during training; `name` is that of the data set."""
        return image_gan.judge(name, data.Images(*self.train))

    def feed(self, config: LabelledOptions) -> Feed | Stream:
        """Minibatches of images without their labels."""
        return data.feed(
            self.source,
            config.batch_size,
            minibatches=config.minibatches,
            pick=lambda batch: batch['image'],
            memory_limit=config.memory_limit * 1e9,
        )


class Part(NamedTuple):
    """Some of a source's examples, as a source."""

    source: data.ImageSource
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        return self.source.read(self.rows[list(indices)].tolist())

    def every_label(self) -> np.ndarray:
        """The labels of all of them, int `[n]`."""
        labels = self.source.every_label()
        assert labels is not None  # ensured by `load`
        return labels[self.rows]


def every_label(source: Any) -> np.ndarray:
    """The labels int `[n]` of `{'image': ..., 'label': ...}`, or of a source of such batches."""
    return source['label'] if isinstance(source, dict) else source.every_label()


def balanced(source: Any) -> Any:
    """`{'image': ..., 'label': ...}`, or a source of such batches, with the examples of rare classes repeated.

    Every class has as many examples as the most frequent one, so that labels are uniformly distributed.
    """
    labels = every_label(source)
    each = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    rows = np.concatenate([np.resize(own, max(map(len, each))) for own in each])
    return {name: x[rows] for name, x in source.items()} if isinstance(source, dict) else Part(source, rows)


def load(config: LabelledOptions, check: Callable[[data.Size], object] = lambda size: None) -> LabelledData:
    """Loads the training and test set of the options and prints their description.

    Without a test set of labelled images, every tenth image of each class is held out. `check` is called as by `data.load`.
    Raises `InputError` unless every class has examples and every example has a class.
    """
    options: dict[str, Any] = {'data_dir': config.data_dir, 'skip_broken': config.skip_broken}
    limit = config.memory_limit * 1e9
    shape: dict[str, Any] = {'size': config.shape, 'channels': config.channels}
    found = data.load_or_open(config.dataset, split='train', memory_limit=limit, check=check, **shape, **options)
    if not found.classes:
        folder = '; put the images of each class into one folder' if data.is_folder(config.dataset, config.data_dir) else ''
        raise InputError(f'{config.dataset} has no labels to learn from{folder}')
    print(data.describe(config.dataset, found))
    source, test = _source(found), None
    if data.has_test_set(config.dataset, config.data_dir):
        limit = math.inf if isinstance(found, data.Images) else 0
        shape = {'size': found.size, 'channels': found.channels}
        held_out = data.load_or_open(config.dataset, split='test', memory_limit=limit, **shape, **options)
        test = _source(held_out) if held_out.classes else None
    if test is None:
        rows = data.held_out_examples(found.labels if isinstance(found, data.Images) else found.every_label())
        print(f'of which {rows.sum():,} are held out: every tenth image of each class')
        source, test = _part(source, ~rows), _part(source, rows)
    train = _in_memory(source, found.classes, TRAIN)
    arrays = {'image': train.images, 'label': train.labels}
    return LabelledData(arrays if isinstance(source, Rows) else source, train, _in_memory(test, found.classes, TEST))


def _source(found: data.Images | data.ImageSource) -> Any:
    return Rows({'image': found.images, 'label': found.labels}) if isinstance(found, data.Images) else found


def _part(source: Any, chosen: np.ndarray) -> Any:
    rows = np.flatnonzero(chosen)
    return Rows(source.read(rows.tolist())) if isinstance(source, Rows) else Part(source, rows)


def _in_memory(source: Any, classes: tuple[str, ...], limit: int) -> Labelled:
    """The examples that are in memory already, or at most `limit` at random, among which every class has one."""
    if isinstance(source, Rows):
        batch = source.arrays
    else:
        order = np.random.default_rng(0).permutation(len(source))
        batch = source.read(np.sort(order[:limit]).tolist())
        if len(np.unique(batch['label'])) < len(classes):  # only then, because it may read every record
            labels = data.check_labels(source.every_label(), len(classes))
            _, first = np.unique(labels[order], return_index=True)
            order = np.concatenate([order[first], np.delete(order, first)])
            batch = source.read(np.sort(order[: max(limit, len(classes))]).tolist())
    return Labelled(batch['image'], data.check_labels(batch['label'], len(classes)), classes)
