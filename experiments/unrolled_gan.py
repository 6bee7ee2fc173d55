"""Unrolled GAN on the ring of 8 Gaussians (Metz, Poole, Pfau and Sohl-Dickstein 2017, appendix A), for K = 0 and K = 10.

    python -m experiments.unrolled_gan --steps 30000 --schedule cosine:end=0.01

The settings are the paper's: both players are updated simultaneously, the generator minimises minus the discriminator's whole
loss at the unrolled discriminator, Adam(1e-4, beta1 = .5), batches of 512, latents N(0, I_256). All seeds of one K train in one
program.

Expected, with 95 % intervals over 10 seeds: with K = 0, .5 +- .4 of 8 modes; with K = 10, 8.00 +- .00 modes, and 72 +- 6 % of the
samples within 3 sigma. 38 min on one core of an AMD EPYC with AVX-512, three quarters of which are for K = 10.
"""

import dataclasses
import functools
from typing import Annotated, Any

import flax.linen as nn
from tyro.conf import Suppress

from experiments.shared import mixtures
from experiments.shared.clock import clocked
from gan_jax import hosts, networks, runs
from gan_jax.ranges import BatchSize, Count, Several, UnrollSteps, Width
from gan_jax.runs import pictures
from gan_jax.runs.training import check


@dataclasses.dataclass(frozen=True)
class Config(mixtures.MixtureOptions):
    """Unrolled GAN on a mixture of Gaussians: coverage of modes for each number of unrolled steps."""

    name: str = 'unrolled_gan'
    data: str = 'ring_unrolled'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan or grid_wgan_gp."""
    compare: Annotated[tuple[UnrollSteps, ...], Several(1)] = (0, 10)
    """Values of K, the number of updates of D that G looks ahead. Each is a run below this one."""
    unroll_steps: Suppress[UnrollSteps] = 0
    """K of one of these runs."""
    steps: Count = 25_000
    sample_every: Count = 1250
    batch_size: BatchSize = 512
    objective: str = 'minimax'
    optimizers: str = 'unrolled'
    simultaneous: bool = True
    latent_size: Width = 256


def networks_of(config: Config) -> tuple[nn.Module, nn.Module]:
    """Appendix A: two hidden layers in G, one in D, whose input is divided by 4; orthogonal weights of gain .8."""
    init = nn.initializers.orthogonal(0.8)
    generator = networks.MLP((config.width, config.width, 2), kernel_init=init, norm=config.g_norm)
    discriminator = networks.MLP(
        (config.width, 1), kernel_init=init, input_scale=0.25, squeeze=True, norm=config.d_norm, minibatch=config.minibatch
    )
    return generator, discriminator


def study(config: Config) -> runs.Study:
    """The run for one K. Raises `InputError` for what cannot work, before anything is written."""
    return mixtures.study(config, networks_of)


def main(config: Config) -> dict[str, Any]:
    """Trains every K in turn, prints the table, and returns the contents of each `results.json` and its seconds, by K.

    Raises `InputError` for options that cannot work.
    """
    studies = {}
    for k in config.compare:
        one = dataclasses.replace(config, unroll_steps=k)
        studies[k] = study(one)
        check(one, studies[k])
    run = runs.RunDirectory(config)
    results, clouds = {}, []
    for k, chosen in studies.items():
        part = runs.part(config, f'K{k}', unroll_steps=k)
        with clocked(part) as clock:
            result = runs.conclude(part, chosen, mixtures.evaluate)
        results[str(k)] = result | {'seconds': clock.seconds}
        course = hosts.agreed(functools.partial(mixtures.course, run.path / f'K{k}'))
        clouds += [(f'K = {k}, step {step}', points) for step, points in course]
    mixture = next(iter(studies.values())).data
    columns = len(clouds) // len(studies)
    figure = pictures.scatter(clouds, mixture.centres, limit=mixtures.limit(mixture), columns=columns)
    pictures.save_figure(run.path / 'samples.png', figure)
    runs.write_json(run.path / 'results.json', results)
    rows: list[tuple] = [('K', *mixtures.HEAD, 's')]
    rows += [(k, *mixtures.cells(result), f'{result["seconds"]:.0f}') for k, result in results.items()]
    title = f'{config.data}, {config.seeds} seeds, {config.steps} steps; mean +- 95 % interval; last step'
    print(runs.table(rows, title=title))
    print(f'pictures {run.path}/samples.png, and {run.path}/K*/samples.gif; numbers {run.path}/results.json')
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
