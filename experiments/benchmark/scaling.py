"""What a train step exchanges between devices, counted in its compiled program, and the share of a step that this takes.

    python -m experiments.benchmark.scaling
    python -m experiments.benchmark.scaling --devices 8 --networks dcgan wgan_gp

The devices are simulated, and the program is compiled but not run. The share is the time of the exchanges on a network beside the
time of the arithmetic on its devices, from public figures: an estimate of where scaling ends, not a measurement.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

import gan_jax
from experiments.benchmark import steps
from gan_jax import compilation, parallel, placement, runs
from gan_jax.ranges import Checked, Range, SomeNames
from gan_jax.registry import Table

NETWORKS: Table[Callable[[], steps.Training]] = Table(
    'network',
    {
        'dcgan': lambda: steps.dcgan(64, 3, 128, 5, 64),
        'unrolled_dcgan': lambda: steps.dcgan(64, 3, 128, 5, 64, unroll_steps=5),
        'sngan': lambda: steps.sngan(32, 128, 64),
        'wgan_gp': lambda: steps.wgan_gp(32, 128, 64),
        'cyclegan': lambda: steps.cyclegan(64, 64, 3, 1),
    },
)
"""Name -> the training of one device."""


class Link(NamedTuple):
    """A network of devices, from its maker's figures."""

    bandwidth: float
    """Bytes a second that a device sends, in one direction."""
    latency: float
    """Seconds of one exchange between neighbours."""
    speed: float
    """Float32 operations a second of a device, by its default arithmetic."""


LINKS = {
    'NVLink 4 (H100)': Link(450e9, 3e-6, 495e12),
    'InfiniBand NDR (H100)': Link(50e9, 5e-6, 495e12),
    'ICI (TPU v5p)': Link(600e9, 1e-6, 459e12),
}
"""NVIDIA's H100 data sheet: NVLink of 900 GB/s in both directions together, TF32 without sparsity, and in a DGX H100 a port of
400 Gb/s for each GPU. Google's page of the TPU v5p: 1200 GB/s in both directions together, bfloat16. Latencies are guesses."""
UTILISATION = 0.3
"""The assumed share of a device's speed that the networks reach; with a lower one the exchanges matter less."""


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """What a train step exchanges."""

    devices: Annotated[int, Range(2, 4096)] = 512
    """The number of devices that the program is compiled for."""
    networks: SomeNames = tuple(NETWORKS)


class Exchange(NamedTuple):
    """A collective in a compiled program."""

    kind: str
    bytes: int
    """Of the whole array on one device, before or after the exchange: the result, and of a reduce-scatter the operand."""


_COLLECTIVE = re.compile(r'= (\S.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\((.*)')
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.-]+) \(.*?\) -> .*? \{\n(.*?)^\}', re.M | re.S)
_ARRAY = re.compile(r'\b(pred|[a-z]+?)(\d*)\[([\d,]*)\]')


def exchanges(program: str) -> list[Exchange]:
    """The collectives of a step, from the text of its compiled program; those of a loop as often as it runs."""
    parts = dict(_COMPUTATION.findall(program))
    entry = re.search(r'^ENTRY %?([\w.-]+)', program, re.M)
    assert entry is not None

    def of(name: str) -> list[Exchange]:
        found = [
            Exchange(kind, _bytes(shapes) * (_group(rest, program) if kind == 'reduce-scatter' else 1))
            for shapes, kind, rest in _COLLECTIVE.findall(parts[name])
        ]
        for line in parts[name].splitlines():
            times = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            for called in re.findall(r'(?:body|calls|to_apply|_computation)=%?([\w.-]+)', line):
                found += (int(times[1]) if times else 1) * of(called)
        return found

    return of(entry[1])


def _group(attributes: str, program: str) -> int:
    """The number of devices that take part in an exchange together."""
    if listed := re.search(r'replica_groups=\{\{([\d,]+)\}', attributes):
        return listed[1].count(',') + 1
    found = re.search(r'replica_groups=\[\d+,(\d+)\]', attributes) or re.search(r'num_partitions=(\d+)', program)
    return int(found[1]) if found else 1


def _bytes(shapes: str) -> int:
    sizes = _ARRAY.findall(shapes)
    return sum(int(bits or 8) // 8 * math.prod(map(int, filter(None, sides.split(',')))) for _, bits, sides in sizes)


def compiled(training: steps.Training, devices: int) -> Any:
    """A train step compiled for `devices` CPU devices, each with the training's batch."""
    mesh, whole = placement.line(jax.devices('cpu')[:devices]), PartitionSpec()
    step, state, one = _traceable(training, training.unroll_steps)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((devices * x.shape[0], *x.shape[1:]), x.dtype), one)
    split = jax.shard_map(step, mesh=mesh, in_specs=(whole, PartitionSpec(parallel.AXIS)), out_specs=whole, check_vma=False)
    with jax.default_device(mesh.devices[0]):
        return compilation.jit(split, donate_argnums=0).lower(state, batch).compile()


def operations(training: steps.Training) -> float:
    """The number of floating-point operations of a train step on one device."""

    def counted(unroll_steps: int) -> float:
        step, *shapes = _traceable(training, unroll_steps)
        # As for a GPU, because the analysis does not see into oneDNN's convolutions on a CPU.
        analysis: Any = jax.jit(step).trace(*shapes).lower(lowering_platforms=('cuda',)).cost_analysis()
        return analysis['flops']

    # The analysis counts the body of a loop once, and the unrolled updates after the first are a loop.
    looped = max(training.unroll_steps - 2, 0)
    flops = counted(training.unroll_steps - looped)
    return flops + looped * (flops - counted(1)) if looped else flops


def _traceable(training: steps.Training, unroll_steps: int) -> tuple[gan_jax.training.Step, Any, Any]:
    """The train step on one device, and the shapes of its state and its batch."""
    trainer = gan_jax.trainer(training.game, training.optimizers, unroll_steps=unroll_steps)
    state = jax.eval_shape(trainer.init, training.start, jax.random.key(0))
    return trainer.step, state, jax.eval_shape(lambda: training.feed.by(jax.random.key(0))(training.feed.data, jnp.int32(0)))


def seconds(found: list[Exchange], devices: int, link: Link) -> float:
    """The time of the exchanges: an all-reduce passes the array around twice, any other exchange once."""
    share = (devices - 1) / devices
    passes = lambda exchange: 2 if exchange.kind == 'all-reduce' else 1
    sent = sum(passes(exchange) * share * exchange.bytes for exchange in found)
    # Rings send what is large, and trees what is small: their latency grows with the logarithm.
    stages = sum(map(passes, found)) * math.ceil(math.log2(devices))
    return sent / link.bandwidth + stages * link.latency


def main(config: Config) -> dict[str, Any]:
    """Counts the exchanges of every network, prints the table, and returns its figures."""
    jax.config.update('jax_num_cpu_devices', config.devices)
    rows: list[tuple] = [('a step', 'collectives', 'MB', 'GFLOP', *(f'{name}, %' for name in LINKS))]
    results: dict[str, Any] = {}
    for name in config.networks:
        training = NETWORKS[name]()
        found, flops = exchanges(compiled(training, config.devices).as_text()), operations(training)
        kinds = {kind: sum(x.kind == kind for x in found) for kind in dict.fromkeys(x.kind for x in found)}
        size = sum(exchange.bytes for exchange in found)
        times = {title: seconds(found, config.devices, link) for title, link in LINKS.items()}
        shares = {title: time / (time + flops / (UTILISATION * LINKS[title].speed)) for title, time in times.items()}
        results[name] = {'collectives': kinds, 'bytes': size, 'flops': flops, 'shares': shares}
        counts = ', '.join(f'{n} {kind}' for kind, n in kinds.items())
        rows.append((name, counts, size / 1e6, flops / 1e9, *(f'{100 * share:.1f}' for share in shares.values())))
    title = f'compiled for {config.devices} devices; shares of the time at {100 * UTILISATION:.0f} % of the peak, without overlap'
    print(runs.table(rows, title=title))
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
