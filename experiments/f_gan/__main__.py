"""One Gaussian fitted to a mixture of Gaussians on a line, under every f-divergence (Nowozin, Cseke and Tomioka 2016).

    python -m experiments.f_gan

Every fit is computed twice: exactly, by quadrature in float64, and adversarially from samples, with the generator mu + sigma z
and a tanh network as the variational function V.

Expected: both fits agree, and the bound that V reaches is the divergence, except for Jeffrey's, which requires V to fall like
-q/p in the tails. KL and Pearson cover both modes (large sigma, 1.52 and 1.58); reverse KL and Neyman seek one (small sigma, .77
and .72). 3 min 30 s on a CPU shared with other jobs, 95 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from experiments.f_gan.adversarial import fitted, study
from experiments.f_gan.fits import WeightedMixture, exact, on_grid
from experiments.f_gan.report import draw, report
from experiments.shared.clock import clocked
from gan_jax import compilation, runs
from gan_jax.divergences import DIVERGENCES
from gan_jax.errors import InputError
from gan_jax.ranges import (
    BatchSize,
    Coordinate,
    Count,
    DeviationAbove0,
    Rate,
    Samples,
    SeedCount,
    ShareAbove0,
    SomeNames,
    Weight,
    Width,
)
from gan_jax.registry import build
from gan_jax.runs import pictures
from gan_jax.runs.training import check as study_check


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """One Gaussian fitted to a mixture under every f-divergence, exactly and adversarially."""

    name: str = 'f_gan'
    divergences: SomeNames = tuple(DIVERGENCES)
    """Divergences to compare, written NAME or NAME:setting=value, as in alpha:a=0.5 or jensen_shannon_weighted:pi=0.1."""
    weights: tuple[ShareAbove0, ...] = (0.3, 0.7)
    """Weights of the mixture's modes."""
    means: tuple[Coordinate, ...] = (-1.8, 1.2)
    """Means of the mixture's modes."""
    stds: tuple[DeviationAbove0, ...] = (0.5, 0.7)
    """Standard deviations of the mixture's modes."""
    start: tuple[Coordinate, DeviationAbove0] = (0.0, 2.0)
    """The generator's mu and sigma at step 0."""
    seeds: SeedCount = 5
    steps: Count = 3000
    batch_size: BatchSize = 256
    learning_rate: Rate = 1e-2
    """Learning rate of V, decayed to 0 by a cosine."""
    generator_rate: Rate = 2e-2
    """Learning rate of the generator, likewise decayed."""
    gamma: Weight = 0.05
    """Weight of R1 on V at step 0, which decays to a hundredth; 0 for the plain game."""
    width: Width = 32
    """Width of V's hidden layers."""
    samples: Samples = 100_000
    """Number of points on which the bound is estimated."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, over which rates decay; divergences can be added."""
        values = super().identity() | {'decay_steps': self.steps}
        del values['divergences']
        return values


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Fits under every divergence and prints the table. Raises `InputError` for options that cannot work.

    Returns the table as name -> figures, of which the adversarial ones are `[seeds]`.
    """
    check(config)
    mixture = WeightedMixture(config.weights, config.means, config.stds)
    studies = {text: study(config, build(DIVERGENCES, text), mixture) for text in config.divergences}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results: dict[str, dict[str, Any]] = {}
    for text, one in studies.items():
        print(f'{text}: {config.seeds} seeds')
        part = runs.part(config, text)
        with clocked(part) as clock:
            best = exact(build(DIVERGENCES, text), mixture)
            fits = fitted(runs.train(part, one), mixture)
            with jax.enable_x64(True):
                value = compilation.jit(jax.vmap(on_grid(build(DIVERGENCES, text), mixture)))
                at_fits = value(jnp.stack([jnp.array(fits['mu_hat']), jnp.log(jnp.array(fits['sigma_hat']))], 1))
        results[text] = {**best, **fits, 'value_hat': at_fits.tolist(), 'seconds': clock.seconds}
    picture = run.path / 'fits.png'
    pictures.save_figure(picture, draw(mixture, results))
    runs.write_json(run.path / 'results.json', results)
    print(report(config, mixture, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


def check(config: Config) -> None:
    """Raises `InputError` for options that do not describe a mixture or a run."""
    config.check()
    if not len(config.weights) == len(config.means) == len(config.stds) >= 1:
        raise InputError('--weights, --means and --stds must be as many as the mixture has modes')
    if abs(sum(config.weights) - 1) > 1e-6:
        raise InputError(f'--weights must sum to 1, got {config.weights}')


if __name__ == '__main__':
    runs.run_main(main, Config)
