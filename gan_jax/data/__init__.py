"""Data: images by name, mixtures by name, and minibatches that are a pure function of (seed, step)."""

from gan_jax.data.feeds import Feed, generated, resident, stream, to_float, to_uint8
from gan_jax.data.images import Images, digits, folder, resize
from gan_jax.data.loading import load, open_source
from gan_jax.data.mixtures import MIXTURES, Mixture, mixture

__all__ = [
    'MIXTURES', 'Feed', 'Images', 'Mixture', 'digits', 'folder', 'generated', 'load', 'mixture', 'open_source', 'resident',
    'resize', 'stream', 'to_float', 'to_uint8',
]  # fmt: skip
