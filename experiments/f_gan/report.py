"""The picture of every fit, and the end table."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from experiments.f_gan.fits import WeightedMixture
from gan_jax import runs


def by_sigma(results: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The results in order of sigma, widest exact fit first."""
    return sorted(results.items(), key=lambda item: -item[1]['sigma'])


def draw(mixture: WeightedMixture, results: dict[str, dict[str, Any]]) -> Any:
    """A panel for each divergence, from the widest exact fit to the narrowest, and one with every sigma."""
    from matplotlib.figure import Figure

    columns = min(4, len(results) + 1)
    rows = -(-(len(results) + 1) // columns)
    figure = Figure(figsize=(2.7 * columns, 1.8 * rows + 0.4), layout='constrained')
    mean, std = mixture.moments()
    x = np.linspace(mean - 3.5 * std, mean + 3.5 * std, 400)
    density = np.exp(np.asarray(mixture.log_density(jnp.asarray(x))))
    ordered = by_sigma(results)
    first = None
    for i, (name, result) in enumerate(ordered):
        ax = figure.add_subplot(rows, columns, i + 1, sharex=first, sharey=first)
        first = first or ax
        shade = ax.fill_between(x, density, color='0.85', lw=0)
        for m, s in zip(result['mu_hat'], result['sigma_hat'], strict=True):
            (fit,) = ax.plot(x, norm.pdf(x, m, s), color='C0', lw=1, alpha=0.7)
        (best,) = ax.plot(x, norm.pdf(x, result['mu'], result['sigma']), color='C3', lw=1.4, ls='--')
        ax.set_title(f'{name.replace("_", " ")}: σ = {result["sigma"]:.2f}', fontsize=9)
        ax.set(yticks=[])
        ax.tick_params(labelsize=7)
        ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.set_ylim(0, 1.05 * max(density.max(), *(0.4 / r['sigma'] for r in results.values())))
    labels = ['data, P', 'best Gaussian, by quadrature', f'adversarial fits, {len(result["mu_hat"])} seeds']
    figure.legend([shade, best, fit], labels, loc='outside upper center', ncols=3, frameon=False, fontsize=9)
    ax = figure.add_subplot(rows, columns, len(ordered) + 1)
    for y, (name, result) in enumerate(ordered):
        ax.plot(result['sigma_hat'], [y] * len(result['sigma_hat']), 'o', color='C0', ms=4, mew=0, alpha=0.5)
        ax.plot(result['sigma'], y, '|', color='C3', ms=9, mew=1.5)
        ax.text(0.02, y, name.replace('_', ' '), transform=ax.get_yaxis_transform(), fontsize=6.5, va='center')
    low, high = ax.get_xlim()
    ax.set(xlim=(low - 0.8 * (high - low), high), yticks=[], xticks=[tick for tick in ax.get_xticks() if low < tick < high])
    ax.invert_yaxis()
    ax.set_title('σ of every fit', fontsize=9)
    ax.tick_params(labelsize=7)
    ax.spines[['top', 'right', 'left']].set_visible(False)
    return figure


def report(config: Any, mixture: WeightedMixture, results: dict[str, dict[str, Any]]) -> str:
    """The end table, from the widest exact fit to the narrowest."""
    cell = functools.partial(runs.spread, digits=3)

    rows: list[tuple] = [('divergence', 'D_f(P||Q*)', 'D_f(P||Q^)', 'bound', 'mu*', 'mu^', 'sigma*', 'sigma^', 's')]
    for name, r in by_sigma(results):
        values = f'{r["value"]:.3f}', cell(r['value_hat']), cell(r['bound'])
        fits = f'{r["mu"]:.3f}', cell(r['mu_hat']), f'{r["sigma"]:.3f}', cell(r['sigma_hat'])
        rows.append((name, *values, *fits, f'{r["seconds"]:.0f}'))
    mean, std = mixture.moments()
    title = f'Mixture of mean {mean:.3f} and standard deviation {std:.3f}; * exact optimum, ^ adversarial fit'
    return runs.table(rows, title=f'{title}: {config.seeds} seeds, {config.steps} steps, mean +- 95 % interval')
