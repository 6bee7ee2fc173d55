"""Data: images and mixtures by name, and minibatches that are a pure function of (seed, step)."""

from gan_jax.data.captioned_digits import CaptionedDigits, captioned_scenes
from gan_jax.data.captions import Captioned, captioned_folder, captioned_source
from gan_jax.data.feeds import (
    Feed,
    Joined,
    Stream,
    feed,
    generated,
    joined,
    resident,
    share_edges,
    to_float,
    to_uint8,
    weighted,
    weighted_rows,
)
from gan_jax.data.folders import FolderSource, folder, folder_splits
from gan_jax.data.images import Images, digits, resize
from gan_jax.data.labels import check_labels, held_out_examples, labelled_subset
from gan_jax.data.loading import (
    ImageSource,
    describe,
    has_test_set,
    held_out_name,
    is_digits,
    is_folder,
    is_named,
    load,
    load_or_open,
    open_source,
)
from gan_jax.data.mixtures import MIXTURES, Mixture, mixture
from gan_jax.data.pairs import PairSource, jitter, loading_size, pair_splits, pairs, two_sets, unpaired, without_pairs
from gan_jax.data.reading import Size, sides, size_of
from gan_jax.data.stacked import channel_classes, stacked_digits, stacked_test_set
from gan_jax.data.tfds import TfdsSource

__all__ = [
    'MIXTURES', 'Captioned', 'CaptionedDigits', 'Feed', 'FolderSource', 'ImageSource', 'Images', 'Joined', 'Mixture',
    'PairSource', 'Size', 'Stream', 'TfdsSource', 'captioned_folder', 'captioned_scenes', 'captioned_source',
    'channel_classes', 'check_labels', 'describe', 'digits', 'feed', 'folder', 'folder_splits', 'generated', 'has_test_set',
    'held_out_examples', 'held_out_name', 'is_digits', 'is_folder', 'is_named', 'jitter', 'joined', 'labelled_subset', 'load',
    'load_or_open', 'loading_size', 'mixture', 'open_source', 'pair_splits', 'pairs', 'resident', 'resize', 'share_edges',
    'sides', 'size_of', 'stacked_digits', 'stacked_test_set', 'to_float', 'to_uint8', 'two_sets', 'unpaired', 'weighted',
    'weighted_rows', 'without_pairs',
]  # fmt: skip
