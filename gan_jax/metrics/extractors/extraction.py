"""Feature extractors, which map images to the vectors that metrics compare.

Any function `images -> features [n, d]` can be an extractor. `Extractor` adds the name under which its scores are reported, so
that a distance in the features of another network is never mistaken for FID.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from gan_jax import compilation, placement
from gan_jax.errors import InputError, one_line
from gan_jax.files import fingerprint
from gan_jax.typing import AnyArray, Array


class Outputs(NamedTuple):
    """The outputs of an extractor for n images."""

    features: Any
    """`[n, d]`, a JAX array, or a NumPy array if returned by `extract`."""
    logits: Any = None
    """`[n, classes]`, for extractors that classify."""


class Extractor(NamedTuple):
    """A named feature extractor."""

    name: str
    """The name under which scores are reported. It identifies the weights: extractors of the same name are the same function."""
    apply: Callable[[Array], Outputs]
    """Maps images `[n, h, w, c]`, uint8 or float in [-1, 1], to `Outputs`; a pure function that is not compiled yet.

    It is traced once: weights that it reads from outside are those of the first call. New weights require a new extractor."""
    shape: tuple[int, ...] | None = None
    """The only accepted shape of images, `(h, w, c)`; None if all shapes are accepted."""
    on_host: bool = False
    """Whether `apply` may be called on NumPy arrays, outside of a compiled program, if JAX cannot trace it."""
    rounds: bool = False
    """Whether images are rounded to 256 levels, as files have them, so that the features have no derivative in the pixels."""
    distances: bool = False
    """Whether the squared distance between the features of two images is a perceptual distance as it is, as for LPIPS."""


def as_float(images: AnyArray) -> Array:
    """Converts uint8 pixels to float32 in [-1, 1], and leaves floats unchanged."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1 if images.dtype == jnp.uint8 else jnp.asarray(images)


def extract(extractor: Extractor, batches: Iterable[np.ndarray], *, batch_size: int = 64) -> Iterator[Outputs]:
    """Yields the outputs for batches of images `[n, h, w, c]` of any sizes, as NumPy arrays and in order.

    Batches are divided and padded to one size, which all local devices share, so only one program is compiled; the padding is
    removed from the outputs. Raises `InputError` for images that the extractor does not accept, for outputs that are not one
    vector per image, and for features that are not finite.
    """
    size = filled_size(batch_size)
    try:
        compiled = _compiled(extractor.apply)
    except TypeError:  # it has no hash
        compiled = _compiled.__wrapped__(extractor.apply)
    traced: bool | None = None
    for rows in _rebatched(batches, size):
        if extractor.shape not in (None, rows.shape[1:]):
            raise InputError(f'{extractor.name} accepts images {extractor.shape}, not {rows.shape[1:]}; --resize may help')
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), 0)])
        if traced is None:
            traced = not extractor.on_host or traceable(extractor, jax.ShapeDtypeStruct(filled.shape, filled.dtype))
        outputs = compiled(placement.split_rows(filled)) if traced else _called(extractor, filled)
        features, logits = (None if x is None else np.asarray(x) for x in outputs)
        if features is None or features.ndim != 2 or len(features) != size or not np.issubdtype(features.dtype, np.number):
            found = 'nothing' if features is None else f'{features.dtype}{list(features.shape)} for {size} images'
            raise InputError(f'{extractor.name} must return one vector per image, but returns {found}')
        features, logits = features[: len(rows)], None if logits is None else logits[: len(rows)]
        broken = int((~np.isfinite(features).all(1)).sum())
        if broken:
            raise InputError(f'{extractor.name} returns features that are not finite for {broken} of {len(rows)} images')
        yield Outputs(features, logits)


@functools.lru_cache(maxsize=2)
def _compiled(apply: Callable[[Array], Outputs]) -> Any:
    """The compiled extractor, which all calls of `extract` in a training loop share."""
    return compilation.jit(compilation.exact(apply))


def filled_size(batch_size: int) -> int:
    """The size of padded batches, a multiple of the number of devices. Raises `InputError` for a batch size below 1."""
    if batch_size < 1:
        raise InputError(f'a batch must have at least 1 image, not {batch_size}')
    devices = jax.local_device_count()
    return math.ceil(batch_size / devices) * devices


def identity(extractor: Extractor, shape: tuple[int, ...], size: int = 64) -> str | None:
    """A fingerprint of an extractor's program for `size` uint8 images of `shape`, with all its weights and constants.

    Weights are hashed as bytes and never printed. None if the computation cannot be known, as for functions that JAX cannot trace
    and programs that call back into Python.
    """
    images = jax.ShapeDtypeStruct((size, *shape), np.uint8)
    if extractor.on_host and not traceable(extractor, images):
        return None
    program = jax.make_jaxpr(extractor.apply)(images)
    text = str(program)  # names arrays by their types and shapes; only scalars are printed
    return None if 'callback' in text else fingerprint(jax.__version__, text, *map(_as_numpy, _constants(program)))


def _constants(program: Any) -> Iterator[Any]:
    """The constants of a jaxpr, closed or not, and of all jaxprs within it, in order."""
    if isinstance(program, ClosedJaxpr):
        yield from program.consts
        program = program.jaxpr
    for equation in program.eqns:
        yield from (x.val for x in equation.invars if isinstance(x, Literal) and np.ndim(x.val))
        yield from _constants_of(tuple(equation.params.values()))
    yield from (x.val for x in program.outvars if isinstance(x, Literal) and np.ndim(x.val))


def _constants_of(parameter: Any) -> Iterator[Any]:
    """The arrays in a parameter of an equation, which may be a jaxpr, an array, or several of them."""
    if isinstance(parameter, ClosedJaxpr | Jaxpr):
        yield from _constants(parameter)
    elif isinstance(parameter, np.ndarray | jax.Array):
        yield parameter
    elif isinstance(parameter, tuple | list):
        for each in parameter:
            yield from _constants_of(each)


def _as_numpy(array: Any) -> np.ndarray:
    keys = hasattr(array, 'dtype') and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if keys else array)


def traceable(extractor: Extractor, images: jax.ShapeDtypeStruct) -> bool:
    """Whether JAX can trace an extractor on images of this shape and type."""
    try:
        jax.eval_shape(extractor.apply, images)
    except Exception:  # raised by NumPy, PyTorch, or anything else that the function calls
        return False
    return True


def _called(extractor: Extractor, images: np.ndarray) -> Outputs:
    """Applies the extractor on the host. Raises `InputError` for anything that it raises."""
    try:
        return Outputs(*(None if x is None else np.asarray(x) for x in extractor.apply(images)))  # type: ignore[arg-type]
    except Exception as error:
        raise InputError(f'{extractor.name} fails on images {list(images.shape)}: {one_line(error)}') from error


def _rebatched(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yields the same rows in batches of `size`, the last of which may be smaller."""
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
