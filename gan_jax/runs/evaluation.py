"""The figures of a trained study: of one seed, or the means and intervals of several, as the end table and `results.json`."""

from collections.abc import Callable, Mapping
from typing import Any

from gan_jax import hosts
from gan_jax.commandline import table
from gan_jax.files import write_json
from gan_jax.runs import seeds
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.options import TrainOptions
from gan_jax.runs.study import Study
from gan_jax.runs.trained import Trained
from gan_jax.runs.training import train

Evaluate = Callable[[Trained], dict[str, Any]]
"""Returns the figures of one seed as JSON values; it prints by `Trained.tell`, and draws if the seed is the `first`."""


def conclude(config: TrainOptions, study: Study, evaluate: Evaluate, *, run: RunDirectory | None = None) -> dict[str, Any]:
    """Trains and evaluates a study, prints the final table, writes `results.json`, and returns its contents (see `judged`).

    Raises `InputError` as `train` does.

    Args:
        config: the options.
        study: the experiment.
        evaluate: computes the figures of one seed.
        run: the directory of the run if it is already open.
    """
    return report(train(config, study, run=run), evaluate)


def report(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    """Evaluates a trained run as `conclude` does."""
    results = judged(trained, evaluate)

    def write() -> None:
        write_json(trained.path / 'results.json', results)
        found = sorted(path.name for path in trained.path.iterdir() if path.suffix in ('.png', '.gif'))
        print(f'pictures {trained.path}/{", ".join(found)}; numbers {trained.path}/results.json')

    hosts.agreed(write)
    return results


def judged(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    """The figures of one seed, or `{'seeds': [figures or null], 'figures': {name: {mean, interval, seeds}}}` of several.

    For several seeds a table is printed, with means and 95 % intervals of the mean by Student's t. A seed that diverged has no
    figures.
    """
    return hosts.agreed(lambda: _judged(trained, evaluate))


def _judged(trained: Trained, evaluate: Evaluate) -> dict[str, Any]:
    if not trained.roots.shape:
        return evaluate(trained)
    each = [evaluate(trained.seed(i)) if ok else None for i, ok in enumerate(trained.finite)]
    found = seeds.summary(each)
    rows: list[tuple] = [('figure', 'mean', '95 % interval', 'seeds')]
    rows += [(name, x['mean'], f'+- {x["interval"]:.2g}' if x['seeds'] > 1 else '', x['seeds']) for name, x in found.items()]
    print(table(rows, title=f'{trained.config.name}, seeds {_range(trained.config)}, step {trained.steps}'))
    return {'seeds': each, 'figures': found}


def means(results: dict[str, Any]) -> dict[str, Any]:
    """Converts the result of `judged` to the form of one seed.

    For several seeds, these are the figures of the first seed that has some, with numbers replaced by their means.
    """
    if 'seeds' not in results:
        return results
    first = next(figures for figures in results['seeds'] if figures is not None)

    def replaced(figures: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
        found = {}
        for name, value in figures.items():
            mean = results['figures'].get(prefix + name)
            found[name] = replaced(value, f'{prefix}{name}.') if isinstance(value, Mapping) else mean['mean'] if mean else value
        return found

    return replaced(first)


def _range(config: TrainOptions) -> str:
    return f'{config.seed} to {config.seed + config.seeds - 1}'
