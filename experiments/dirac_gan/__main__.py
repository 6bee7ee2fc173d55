"""The Dirac-GAN: which training converges, on two parameters (Mescheder, Geiger and Nowozin 2018, sections 2 to 4).

    python -m experiments.dirac_gan

The data are at 0, the generator has the single point theta, and D(x) = psi x. The vector field is the gradient of the library's
own objectives and penalties. A second table is of optimistic steps (Daskalakis et al. 2018) and extragradient steps (Korpelevich
1976; Gidel et al. 2019), and a third of these with Adam, by the library's train step.

Expected: the eigenvalues of its Jacobian at the equilibrium agree with theory to rounding, within 7e-16. R1, R2, the regulariser
of Roth et al. and instance noise converge; the unregularised games rotate or spiral outwards; WGAN-GP and DRAGAN, whose field is
discontinuous at psi = 0, end on a cycle. 40 s on one core of a CPU shared with other jobs.

Optimistic and extragradient steps of size h make the unregularised games converge, by a factor of 1 - (h a)^2 / 2 a step at
eigenvalues of +-i a, where simultaneous steps grow by 1 + (h a)^2 / 2: from 1.4 to 6e-5 in 2000 steps of Wasserstein's game.
Adam ends on a cycle, because its steps are about as long as its learning rate near the equilibrium, too: at a rate of .01,
simultaneous steps at a distance of .09, optimistic ones at .024, extragradient and alternating ones at .012.

The unregularised non-saturating game has the linear part of the minimax game and, beyond it, an attraction of third order,
r' = -r^3 / 16. Therefore n alternating steps of size h lead to r = (8 / hn)^(1/2), and simultaneous ones, which add h r / 8 to
r', stay at r = (2h)^(1/2).
"""

import dataclasses
import time
from typing import Annotated, Any

import jax

from experiments.dirac_gan.adam import with_adam
from experiments.dirac_gan.fields import cases
from experiments.dirac_gan.report import draw, report
from experiments.dirac_gan.steps import analyse
from gan_jax import runs
from gan_jax.errors import InputError
from gan_jax.ranges import Coordinate, Deviation, Range, Rate, Several, Weight
from gan_jax.runs import pictures


@dataclasses.dataclass(frozen=True)
class Config(runs.Options):
    """The Dirac-GAN: eigenvalues at the equilibrium compared with theory, and the limits of gradient steps."""

    name: str = 'dirac_gan'
    gammas: Annotated[tuple[Weight, ...], Several(1)] = (0.5, 1.0, 2.0)
    """Weights of R1, R2 and the regulariser of Roth et al."""
    noises: Annotated[tuple[Deviation, ...], Several(1)] = (0.5, 1.0, 2.0)
    """Standard deviations of instance noise."""
    weight: Weight = 0.1
    """Weight of WGAN-GP and DRAGAN; the default is that of WGAN-GP's authors for points in the plane. At 1, theta comes to rest,
    but far from 0."""
    step_size: Annotated[float, Range(0, 100, above=True)] = 0.1
    """Size of the gradient steps."""
    adam_rate: Rate = 0.01
    """Learning rate of Adam in the third table."""
    steps: Annotated[int, Range(8, 10_000_000)] = 2000
    """Number of gradient steps."""
    start: tuple[Coordinate, Coordinate] = (1.0, 1.0)
    """Initial theta and psi."""


def main(config: Config) -> list[dict[str, Any]]:
    """Analyses every case, prints the table, and returns its rows. Raises `InputError` for options that cannot work."""
    if config.start == (0, 0):
        raise InputError(f'--start must be a point other than the equilibrium (0, 0), got {config.start}')
    if config.resume:
        raise InputError('--resume does not apply to this experiment, which takes seconds; --overwrite repeats it')
    run = runs.RunDirectory(config)
    start = time.perf_counter()
    with jax.enable_x64(True):
        listed = cases(config)
        measured = [analyse(case, config) for case in listed]
        of_adam = with_adam(config)
        picture = run.path / 'trajectories.png'
        pictures.save_figure(picture, draw(listed, [paths for _, paths in measured], config))
    rows = [row for row, _ in measured]
    runs.write_json(run.path / 'results.json', rows)
    print(report(config, rows, of_adam))
    print(f'{time.perf_counter() - start:.0f} s; picture {picture}, numbers {run.path / "results.json"}')
    return rows


if __name__ == '__main__':
    runs.run_main(main, Config)
