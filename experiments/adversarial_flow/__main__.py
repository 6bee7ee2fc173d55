r"""Adversarial flow models (Lin, Yang, Lin, Chen and Fan 2025, arXiv 2511.22475) on a line, beside a GAN.

    python -m experiments.adversarial_flow
    python -m experiments.adversarial_flow --flow-steps 4
    python -m experiments.adversarial_flow --width 1024 --layers 4 --batch-size 1024

The generator moves standard normal noise to four Gaussians at +-.5 and +-1.5 of standard deviation .05, the toy of the authors'
notebook. On a line, the map of least cost is the increasing one, which is known. For each weight of the cost, the table shows the
root mean square distance of the generator from that map, the Wasserstein distance W2 of its distribution from the data's, which
is at most as large and equal to it for an increasing generator, and the cost E|G(z) - z|^2.

The settings are the notebook's (Adam 1e-4 with beta1 = 0 and beta2 = .9, 5,000 updates of each player), except that networks are
narrower and take the numbers themselves rather than sines of them, that batches are smaller, and that R1 and R2 are exact. The
notebook has finite differences, `--penalties finite_r1:gamma=0.02 finite_r2:gamma=0.02`, and draws new points for G's update,
`--own-minibatches`. The last command has its sizes.

Expected with `--seeds 10`: 5 min on two cores of an AMD EPYC with AVX-512. The distance from the optimal map is 1.2 +- .6 with
weight 0, for which a decreasing map is as good, and .26 +- .07 with weight .05.
"""

import dataclasses
import functools
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from tyro.conf import Suppress

import gan_jax
from experiments.adversarial_flow.transport import SHOWN, TARGET, distances, maps, table
from experiments.shared import flows
from gan_jax import data, hosts, latents, networks, runs
from gan_jax.games.adversarial_flow import flow
from gan_jax.ranges import BatchSize, Compared, Range, SeedCount, Several, Share, Weight, Width, refuse_given
from gan_jax.runs import pictures
from gan_jax.runs.training import check
from gan_jax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Config(flows.FlowOptions):
    """Adversarial flow models from noise to four Gaussians on a line, by weight of the cost of transport."""

    name: str = 'adversarial_flow'
    compare: Annotated[tuple[Weight, ...], Several(1)] = (0.0, 0.05)
    """Weights of the cost of transport; 0 is a GAN. Each is a run below this one."""
    transport_weight: Suppress[Weight] = 0.05
    """The weight of one of these runs."""
    seeds: SeedCount = 10
    batch_size: BatchSize = 256
    width: Width = 128
    """Width of the hidden layers."""
    layers: Annotated[int, Range(1, 100)] = 3
    """Number of hidden layers of each player."""
    penalties: tuple[str, ...] = ('r1:gamma=0.02', 'r2:gamma=0.02')
    """Penalties on D; by default R1 and R2 with the notebook's weight of .01, which is gamma / 2."""
    optimizers: str = 'adam:learning_rate=1e-4,beta1=0,beta2=0.9'
    ema_decay: Share = 0.99
    samples: Compared = 10_000
    """Number of quantiles of the noise in the table."""


class PointsAtTimes(nn.Module):
    """A network of points that are joined to times, `(x [n, 1], *times [n]) -> network([x, *times])`."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: Array, *times: Array, train: bool = True, **options: Any) -> Any:
        return self.network(jnp.concatenate([x, *(time[:, None] for time in times)], -1), train=train, **options)


def networks_of(config: Config) -> tuple[nn.Module, nn.Module]:
    """The notebook's layers with SiLU between them."""
    hidden = (config.width,) * config.layers
    generator = networks.MLP((*hidden, 1), activation=nn.silu, norm=config.g_norm)
    judge = networks.MLP((*hidden, 1), activation=nn.silu, squeeze=True, norm=config.d_norm, minibatch=config.minibatch)
    return PointsAtTimes(generator), PointsAtTimes(judge)


def study(config: Config) -> runs.Study:
    """The run for one weight. Raises `InputError` for what cannot work, before anything is written."""
    config.check()
    refuse_given(config, 'memory_limit', because='applies to data sets; points are drawn as needed')
    game = config.game(*networks_of(config), latents.normal(1), config.moving)
    shown = np.linspace(-3, 3, SHOWN)
    return runs.Study(
        game,
        config.trainer(game),
        data.generated(TARGET.sample, config.batch_size, minibatches=config.minibatches),
        jnp.zeros((1, 1)),
        show=lambda state, key: moved(config, state, jnp.asarray(shown, jnp.float32)[:, None], key),
        picture=lambda x: maps({f'weight {config.transport_weight:g}': [(shown, x[:, 0])]}),
        side_by_side=True,
    )


def moved(config: Config, state: gan_jax.TrainState, noise: Array, key: Key) -> Array:
    """Where the averaged generator moves noise `[n, 1]`."""
    return flow(networks_of(config)[0], state.ema, noise, key, steps=config.flow_steps)


def evaluate(trained: runs.Trained, curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] | None = None) -> dict[str, Any]:
    """The figures of one seed, whose map is added to `curves`, by weight."""
    config: Any = trained.config
    z = ndtri((np.arange(config.samples) + 0.5) / config.samples)
    x = trained.mapped(functools.partial(moved, config), z[:, None].astype(np.float32), 'moved')[:, 0].astype(np.float64)
    if curves is not None:
        few = np.linspace(0, len(z) - 1, min(SHOWN, len(z))).astype(int)
        curves.setdefault(f'weight {config.transport_weight:g}', []).append((z[few], x[few]))
    return distances(z, x)


def main(config: Config) -> dict[str, Any]:
    """Trains with each weight, prints the table, and returns the contents of each `results.json`, by weight.

    Raises `InputError` for options that cannot work.
    """
    studies = {}
    for weight in config.compare:
        one = dataclasses.replace(config, transport_weight=weight)
        studies[weight] = study(one)
        check(one, studies[weight])
    run = runs.RunDirectory(config)
    results: dict[str, Any] = {}
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for weight, chosen in studies.items():
        part = runs.part(config, f'weight_{weight:g}', transport_weight=weight)
        results[f'{weight:g}'] = runs.conclude(part, chosen, functools.partial(evaluate, curves=curves))
    hosts.agreed(lambda: pictures.save_figure(run.path / 'maps.png', maps(curves)))
    runs.write_json(run.path / 'results.json', results)
    print(table(config, results))
    print(f'pictures {run.path}/maps.png; numbers {run.path}/results.json')
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
