"""Meshes of the devices of all processes, and arrays that are placed on them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gan_jax import hosts
from gan_jax.errors import InputError
from gan_jax.typing import Array

AXIS = 'devices'
"""The axis of the devices that share a batch."""
SEEDS = 'seeds'
"""The axis of `grid` along which nothing is exchanged: seeds have nothing to average."""


def all_devices() -> list[jax.Device]:
    """The devices of all processes, grouped by process."""
    if hosts.count() == 1:
        return jax.local_devices()
    return sorted(jax.devices(), key=lambda device: device.process_index)


def line(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh, with the axis AXIS, of all devices or the given ones."""
    devices = all_devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def grid(seeds: int, batch_size: int | None = None, fits: Callable[[int], bool] = lambda rows: True) -> Mesh:
    """A mesh `[SEEDS, AXIS]`: its rows share the seeds evenly, and the devices of a row share the batch of each seed.

    It has as many rows as divide the seeds, and then as many columns as divide the batch size into shares that satisfy `fits`.
    Without a batch size it has one column, and only devices of this process. Raises `InputError` if there are several processes
    and no such mesh contains all their devices.
    """
    every = jax.local_devices() if batch_size is None else all_devices()
    rows = [n for n in range(len(every), 0, -1) if seeds % n == 0]
    if batch_size is None:
        return _grid(every, rows[0], 1)
    if hosts.count() == 1:
        most = len(every) // rows[0]
        columns = next(m for m in range(most, 0, -1) if m == 1 or (batch_size % m == 0 and fits(batch_size // m)))
        return _grid(every, rows[0], columns)
    for n in rows:
        m = len(every) // n
        if len(every) % n == 0 and batch_size % m == 0 and fits(batch_size // m):
            return _grid(every, n, m)
    devices = f'{len(every)} devices of {hosts.count()} processes'
    raise InputError(f'{seeds} seeds of batch size {batch_size} are not divisible by the {devices}')


def _grid(devices: list[jax.Device], rows: int, columns: int) -> Mesh:
    chosen = np.array(devices[: rows * columns]).reshape(rows, columns)
    return Mesh(chosen, (SEEDS, AXIS), axis_types=(AxisType.Auto,) * 2)


def split_rows(rows: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Shards the leading axis across the devices; its length must be a multiple of their number.

    The devices are all local ones unless given. The result is for functions under `jax.jit`.
    """
    return jax.device_put(rows, NamedSharding(line(devices or jax.local_devices()), PartitionSpec(AXIS)))


def check_divisible(batch_size: int, devices: Sequence[jax.Device] | None = None) -> None:
    """Raises `InputError` unless the devices can share a batch evenly."""
    count = len(devices or all_devices())
    if batch_size % count:
        where = f' of {hosts.count()} processes' if hosts.count() > 1 and devices is None else ''
        raise InputError(f'batch size {batch_size} is not divisible by the {count} devices{where} it is split over')


# With several processes, each of them holds only the arrays on its own devices, and all must call the following functions in the
# same order.


def placed(tree: Any, mesh: Mesh | None = None, spec: PartitionSpec = PartitionSpec()) -> Any:  # noqa: B008
    """Places arrays that every process has in full on the mesh; by default they are replicated over all devices."""
    sharding = NamedSharding(mesh or line(), spec)
    if hosts.count() == 1:
        # On a single device arrays stay uncommitted, like the first state: a step would otherwise be compiled twice.
        return jax.device_put(tree, sharding if sharding.mesh.size > 1 else None)

    def place(x: Any) -> Any:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        # `device_put` would compare the values of all processes
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def local(tree: Any) -> Any:
    """Gathers global arrays into arrays of this process; with a single process they are returned unchanged."""
    if hosts.count() == 1:
        return tree

    def whole(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(whole(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        if not x.is_fully_replicated:
            sharding: Any = x.sharding
            x = jax.jit(_same, out_shardings=NamedSharding(sharding.mesh, PartitionSpec()))(x)
        return x.addressable_data(0)

    return jax.tree.map(whole, tree)


def _same(x: Array) -> Array:
    return x


class Share(NamedTuple):
    """The part of a global batch that this process reads."""

    seeds: slice
    rows: slice
    """The examples of each seed's batch."""


def share(mesh: Mesh | None, seeds: int, batch_size: int) -> Share:
    """The smallest block of seeds and rows that contains the shares of this process's devices.

    `mesh` is a `grid`, or None for a single seed.
    """
    sharding = NamedSharding(mesh or line(), PartitionSpec(SEEDS if mesh else None, AXIS))
    needed = sharding.addressable_devices_indices_map((seeds, batch_size)).values()
    ranges = zip(
        *([part.indices(size)[:2] for part, size in zip(index or (), (seeds, batch_size), strict=True)] for index in needed),
        strict=True,
    )
    first, last = [(min(a for a, _ in x), max(b for _, b in x)) for x in ranges]
    return Share(slice(*first), slice(*last))


def assembled(parts: Any, mesh: Mesh | None, own: Share, *, seeds: int, batch_size: int, axis: int) -> Any:
    """Assembles a global batch from the part that each process has read; with a single process it is returned unchanged.

    Args:
        parts: leaves `[seeds, ..., rows, ...]` of this process; for a single seed, without the axis of seeds.
        mesh: a `grid`, or None for a single seed.
        own: which seeds and rows these are.
        seeds: number of all seeds.
        batch_size: number of all rows.
        axis: the axis of the rows.
    """
    if hosts.count() == 1:
        return parts
    spec = PartitionSpec(*[SEEDS] if mesh else [], *[None] * (axis - bool(mesh)), AXIS)
    sharding = NamedSharding(mesh or line(), spec)

    def whole(x: np.ndarray) -> Array:
        shape = list(x.shape)
        shape[axis] = batch_size
        starts = {axis: own.rows.start}
        if mesh:
            shape[0], starts[0] = seeds, own.seeds.start
        moved = lambda index: tuple(
            slice(*(end - starts.get(i, 0) for end in part.indices(shape[i])[:2])) for i, part in enumerate(index)
        )
        return jax.make_array_from_callback(tuple(shape), sharding, lambda index: x[moved(index)])

    return jax.tree.map(whole, parts)
