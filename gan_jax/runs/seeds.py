"""Several seeds of one game in one program, and statistics of figures over the seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from gan_jax import compilation
from gan_jax.numerics import mean_and_interval
from gan_jax.placement import AXIS, SEEDS, grid, placed


def over_seeds(
    function: Callable,
    seeds: int,
    *,
    owned: int = 1,
    side_by_side: bool,
    donate: bool = False,
    mesh: Mesh | None = None,
    split: tuple[int, int] | None = None,
) -> Callable:
    """Compiles a function so that one call evaluates it for all seeds, spread over the devices that can share them evenly.

    Args:
        function: the function of one seed.
        seeds: number of seeds.
        owned: number of leading arguments with leaves `[seeds, ...]`, like the result; the other arguments are shared.
        side_by_side: maps over the seeds of one device by `vmap`; otherwise they are evaluated one after another.
        donate: donates the first argument.
        mesh: a `placement.grid`, in which the devices of a row share the batch of each seed; by default one device in a row,
            of those of this process.
        split: the position of the argument that the devices of a row share, with leaves `[seeds, ...]`, and its axis of examples.
    """
    mesh = grid(seeds) if mesh is None else mesh

    def mapped(*arguments: Any) -> Any:
        own, shared = arguments[:owned], arguments[owned:]
        if side_by_side:
            return jax.vmap(lambda *own: function(*own, *shared))(*own)
        return jax.lax.map(lambda own: function(*own, *shared), own)

    donated = {'donate_argnums': 0} if donate else {}
    if mesh.size == 1:
        return compilation.jit(mapped, cached=not donate, **donated)
    own, whole = PartitionSpec(SEEDS), PartitionSpec()

    def spec(number: int) -> PartitionSpec:
        if split is not None and number == split[0]:
            return PartitionSpec(SEEDS, *[None] * (split[1] - 1), AXIS)
        return own if number < owned else whole

    def spread_out(*arguments: Any) -> Any:
        specs = tuple(map(spec, range(len(arguments))))
        return jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=own, check_vma=False)(*arguments)

    compiled = compilation.jit(spread_out, cached=not donate, **donated)
    return lambda *arguments: compiled(*(placed(x, mesh, spec(i)) for i, x in enumerate(arguments)))


def every(tree: Any, count: int) -> Any:
    """A state of `count` seeds with leaves `[seeds, ...]`, even for one seed."""
    return tree if count > 1 else jax.tree.map(lambda x: x[None], tree)


def row(tree: Any, seed: int) -> Any:
    """One seed's part of a pytree with leaves `[seeds, ...]`, on the first device."""
    return jax.device_put(_picked(tree, seed), jax.local_devices()[0])


@compilation.jit
def _picked(tree: Any, seed: Any) -> Any:
    """In one call for all leaves: picking them one by one takes milliseconds each."""
    return jax.tree.map(lambda x: x[seed], tree)


def flat(figures: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, float]]:
    """Yields the numbers of nested figures by name, such as `frechet_distance` or `level_0.size`, without lists and strings."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f'{prefix}{name}.')
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f'{prefix}{name}', float(value)


def spread(values: Any, scale: float = 1.0, digits: int = 2) -> str:
    """Formats figures `[seeds]` as `mean +- half of the 95 % interval`.

    If some are not finite, the statistics are of the others, whose number is added.
    """
    values = np.asarray(values, np.float64)
    mean, half, count = mean_and_interval(scale * values)
    if not count:
        return 'none finite'
    error = f' +- {half:.{digits}f}' if count > 1 else ''
    return f'{mean:.{digits}f}{error}' + (f' ({count} of {len(values)})' if count < len(values) else '')


def summary(each: Sequence[Mapping[str, Any] | None]) -> dict[str, dict[str, float]]:
    """The mean, half of the 95 % interval, and number of seeds of every figure; None stands for a seed that diverged."""
    rows = [dict(flat(figures)) for figures in each if figures is not None]
    names = dict.fromkeys(name for figures in rows for name in figures)
    found = {name: mean_and_interval([figures.get(name, np.nan) for figures in rows]) for name in names}
    return {name: {'mean': mean, 'interval': half, 'seeds': count} for name, (mean, half, count) in found.items()}


def stacked(parts: Sequence[Any]) -> Any:
    """Stacks pytrees of single seeds into one with leaves `[seeds, ...]`."""
    return jax.tree.map(lambda *x: jnp.stack(x), *parts)
