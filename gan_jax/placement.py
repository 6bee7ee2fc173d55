"""Where arrays lie: the devices of all processes as meshes, and arrays that are spread over them."""

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
    """The devices of all processes; those of one process stand side by side."""
    if hosts.count() == 1:
        return jax.local_devices()
    return sorted(jax.devices(), key=lambda device: device.process_index)


def line(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices, or the given ones, as a mesh of the one axis AXIS."""
    devices = all_devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def grid(seeds: int, batch_size: int | None = None, fits: Callable[[int], bool] = lambda rows: True) -> Mesh:
    """Devices in rows, `[SEEDS, AXIS]`: the rows share the seeds evenly, and the devices of a row share the batch of each seed.

    As many rows as the seeds allow, and then as many devices in a row as divide the batch, if `fits(examples of one device)`.
    Without a batch size there is one device in a row, and only those of this process are used.

    Raises `InputError` if there are several processes and no such grid uses all their devices.
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
    raise InputError(f'{seeds} seeds of batch size {batch_size} cannot be shared evenly by the {devices}')


def _grid(devices: list[jax.Device], rows: int, columns: int) -> Mesh:
    chosen = np.array(devices[: rows * columns]).reshape(rows, columns)
    return Mesh(chosen, (SEEDS, AXIS), axis_types=(AxisType.Auto,) * 2)


def split_rows(rows: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Arrays whose leading axis lies split over the devices of this process, or the given ones; their number has to divide it.
    For `jax.jit`.
    """
    return jax.device_put(rows, NamedSharding(line(devices or jax.local_devices()), PartitionSpec(AXIS)))


def check_divisible(batch_size: int, devices: Sequence[jax.Device] | None = None) -> None:
    """Raises `InputError` unless the devices can share a batch evenly."""
    count = len(devices or all_devices())
    if batch_size % count:
        where = f' of {hosts.count()} processes' if hosts.count() > 1 and devices is None else ''
        raise InputError(f'batch size {batch_size} is not divisible by the {count} devices{where} it is split over')


# Of several processes each has the arrays of its own devices only, and every process calls the following functions at the same
# place of the program.


def placed(tree: Any, mesh: Mesh | None = None, spec: PartitionSpec = PartitionSpec()) -> Any:  # noqa: B008
    """Arrays that every process has whole, as global arrays on the mesh: by default, each device has the whole again."""
    sharding = NamedSharding(mesh or line(), spec)
    if hosts.count() == 1:
        return jax.device_put(tree, sharding)

    def place(x: Any) -> Any:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        # `device_put` would compare the values of all processes.
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(place, tree)


def local(tree: Any) -> Any:
    """Global arrays as arrays of this process, which has the whole of each; with a single process, as they are."""
    if hosts.count() == 1:
        return tree

    def whole(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(whole(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        if not x.is_fully_replicated:
            x = jax.jit(_same, out_shardings=NamedSharding(x.sharding.mesh, PartitionSpec()))(x)
        return x.addressable_data(0)

    return jax.tree.map(whole, tree)


def _same(x: Array) -> Array:
    return x


class Share(NamedTuple):
    """The part of a global batch that this process reads."""

    seeds: slice
    rows: slice
    """Of the examples of each seed's batch."""


def share(mesh: Mesh | None, seeds: int, batch_size: int) -> Share:
    """The smallest block of seeds and of rows that holds what the devices of this process need; `mesh` is a `grid`, or None for
    one seed."""
    sharding = NamedSharding(mesh or line(), PartitionSpec(SEEDS if mesh else None, AXIS))
    needed = sharding.addressable_devices_indices_map((seeds, batch_size)).values()
    ranges = zip(
        *([part.indices(size)[:2] for part, size in zip(index or (), (seeds, batch_size), strict=True)] for index in needed),
        strict=True,
    )
    first, last = [(min(a for a, _ in x), max(b for _, b in x)) for x in ranges]
    return Share(slice(*first), slice(*last))


def assembled(parts: Any, mesh: Mesh | None, own: Share, *, seeds: int, batch_size: int, axis: int) -> Any:
    """A global batch of what each process has read: leaves `[own seeds, ..., own rows, ...]`, the rows at `axis`.

    Without a mesh, of one seed, there is no leading axis of seeds, and `axis` counts without it.
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
