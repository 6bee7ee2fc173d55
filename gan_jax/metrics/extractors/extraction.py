"""Feature extractors: what turns images into the vectors that the metrics compare.

Any function `images -> features [n, d]` is one; `Extractor` adds the name under which its numbers are reported, so that a
distance in the features of some other network is never read as FID.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, placement
from gan_jax.errors import InputError, one_line
from gan_jax.files import fingerprint
from gan_jax.typing import AnyArray, Array


class Outputs(NamedTuple):
    """What an extractor makes of n images."""

    features: Any
    """`[n, d]`, an array of JAX or, from `extract`, of NumPy."""
    logits: Any = None
    """`[n, classes]`, of extractors that classify."""


class Extractor(NamedTuple):
    """A named feature extractor."""

    name: str
    """What its numbers are reported under, weights included: two extractors of one name are the same function."""
    apply: Callable[[Array], Outputs]
    """Images `[n, h, w, c]`, uint8 or float in [-1, 1], to `Outputs`; pure, and not yet compiled."""
    shape: tuple[int, ...] | None = None
    """`(h, w, c)` of the only images it takes; None if it takes all."""
    on_host: bool = False
    """Whether `apply` may be called on NumPy arrays, outside of a compiled program, if JAX cannot trace it."""


def as_float(images: AnyArray) -> Array:
    """uint8 pixels to float32 in [-1, 1]; floats stay as they are."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1 if images.dtype == jnp.uint8 else jnp.asarray(images)


def extract(extractor: Extractor, batches: Iterable[np.ndarray], *, batch_size: int = 64) -> Iterator[Outputs]:
    """The outputs for images that come in batches of any sizes, each `[n, h, w, c]`; as numpy arrays, in order.

    Batches are cut and filled up to one size, which all local devices share, so there is one compiled program; the fill is
    cut off again. Raises `InputError` for images that the extractor does not take, for what is not one vector of each image, and
    if a feature is not a finite number.
    """
    size = filled_size(batch_size)
    compiled = compilation.jit(compilation.exact(extractor.apply))
    traced: bool | None = None
    for rows in _rebatched(batches, size):
        if extractor.shape not in (None, rows.shape[1:]):
            raise InputError(f'{extractor.name} takes images {extractor.shape}, not {rows.shape[1:]}; --resize may help')
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), 0)])
        if traced is None:
            traced = not extractor.on_host or traceable(extractor, jax.ShapeDtypeStruct(filled.shape, filled.dtype))
        outputs = compiled(placement.split_rows(filled)) if traced else _called(extractor, filled)
        features, logits = (None if x is None else np.asarray(x) for x in outputs)
        if features is None or features.ndim != 2 or len(features) != size or not np.issubdtype(features.dtype, np.number):
            found = 'nothing' if features is None else f'{features.dtype}{list(features.shape)} of {size} images'
            raise InputError(f'{extractor.name} does not make one vector of an image: it makes {found}')
        features, logits = features[: len(rows)], None if logits is None else logits[: len(rows)]
        broken = int((~np.isfinite(features).all(1)).sum())
        if broken:
            raise InputError(f'{extractor.name} makes features that are no finite numbers of {broken} of {len(rows)} images')
        yield Outputs(features, logits)


def filled_size(batch_size: int) -> int:
    """How many images a batch is filled up to: as many for each device. Raises `InputError` for a size below 1."""
    if batch_size < 1:
        raise InputError(f'a batch has at least 1 image, not {batch_size}')
    devices = jax.local_device_count()
    return math.ceil(batch_size / devices) * devices


def identity(extractor: Extractor, shape: tuple[int, ...], batch_size: int = 64) -> str | None:
    """A fingerprint of the program that an extractor is on uint8 images `shape`, with all its weights and constants.

    None if there is no telling what it computes: of what JAX cannot trace, and of programs that call Python back.
    """
    images = jax.ShapeDtypeStruct((filled_size(batch_size), *shape), np.uint8)
    if extractor.on_host and not traceable(extractor, images):
        return None
    program = jax.jit(extractor.apply).lower(images).as_text()
    return None if 'callback' in program else fingerprint(jax.__version__, program)


def traceable(extractor: Extractor, images: jax.ShapeDtypeStruct) -> bool:
    """Whether JAX can trace an extractor on such images."""
    try:
        jax.eval_shape(extractor.apply, images)
    except Exception:  # of NumPy, PyTorch, or whatever the function calls
        return False
    return True


def _called(extractor: Extractor, images: np.ndarray) -> Outputs:
    """The extractor on the host. Raises `InputError` for whatever it raises."""
    try:
        return Outputs(*(None if x is None else np.asarray(x) for x in extractor.apply(images)))  # type: ignore[arg-type]
    except Exception as error:
        raise InputError(f'{extractor.name} fails on images {list(images.shape)}: {one_line(error)}') from error


def _rebatched(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same rows in batches of `size`, the last one smaller."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting.append(np.asarray(batch))
        if sum(map(len, waiting)) >= size:
            rows = np.concatenate(waiting)
            whole = len(rows) // size * size
            yield from (rows[i : i + size] for i in range(0, whole, size))
            waiting = [rows[whole:]] if whole < len(rows) else []
    if waiting:
        yield np.concatenate(waiting)
