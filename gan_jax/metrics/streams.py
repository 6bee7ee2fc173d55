"""Metrics in any training loop, of JAX or PyTorch: images as loaders yield them, and sets that are spread over processes.

Moments are computed batch by batch, so memory does not grow with the number of images. `over_processes` merges the moments of the
processes of `jax.distributed`. With processes of PyTorch, `torch.distributed.all_gather_object(parts, found)` followed by
`functools.reduce(moments.merge, parts)` does the same, because moments are tuples of NumPy arrays.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import hosts
from gan_jax.data.arrays import as_images
from gan_jax.errors import InputError, told_to_user
from gan_jax.metrics import moments
from gan_jax.metrics.extractors.extraction import Extractor
from gan_jax.metrics.imagesets import collect
from gan_jax.metrics.moments import FeatureMoments

T = TypeVar('T')
Span = tuple[float, float]
"""The values of black and white."""


def image_moments(
    extractor: Extractor, batches: Iterable[Any], *, span: Span | None = None, batch_size: int = 64
) -> FeatureMoments:
    """The moments of the features of all images, in float64 on the host, for `frechet_distance` and `moments.merge`.

    A process's share of a set may be a single image. Raises `InputError` for batches that `as_levels` refuses, for no images, and
    as `extract` does.

    Args:
        extractor: a member of `EXTRACTORS`, or your own.
        batches: batches of images of any sizes, in the forms of `as_levels`.
        span: the values of black and white of float images.
        batch_size: number of images in a call of the extractor.
    """
    found = collect(extractor, (as_levels(batch, span) for batch in batches), {'moments'}, batch_size=batch_size, at_least=1)
    return cast(FeatureMoments, found.moments)


def image_features(extractor: Extractor, batches: Iterable[Any], *, span: Span | None = None, batch_size: int = 64) -> np.ndarray:
    """The features of all images, `[n, d]`, for estimators that compare individual features.

    Raises `InputError` as `image_moments` does.

    Args:
        extractor: a member of `EXTRACTORS`, or your own.
        batches: batches of images of any sizes, in the forms of `as_levels`.
        span: the values of black and white of float images.
        batch_size: number of images in a call of the extractor.
    """
    found = collect(extractor, (as_levels(batch, span) for batch in batches), {'features'}, batch_size=batch_size, at_least=1)
    return found.features


def as_levels(batch: Any, span: Span | None = None) -> np.ndarray:
    """Converts a batch of images to uint8 `[n, h, w, 1 or 3]`, the 256 levels that files have.

    A batch is an array of JAX or NumPy, a tensor of PyTorch on any device, or anything that `np.asarray` converts, such as a
    tensor of TensorFlow. Its axes are `[n, h, w, c]`, `[n, c, h, w]` or `[n, h, w]`. If the axes are ambiguous, as for images 3
    pixels wide, a tensor of PyTorch is read as `[n, c, h, w]`, and anything else as `[n, h, w, c]`. Pixels are uint8, or floats
    within `span`, which is (0, 1) for torchvision's `ToTensor` and (-1, 1) for a generator that ends in tanh. Floats are rounded
    to the nearest level, so a score is that of the saved images.

    Raises `InputError` for floats without a span or outside it, for other types, and for other axes.
    """
    axes = (0, 1, 2, 3)
    if callable(getattr(batch, 'detach', None)):  # a tensor of PyTorch, which is not imported here
        batch = (batch.float() if batch.is_floating_point() else batch).numpy(force=True)  # NumPy has no bfloat16
        axes = (0, 2, 3, 1) if batch.ndim == 4 and batch.shape[1] in (1, 3) else axes
    elif isinstance(batch, list | tuple | dict):
        raise InputError(
            f'a batch must be an array of images, not a {type(batch).__name__}: '
            'pass its images only, as in (images for images, labels in loader)'
        )
    x = np.asarray(batch)
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = _levels(x.astype(np.float32), span)
    elif x.dtype != np.uint8:
        raise InputError(f'images must be uint8, or floats with a span such as span=(0, 1), not {x.dtype}')
    with told_to_user():
        return as_images(x.transpose(axes) if x.ndim == 4 else x)


def _levels(x: np.ndarray, span: Span | None) -> np.ndarray:
    if span is None:
        raise InputError('float images require the values of black and white, span=(0, 1) or span=(-1, 1)')
    black, white = span
    if not black < white:
        raise InputError(f'span must be the values of black and white in this order, not {span}')
    slack = 1e-3 * (white - black)  # a quarter of a level
    if x.size and not (black - slack <= x.min() and x.max() <= white + slack):  # also if a pixel is NaN
        raise InputError(f'pixels from {x.min():.4g} to {x.max():.4g} do not fit span=({black:g}, {white:g})')
    return np.clip(np.round((x - black) * (255 / (white - black))), 0, 255).astype(np.uint8)


def over_processes(state: T, merge: Callable[[T, T], T] = moments.merge) -> T:  # type: ignore[assignment]
    """The union of the sets of all processes (`gan_jax.hosts`), by `merge`; the same in every process, bit for bit.

    Every process must call it, with a state of the same shapes and types: `FeatureMoments`, a `scores.ScoreMoments` with
    `scores.merge`, or features `[n, d]` with a `merge` that concatenates them, of which n may differ. Float64 is preserved even
    if JAX computes in float32. Each process temporarily holds the states of all processes. A single process returns its own
    state.

    Raises `InputError` for states of different shapes or types.
    """
    if hosts.count() == 1:
        return state
    leaves, tree = jax.tree.flatten(state)
    arrays = [np.asarray(leaf) for leaf in leaves]
    shapes = hosts.shared([(str(x.dtype), x.shape) for x in arrays])
    rows = int(isinstance(state, np.ndarray | jax.Array) and state.ndim > 0)  # the first axis of one array may differ
    forms = [', '.join(f'{dtype}{[*"n" * rows, *shape[rows:]]}'.replace("'", '') for dtype, shape in each) for each in shapes]
    if len(set(forms)) > 1:
        raise InputError(f'all processes must hold sets of the same shapes and types, not {" and ".join(dict.fromkeys(forms))}')
    content = b''.join(x.tobytes() for x in arrays)  # JAX would round float64 to float32
    size = max(sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in each) for each in shapes)
    words = np.frombuffer(content + bytes(-(-size // 4) * 4 - len(content)), np.int32)

    def restored(row: np.ndarray, held: list[tuple[str, tuple[int, ...]]]) -> T:
        content, start, found = row.tobytes(), 0, []
        for dtype, shape in held:
            found.append(np.ndarray(shape, dtype, content, start).copy())
            start += found[-1].nbytes
        return jax.tree.unflatten(tree, found)

    return functools.reduce(merge, map(restored, hosts.gathered(words), shapes))
