"""Exports a trained generator to a file that does not require its code, for `gan_jax.metrics` and other programs."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax import compilation
from gan_jax.data.feeds import to_uint8
from gan_jax.files import write_whole
from gan_jax.metrics.sources import SAMPLER, sampler_name
from gan_jax.typing import Array, Key

_PLATFORMS = ('cpu', 'cuda', 'tpu')


def save_sampler(path: pathlib.Path, draw: Callable[[Key], Array], step: int) -> None:
    """Writes `sampler.bin`: the compiled `(seed, block) -> uint8 images [n, h, w, c]` with its parameters, by `jax.export`.

    `draw(key)` draws one block of images in [-1, 1], `[n, h, w, c]`. Block b of seed s uses the key `fold_in(key(s), b)`. The
    name of the exported function records the step (`gan_jax.metrics.sources.sampler_step`). Raises `InputError`, and writes
    nothing, if the images of a block are not finite, which uint8 pixels would hide.
    """
    to_uint8(compilation.jit(draw)(jax.random.fold_in(jax.random.key(0), 0)))

    def block(seed: Array, number: Array) -> Array:
        return to_uint8(draw(jax.random.fold_in(jax.random.key(seed), number)))

    block.__name__ = sampler_name(step)
    number = jax.ShapeDtypeStruct((), jnp.uint32)
    export(path / SAMPLER, block, number, number)


def export(file: pathlib.Path, function: Callable, *arguments: Any) -> None:
    """Writes a function of arguments of these shapes, for every platform, by `jax.export`.

    The bytes depend only on the function and not on previous computations, since source locations are omitted.
    """
    with jax.default_device(jax.local_devices()[0]), _without_locations():
        exported = jax.export.export(jax.jit(function), platforms=_PLATFORMS)(*arguments)
    write_whole(file, bytes(exported.serialize()))


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    name = 'jax_traceback_in_locations_limit'
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
