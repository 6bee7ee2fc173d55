"""Unrolled GAN on the ring of 8 Gaussians (Metz, Poole, Pfau and Sohl-Dickstein 2017, appendix A), K = 0 beside K = 10.

    python -m experiments.unrolled_gan --steps 30000 --decay 0.01

The paper's preset: both players update at once, the generator minimises minus the discriminator's whole loss at the unrolled
discriminator, Adam(1e-4, beta1 = .5), batch 512, latents N(0, I_256). All seeds of one K train in one program.
Expected of that: K = 0 holds at most 1 of 8 modes, K = 10 all of them with 71 % of its samples within 3 sigma. About 40 minutes
on 2 CPU cores.
"""

import dataclasses
import time
from typing import Annotated, Any

import flax.linen as nn
import numpy as np

from experiments import ring
from gan_jax import networks, runs
from gan_jax.ranges import BatchSize, Count, Several, UnrollSteps, Width
from gan_jax.runs import pictures


@dataclasses.dataclass(frozen=True)
class Config(ring.MixtureOptions):
    """Unrolled GAN on a mixture of Gaussians: modes covered, for each number of unrolled steps."""

    name: str = 'unrolled_gan'
    data: str = 'ring_unrolled'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan, grid_wgan_gp."""
    unroll_steps: Annotated[tuple[UnrollSteps, ...], Several(1)] = (0, 10)
    """The values of K to compare."""
    steps: Count = 25_000
    batch_size: BatchSize = 512
    objective: str = 'minimax'
    optimizers: str = 'unrolled'
    simultaneous: bool = True
    latent_size: Width = 256


def main(config: Config) -> dict[int, dict[str, Any]]:
    """Trains every K in turn, prints the table, and returns it: K -> modes, high-quality share and reverse KL, `[seeds]`."""
    mixture = ring.check(config)
    parts = {k: ring.prepare(config, mixture, *paper_networks(config), k) for k in config.unroll_steps}
    run = runs.RunDirectory(config)
    results, clouds = {}, []
    for k, seeds in parts.items():
        start = time.perf_counter()
        part = dataclasses.replace(config, name=f'{config.name}/K{k}', resume=(run.path / f'K{k}/config.json').exists())
        result, frames = ring.train(config, mixture, seeds, runs.RunDirectory(part), f'K = {k}')
        results[k] = {**result, 'seconds': time.perf_counter() - start}
        clouds += [(f'K = {k}, step {step}', points) for step, points in frames]
    limit = 1.4 * float(np.abs(mixture.centres).max())
    columns = len(clouds) // len(config.unroll_steps)
    picture = run.path / 'samples.png'
    pictures.save_figure(picture, pictures.scatter(clouds, mixture.centres, limit=limit, columns=columns))
    listed = {str(k): ring.listed(result) for k, result in results.items()}
    runs.write_json(run.path / 'results.json', listed)
    rows: list[tuple] = [('K', 'modes', 'high quality, %', 'reverse KL', 's')]
    rows += [(str(k), *ring.coverage_cells(result), f'{result["seconds"]:.0f}') for k, result in results.items()]
    print(runs.table(rows, title=ring.title(config)))
    print(f'pictures {picture}, and {run.path}/K*/samples.gif; numbers {run.path / "results.json"}')
    return results


def paper_networks(config: Config) -> tuple[nn.Module, nn.Module]:
    """Appendix A: two hidden layers in G, one in D, whose input is divided by 4; orthogonal weights of gain .8."""
    init = nn.initializers.orthogonal(0.8)
    generator = networks.MLP((config.width, config.width, 2), kernel_init=init, norm=config.g_norm)
    discriminator = networks.MLP(
        (config.width, 1), kernel_init=init, input_scale=0.25, squeeze=True, norm=config.d_norm, minibatch=config.minibatch
    )
    return generator, discriminator


if __name__ == '__main__':
    runs.run_main(main, Config)
