"""From data to minibatches, `[batch_size, ...]` or `[minibatches, batch_size, ...]`. Batch t is a pure function of (seed, t)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, parallel
from gan_jax.data.order import batch_indices
from gan_jax.errors import InputError
from gan_jax.typing import AnyArray, Array, Batch, Key


class Feed(NamedTuple):
    """Data that live on the device, and how a step draws its batch from them."""

    data: Any
    """A pytree of arrays, replicated over the devices."""
    draw: Callable[[Any, Array], Batch]
    """`(data, step) -> this device's share of the batch`; pure, to be called inside the step."""


def to_float(x: Array) -> Array:
    """uint8 pixels become float32 in [-1, 1]; anything else stays as it is."""
    return x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x


def to_uint8(x: AnyArray) -> Array:
    """The inverse of `to_float`, rounded and clipped.

    Raises `InputError` for images that are not finite: no pixel means that. Under a transformation (`jax.jit`) they cannot be
    seen, so it is called outside where images may come of a generator that has diverged.
    """
    if not isinstance(x, jax.core.Tracer):
        finite = np.isfinite(np.asarray(x, np.float32)).all(tuple(range(1, np.ndim(x))))
        if not finite.all():
            raise InputError(f'{(~finite).sum()} of {len(x)} images are not finite: the generator has diverged')
    return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype(jnp.uint8)


def resident(
    arrays: Any,
    batch_size: int,
    *,
    seed: int,
    minibatches: int = 1,
    transform: Callable[[Any, Key], Any] | None = None,
    axis_name: str | None = None,
) -> Feed:
    """A small data set, held on the device: a pytree of arrays `[n, ...]`, shuffled anew each epoch.

    `transform`, such as `data.jitter`, makes of one example and one key the example that is drawn.

    Raises `InputError` if the set is smaller than a batch.
    """
    size = len(jax.tree.leaves(arrays)[0])
    _check_size(size, batch_size)
    key = jax.random.key(seed)
    transform_key = jax.random.fold_in(key, 0xFFFFFFFF)  # of no epoch, whose order has the key of its number

    def minibatch(data: Any, number: Array) -> Batch:
        rows = parallel.local_rows(batch_indices(size, batch_size, number, key), axis_name)
        batch = jax.tree.map(lambda x: to_float(x[rows]), data)
        if transform is None:
            return batch
        return jax.vmap(transform)(batch, parallel.example_keys(jax.random.fold_in(transform_key, number), len(rows), axis_name))

    return Feed(jax.tree.map(jnp.asarray, arrays), several(minibatch, minibatches))


def weighted(
    arrays: Any, weights: AnyArray, batch_size: int, *, seed: int, minibatches: int = 1, axis_name: str | None = None
) -> Feed:
    """A data set on the device whose examples are drawn with replacement, each with a probability proportional to its weight.

    `weights` is `[n]`. The size of a batch is not bounded by the data set's. Raises `ValueError` as `share_edges` does, and if
    there is not one weight for each example.
    """
    if len(weights) != len(jax.tree.leaves(arrays)[0]):
        raise ValueError(f'{len(jax.tree.leaves(arrays)[0])} examples want as many weights, got {len(weights)}')
    key = jax.random.key(seed)

    def minibatch(data: Any, number: Array) -> Batch:
        local = batch_size // parallel.axis_size(axis_name)
        rows = weighted_rows(data[1], parallel.example_keys(jax.random.fold_in(key, number), local, axis_name))
        return jax.tree.map(lambda x: to_float(x[rows]), data[0])

    return Feed((jax.tree.map(jnp.asarray, arrays), share_edges(weights)), several(minibatch, minibatches))


def share_edges(weights: AnyArray) -> Array:
    """What `weighted_rows` draws by: where each example's share of [0, 2^31) ends, uint32, `[..., n]` of weights `[..., n]`.

    In integers, because a running sum of float32 would round the small weights of a large set away. Raises `ValueError` for
    weights that are negative, not finite or all zero.
    """
    w = np.asarray(weights, np.float64)
    ends = w.cumsum(-1)
    if not (np.isfinite(w).all() and (w >= 0).all() and (ends[..., -1] > 0).all()):
        raise ValueError('weights are finite and at least 0, and some are above 0')
    return jnp.asarray(np.round(ends / ends[..., -1:] * 2**31), jnp.uint32)


def weighted_rows(edges: Array, keys: Key) -> Array:
    """One row of the data for each of the keys, `[n], [batch] -> [batch]`, with the probabilities of `share_edges`."""
    points = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32) >> 1)(keys)
    return jnp.searchsorted(edges, points, side='right')


def generated(
    sampler: Callable[[Key], Batch], batch_size: int, *, seed: int, minibatches: int = 1, axis_name: str | None = None
) -> Feed:
    """Data drawn afresh from a distribution, such as `Mixture.sample`: one example from one key."""
    key = jax.random.key(seed)

    def minibatch(data: Any, number: Array) -> Batch:
        local = batch_size // parallel.axis_size(axis_name)
        return jax.vmap(sampler)(parallel.example_keys(jax.random.fold_in(key, number), local, axis_name))

    return Feed((), several(minibatch, minibatches))


def joined(feeds: Mapping[str, Feed]) -> Feed:
    """Several feeds as one, whose batch is a dict of theirs: for sets that are drawn independently, each by its own seed."""
    draw = lambda data, step: {name: feed.draw(data[name], step) for name, feed in feeds.items()}
    return Feed({name: feed.data for name, feed in feeds.items()}, draw)


def several(minibatch: Callable[[Any, Array], Batch], count: int) -> Callable[[Any, Array], Batch]:
    """`minibatch(data, number)` as a feed's `draw(data, step)`: with a count above 1, so many a step on a leading axis."""
    if count == 1:
        return minibatch
    return lambda data, step: jax.vmap(lambda i: minibatch(data, step * count + i))(jnp.arange(count))


class Source(Protocol):
    """A data set on disk, read by index."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Any:
        """The examples as a pytree of numpy arrays, `[len(indices), ...]`."""


def stream(
    source: Source, batch_size: int, *, seed: int, start: int = 0, minibatches: int = 1, threads: int = 8
) -> Iterator[Batch]:
    """Batches `start`, `start + 1`, ... of a data set too large for the device, read ahead by threads (grain).

    In the same order as `resident` would draw them, so a resumed run gives `start` and goes on bit for bit.
    """
    import grain

    _check_size(len(source), batch_size)
    key = jax.random.key(seed)
    cpu = jax.local_devices(backend='cpu')[0]
    order = compilation.jit(lambda number: batch_indices(len(source), batch_size, number, key))

    def batch(step: int) -> Batch:
        with jax.default_device(cpu):
            numbers = [np.asarray(order(step * minibatches + i)) for i in range(minibatches)]
        parts = [source.read(rows.tolist()) for rows in numbers]
        return parts[0] if minibatches == 1 else jax.tree.map(lambda *x: np.stack(x), *parts)

    steps = grain.MapDataset.range(start, np.iinfo(np.int32).max)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(steps.map(batch).to_iter_dataset(options))


def _check_size(size: int, batch_size: int) -> None:
    if size < batch_size:
        raise InputError(f'batch size {batch_size} is more than the {size} examples of the data set')
