"""Any objective, penalty and stabiliser on a ring of Gaussians; with --sweep, every objective with every penalty.

    python -m experiments.ring --objective relativistic --penalties r1:gamma=1 r2:gamma=1
    python -m experiments.ring --sweep

Ten seeds train in one program. A pair is judged by whether every seed covers every mode (`metrics.modes`) at the last step.

Expected with `--sweep`: all 8 modes in every seed for the 12 pairs that a paper calls stable. Half a minute per pair on one core,
56 pairs in the default sweep.
"""

import dataclasses
import json
from typing import Any

import flax.linen as nn
import numpy as np

from experiments.ring.pairs import short, sweep_table, trained_pair
from experiments.shared import mixtures
from gan_jax import hosts, networks, runs
from gan_jax.ranges import BatchSize, Count, PlayerSteps, ShareAbove0, SomeNames, Width, refuse_given
from gan_jax.runs import pictures
from gan_jax.runs.training import check


@dataclasses.dataclass(frozen=True)
class Config(mixtures.MixtureOptions):
    """A GAN on a mixture of Gaussians in the plane, with several seeds at once."""

    name: str = 'ring'
    steps: Count = 3000
    batch_size: BatchSize = 64
    latent_size: Width = 2
    discriminator_steps: PlayerSteps | None = 2
    optimizers: str = 'adam:learning_rate=1e-3,beta1=0.0,beta2=0.99'
    schedule: str = 'cosine:end=0.01'
    penalty_decay: ShareAbove0 = 0.01
    """Weight of the penalties at the last step, as a share of the first: strong penalties at first help to find every mode, and
    weak ones at the end to match it."""
    sweep: bool = False
    """Train every one of --sweep-objectives with every one of --sweep-penalties, all else being equal; each pair is a run below
    this one."""
    sweep_objectives: SomeNames = (
        'minimax',
        'non_saturating',
        'wasserstein',
        'least_squares',
        'hinge',
        'relativistic',
        'relativistic_average',
        'f_gan:divergence=kl',
    )
    """Objectives of the sweep."""
    sweep_penalties: SomeNames = (
        'none',
        'r1:gamma=1',
        'r2:gamma=1',
        'r1:gamma=1+r2:gamma=1',
        'roth:gamma=1',
        'wgan_gp:weight=1',
        'dragan:weight=1',
    )
    """Penalties of the sweep: 'none', or penalties joined by plus signs."""

    def identity(self) -> dict[str, Any]:
        """The pairs of a sweep are whole runs, which cannot be extended to more steps."""
        return super().identity() | ({'steps': self.steps} if self.sweep else {})

    def check_penalties(self) -> None:
        """In a sweep, the options of penalties apply to those that it tries."""
        if not self.sweep:
            super().check_penalties()


def networks_of(config: Config) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers in each player."""
    generator = networks.MLP((config.width, config.width, 2), norm=config.g_norm)
    discriminator = networks.MLP(
        (config.width, config.width, 1), squeeze=True, norm=config.d_norm, minibatch=config.minibatch, activation=nn.silu
    )
    return generator, discriminator


def study(config: Config) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    return mixtures.study(config, networks_of)


def main(config: Config) -> dict[str, Any]:
    """Trains, prints the table, and returns modes, high-quality share and reverse KL; in a sweep, those of each pair.

    Raises `InputError` for options that cannot work.
    """
    if config.sweep:
        which = 'does not apply to a sweep, which has --sweep-objectives and --sweep-penalties'
        refuse_given(config, 'objective', 'penalties', because=which)
        refuse_given(config, 'sample_every', because='does not apply to a sweep, which draws at the end')
        return sweep(config)
    refuse_given(config, 'sweep_objectives', 'sweep_penalties', because='requires --sweep')
    return runs.conclude(config, study(config), mixtures.evaluate)


def sweep(config: Config) -> dict[str, Any]:
    """Trains every pair, one after another. With --resume, pairs that have finished are not trained again."""
    pairs = [(objective, penalty) for penalty in config.sweep_penalties for objective in config.sweep_objectives]
    chosen = {}
    for objective, penalty in pairs:
        changes: dict[str, Any] = {'sweep': False, 'objective': objective, 'penalties': tuple(penalty.split('+'))}
        if penalty == 'none':  # without penalties, their options would be ignored
            changes |= {'penalties': ()} | {name: getattr(Config, name) for name in config.of_penalties}
        one = dataclasses.replace(config, **changes)
        chosen[f'{objective} {penalty}'] = one, study(one)._replace(notes=())
        check(*chosen[f'{objective} {penalty}'])
    run = runs.RunDirectory(config)
    file = run.path / 'results.json'
    results: dict[str, Any] = hosts.agreed(lambda: runs.read_json(file) if file.exists() else {})
    for name, (one, game) in chosen.items():
        if name not in results:
            print(name, flush=True)
            results[name] = trained_pair(runs.part(one, name), game)
            runs.write_whole(file, (json.dumps(results) + '\n').encode())
    mixture = next(iter(chosen.values()))[1].data
    panels = [(f'{o}\n{short(p)}', np.array(results[f'{o} {p}']['points'], np.float64).reshape(-1, 2)) for o, p in pairs]
    figure = pictures.scatter(panels, mixture.centres, limit=mixtures.limit(mixture), columns=len(config.sweep_objectives))
    pictures.save_figure(run.path / 'samples.png', figure)
    print(sweep_table(config, results, len(mixture.centres)))
    print(f'pictures {run.path / "samples.png"}; numbers {file}')
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
