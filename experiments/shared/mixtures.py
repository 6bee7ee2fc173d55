"""Options, study and end table shared by experiments on mixtures of Gaussians in the plane."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import compilation, data, finite, keys, latents, runs
from gan_jax.errors import InputError
from gan_jax.metrics.modes import mode_coverage
from gan_jax.ranges import BatchSize, Compared, Count, SeedCount, Share, Width, refuse_given
from gan_jax.runs import pictures, samples, seeds
from gan_jax.typing import Array, Key

SHOWN = 5
"""Number of seeds in a picture, and of moments in a picture of a run's course."""
HEAD = ('modes', 'high quality, %', 'reverse KL')


@dataclasses.dataclass(frozen=True)
class MixtureOptions(runs.GameOptions):
    """A game on a mixture in the plane."""

    data: str = 'ring_wgan_gp'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan or grid_wgan_gp."""
    seeds: SeedCount = 10
    batch_size: BatchSize = 256
    latent_size: Width = 16
    """Size of the latents, which are standard normal."""
    width: Width = 128
    """Width of the hidden layers."""
    samples: Compared = 2500
    """Number of points on which the modes are counted."""
    sample_every: Count = 150
    ema_decay: Share = 0.0
    """Decay of the averaged generator, which draws the samples; 0 draws with the present one."""


Networks = Callable[[Any], tuple[nn.Module, nn.Module]]
"""`config -> (generator, discriminator)`"""


def study(config: MixtureOptions, networks: Networks) -> runs.Study:
    """The run for these options. Raises `InputError` for what cannot work, before anything is written."""
    mixture = data.mixture(config.data)
    if mixture.centres.shape[1] != 2:
        raise InputError(f'{config.data} is not in the plane, which this experiment requires; ring_unrolled is')
    config.check()
    refuse_given(config, 'memory_limit', because='applies to data sets; points are drawn as needed')
    game = config.game(*networks(config), latents.normal(config.latent_size))
    return runs.Study(
        game,
        config.trainer(game),
        data.generated(mixture.sample, config.batch_size, minibatches=config.minibatches),
        jnp.zeros((1, 2)),
        notes=(lambda run: draw_points(config, game, mixture, run),),
        data=mixture,
        side_by_side=True,
    )


def draw_points(config: MixtureOptions, game: gan_jax.Game, mixture: data.Mixture, run: runs.RunDirectory) -> runs.Callback:
    """A callback that draws the points of a few seeds side by side and saves those of the first seed as `points/STEP.json`."""
    roots = keys.named(keys.roots(config.seed, config.seeds), 'shown')[:SHOWN]

    def draw(state: gan_jax.TrainState, key: Key) -> Array:
        return gan_jax.sample(game, state, config.samples, key)

    every = compilation.jit(jax.vmap(draw))

    def call(step: int, state: gan_jax.TrainState) -> None:
        first = jax.tree.map(lambda x: x[:SHOWN], seeds.every(state, config.seeds))
        points = np.asarray(every(first, roots))
        panels = [(f'seed {config.seed + i}', x) for i, x in enumerate(points)]
        figure = pictures.scatter(panels, mixture.centres, limit=limit(mixture))
        figure.suptitle(f'{run.path.name}, step {step}', fontsize=9)
        for path in (samples.frame_path(run, step), run.path / 'samples.png'):
            pictures.save_figure(path, figure)
        kept = points[min(finite.first_of(first), len(points) - 1)]
        runs.write_whole(run.path / f'points/{step:07d}.json', json.dumps(kept.tolist()).encode())

    return runs.Callback(config.sample_every, call)


def course(path: pathlib.Path) -> list[tuple[int, np.ndarray]]:
    """The first seed's points `[n, 2]` at a few moments of the run at `path`, each with its step."""
    moments = sorted(file for file in path.glob('points/*.json') if file.stem.isdecimal())
    chosen = [moments[i] for i in np.linspace(0, len(moments) - 1, min(SHOWN, len(moments))).astype(int)]
    return [(int(file.stem), np.array(runs.read_json(file))) for file in chosen]


def limit(mixture: data.Mixture) -> float:
    """Half the side of the square that a picture shows."""
    return 1.4 * float(np.abs(mixture.centres).max())


def coverage(trained: runs.Trained) -> dict[str, float]:
    """Modes, high-quality share and reverse KL (in nats) of one seed's points."""
    config: Any = trained.config
    mixture: data.Mixture = trained.study.data
    found = mode_coverage(trained.plays(config.samples), mixture.centres, mixture.stds)
    return {name: float(value) for name, value in found._asdict().items()}


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """Prints and returns `coverage`."""
    config: Any = trained.config
    found = coverage(trained)
    title = f'{config.data} after {trained.steps} steps, {config.samples} points'
    trained.tell(runs.table([HEAD, cells(found)], title=title))
    return found


def cells(results: dict[str, Any]) -> tuple[str, str, str]:
    """Modes, high quality in percent and reverse KL of the results of `runs.conclude`, with 95 % intervals over the seeds."""
    every = [figures for figures in results.get('seeds', [results]) if figures is not None]
    modes, quality, kl = (
        runs.spread([figures[name] for figures in every], scale)
        for name, scale in (('modes', 1), ('high_quality', 100), ('reverse_kl', 1))
    )
    return modes, quality, kl
