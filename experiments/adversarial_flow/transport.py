"""The optimal map from noise to the data on a line, how far a map is from it, and the picture and the table of maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from gan_jax import data, runs

TARGET = data.MIXTURES['flow_1d']
SHOWN = 200
"""Number of points at which a picture shows a map."""


def optimal_map(mixture: data.Mixture, z: np.ndarray) -> np.ndarray:
    """The increasing map from standard normal noise `[n]` to a mixture on a line, F^-1(Phi(z)), by bisection in float64."""
    centres, stds = mixture.centres[:, 0], mixture.stds
    low, high = (np.full(z.shape, edge, np.float64) for edge in ((centres - 10 * stds).min(), (centres + 10 * stds).max()))
    for _ in range(64):
        middle = (low + high) / 2
        below = ndtr((middle[:, None] - centres) / stds).mean(1) < ndtr(z)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def distances(z: np.ndarray, x: np.ndarray, mixture: data.Mixture = TARGET) -> dict[str, float]:
    """The figures of a map that moves the quantiles of the noise `z [n]`, in ascending order, to `x [n]`."""
    best = optimal_map(mixture, z)
    root_mean_square = lambda difference: float(np.sqrt(np.square(difference).mean()))
    return {
        'from_optimal_map': root_mean_square(x - best),
        'wasserstein_2': root_mean_square(np.sort(x) - best),
        'cost': float(np.square(x - z).mean()),
        'least_cost': float(np.square(best - z).mean()),
    }


def maps(panels: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> Any:
    """A figure with one panel of maps `(z, x)` for each title, over the optimal one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(panels), 3))
    z = np.linspace(-3, 3, 1000)
    for i, (title, lines) in enumerate(panels.items()):
        ax = figure.add_subplot(1, len(panels), i + 1)
        ax.plot(z, optimal_map(TARGET, z), color='0.7', lw=3)
        for line in lines:
            ax.plot(*line, lw=0.8)
        ax.set(xlim=(-3, 3), ylim=(-2.5, 2.5), xlabel='z', title=title)
    return figure


def table(config: Any, results: dict[str, Any]) -> str:
    """The figures by weight, as means with 95 % intervals over the seeds."""
    names = ('from_optimal_map', 'wasserstein_2', 'cost')
    rows: list[Sequence[Any]] = [('weight', 'from the optimal map', 'W2', 'cost')]
    for weight, result in results.items():
        every = [figures for figures in result.get('seeds', [result]) if figures is not None]
        least = every[0]['least_cost']
        rows.append((weight, *(runs.spread([figures[name] for figures in every], digits=3) for name in names)))
    rows.append(('least cost', '', '', f'{least:.3f}'))
    return runs.table(rows, title=f'{config.seeds} seeds, {config.steps} steps; mean +- 95 % interval; last step')
