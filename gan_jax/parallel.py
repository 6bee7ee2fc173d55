"""Data parallelism: every collective of the library, and the runners that bind the axis they use.

A train step does not mention devices. `pmap` and `shard_map` bind AXIS to the devices, `jax.vmap(axis_name=parallel.AXIS)`
binds it to the rows of an array (for tests), and the collectives here check whether it is bound. Where it is not, as under
`jax.jit` or a plain `jax.vmap`, they do nothing. State is replicated; batches are split along the axis. The devices are those of
all processes of a run (`gan_jax.hosts`); the step is the same program whether they belong to one process or to many.

Random numbers are drawn per example, from `example_keys`, so example i of a global batch sees the same noise on one device and
on a thousand, and in whichever `part` of a batch it is.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gan_jax import compilation, hosts
from gan_jax.placement import AXIS, all_devices, check_divisible, line, local, placed
from gan_jax.typing import Array, Key


def axis_size() -> int:
    """The number of devices that share a batch at the point of the call; 1 where AXIS is not bound."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:
        return 1


_part: contextvars.ContextVar[tuple[Array | int, int]] = contextvars.ContextVar('_part', default=(0, 1))


@contextlib.contextmanager
def part(number: Array | int, count: int) -> Iterator[None]:
    """While a function is traced: its batch is part `number`, from 0, of `count` equal parts of this device's share.

    Examples then have the keys (`example_keys`) that they have in the whole share, and `batch_size` counts all parts. Collectives
    are still over devices alone.
    """
    token = _part.set((number, count))
    try:
        yield
    finally:
        _part.reset(token)


def batch_size(n: int) -> int:
    """The number of examples in the global batch, given the number of those that are here."""
    return n * axis_size() * _part.get()[1]


def alone(function: Callable) -> Callable:
    """Makes a function run on each device independently, on the device's own values, wherever it is called.

    The result takes positional arguments only. Inside it collectives do nothing, and example i is the i-th of the device.
    """

    def whole(*args: Any) -> Any:
        with part(0, 1):
            return function(*args)

    # Of two axes with the same name the inner one applies, and JAX includes it in its cache keys.
    return jax.vmap(whole, in_axes=None, out_axes=None, axis_name=AXIS, axis_size=1)


_SMALL = 1024
"""The number of elements up to which arrays are averaged together."""


def pmean(tree: Any) -> Any:
    """The mean over devices of every floating-point array of a pytree; other leaves are unchanged.

    XLA combines the averages of one call into one all-reduce. By itself it leaves apart what is ready early, such as metrics of
    the forward pass; small arrays are therefore averaged as one vector of each type.
    """
    if axis_size() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    kinds = [kind if jnp.issubdtype(kind := jnp.result_type(x), jnp.floating) else None for x in leaves]
    small = [kind if jnp.size(x) <= _SMALL else None for x, kind in zip(leaves, kinds, strict=True)]
    means = [jax.lax.pmean(x, AXIS) if kind and not joins else x for x, kind, joins in zip(leaves, kinds, small, strict=True)]
    for kind in filter(None, dict.fromkeys(small)):
        together = [i for i, other in enumerate(small) if other == kind]
        vector = jax.lax.pmean(jnp.concatenate([jnp.ravel(leaves[i]) for i in together]), AXIS)
        ends = np.cumsum([jnp.size(leaves[i]) for i in together])
        for i, part in zip(together, jnp.split(vector, ends[:-1]), strict=True):
            means[i] = part.reshape(jnp.shape(leaves[i]))
    return jax.tree.unflatten(structure, means)


def psum(tree: Any) -> Any:
    """The sum over devices of every array of a pytree."""
    return tree if axis_size() == 1 else jax.lax.psum(tree, AXIS)


def local_rows(rows: Array) -> Array:
    """This device's share of the leading axis of a global array, `[devices * n, ...] -> [n, ...]`."""
    if axis_size() == 1:
        return rows
    size = rows.shape[0] // axis_size()
    return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(AXIS) * size, size)


def all_gather(rows: Array) -> Array:
    """Concatenates the rows of all devices in the order of the global batch, `[n, ...] -> [devices * n, ...]`; differentiable."""
    return rows if axis_size() == 1 else jax.lax.all_gather(rows, AXIS, tiled=True)


def example_keys(n: int, key: Key) -> Key:
    """One key for each of this device's `n` examples, `[n]`, determined by the example's position in the global batch."""
    device = 0 if axis_size() == 1 else jax.lax.axis_index(AXIS)
    number, parts = _part.get()
    return jax.vmap(jax.random.fold_in, (None, 0))(key, (device * parts + number) * n + jnp.arange(n))


# A runner turns `function(state, batch, *others) -> (state, result)` into one compiled function of global arrays, and
# donates the state. `batch_axis` is the axis of the batch's leaves that is split over the devices; if it is None,
# nothing is split, and the function selects its share with `local_rows`.


def pmap(function: Callable, *, batch_axis: int | None = 0, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Runs the function on all local devices, or the given ones, under `jax.pmap`. Raises `InputError` for an uneven batch."""
    devices = list(devices or jax.local_devices())

    def with_index(_: Array, state: Any, batch: Any, *others: Any) -> Any:
        return function(state, batch, *others)

    def split(x: Array) -> Array:
        check_divisible(x.shape[batch_axis], devices)  # type: ignore[index]
        return x.reshape(*x.shape[:batch_axis], len(devices), -1, *x.shape[batch_axis + 1 :])  # type: ignore[operator,misc]

    everywhere = NamedSharding(line(devices), PartitionSpec())
    mapped: dict[int, Callable] = {}  # keyed by the number of other arguments
    index = np.arange(len(devices))

    def run(state: Any, batch: Any, *others: Any) -> Any:
        if len(others) not in mapped:
            axes = (0, None, batch_axis, *[None] * len(others))
            program = jax.pmap(with_index, AXIS, in_axes=axes, out_axes=(None, None), devices=devices)
            mapped[len(others)] = compilation.jit(program, cached=False, donate_argnums=1)
        if batch_axis is not None:
            batch = jax.tree.map(split, batch)
        # A restored state may be committed to one device; jit moves only uncommitted arrays.
        return mapped[len(others)](index, jax.device_put(state, everywhere), batch, *others)

    return run


def shard_map(function: Callable, *, batch_axis: int | None = 0, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Like `pmap`, but uses `jax.shard_map` on a one-dimensional mesh, by default of the devices of all processes.

    With several processes, each of them calls it with the same arguments, and the batch is a global array
    (`placement.assembled`). Raises `InputError` for an uneven batch.
    """
    every = list(devices or all_devices())
    mesh = line(every)
    replicated = PartitionSpec()
    split = replicated if batch_axis is None else PartitionSpec(*[None] * batch_axis, AXIS)

    def run(state: Any, batch: Any, *others: Any) -> Any:
        specs = (replicated, split, *[replicated] * len(others))
        # With check_vma, gradients through a pmean would be multiplied by the number of devices.
        return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=replicated, check_vma=False)(state, batch, *others)

    compiled = compilation.jit(run, cached=False, donate_argnums=0)

    def checked(state: Any, batch: Any, *others: Any) -> Any:
        if batch_axis is not None:
            check_divisible(jax.tree.leaves(batch)[0].shape[batch_axis], every)
        # A restored state may be committed to one device; jit moves only uncommitted arrays.
        return compiled(placed(state, mesh), placed(batch, mesh, split), *placed(others, mesh))

    return checked


def single(function: Callable, *, batch_axis: int | None = 0) -> Callable:
    """Runs the function on one device."""
    return compilation.jit(function, cached=False, donate_argnums=0)


RUNNERS: dict[str, Callable] = {'pmap': pmap, 'shard_map': shard_map}


def split_map(function: Callable) -> Callable:
    """Compiles `function(replicated, rows) -> result` with the rows split over the devices of all processes; nothing is donated.

    The result must be the same on every device, as `psum` makes it. The number of rows must be a multiple of the number of
    devices.
    """
    if len(all_devices()) == 1:
        return compilation.jit(function)
    mesh, whole, split = line(), PartitionSpec(), PartitionSpec(AXIS)
    mapped = compilation.jit(jax.shard_map(function, mesh=mesh, in_specs=(whole, split), out_specs=whole, check_vma=False))
    return lambda replicated, rows: local(mapped(placed(replicated, mesh), placed(rows, mesh, split)))


def choose(runner: str) -> Callable:
    """The named runner; `single` with one device, and `shard_map` with several processes.

    With several devices of one process, raises `KeyError` for an unknown name.
    """
    if hosts.count() > 1:
        return shard_map
    return RUNNERS[runner] if len(all_devices()) > 1 else single
