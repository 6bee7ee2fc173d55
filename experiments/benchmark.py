"""Step time, images per second, compile time and peak memory of a game; the same network in PyTorch beside it. Metrics, too.

    python -m experiments.benchmark --game dcgan --size 32 --width 64 --batch-size 64 --against torch
    python -m experiments.benchmark --game unrolled_ring --unroll-steps 0 2 32
    python -m experiments.benchmark --metric frechet --repetitions 3
    python -m experiments.benchmark --metric inception --batch-size 8

Timings are medians over repetitions; the candidates take turns, so that a busy machine slows all of them alike.
"""

import dataclasses
import resource
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from experiments import metric_speed
from gan_jax import compilation, data, games, latents, networks, runs
from gan_jax.errors import InputError
from gan_jax.networks import dcgan
from gan_jax.objectives import non_saturating


@dataclasses.dataclass(frozen=True)
class Config:
    """How fast a train step is."""

    game: Literal['dcgan', 'unrolled_ring'] = 'dcgan'
    size: int = 32
    """Images: height and width."""
    channels: int = 3
    width: int = 64
    kernel_size: int = 5
    batch_size: int = 64
    unroll_steps: tuple[int, ...] = (0,)
    """One row for each; compile times compare them."""
    against: Literal['nothing', 'torch'] = 'nothing'
    """torch: the same network and step in PyTorch, channels-last, if it is installed."""
    metric: Literal['frechet', 'inception'] | None = None
    """Instead of a game: the Frechet distance by several routes, or the Inception network beside torch-fidelity's."""
    dimension: int = 2048
    """Of features, for --metric frechet."""
    samples: int = 5000
    """In each of the two sets, for --metric frechet."""
    repetitions: int = 7
    steps: int = 3
    """Steps in one scanned call, and in one timing of the others."""


def main(config: Config) -> list[dict[str, Any]]:
    """Prints the table and returns its rows."""
    if min(config.repetitions, config.steps, config.batch_size, config.width) < 1 or min(config.unroll_steps, default=-1) < 0:
        raise InputError('repetitions, steps, batch-size and width are at least 1, and unroll-steps names counts of at least 0')
    jax.config.update('jax_enable_compilation_cache', False)  # compile times are measured, and steps compiled as for long runs
    if config.metric:
        return time_metric(config)
    if config.game == 'dcgan':
        dcgan.stages(config.size)
    candidates: dict[str, tuple[Callable[[], None], float, int]] = {}
    for k in config.unroll_steps:
        candidates |= jax_candidates(config, k)
    if config.against == 'torch':
        candidates['PyTorch, channels-last'] = torch_candidate(config)
    times = take_turns({name: run for name, (run, _, _) in candidates.items()}, config.repetitions)
    rows = []
    for name, (_, compile_seconds, steps) in candidates.items():
        seconds = times[name] / steps
        rows.append(
            {'name': name, 'seconds': seconds, 'images_per_second': config.batch_size / seconds, 'compile': compile_seconds}
        )
    report(config, rows)
    return rows


def take_turns(candidates: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median seconds of a call of each."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def time_metric(config: Config) -> list[dict[str, Any]]:
    """Times the candidates for one metric, and shows that they compute the same number."""
    if min(config.dimension, config.samples - 1) < 1:
        raise InputError('dimension is at least 1, and samples at least 2')
    candidates = metric_speed.METRICS[config.metric or ''](config)
    values = {name: run() for name, run in candidates.items()}  # the first call compiles
    seconds = take_turns(candidates, config.repetitions)
    rows = [{'name': name, 'seconds': seconds[name], 'value': values[name]} for name in candidates]
    first = rows[0]['seconds']
    table: list[tuple] = [('', 'seconds', 'of the first', 'value')]
    table += [(r['name'], f'{r["seconds"]:.3f}', f'{r["seconds"] / first:.2f}', f'{r["value"]:.9g}') for r in rows]
    frechet = f'd = {config.dimension}, {config.samples} samples each'
    what = frechet if config.metric == 'frechet' else f'a batch of {config.batch_size}, mean of the features'
    print(runs.table(table, title=f'{config.metric}, {what}'))
    return rows


def report(config: Config, rows: list[dict[str, Any]]) -> None:
    table: list[tuple] = [('', 'ms / step', 'images / s', 'compile, s')]
    table += [(r['name'], f'{1e3 * r["seconds"]:.1f}', f'{r["images_per_second"]:.0f}', f'{r["compile"]:.1f}') for r in rows]
    what = f'size {config.size}, kernel {config.kernel_size}, ' if config.game == 'dcgan' else ''
    title = f'{config.game}, {what}width {config.width}, batch {config.batch_size}, {jax.default_backend()}'
    print(runs.table(table, title=title))
    torch = [r for r in rows if r['name'].startswith('PyTorch')]
    for row in rows if torch else []:
        if row is not torch[0]:
            print(f'{row["name"]}: {row["seconds"] / torch[0]["seconds"]:.2f} of the time of PyTorch')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f'peak memory of the process: {peak:.2f} GB')


def jax_candidates(config: Config, unroll_steps: int) -> dict[str, tuple[Callable[[], None], float, int]]:
    """Name -> (a call that takes some steps, compile time, how many steps), for the plain and the scanned step."""
    if config.game == 'dcgan':
        shape: tuple[int, ...] = (config.size, config.size, config.channels)
        game = games.adversarial(
            networks.DCGANGenerator(config.size, config.channels, config.width, config.kernel_size),
            networks.DCGANDiscriminator(config.width, config.kernel_size),
            non_saturating(),
            latent=latents.normal(100),
        )
    else:
        shape = (2,)
        game = games.adversarial(
            networks.MLP((config.width, config.width, 2)),
            networks.MLP((config.width, 1), squeeze=True),
            non_saturating(),
            latent=latents.normal(256),
        )
    optimizer = optax.adam(2e-4, b1=0.5)
    step = gan_jax.make_train_step(game, optimizer, optimizer, unroll_steps=unroll_steps)
    images = np.random.default_rng(0).integers(0, 256, (2 * config.batch_size, *shape), np.uint8)
    feed = data.resident(images, config.batch_size, seed=0)
    init = compilation.jit(lambda key: gan_jax.init(game, optimizer, optimizer, jnp.zeros((1, *shape)), key))

    def candidate(function: Callable, *arguments: Any, steps: int) -> tuple[Callable[[], None], float, int]:
        state = init(jax.random.key(0))
        start = time.perf_counter()
        compiled = compilation.jit(function, donate_argnums=0).lower(state, *arguments).compile()
        seconds = time.perf_counter() - start

        def run() -> None:
            nonlocal state
            for _ in range(1 if arguments[1:] else steps):
                state, _ = compiled(state, *arguments)
            jax.block_until_ready(state)

        run()
        return run, seconds, steps

    batch = data.to_float(jnp.asarray(images[: config.batch_size]))
    scanned = gan_jax.many_steps(step, feed.draw, config.steps)
    label = f', K = {unroll_steps}' if unroll_steps or len(config.unroll_steps) > 1 else ''
    return {
        f'JAX, plain step{label}': candidate(step, batch, steps=config.steps),
        f'JAX, scanned step{label}': candidate(scanned, feed.data, jnp.int32(config.steps), steps=config.steps),
    }


def torch_candidate(config: Config) -> tuple[Callable[[], None], float, int]:
    """DCGAN and its step in PyTorch: the same layers, losses, optimizers and number of passes."""
    if config.game != 'dcgan' or config.unroll_steps != (0,):
        raise InputError('--against torch knows the dcgan game without unrolling')
    try:
        import torch
        import torch.nn.functional as F
        from torch import nn
    except ImportError:
        raise InputError('--against torch needs PyTorch: pip install torch') from None

    base, halvings = dcgan.stages(config.size)
    k, width = config.kernel_size, config.width
    pad = (k - 1) // 2
    device = 'cuda' if torch.cuda.is_available() else 'cpu'

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width << i for i in reversed(range(halvings))]
            self.widest = widths[0]
            self.project = nn.Linear(100, base * base * widths[0], bias=False)
            self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
            pairs = zip(widths, [*widths[1:], config.channels], strict=True)
            self.layers = nn.ModuleList(
                nn.ConvTranspose2d(a, b, k, 2, pad, output_padding=k % 2, bias=b == config.channels) for a, b in pairs
            )

        def forward(self, z: Any) -> Any:
            x = self.project(z).view(-1, self.widest, base, base).contiguous(memory_format=torch.channels_last)
            for norm, layer in zip(self.norms, self.layers, strict=True):
                x = layer(F.relu(norm(x)))
            return torch.tanh(x)

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width << i for i in range(halvings)]
            pairs = zip([config.channels, *widths[:-1]], widths, strict=True)
            self.layers = nn.ModuleList(nn.Conv2d(a, b, k, 2, pad, bias=a == config.channels) for a, b in pairs)
            self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:])
            self.head = nn.Linear(widths[-1] * base * base, 1)

        def forward(self, x: Any) -> Any:
            for i, layer in enumerate(self.layers):
                x = layer(x)
                x = F.leaky_relu(self.norms[i - 1](x) if i else x, 0.2)
            return self.head(x.flatten(1)).squeeze(1)

    modules: list[Any] = [Generator(), Discriminator()]
    generator, discriminator = (m.to(device, memory_format=torch.channels_last) for m in modules)
    g_optimizer, d_optimizer = (
        torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999), foreach=True) for m in (generator, discriminator)
    )
    real = 2 * torch.rand(config.batch_size, config.channels, config.size, config.size, device=device) - 1
    real = real.contiguous(memory_format=torch.channels_last)

    def one_step() -> None:
        with torch.no_grad():
            fake = generator(torch.randn(config.batch_size, 100, device=device))
        d_optimizer.zero_grad(set_to_none=True)
        (F.softplus(-discriminator(real)) + F.softplus(discriminator(fake))).mean().backward()
        d_optimizer.step()
        g_optimizer.zero_grad(set_to_none=True)
        discriminator.requires_grad_(False)
        F.softplus(-discriminator(generator(torch.randn(config.batch_size, 100, device=device)))).mean().backward()
        discriminator.requires_grad_(True)
        g_optimizer.step()

    def run() -> None:
        for _ in range(config.steps):
            one_step()
        if device == 'cuda':
            torch.cuda.synchronize()

    start = time.perf_counter()
    run()
    return run, time.perf_counter() - start, config.steps


if __name__ == '__main__':
    runs.run_main(main, Config)
