"""The measurements of `experiments.mode_collapse --invert` on trained generators (Metz et al. 2017, section 3.4).

Inference via optimisation finds how closely a generator can reproduce real examples, by L-BFGS from three latents each. The
distances between pairs of samples are compared with those between pairs of real examples.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mode_collapse import cells
from gan_jax import compilation, inversion, keys, runs
from gan_jax.metrics.distances import PairDistances, pair_distances
from gan_jax.runs import pictures

PAIRED = 1000
"""Number of samples whose pairs are counted."""


class Search(NamedTuple):
    """Results for the trained generators of a method, over seeds."""

    errors: np.ndarray
    """Mean squared error per entry, `[seeds, targets]`."""
    distances: list[PairDistances]
    """Distances between pairs, for each seed."""


def invert(chosen: Mapping[str, tuple[cells.Config, runs.Study]], targets: int, run: runs.RunDirectory, *, images: bool) -> None:
    """Searches the latents of real examples for every method of one generator, and prints and draws the distances of pairs.

    Args:
        chosen: the options and the run of each method, none of which has diverged.
        targets: number of real examples.
        run: the directory of the picture.
        images: whether the examples are images.
    """
    found = {text: search(*cell, targets) for text, cell in chosen.items()}
    searches = {text: one for text, one in found.items() if one is not None}
    if not searches:
        print('there are no latents to search: every method has several generators or has diverged')
        return
    print(report(searches, images))
    pictures.save_figure(run.path / 'distances.png', picture(searches))
    print(f'picture {run.path / "distances.png"}')


def search(config: cells.Config, study: runs.Study, targets: int) -> Search | None:
    """Searches the latents of the first `targets` real examples, which are the same for every method.

    None for a model of several generators, which does not have a single latent space.
    """
    problem, trial, _ = study.data
    if trial.generator is None:
        return None
    generator, latent = trial.generator, problem.latent
    root = keys.roots(config.seed, 1)[0]
    state, real = cells.restored(config, study), examples(config, study, targets)

    def one(variables: Any) -> tuple[jax.Array, jax.Array]:
        generate = lambda z: generator.apply(variables, z, train=False)
        found = inversion.invert(generate, real[:targets], latent, keys.named(root, 'search'))
        return found.errors, generate(jax.vmap(latent)(jax.random.split(keys.named(root, 'pairs'), PAIRED)))

    # Under vmap, the convolutions of several networks are slow on a CPU.
    errors, samples = runs.over_seeds(one, config.seeds, side_by_side=False)(state.generator.variables)
    return Search(np.asarray(errors), [pair_distances(x, real[:PAIRED]) for x in np.asarray(samples)])


def examples(config: cells.Config, study: runs.Study, targets: int) -> jax.Array:
    """At least `targets` real examples, `[n, ...]`."""
    feed = study.data.problem.feed(max(targets, PAIRED), 1)
    return compilation.jit(feed.draw)(feed.data, keys.named(keys.roots(config.seed, 1)[0], 'real'), jnp.int32(0))


def report(searches: dict[str, Search], images: bool) -> str:
    """A row for each method; `best` is the share of the examples for which it has the smallest error of all methods."""
    scale = 0.25 if images else 1.0
    rows: list[tuple] = [('method', 'inversion, MSE', 'best for, %', "median distance of pairs / the data's")]
    every = np.stack([found.errors for found in searches.values()])
    shares = [inversion.best_shares(errors) for errors in jnp.asarray(every).swapaxes(0, 1)]
    for i, (text, found) in enumerate(searches.items()):
        ratios = np.array([pairs.ratio for pairs in found.distances])
        best = 100 * np.array([share[i] for share in shares])
        rows.append((text, runs.spread(scale * found.errors.mean(1), digits=4), runs.spread(best), runs.spread(ratios)))
    unit = 'of images in [0, 1]' if images else 'of coordinates'
    return runs.table(rows, title=f'{every.shape[-1]} real examples searched, errors {unit}: mean +- 95 % interval')


def picture(searches: dict[str, Search]) -> Any:
    """Histograms of the distances within each method's samples, one line per seed, and within the data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.5), layout='constrained')
    ax = figure.subplots()
    for number, (text, found) in enumerate(searches.items()):
        for pairs in found.distances:
            middle = (pairs.edges[1:] + pairs.edges[:-1]) / 2
            ax.plot(middle, pairs.samples, color=f'C{number}', lw=1, label=text if pairs is found.distances[0] else None)
    pairs = next(iter(searches.values())).distances[0]
    ax.plot((pairs.edges[1:] + pairs.edges[:-1]) / 2, pairs.data, color='k', lw=2, label='data')
    ax.set(xlabel='distance of a pair', ylabel='share of pairs', xlim=(0, None), ylim=(0, None))
    ax.legend(fontsize=7)
    return figure
