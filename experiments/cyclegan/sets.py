"""The sets of images that CycleGAN translates between: two halves of a data set, one of them changed, or two folders."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.shared.image_gan import at_random
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
    """'inverted' or 'coloured': one half of the data set's images, and the other half inverted, or recoloured with blue for white
    and yellow for black. Or a folder: either of two sets, with A and B or with trainA, trainB, testA and testB; or of pairs side
    by side as for pix2pix, of which the left sides of one half and the right sides of the other half are used."""
    dataset: Text = 'digits'
    """Data set of the first two tasks: 'digits' (offline), a TFDS name such as mnist, or a folder with folders train and test."""
    size: Side | None = None
    """Height and width, a multiple of 4; by default the data set's own, or 64 for a folder. The paper has 128 and 256. A folder's
    training images are loaded at 286 / 256 of this size, cropped at random and mirrored."""
    identity_weight: Weight | None = None
    """Weight, times --cycle-weight, of the mean absolute difference that a generator makes to images of its target set. By
    default .5 for folders, as in the authors' code, and 0 for the other tasks: it asks a generator to leave pixels unchanged, the
    opposite of inverting them."""
    receptive_field: Count = 16
    """Side of the square that one logit of D judges: 1, 16, 34, 70, 142 or 286; the paper has 70."""

    @property
    def synthetic(self) -> bool:
        """Whether the right answer is computed here."""
        return self.task in TASKS

    @property
    def identity_share(self) -> float:
        """`identity_weight`, or the task's default."""
        return (0.0 if self.synthetic else 0.5) if self.identity_weight is None else self.identity_weight

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        super().check()
        if self.size is not None:
            _check_size(self, self.size)
        if not self.synthetic and not pathlib.Path(self.task).is_dir():
            raise InputError(f'--task must be {", ".join(map(repr, TASKS))} or a folder; there is no folder {self.task!r}')
        if not self.synthetic and self.dataset != type(self).dataset:
            raise InputError(f'--task {self.task} names the images; leave out --dataset, which applies to {" and ".join(TASKS)}')
        if self.synthetic and data.is_folder(self.dataset) and data.two_sets(self.dataset):
            raise InputError(
                f'--dataset {self.dataset} holds two sets of images, which --task {self.task} would mix; '
                f'use --task {self.dataset} to translate between them'
            )


class Sets(NamedTuple):
    """Two sets of images, uint8 `{'a': [n, ...], 'b': [m, ...]}`."""

    train: dict[str, np.ndarray]
    held_out: dict[str, np.ndarray]
    paired: bool
    """Whether held-out images with the same index are translations of each other."""


def inverted(images: np.ndarray) -> np.ndarray:
    """Inverted uint8 images, `[n, h, w, c] -> [n, h, w, c]`."""
    return 255 - images


def coloured(images: np.ndarray) -> np.ndarray:
    """Grey uint8 images with blue for white and yellow for black, `[n, h, w, 1] -> [n, h, w, 3]`.

    Raises `InputError` for images that are not grey.
    """
    if images.shape[-1] != 1:
        raise InputError('--task coloured requires grey images; --channels 1 converts to grey')
    white, black = np.array([30, 60, 200]), np.array([250, 210, 60])
    return np.round(black + images / 255 * (white - black)).astype(np.uint8)


TASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {'inverted': inverted, 'coloured': coloured}
"""Name -> function that computes the right answer."""


def _check_size(config: SetOptions, size: int) -> None:
    check_resnet_size(size)
    patch_outputs(size, config.receptive_field)


def load(config: SetOptions) -> Sets:
    """The two sets of the task; prints their numbers of images.

    Raises `InputError` for images that cannot be read or translated.
    """
    sets, broken = _made(config) if config.synthetic else _from_folder(config)
    a, b = (sets.train[side] for side in 'ab')
    if config.identity_share and a.shape[-1] != b.shape[-1]:
        raise InputError(f'--identity-weight must be 0, because A has {a.shape[-1]} channels and B has {b.shape[-1]}')
    name = config.dataset if config.synthetic else config.task
    held_out = f'{len(sets.held_out["a"]):,} of each held out'
    print(f'{name}: {len(a):,} images of A and {len(b):,} of B to train on, {held_out}{left_out(broken)}')
    return sets


def _made(config: SetOptions) -> tuple[Sets, list[str]]:
    """Half of a data set and the changed other half, so that no image is on both sides; and the files that were left out."""
    options: dict[str, Any] = {'size': config.size, 'data_dir': config.data_dir, 'skip_broken': config.skip_broken}
    check = lambda size: _check_size(config, size)
    train_set = data.load(config.dataset, split='train', channels=config.channels, check=check, **options)
    test_set = data.load(config.dataset, split='test', channels=train_set.channels, **options)
    images, judged = train_set.images, at_random(test_set.images, config.samples)
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
        raise InputError(f'{path} has only sets to evaluate on ({", ".join(two)}); add trainA and trainB')
    train, broken = data.unpaired(*two['train'], data.loading_size(size), config.channels, config.skip_broken)
    split = next((split for split in ('val', 'test') if split in two), None)
    if split is None:
        judged = {side: data.resize(images[::10], size) for side, images in train.items()}
        train = {side: images[np.arange(len(images)) % 10 > 0] for side, images in train.items()}
    else:
        judged, others = data.unpaired(*two[split], size, train['a'].shape[-1], config.skip_broken)
        broken += others
    if min(map(len, train.values())) < 1:
        raise InputError(f'{path} has too few images: one of ten is held out, and none are left to train on')
    count = min(config.samples, *map(len, judged.values()))
    return Sets(train, {side: images[:count] for side, images in judged.items()}, paired=False), broken
