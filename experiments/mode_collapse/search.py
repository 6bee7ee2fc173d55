"""What `experiments.mode_collapse --invert` measures of trained generators (Metz et al. 2017, section 3.4).

Inference via optimisation: how near comes the generator to real examples, searched by L-BFGS from three latents each? And the
distances between pairs of samples, beside those between pairs of real examples.
"""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.mode_collapse.cells import Cell, prepare
from experiments.shared.seeds import mean_and_error
from gan_jax import compilation, inversion, runs
from gan_jax.metrics.distances import PairDistances, pair_distances
from gan_jax.runs.checkpoints import newest_state

PAIRED = 1000
"""Samples whose pairs are counted."""


class Search(NamedTuple):
    """A method's trained generators."""

    errors: np.ndarray
    """`[seeds, targets]`, mean squared error of an entry"""
    distances: list[PairDistances]
    """Of each seed."""


def search(cell: Cell, path: pathlib.Path, targets: int) -> Search | None:
    """Searches the latents of the first `targets` real examples, the same for every method; None for a model of several
    generators, which has no one latent space."""
    if cell.trial.generator is None:
        return None
    state, problem, key = trained(cell, path), cell.problem, jax.random.key(cell.trial.options.seed)
    source = problem.source(max(targets, PAIRED), 1)
    real = compilation.jit(source.draw)(source.shared, key, jnp.int32(0))
    generator: Any = cell.trial.generator
    latent = problem.latent

    @compilation.jit
    def one_by_one(variables: Any) -> tuple[jax.Array, jax.Array]:
        def one(variables: Any) -> tuple[jax.Array, jax.Array]:
            generate = lambda z: generator.apply(variables, z, train=False)
            found = inversion.invert(generate, real[:targets], latent, key)
            return found.errors, generate(jax.vmap(latent)(jax.random.split(key, PAIRED)))

        return jax.lax.map(one, variables)  # under vmap, convolutions of several networks are slow on the CPU

    errors, samples = one_by_one(state.generator.variables)
    return Search(np.asarray(errors), [pair_distances(x, real[:PAIRED]) for x in samples])


def trained(cell: Cell, path: pathlib.Path) -> gan_jax.TrainState:
    """The last state of all seeds."""
    return newest_state(path, prepare(cell).state)


def report(searches: dict[str, Search], images: bool) -> str:
    """A row for each method; `best` is the share of the examples that it comes nearest to, of all methods."""
    scale = 0.25 if images else 1.0
    rows: list[tuple] = [('method', 'inversion, MSE', 'best for, %', "median distance of pairs / the data's")]
    every = np.stack([found.errors for found in searches.values()])
    shares = [inversion.best_shares(errors) for errors in jnp.asarray(every).swapaxes(0, 1)]
    for i, (text, found) in enumerate(searches.items()):
        ratios = np.array([pairs.ratio for pairs in found.distances])
        best = 100 * np.array([share[i] for share in shares])
        rows.append((text, mean_and_error(scale * found.errors.mean(1), digits=4), mean_and_error(best), mean_and_error(ratios)))
    unit = 'of images in [0, 1]' if images else 'of coordinates'
    return runs.table(rows, title=f'{every.shape[-1]} real examples searched, errors {unit}: mean +- standard error')


def picture(searches: dict[str, Search]) -> Any:
    """Histograms of the distances within each method's samples, all seeds together, and within the data."""
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
