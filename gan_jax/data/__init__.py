"""Data: images by name, mixtures by name, and minibatches that are a pure function of (seed, step)."""

from gan_jax.data.feeds import Feed, generated, resident, stream, to_float, to_uint8
from gan_jax.data.images import Images, digits, folder, resize
from gan_jax.data.loading import is_folder, load, load_or_open, open_source
from gan_jax.data.mixtures import MIXTURES, Mixture, mixture
from gan_jax.data.tfds import TfdsSource

__all__ = [
    'MIXTURES', 'Feed', 'Images', 'Mixture', 'TfdsSource', 'digits', 'folder', 'generated', 'is_folder', 'load',
    'load_or_open', 'mixture', 'open_source', 'resident', 'resize', 'stream', 'to_float', 'to_uint8',
]  # fmt: skip
