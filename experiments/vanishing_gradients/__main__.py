"""The generator's gradient as the discriminator improves (Arjovsky and Bottou 2017, section 2, figures 2 and 3).

    python -m experiments.vanishing_gradients

The generator remains untrained: a curve in the plane, apart from the data, which are a ring of Gaussians. Only D trains, from
scratch, for each objective. At moments on a log scale, the gradient of L_G with respect to theta is measured on many batches.

Expected: as D becomes perfect, the saturating gradient (minimax) decreases by three orders of magnitude, at first in proportion
to D's loss and then more slowly. The non-saturating gradient grows thirtyfold, as does its deviation from batch to batch. Those
of Wasserstein, and of minimax with noise on D's inputs, keep their size; with clipping, once the weights have grown to the
limit. 2 min on a CPU shared with other jobs, 46 s on one core of an AMD EPYC with AVX-512.
"""

import dataclasses
from typing import Any

import numpy as np

from experiments.shared.clock import clocked
from experiments.vanishing_gradients.measured import LOG, cases, moments, study
from experiments.vanishing_gradients.report import draw, report
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.ranges import BatchSize, Count, Deviation, Positive, SeedCount, SomeNames, Weight, Width
from gan_jax.runs import pictures
from gan_jax.runs.training import check as study_check


@dataclasses.dataclass(frozen=True)
class Config(runs.TrainOptions):
    """The norm of the generator's gradient while only the discriminator trains."""

    name: str = 'vanishing_gradients'
    cases: SomeNames = ('minimax', 'non_saturating', 'minimax_noise', 'wasserstein_gp', 'wasserstein_clipping')
    """Cases to compare."""
    data: str = 'ring_unrolled'
    """A mixture in the plane: ring_unrolled, ring_veegan, ring_wgan_gp, grid_veegan or grid_wgan_gp."""
    seeds: SeedCount = 5
    steps: Count = 5000
    """Steps of D."""
    batch_size: BatchSize = 128
    learning_rate: Positive = 1e-3
    """Adam's rate in D."""
    latent_size: Width = 1
    """Size of the latents, which are uniform on [-1, 1)."""
    width: Width = 64
    """Width of the hidden layers."""
    sigma: Deviation = 0.5
    """Standard deviation of the noise on D's inputs, in minimax_noise."""
    weight: Weight = 10.0
    """Weight of WGAN-GP's penalty."""
    clip: Positive = 0.1
    """WGAN's bound on every weight."""
    minibatches: Count = 32
    """Number of minibatches on which gradients and losses are measured."""

    def identity(self) -> dict[str, Any]:
        """The identity includes the number of steps, because the last moment is the last step; cases can be added."""
        values = super().identity() | {'steps': self.steps}
        del values['cases']
        return values


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Trains every D, prints the table, and returns it: case -> measurements, each `[moments, seeds]`. Raises `InputError`."""
    config.check()
    mixture = data.mixture(config.data)
    if mixture.centres.shape[1] != 2:
        raise InputError(f'{config.data} is not in the plane, which this experiment requires; ring_unrolled is')
    studies = {name: study(config, mixture, case) for name, case in cases(config).items()}
    for one in studies.values():
        study_check(config, one)
    run = runs.RunDirectory(config)
    results: dict[str, dict[str, Any]] = {}
    for name, one in studies.items():
        print(f'{name}: {config.seeds} seeds')
        part = runs.part(config, name)
        with clocked(part) as clock:
            trained = runs.train(part, one)
        rows = [row for row in trained.read_log(LOG) if row['step'] in moments(config.steps)]
        measured = {key: np.array([row[key] for row in rows])[:, trained.finite] for key in rows[0] if key != 'step'}
        results[name] = measured | {'seconds': clock.seconds}
        results[name]['diverged'] = np.flatnonzero(~np.array(trained.finite)) + config.seed
    picture = run.path / 'gradients.png'
    pictures.save_figure(picture, draw(config, results))
    listed = {name: {key: np.asarray(value).tolist() for key, value in result.items()} for name, result in results.items()}
    runs.write_json(run.path / 'results.json', {'moments': moments(config.steps), **listed})
    print(report(config, results))
    print(f'picture {picture}, numbers {run.path / "results.json"}')
    return results


if __name__ == '__main__':
    runs.run_main(main, Config)
