"""Minibatches of data, `[batch_size, ...]` or `[minibatches, batch_size, ...]`. Batch t is a pure function of (key, t)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, overload

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, parallel
from gan_jax.data.order import batch_indices
from gan_jax.errors import InputError
from gan_jax.keys import named
from gan_jax.typing import AnyArray, Array, Batch, Key


class Feed(NamedTuple):
    """Data on the device, and how a step draws its batch from them."""

    data: Any
    """A pytree of arrays, replicated over the devices and shared by the seeds of a run."""
    draw: Callable[[Any, Any, Array], Batch]
    """`(data, own, step) -> this device's share of the batch`, a pure function that is called inside the step."""
    own: Callable[[int, Key], Any] = lambda _, key: key
    """`(number, key) -> own`: what belongs to the seed with this number; by default its key, which determines its order."""

    def by(self, key: Key) -> Callable[[Any, Array], Batch]:
        """Returns `(data, step) -> batch` for a single seed, as required by `gan_jax.many_steps`."""
        own = self.own(0, key)
        return lambda data, step: self.draw(data, own, step)


def to_float(x: Array) -> Array:
    """Converts uint8 pixels to float32 in [-1, 1]; other dtypes are returned unchanged."""
    return x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x


def to_uint8(x: AnyArray) -> Array:
    """Inverts `to_float`, with rounding and clipping: floats in [-1, 1] to uint8.

    Raises `InputError` for images that are not finite, for which no pixel stands. Values cannot be checked under a
    transformation such as `jax.jit`, so images of a generator that may have diverged should be converted outside of it.
    """
    if not isinstance(x, jax.core.Tracer):
        finite = np.isfinite(np.asarray(x, np.float32)).all(tuple(range(1, np.ndim(x))))
        if not finite.all():
            raise InputError(f'{(~finite).sum()} of {len(x)} images are not finite: the generator has diverged')
    return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype(jnp.uint8)


Transform = Callable[[Any, Key], Any]
"""Maps an example and a key to the example that is drawn, such as `data.jitter`."""


def resident(arrays: Any, batch_size: int, *, minibatches: int = 1, transform: Transform | None = None) -> Feed:
    """A small data set held on the device, reshuffled every epoch.

    Args:
        arrays: a pytree of arrays `[n, ...]`.
        batch_size: number of examples in a minibatch.
        minibatches: number of minibatches in a step; more than one are stacked on a leading axis.
        transform: applied to each drawn example, such as `data.jitter`.

    Raises `InputError` if the data set is smaller than a batch.
    """
    size = len(jax.tree.leaves(arrays)[0])
    _check_size(size, batch_size)

    def minibatch(data: Any, key: Key, number: Array) -> Batch:
        rows = parallel.local_rows(batch_indices(size, batch_size, number, key))
        return _prepared(jax.tree.map(lambda x: x[rows], data), transform, key, number)

    return Feed(jax.tree.map(jnp.asarray, arrays), several(minibatch, minibatches))


def _prepared(batch: Any, transform: Transform | None, key: Key, number: Array) -> Batch:
    """Converts a minibatch to what the step receives."""
    batch = jax.tree.map(to_float, batch)
    if transform is None:
        return batch
    key = jax.random.fold_in(jax.random.fold_in(key, 0xFFFFFFFF), number)  # no epoch's order has this key
    return jax.vmap(transform)(batch, parallel.example_keys(len(jax.tree.leaves(batch)[0]), key))


def weighted(arrays: Any, weights: AnyArray, batch_size: int, *, minibatches: int = 1) -> Feed:
    """A data set on the device, sampled with replacement with probabilities proportional to weights.

    A batch can be larger than the data set.

    Args:
        arrays: a pytree of arrays `[n, ...]`.
        weights: weights of the examples, `[n]`.
        batch_size: number of examples in a minibatch.
        minibatches: number of minibatches in a step; more than one are stacked on a leading axis.

    Raises `ValueError` if there is not one weight for each example, and for weights that `share_edges` rejects.
    """
    if len(weights) != len(jax.tree.leaves(arrays)[0]):
        raise ValueError(f'{len(jax.tree.leaves(arrays)[0])} examples require as many weights, got {len(weights)}')

    def minibatch(data: Any, key: Key, number: Array) -> Batch:
        local = batch_size // parallel.axis_size()
        rows = weighted_rows(data[1], parallel.example_keys(local, jax.random.fold_in(key, number)))
        return jax.tree.map(lambda x: to_float(x[rows]), data[0])

    return Feed((jax.tree.map(jnp.asarray, arrays), share_edges(weights)), several(minibatch, minibatches))


def share_edges(weights: AnyArray) -> Array:
    """Computes the edges from which `weighted_rows` draws: `[..., n]` weights to uint32 `[..., n]`.

    They are the ends of the examples' shares of [0, 2^31). They are integers because a float32 cumulative sum would lose the
    small weights of a large data set. Raises `ValueError` for weights that are negative, not finite or all zero.
    """
    w = np.asarray(weights, np.float64)
    ends = w.cumsum(-1)
    if not (np.isfinite(w).all() and (w >= 0).all() and (ends[..., -1] > 0).all()):
        raise ValueError('weights must be finite and at least 0, and not all 0')
    return jnp.asarray(np.round(ends / ends[..., -1:] * 2**31), jnp.uint32)


def weighted_rows(edges: Array, keys: Key) -> Array:
    """Draws one row of the data for each key, with the probabilities of `share_edges`: `[n], [batch] -> [batch]`."""
    points = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32) >> 1)(keys)
    return jnp.searchsorted(edges, points, side='right')


def generated(sampler: Callable[[Key], Batch], batch_size: int, *, minibatches: int = 1) -> Feed:
    """Data drawn from a distribution by `sampler(key) -> example`, such as `Mixture.sample`."""

    def minibatch(data: Any, key: Key, number: Array) -> Batch:
        local = batch_size // parallel.axis_size()
        return jax.vmap(sampler)(parallel.example_keys(local, jax.random.fold_in(key, number)))

    return Feed((), several(minibatch, minibatches))


def several(minibatch: Callable[[Any, Any, Array], Batch], count: int) -> Callable[[Any, Any, Array], Batch]:
    """Turns `minibatch(data, own, number)` into the `draw(data, own, step)` of a feed, with `count` minibatches in a step.

    More than one are stacked on a leading axis.
    """
    if count == 1:
        return minibatch
    return lambda data, own, step: jax.vmap(lambda i: minibatch(data, own, step * count + i))(jnp.arange(count))


class Source(Protocol):
    """A data set on disk, read by index."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Any:
        """Returns the examples as a pytree of NumPy arrays, `[len(indices), ...]`."""


class Rows(NamedTuple):
    """A source of arrays in the memory of the host."""

    arrays: Any
    """A pytree of arrays `[n, ...]`."""

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.arrays)[0])

    def read(self, indices: Sequence[int]) -> Any:
        """Returns the examples as a pytree of NumPy arrays, `[len(indices), ...]`."""
        return jax.tree.map(lambda x: x[np.asarray(indices)], self.arrays)


class Stream(NamedTuple):
    """A data set too large for the device, read ahead by threads in the same order in which `resident` would draw it."""

    source: Source
    """The data set."""
    batch_size: int
    """Number of examples in a minibatch."""
    minibatches: int = 1
    """Number of minibatches in a step; more than one are stacked on a leading axis."""
    transform: Transform | None = None
    """Applied to each drawn example, inside the step."""
    pick: Callable[[Any], Any] = lambda batch: batch
    """Maps what the source reads to a batch."""

    def own(self, number: int, key: Key) -> Key:
        """Returns what belongs to the seed with this number, as in a `Feed`."""
        del number
        return key

    def batches(self, own: Key, start: int, rows: slice = slice(None)) -> Iterator[Batch]:
        """Yields batches `start`, `start + 1`, ... as stored on disk; a resumed run gives `start` and continues bit for bit.

        Only `rows` of each minibatch are read.
        """
        read = stream(self.source, self.batch_size, own, start=start, minibatches=self.minibatches, rows=rows)
        return (self.pick(batch) for batch in read)

    def prepare(self, batch: Any, own: Key, step: Array) -> Batch:
        """Converts a batch to what the step receives; a pure function that is called inside the step."""
        if self.minibatches == 1:
            return _prepared(batch, self.transform, own, step)
        numbers = step * self.minibatches + jnp.arange(self.minibatches)
        return jax.vmap(lambda part, number: _prepared(part, self.transform, own, number))(batch, numbers)


class Joined(NamedTuple):
    """Several data sets streamed as one, whose batch is a dict of their batches; some of them may be on the device."""

    feeds: Mapping[str, Feed | Stream]
    """Name -> feed; at least one is a `Stream`."""

    @property
    def minibatches(self) -> int:
        """Number of minibatches in a step."""
        return next(feed.minibatches for feed in self.feeds.values() if isinstance(feed, Stream))

    def own(self, number: int, key: Key) -> Any:
        """Returns what belongs to the seed with this number, as in a `Feed`."""
        return {name: feed.own(number, named(key, name)) for name, feed in self.feeds.items()}

    def batches(self, own: Any, start: int, rows: slice = slice(None)) -> Iterator[Batch]:
        """Yields `rows` of batches `start`, `start + 1`, ... of the streamed data sets, as stored on disk."""
        reading = {name: feed.batches(own[name], start, rows) for name, feed in self.feeds.items() if isinstance(feed, Stream)}
        return (dict(zip(reading, parts, strict=True)) for parts in zip(*reading.values(), strict=True))

    def prepare(self, batch: Batch, own: Any, step: Array) -> Batch:
        """Converts a batch to what the step receives; a pure function that is called inside the step."""
        part = lambda name, feed: (
            feed.draw(feed.data, own[name], step) if isinstance(feed, Feed) else feed.prepare(batch[name], own[name], step)
        )
        return {name: part(name, feed) for name, feed in self.feeds.items()}


@overload
def joined(feeds: Mapping[str, Feed]) -> Feed: ...
@overload
def joined(feeds: Mapping[str, Feed | Stream]) -> Feed | Joined: ...
def joined(feeds: Mapping[str, Any]) -> Feed | Joined:
    """Combines feeds of independently drawn data sets into one, whose batch is a dict of theirs."""
    resident = {name: feed for name, feed in feeds.items() if isinstance(feed, Feed)}
    if len(resident) < len(feeds):
        return Joined(feeds)
    draw = lambda data, own, step: {name: feed.draw(data[name], own[name], step) for name, feed in resident.items()}
    return Feed({name: feed.data for name, feed in resident.items()}, draw, Joined(feeds).own)


def feed(
    source: Any,
    batch_size: int,
    *,
    minibatches: int = 1,
    transform: Transform | None = None,
    pick: Callable[[Any], Any] = lambda batch: batch,
    memory_limit: float = 2e9,
) -> Feed | Stream:
    """Holds a data set on the device if it is small enough, and streams it otherwise.

    Args:
        source: a pytree of arrays `[n, ...]`, or a `Source`, which is always streamed.
        batch_size: number of examples in a minibatch.
        minibatches: number of minibatches in a step; more than one are stacked on a leading axis.
        transform: applied to each drawn example, as in `resident`.
        pick: maps what a source reads to a batch; arrays are mapped once, all of them together.
        memory_limit: maximum size of arrays on the device, in bytes.

    Raises `InputError` if the data set is smaller than a batch.
    """
    if hasattr(source, 'read'):
        _check_size(len(source), batch_size)
        return Stream(source, batch_size, minibatches, transform, pick)
    arrays = pick(source)
    if sum(np.asarray(x).nbytes for x in jax.tree.leaves(arrays)) > memory_limit:
        _check_size(len(jax.tree.leaves(arrays)[0]), batch_size)
        return Stream(Rows(arrays), batch_size, minibatches, transform)
    return resident(arrays, batch_size, minibatches=minibatches, transform=transform)


def stream(
    source: Source,
    batch_size: int,
    key: Key,
    *,
    start: int = 0,
    minibatches: int = 1,
    rows: slice = slice(None),
    threads: int = 8,
) -> Iterator[Batch]:
    """Yields batches `start`, `start + 1`, ... of a data set too large for the device, read ahead by threads (grain).

    The order is that in which `resident` would draw them with this key.

    Args:
        source: the data set.
        batch_size: number of examples in a minibatch.
        key: determines the order.
        start: number of the first batch.
        minibatches: number of minibatches in a batch; more than one are stacked on a leading axis.
        rows: which examples of each minibatch are read; with several processes, those of the devices of this one.
        threads: number of threads that read.

    Raises `InputError` if the data set is smaller than a batch.
    """
    import grain

    _check_size(len(source), batch_size)
    cpu = jax.local_devices(backend='cpu')[0]
    key = jax.device_put(key, cpu)
    order = compilation.jit(lambda number: batch_indices(len(source), batch_size, number, key))

    def batch(step: int) -> Batch:
        with jax.default_device(cpu):
            numbers = [np.asarray(order(step * minibatches + i))[rows] for i in range(minibatches)]
        parts = [source.read(found.tolist()) for found in numbers]
        return parts[0] if minibatches == 1 else jax.tree.map(lambda *x: np.stack(x), *parts)

    steps = grain.MapDataset.range(start, np.iinfo(np.int32).max)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(steps.map(batch).to_iter_dataset(options))


def _check_size(size: int, batch_size: int) -> None:
    if size < batch_size:
        raise InputError(f'batch size {batch_size} is more than the {size} examples of the data set')
