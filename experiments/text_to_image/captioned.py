"""The data of text to image: images with captions, an encoder of the captions, and the scorer of samples during training."""

from typing import Any, NamedTuple

import numpy as np

from experiments.shared import image_gan
from gan_jax import data, runs, text
from gan_jax.data import captioned_digits as scenes
from gan_jax.data.captions import FILE_NAMES
from gan_jax.data.decoding import left_out
from gan_jax.errors import InputError


class Data(NamedTuple):
    """Training data and held-out data, which are the same for all seeds of a run."""

    train: data.Captioned
    unseen: data.Captioned


def load(config: Any) -> Data:
    """Loads the images of the options and prints their description. Raises `InputError` for data that cannot be used."""
    if config.on_digits:
        digits = data.load(config.digits, split='train', data_dir=config.data_dir)
        draw = lambda n, **options: data.captioned_scenes(digits, n, seed=0, **options).data
        return Data(draw(config.scenes, wrong=config.near), draw(100, unseen=True))
    if config.data in FILE_NAMES:
        if config.captions is None:
            raise InputError(f'--data {config.data} requires --captions, the folder of its captions')
        source = data.TfdsSource(config.data, 'train', size=config.image_size, data_dir=config.data_dir)
        every = data.captioned_source(source, config.captions, FILE_NAMES[config.data])
    elif data.is_folder(config.data):
        table = config.captions or 'captions.csv'
        every = data.captioned_folder(config.data, config.image_size, captions=table, skip_broken=config.skip_broken)
    else:
        known = ', '.join(('captioned_digits', *FILE_NAMES))
        raise InputError(f'--data {config.data!r} is neither a folder nor one of {known}')
    labels = np.random.default_rng(0).permutation(np.unique(every.labels))
    if len(labels) <= config.held_out:
        raise InputError(f'--held-out {config.held_out} of {len(labels)} labels leaves nothing to learn from')
    unseen = np.isin(every.labels, labels[: config.held_out])
    count = sum(map(len, every.captions))
    found = f'{len(unseen):,} images with {count:,} captions, of which {unseen.sum():,} images are held out'
    print(f'{config.data}: {found}{left_out(every.broken)}')
    return Data(every.take(np.flatnonzero(~unseen)), every.take(np.flatnonzero(unseen)))


def fixed_encoder(config: Any, train: data.Captioned) -> text.TextEncoder | None:
    """An encoder that is not trained, or None if the encoder is to be trained.

    Raises `InputError` for a file that cannot be read.
    """
    if config.encoder == 'joint':
        return None
    if config.encoder == 'bag_of_words':
        return text.bag_of_words(caption for captions in train.captions for caption in captions)
    return text.precomputed(config.encoder)


def unlearned_encoder(config: Any) -> text.TextEncoder:
    """A placeholder for the joint embedding before it is trained, with vectors of 0."""
    zeros = lambda texts: np.zeros((len(texts), config.encoder_size), np.float32)
    return text.TextEncoder(config.encoder_size, zeros, lambda texts: [], {})


def learned_encoder(config: Any, train: data.Captioned) -> text.TextEncoder:
    """The joint embedding of the training captions and images."""
    options: dict[str, Any] = {'features': config.encoder_size, 'steps': config.encoder_steps}
    return text.joint_embedding(train.images, train.captions, train.labels, min_count=1 if config.on_digits else 2, **options)


def judge(config: Any, train: data.Captioned) -> runs.Judge:
    """The scorer of samples during training: a classifier of the digit, trained on the training images."""
    images, labels = train.images[:20_000], scenes.digits_of(train.labels[:20_000])
    return image_gan.judge(f'captioned {config.digits}', data.Images(images, labels, scenes.DIGITS))
