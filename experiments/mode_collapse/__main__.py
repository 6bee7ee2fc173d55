"""Remedies for mode collapse side by side: one data set, the same networks and steps, many seeds, 95 % intervals.

    python -m experiments.mode_collapse --data ring
    python -m experiments.mode_collapse --data grid
    python -m experiments.mode_collapse --data stacked_mnist --networks metz_half --methods gan unrolled:steps=10 packing:size=4

All seeds of a method train in one program. Every method takes the same number of generator steps on batches of one size, with the
recipe's optimizer, or with that of its own paper if it has one; the last lines of the table list the differences.

The table shows each score twice: at the last step, and at each seed's best evaluation (`--evaluations`; for AdaGAN, its
components). The best evaluation has the most modes and, among those, the highest quality, on 2,500 samples that are not used for
any reported score. On stacked digits, it maximises the number of modes times the share of digits that the classifier recognises,
because noise is also classified as many different stacks. Samples come from the present generator, not from its average.

`ring` and `grid` are those of VEEGAN and PacGAN, and `gmm1d` is MAD-GAN's; other mixtures are selected by name, as in `--data
gmm:modes=10`. Networks have two hidden layers of 128. Published numbers on mixtures are from larger networks and 400,000 steps of
Adam(1e-4).

Expected, with 95 % intervals over 10 seeds: 9 min 38 s for the ring on one core of an AMD EPYC with AVX-512. There, packing,
WGAN-GP and R1 and R2 cover all 8 modes in every seed, weight clipping does in nine, and the plain GAN covers 4.4 +- 2.7. On the
grid, in 11 min 45 s, these cover 18 to 23 of 25 modes, and the plain GAN 10.8 +- 5.2; few samples are near a mode yet.
"""

import dataclasses
import json
from typing import Annotated, Any

from experiments.mode_collapse import cells, problems, search
from experiments.mode_collapse.methods import METHODS
from experiments.mode_collapse.problems import STACKED, Problem
from experiments.mode_collapse.recipes import EVERY_METHOD, RECIPES
from experiments.mode_collapse.report import compare_serial, picture, report
from experiments.mode_collapse.titles import folder, of_digits, published_under
from gan_jax import hosts, runs
from gan_jax.ranges import BatchSize, Compared, Count, Range, Rate, Seed, SeedCount, SomeNames, refuse_given
from gan_jax.registry import build
from gan_jax.runs import pictures
from gan_jax.runs.training import check


@dataclasses.dataclass(frozen=True)
class Config(runs.Options, problems.ProblemOptions):
    """Modes covered by each method on one data set."""

    name: str = 'mode_collapse'
    methods: SomeNames = EVERY_METHOD
    """Methods to compare; each is a run below this one. With --resume, methods that have finished are not trained again, and more
    can be added."""
    seeds: SeedCount = 10
    """Seeds of each method, counted from --seed and trained in one program."""
    steps: Count | None = None
    """Steps of the generator; by default 5,000 on mixtures, 20,000 on stacked_mnist."""
    batch_size: BatchSize | None = None
    """By default 60 on mixtures and 120 on stacked_mnist, which packs of 2, 3 and 4 divide."""
    optimizers: str | None = None
    """The recipe's optimizers; by default adam:learning_rate=1e-3,beta1=0.8 on mixtures, Metz et al.'s on stacked_mnist."""
    schedule: str | None = None
    """Schedule of the learning rates; by default cosine:end=0.01 on mixtures, constant on stacked_mnist."""
    learning_rate: Rate | None = None
    """Learning rate of methods that bring their own optimizer; by default 1e-3 on mixtures, 2e-4 on stacked_mnist."""
    samples: Compared | None = None
    """Samples on which modes are counted; by default 2,500, and 25,600 on stacked_mnist."""
    evaluations: Count = 20
    """Number of evaluations over training, at most one a step; one of them is the best checkpoint."""
    seed: Seed = 0
    """The first seed."""
    invert: Annotated[int, Range(0, 1_000_000)] = 0
    """Number of real examples whose latents are searched for by L-BFGS; also compares the distances between pairs of samples."""
    compare_serial: bool = False
    """Only measure the time of all seeds in one program, compared with one seed after another."""

    def identity(self) -> dict[str, Any]:
        """Each method is a whole run, which cannot be extended to more steps; methods can be added."""
        values = super().identity() | {'steps': self.steps}
        return {name: value for name, value in values.items() if name not in ('methods', 'invert', 'compare_serial')}


def main(config: Config) -> dict[str, Any]:
    """Trains every method, prints the table and returns the results by method; with `compare_serial`, the ratios of times.

    Raises `InputError` for what cannot work, before anything is trained.
    """
    for text in config.methods:
        build(METHODS, text)
    if config.compare_serial:
        nothing = 'does not apply to --compare-serial, which keeps no results'
        refuse_given(config, 'invert', 'resume', 'overwrite', because=nothing)
    config = complete(config)
    problem = problems.make(config)
    chosen = {text: make_cell(config, problem, text) for text in config.methods}
    if config.compare_serial:
        return compare_serial(chosen)
    run = runs.RunDirectory(dataclasses.replace(config, name=f'{config.name}/{folder(config)}'))
    results = {}
    for text, (recipe, study) in chosen.items():
        cell = runs.part(recipe, text)
        changed = lambda c=cell: runs.saved_identity(cells.path_of(c)) != c.identity()
        if cell.resume and hosts.agreed(changed):  # the method has changed
            cell = dataclasses.replace(cell, resume=False, overwrite=True)
        done = cells.path_of(cell) / 'results.json'
        if not cell.overwrite and hosts.agreed(done.exists):
            results[text] = runs.read_json(done)
        else:
            print(f'{text} ...', flush=True)
            results[text] = cells.train(cell, study)
        chosen[text] = cell, study
    runs.write_whole(run.path / 'results.json', (json.dumps(results, indent=1, allow_nan=False) + '\n').encode())
    folders = {text: cells.path_of(cell) for text, (cell, _) in chosen.items()}
    hosts.agreed(lambda: pictures.save_figure(run.path / 'samples.png', picture(problem, folders)))
    title = f'{folder(config)}{of_digits(config)}, {config.seeds} seeds, {config.steps} steps: mean +- 95 % interval'
    print(report(published_under(config), title, problem, results, config.samples or 0))
    print(f'picture {run.path / "samples.png"}; numbers {run.path / "results.json"}')
    if config.invert:
        kept = {text: cell for text, cell in chosen.items() if not any(results[text]['diverged'])}
        search.invert(kept, config.invert, run, images=config.data == STACKED)
    return results


def complete(config: Config) -> Config:
    """The options with the recipe's values where none are given."""
    recipe = RECIPES[config.data == STACKED]
    return dataclasses.replace(config, **{name: value for name, value in recipe.items() if getattr(config, name) is None})


def make_cell(config: Config, problem: Problem, method: str) -> tuple[cells.Config, runs.Study]:
    """The options and the run of one method on the data set. Raises `InputError` for combinations that cannot work."""
    shared = {field.name for field in dataclasses.fields(cells.Config)}
    values = {name: value for name, value in vars(config).items() if name in shared}
    every = max(1, (config.steps or 1) // config.evaluations)
    recipe = cells.Config(**values | {'name': f'{config.name}/{folder(config)}', 'method': method, 'sample_every': every})
    cell = cells.changed(recipe, problem)
    study = cells.study(cell, problem)
    check(cell, study)
    return cell, study


if __name__ == '__main__':
    runs.run_main(main, Config)
