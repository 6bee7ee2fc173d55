"""What `experiments.mode_collapse --invert` measures of trained generators (Metz et al. 2017, section 3.4).

Inference via optimisation: how near comes the generator to real examples, searched by L-BFGS from three latents each? And the
distances between pairs of samples, beside those between pairs of real examples.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mode_collapse import cells
from gan_jax import compilation, inversion, keys, runs
from gan_jax.metrics.distances import PairDistances, pair_distances

PAIRED = 1000
"""Samples whose pairs are counted."""


class Search(NamedTuple):
    """A method's trained generators."""

    errors: np.ndarray
    """`[seeds, targets]`, mean squared error of an entry"""
    distances: list[PairDistances]
    """Of each seed."""


def search(config: cells.Config, study: runs.Study, targets: int) -> Search | None:
    """Searches the latents of the first `targets` real examples, the same for every method; None for a model of several
    generators, which has no one latent space."""
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

    # Under vmap, convolutions of several networks are slow on the CPU.
    errors, samples = runs.over_seeds(one, config.seeds, side_by_side=False)(state.generator.variables)
    return Search(np.asarray(errors), [pair_distances(x, real[:PAIRED]) for x in np.asarray(samples)])


def examples(config: cells.Config, study: runs.Study, targets: int) -> jax.Array:
    """Real examples, at least `targets` of them."""
    feed = study.data.problem.feed(max(targets, PAIRED), 1)
    return compilation.jit(feed.draw)(feed.data, keys.named(keys.roots(config.seed, 1)[0], 'real'), jnp.int32(0))


def report(searches: dict[str, Search], images: bool) -> str:
    """A row for each method; `best` is the share of the examples that it comes nearest to, of all methods."""
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
