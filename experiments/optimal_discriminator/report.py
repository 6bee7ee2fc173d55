"""The picture of the discriminators and their values, and the end table."""

from typing import Any

import numpy as np

from gan_jax import runs


def draw(results: dict[str, dict[str, Any]], curves: dict[str, dict[str, np.ndarray]]) -> Any:
    """D and D* with both densities above V(D) over training, in one column for each pair."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(curves), 5), layout='constrained')
    axes = figure.subplots(2, len(curves), squeeze=False)
    for (name, c), (top, bottom) in zip(curves.items(), axes.T, strict=True):
        shown = c['p'] + c['q'] > 1e-3
        x = c['x'][shown]
        for density, color in (('p', 'C0'), ('q', 'C1')):
            top.fill_between(x, c[density][shown], color=color, alpha=0.25, lw=0, label=density)
        top.plot(x, c['D*'][shown], color='k', lw=3, alpha=0.35, label='D* = p / (p + q)')
        top.plot(x, c['D'][shown], color='C3', lw=1.2, label='D, learned')
        top.set(title=name, xlabel='x', ylim=(0, 1.02), xlim=(x[0], x[-1]))
        best = results[name]['optimal_value']
        bottom.axhline(best, color='k', lw=3, alpha=0.35, label='V(D*) = -log 4 + 2 JSD')
        bottom.plot(c['step'], c['value'], color='C3', lw=1.2, label='V(D)')
        bottom.set(xlabel='step', ylim=(best - 0.025, best + 0.0025))  # only the end of the way
        bottom.ticklabel_format(useOffset=False)
        for ax in (top, bottom):
            ax.spines[['top', 'right']].set_visible(False)
    for ax in axes[:, 0]:
        ax.legend(frameon=False, fontsize=8)
    return figure


def report(config: Any, results: dict[str, dict[str, Any]]) -> str:
    """The end table."""
    seeds = f'; means over {config.seeds} seeds' if config.seeds > 1 else ''
    rows: list[tuple] = [('pair', 'V(D)', 'V(D*)', 'gap', 'mean |D - D*|', 'slope', 'theory', 'intercept', 'theory', 's')]
    for name, found in results.items():
        result = runs.means(found)
        numbers = [
            f'{result["value"]:.6f}',
            f'{result["optimal_value"]:.6f}',
            f'{result["gap"]:.1e}',
            f'{result["distance"]:.4f}',
        ]
        line = ['-'] * 4
        if (mu := found['mu']) is not None:
            line = [f'{number:.3f}' for number in (result['slope'], -mu, result['intercept'], mu**2 / 2)]
        rows.append((name, *numbers, *line, f'{found["seconds"]:.0f}'))
    return runs.table(rows, title=f'{config.steps} steps of batch {config.batch_size}; all values by quadrature{seeds}')
