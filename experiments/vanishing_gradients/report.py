"""The picture of the gradients, and the end table."""

import math
from typing import Any

import numpy as np

from experiments.vanishing_gradients.measured import cases, moments
from gan_jax import runs


def draw(config: Any, results: dict[str, dict[str, Any]]) -> Any:
    """The gradient's norm over D's steps on the left (median and range of the seeds), and over D's loss on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    steps = moments(config.steps)
    for i, ((name, result), case) in enumerate(zip(results.items(), cases(config).values(), strict=True)):
        gradient = result['gradient']
        left.plot(steps, np.median(gradient, 1), color=f'C{i}', lw=1.5, marker='o', ms=3, label=name.replace('_', ' '))
        left.fill_between(steps, gradient.min(1), gradient.max(1), color=f'C{i}', alpha=0.15, lw=0)
        if case.logistic:
            right.plot(result['loss'].ravel(), gradient.ravel(), 'o', color=f'C{i}', ms=3, mew=0, alpha=0.6)
    logistic = [results[name]['loss'] for name, case in cases(config).items() if case.logistic]
    worst, best = 2 * math.log(2), min([loss[loss > 0].min(initial=1) for loss in logistic], default=1)
    right.plot([worst, best], [worst, best], color='0.6', lw=1, ls='--', zorder=0, label="in proportion to D's loss")
    right.legend(frameon=False, fontsize=8, loc='lower left')
    left.set(xscale='log', yscale='log', xlabel='steps of D', ylabel='norm of the gradient of $L_G$ in θ')
    right.set(xscale='log', xlabel="D's loss (2 log 2 at chance); perfect to the right")
    right.invert_xaxis()
    left.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.grid(alpha=0.2, lw=0.5)
        ax.spines[['top', 'right']].set_visible(False)
    return figure


def report(config: Any, results: dict[str, dict[str, Any]]) -> str:
    """The end table: medians over the seeds."""
    steps = moments(config.steps)
    middle = len(steps) // 2
    rows: list[tuple] = [
        (
            'case',
            *(f'|grad| at {steps[i]}' for i in (0, middle, -1)),
            'last / first',
            *(f'std at {steps[i]}' for i in (0, -1)),
            "D's loss",
            'real above fake, %',
            's',
        )
    ]
    for name, result in results.items():
        gradient = result['gradient']
        norms = [f'{np.median(gradient[i]):.2e}' for i in (0, middle, -1)]
        deviations = [f'{np.median(result["deviation"][i]):.2e}' for i in (0, -1)]
        ratio, loss, ranked = (np.median(v) for v in (gradient[-1] / gradient[0], result['loss'][-1], result['ranked'][-1]))
        rows.append((name, *norms, f'{ratio:.2e}', *deviations, f'{loss:.2e}', f'{100 * ranked:.1f}', f'{result["seconds"]:.0f}'))
    return runs.table(rows, title=f'{config.data}, median of {config.seeds} seeds; G fixed, {config.steps} steps of D')
