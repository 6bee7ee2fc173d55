"""The cures for mode collapse side by side: one data set, the same networks and number of steps, many seeds, standard errors.

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

from experiments.mode_collapse import problems
from experiments.mode_collapse import search as searched
from experiments.mode_collapse.cells import Cell, train
from experiments.mode_collapse.cells import check as check_cell
from experiments.mode_collapse.methods import METHODS, Method, Setting
from experiments.mode_collapse.report import compare_serial, picture, report
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.networks.stacked_mnist import STACKED_MNIST
from gan_jax.ranges import BatchSize, Count, Range, Rate, Samples, Seed, SeedCount, Share, Side, SomeNames, Text, Width, flag
from gan_jax.registry import build
from gan_jax.runs import pictures

STACKED = 'stacked_mnist'
MIXTURES = {'ring': 'ring_veegan', 'grid': 'grid_veegan', 'gmm1d': 'madgan_1d'}
"""Short names."""
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
class Config(runs.Options):
    """Modes covered by each method on one data set."""

    name: str = 'mode_collapse'
    data: str = 'ring'
    """ring, grid, gmm1d, stacked_mnist, or any other mixture, such as ring_unrolled or gmm:modes=10,seed=1."""
    methods: SomeNames = EVERY_METHOD
    """What to compare. A method that is done is not trained again with --resume, and more can be added."""
    seeds: SeedCount = 10
    steps: Count | None = None
    """Of the generator: 5,000 on mixtures, 20,000 on stacked_mnist."""
    batch_size: BatchSize | None = None
    """60 on mixtures, 120 on stacked_mnist: packs of 2, 3 and 4 divide both."""
    latent_size: Width | None = None
    """16 on mixtures; on stacked_mnist the networks'."""
    width: Width = 128
    """Of hidden layers, on mixtures."""
    optimizers: str | None = None
    """The recipe's: adam:learning_rate=1e-3,beta1=0.8 on mixtures, Metz et al.'s on stacked_mnist."""
    decay: Share | None = None
    """The learning rates' value at the last step, as a share of the first: 0.01 on mixtures, 1 on stacked_mnist."""
    learning_rate: Rate | None = None
    """For methods that bring an optimizer of their own: 1e-3 on mixtures, 2e-4 on stacked_mnist."""
    samples: Samples | None = None
    """That modes are counted on: 2,500, and 25,600 on stacked_mnist."""
    evaluations: Count = 20
    """Over training; the best checkpoint is one of them."""
    networks: str = 'metz_quarter'
    """On stacked_mnist: metz_quarter, metz_half, metz, veegan or r3gan."""
    digits: Text = 'mnist'
    """What is stacked: mnist, or digits, which needs no download."""
    size: Side | None = None
    """Height and width of what is stacked; the data set's own if it is not given (16 for the digits)."""
    data_dir: Text | None = None
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
        'latent_size': 16,
        'optimizers': 'adam:learning_rate=1e-3,beta1=0.8',
        'decay': 0.01,
        'learning_rate': 1e-3,
        'samples': 2500,
    },
    True: {
        'steps': 20_000,
        'batch_size': 120,
        'optimizers': 'adam:learning_rate=1e-4,beta1=0.5,beta2=0.99,discriminator_rate=2e-4',
        'decay': 1.0,
        'learning_rate': 2e-4,
        'samples': 25_600,
    },
}
"""Of stacked digits or not: what is not given on the command line."""


def main(config: Config) -> dict[str, Any]:
    """Trains every method, prints the table, and returns its cells by method; with `compare_serial` the ratios of times."""
    methods = check(config)
    config = complete(config)
    problem = make_problem(config)
    cells = {text: make_cell(config, problem, method) for text, method in methods.items()}
    if config.compare_serial:
        return compare_serial(cells)
    run = runs.RunDirectory(dataclasses.replace(config, name=f'{config.name}/{folder(config)}'))
    results, folders = {}, {text: run.path / filename(text) for text in cells}
    for text, cell in cells.items():
        file = run.path / f'{filename(text)}.json'
        done = runs.read_json(file) if file.exists() else None
        if done is None or done['settings'] != json.loads(json.dumps(cell.trial.settings)):
            print(f'{text} ...', flush=True)
            done = train(cell, folders[text])
            runs.write_whole(file, (json.dumps(done, allow_nan=False) + '\n').encode())
        results[text] = done
    runs.write_whole(run.path / 'results.json', (json.dumps(results, indent=1, allow_nan=False) + '\n').encode())
    pictures.save_figure(run.path / 'samples.png', picture(problem, folders))
    title = f'{folder(config)}{of_digits(config)}, {config.seeds} seeds, {config.steps} steps: mean +- standard error'
    print(report(published_under(config), title, problem, results, config.samples or 0))
    print(f'picture {run.path / "samples.png"}; numbers {run.path / "results.json"}')
    if config.invert:
        invert(config, {text: cell for text, cell in cells.items() if not any(results[text]['diverged'])}, run)
    return results


def invert(config: Config, cells: dict[str, Cell], run: runs.RunDirectory) -> None:
    """Latents of real examples, and distances of pairs, of methods of one generator that did not diverge."""
    found = {text: searched.search(cell, run.path / filename(text), config.invert) for text, cell in cells.items()}
    searches = {text: search for text, search in found.items() if search is not None}
    if not searches:
        print('no latents to search: every method has several generators, or diverged')
        return
    print(searched.report(searches, images=config.data == STACKED))
    pictures.save_figure(run.path / 'distances.png', searched.picture(searches))
    print(f'picture {run.path / "distances.png"}')


def check(config: Config) -> dict[str, Method]:
    """The methods. Refuses what cannot work before anything is loaded or written."""
    STACKED_MNIST[config.networks]
    ignored = ('width',) if config.data == STACKED else ('networks', 'digits', 'size', 'data_dir')
    for name in ignored:
        if getattr(config, name) != getattr(Config, name):
            raise InputError(f'{flag(name)} is not of --data {config.data}')
    return {text: build(METHODS, text) for text in config.methods}


def complete(config: Config) -> Config:
    """With the recipe's values for what is not given."""
    recipe = RECIPES[config.data == STACKED]
    return dataclasses.replace(config, **{name: value for name, value in recipe.items() if getattr(config, name) is None})


def make_problem(config: Config) -> problems.Problem:
    """The data set. Raises `InputError` for one that is not there."""
    if config.data == STACKED:
        digits = data.load(config.digits, size=config.size, data_dir=config.data_dir)
        return problems.stacked_problem(digits, config.digits, pair=config.networks, latent_size=config.latent_size)
    mixture = data.mixture(MIXTURES.get(config.data, config.data))
    assert config.latent_size is not None
    return problems.mixture_problem(mixture, width=config.width, latent_size=config.latent_size)


def make_cell(config: Config, problem: problems.Problem, method: Method) -> Cell:
    """A method on the data set. Raises `InputError` for what does not go together."""
    assert config.steps and config.batch_size and config.samples
    assert config.optimizers is not None and config.learning_rate is not None and config.decay is not None
    options = runs.GameOptions(steps=config.steps, optimizers=config.optimizers, decay=config.decay, seed=config.seed)
    try:
        trial = method(Setting(problem.networks, problem.latent, options, config.learning_rate, problem.unrolled))
    except ValueError as error:
        raise InputError(str(error)) from error
    trial.options.check()
    cell = Cell(problem, trial, config.seeds, config.batch_size * trial.batches, config.samples, config.evaluations)
    check_cell(cell)
    return cell


def folder(config: Config) -> str:
    """Where the cells of a data set are."""
    return filename(config.data + (f'_{config.networks}' if config.data == STACKED else ''))


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


def filename(text: str) -> str:
    """'packing:size=2' as 'packing_size=2'."""
    return re.sub('[^A-Za-z0-9_.=+-]', '_', text)


if __name__ == '__main__':
    runs.run_main(main, Config)
