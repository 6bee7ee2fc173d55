"""The cures for mode collapse side by side: one data set, the same networks and number of steps, many seeds, 95 % intervals.

    python -m experiments.mode_collapse --data ring
    python -m experiments.mode_collapse --data grid
    python -m experiments.mode_collapse --data stacked_mnist --networks metz_half --methods gan unrolled:steps=10 packing:size=4

All seeds of a method train in one program. Every method takes as many steps of the generator, on batches of one size, with the
recipe's optimizer or its own paper's where it has one; the last lines of the table say what differs.

Each score stands twice in the table: at the last step, and at each seed's best of the evaluations (`--evaluations`; AdaGAN's are
its components). The best has the most modes, and of these the highest quality, on 2,500 samples from which no score is reported;
on stacked digits the most modes times the share of digits that the classifier recognises, for noise too is read as many stacks.
Samples are of the present generator, not of its average.

`ring` and `grid` are VEEGAN's and PacGAN's, `gmm1d` is MAD-GAN's; other mixtures go by their names, as in `--data gmm:modes=10`.
Networks have two hidden layers of 128. Published numbers on mixtures are of larger networks and 400,000 steps of Adam(1e-4).
"""

import dataclasses
import json
import re
from typing import Annotated, Any

from experiments.mode_collapse import cells, problems
from experiments.mode_collapse import search as searched
from experiments.mode_collapse.methods import METHODS
from experiments.mode_collapse.problems import STACKED, Problem
from experiments.mode_collapse.report import compare_serial, picture, report
from gan_jax import hosts, runs
from gan_jax.ranges import BatchSize, Compared, Count, Range, Rate, Seed, SeedCount, SomeNames, refuse_given
from gan_jax.registry import build
from gan_jax.runs import pictures
from gan_jax.runs.study import check

EVERY_METHOD = (
    'gan',
    'unrolled:steps=5',
    'packing:size=2',
    'packing:size=3',
    'packing:size=4',
    'minibatch_discrimination',
    'feature_matching',
    'historical_averaging',
    'wasserstein',
    'wasserstein_gp',
    'madgan',
    'adagan',
    'rpgan_r1_r2',
    'rpgan_r1',
    'gan_r1_r2',
    'gan_r1',
)


@dataclasses.dataclass(frozen=True)
class Config(runs.Options, problems.ProblemOptions):
    """Modes covered by each method on one data set."""

    name: str = 'mode_collapse'
    methods: SomeNames = EVERY_METHOD
    """What to compare; each is a run below this one. A method that is done is not trained again with --resume, and more can be
    added."""
    seeds: SeedCount = 10
    steps: Count | None = None
    """Of the generator: 5,000 on mixtures, 20,000 on stacked_mnist."""
    batch_size: BatchSize | None = None
    """60 on mixtures, 120 on stacked_mnist: packs of 2, 3 and 4 divide both."""
    optimizers: str | None = None
    """The recipe's: adam:learning_rate=1e-3,beta1=0.8 on mixtures, Metz et al.'s on stacked_mnist."""
    schedule: str | None = None
    """Of the learning rates: cosine:end=0.01 on mixtures, constant on stacked_mnist."""
    learning_rate: Rate | None = None
    """For methods that bring an optimizer of their own: 1e-3 on mixtures, 2e-4 on stacked_mnist."""
    samples: Compared | None = None
    """That modes are counted on: 2,500, and 25,600 on stacked_mnist."""
    evaluations: Count = 20
    """Over training; the best checkpoint is one of them."""
    seed: Seed = 0
    invert: Annotated[int, Range(0, 1_000_000)] = 0
    """Real examples that trained generators are searched for, by L-BFGS; with them come the distances of pairs of samples."""
    compare_serial: bool = False
    """Only measure what the seeds cost in one program, beside one after the other."""

    def identity(self) -> dict[str, Any]:
        """A cell is a whole run, which cannot go on to more steps; methods can be added."""
        values = super().identity() | {'steps': self.steps}
        return {name: value for name, value in values.items() if name not in ('methods', 'invert', 'compare_serial')}


RECIPES: dict[bool, dict[str, Any]] = {
    False: {
        'steps': 5000,
        'batch_size': 60,
        'optimizers': 'adam:learning_rate=1e-3,beta1=0.8',
        'schedule': 'cosine:end=0.01',
        'learning_rate': 1e-3,
        'samples': 2500,
    },
    True: {
        'steps': 20_000,
        'batch_size': 120,
        'optimizers': 'adam:learning_rate=1e-4,beta1=0.5,beta2=0.99,discriminator_rate=2e-4',
        'schedule': 'constant',
        'learning_rate': 2e-4,
        'samples': 25_600,
    },
}
"""Of stacked digits or not: what is not given on the command line."""


def main(config: Config) -> dict[str, Any]:
    """Trains every method, prints the table, and returns its cells by method; with `compare_serial` the ratios of times."""
    for text in config.methods:
        build(METHODS, text)
    if config.compare_serial:
        nothing = 'is not of --compare-serial, which trains nothing that stays'
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
        if cell.resume and hosts.agreed(
            lambda c=cell: runs.saved_identity(cells.path_of(c)) != c.identity()
        ):  # the method is another one than it was
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
        invert(config, {text: cell for text, cell in chosen.items() if not any(results[text]['diverged'])}, run)
    return results


def invert(config: Config, chosen: dict[str, tuple[cells.Config, runs.Study]], run: runs.RunDirectory) -> None:
    """Latents of real examples, and distances of pairs, of methods of one generator that did not diverge."""
    found = {text: searched.search(*cell, config.invert) for text, cell in chosen.items()}
    searches = {text: search for text, search in found.items() if search is not None}
    if not searches:
        print('no latents to search: every method has several generators, or diverged')
        return
    print(searched.report(searches, images=config.data == STACKED))
    pictures.save_figure(run.path / 'distances.png', searched.picture(searches))
    print(f'picture {run.path / "distances.png"}')


def complete(config: Config) -> Config:
    """With the recipe's values for what is not given."""
    recipe = RECIPES[config.data == STACKED]
    return dataclasses.replace(config, **{name: value for name, value in recipe.items() if getattr(config, name) is None})


def make_cell(config: Config, problem: Problem, method: str) -> tuple[cells.Config, runs.Study]:
    """A method on the data set. Raises `InputError` for what does not go together."""
    shared = {field.name for field in dataclasses.fields(cells.Config)}
    values = {name: value for name, value in vars(config).items() if name in shared}
    every = max(1, (config.steps or 1) // config.evaluations)
    recipe = cells.Config(**values | {'name': f'{config.name}/{folder(config)}', 'method': method, 'sample_every': every})
    cell = cells.changed(recipe, problem)
    study = cells.study(cell, problem)
    check(cell, study)
    return cell, study


def folder(config: Config) -> str:
    """Where the cells of a data set are."""
    return re.sub(r'[^\w.=+-]', '_', config.data + (f'_{config.networks}' if config.data == STACKED else ''))


def of_digits(config: Config) -> str:
    """What is stacked, for titles, where it is not MNIST as it is."""
    if config.data != STACKED or (config.digits == 'mnist' and config.size in (None, 28)):
        return ''
    return f' of {config.digits}' + (f' at {config.size} pixels' if config.size else '')


def published_under(config: Config) -> str:
    """What published values of the data set are found under: numbers on MNIST's stacks are of no others."""
    if config.data != STACKED:
        return config.data
    return '' if of_digits(config) else config.networks


if __name__ == '__main__':
    runs.run_main(main, Config)
