"""What CycleGAN translates between: halves of a data set of which one is changed, or two folders."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.shared.translation import TranslationOptions, load_pairs
from gan_jax import data, runs
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError
from gan_jax.networks.translation import check_resnet_size, patch_outputs
from gan_jax.ranges import Count, Side, Text, Weight


@dataclasses.dataclass(frozen=True)
class SetOptions(TranslationOptions, runs.DataOptions):
    """Two sets of images."""

    task: Text = 'inverted'
    """'inverted' or 'coloured': half of the data set's images, and the other half inverted, or with white turned blue and black
    turned yellow. Or a folder: with A and B, or trainA, trainB, testA and testB, two sets; else, of pairs side by side as for
    pix2pix, the left sides of one half of the pairs and the right sides of the other."""
    dataset: Text = 'digits'
    """Of the first two tasks: 'digits' (offline), a TFDS name such as mnist, or a folder with folders train and test."""
    size: Side | None = None
    """Height and width, a multiple of 4: the data set's own if it is not given, and 64 of a folder. The paper has 128 and 256;
    a folder's training images are loaded at 286 / 256 of it, cropped at random and mirrored."""
    identity_weight: Weight | None = None
    """Times --cycle-weight, of the mean absolute difference that a generator makes to images of its own target set. If it is not
    given, .5 for folders (as the authors' code has it), 0 for the other tasks: it asks a generator to leave what is there already
    as it is, pixel by pixel the opposite of inverting."""
    receptive_field: Count = 16
    """The side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286; the paper has 70."""

    @property
    def synthetic(self) -> bool:
        """Whether the right answer is made here."""
        return self.task in TASKS

    @property
    def identity_share(self) -> float:
        """`identity_weight`, or the task's."""
        return (0.0 if self.synthetic else 0.5) if self.identity_weight is None else self.identity_weight

    def check(self) -> None:
        super().check()
        if self.size is not None:
            _check_size(self, self.size)
        if not self.synthetic and not pathlib.Path(self.task).is_dir():
            raise InputError(f'--task is {", ".join(map(repr, TASKS))} or a folder, and there is no folder {self.task!r}')
        if not self.synthetic and self.dataset != type(self).dataset:
            raise InputError(f'--task {self.task} names the images: leave out --dataset, which is for {" and ".join(TASKS)}')
        if self.synthetic and data.is_folder(self.dataset) and data.two_sets(self.dataset):
            raise InputError(
                f'--dataset {self.dataset} holds two sets of images, which --task {self.task} would mix: '
                f'--task {self.dataset} translates between them'
            )


class Sets(NamedTuple):
    """Two sets of images, uint8 `{'a': [n, ...], 'b': [m, ...]}`."""

    train: dict[str, np.ndarray]
    held_out: dict[str, np.ndarray]
    paired: bool
    """Whether the held-out images of one number are translations of each other."""


def inverted(images: np.ndarray) -> np.ndarray:
    """White for black, `[n, h, w, c] -> [n, h, w, c]`."""
    return 255 - images


def coloured(images: np.ndarray) -> np.ndarray:
    """Blue for white and yellow for black, and what lies between, `[n, h, w, 1] -> [n, h, w, 3]`."""
    if images.shape[-1] != 1:
        raise InputError('--task coloured is for grey images')
    white, black = np.array([30, 60, 200]), np.array([250, 210, 60])
    return np.round(black + images / 255 * (white - black)).astype(np.uint8)


TASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {'inverted': inverted, 'coloured': coloured}


def _check_size(config: SetOptions, size: int) -> None:
    check_resnet_size(size)
    patch_outputs(size, config.receptive_field)


def load(config: SetOptions) -> Sets:
    """What the task translates between. Raises `InputError` for what cannot be read or translated."""
    sets, broken = _made(config) if config.synthetic else _from_folder(config)
    a, b = (sets.train[side] for side in 'ab')
    if config.identity_share and a.shape[-1] != b.shape[-1]:
        raise InputError(f'--identity-weight is 0 where A has {a.shape[-1]} channels and B {b.shape[-1]}')
    name = config.dataset if config.synthetic else config.task
    held_out = f'{len(sets.held_out["a"]):,} of each held out'
    print(f'{name}: {len(a):,} images of A and {len(b):,} of B to train on, {held_out}{left_out(broken)}')
    return sets


def _made(config: SetOptions) -> tuple[Sets, list[str]]:
    """Half of a data set, and what its other half becomes: no image is on both sides. And the files that were left out."""
    options: dict[str, Any] = {'size': config.size, 'data_dir': config.data_dir, 'skip_broken': config.skip_broken}
    train_set = data.load(config.dataset, split='train', channels=config.channels, **options)
    test_set = data.load(config.dataset, split='test', channels=train_set.channels, **options)
    images, judged = train_set.images, test_set.images[: config.samples]
    _check_size(config, images.shape[1])
    answer = TASKS[config.task]
    train = data.without_pairs({'input': images, 'target': answer(images)})
    return Sets(train, {'a': judged, 'b': answer(judged)}, paired=True), [*train_set.broken, *test_set.broken]


def _from_folder(config: SetOptions) -> tuple[Sets, list[str]]:
    path, size = pathlib.Path(config.task), config.size or 64
    _check_size(config, size)
    two = data.two_sets(path)
    if not two:
        train, judged = load_pairs(path, size, config.samples, channels=config.channels, skip_broken=config.skip_broken)
        return Sets(data.without_pairs(train), {'a': judged['input'], 'b': judged['target']}, paired=True), []
    if 'train' not in two:
        raise InputError(f'{path} has sets to be judged on ({", ".join(two)}), and none to train on')
    train, broken = data.unpaired(*two['train'], data.loading_size(size), config.channels, config.skip_broken)
    split = next((split for split in ('val', 'test') if split in two), None)
    if split is None:
        judged = {side: data.resize(images[::10], size) for side, images in train.items()}
        train = {side: images[np.arange(len(images)) % 10 > 0] for side, images in train.items()}
    else:
        judged, others = data.unpaired(*two[split], size, train['a'].shape[-1], config.skip_broken)
        broken += others
    if min(map(len, train.values())) < 1:
        raise InputError(f'{path} has too few images: one of ten is held out, and some are to train on')
    count = min(config.samples, *map(len, judged.values()))
    return Sets(train, {side: images[:count] for side, images in judged.items()}, paired=False), broken
