"""The picture of the fields with their trajectories, and the end tables."""

from typing import Any

import jax
import numpy as np

from experiments.dirac_gan.fields import Case
from experiments.dirac_gan.steps import MODES
from gan_jax import compilation, runs


def draw(listed: list[Case], paths: list[dict[str, np.ndarray]], config: Any) -> Any:
    """One panel per kind of case, at the middle of its strengths: the field, both trajectories and the equilibrium."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(case.objective for case in listed))
    kinds = list(dict.fromkeys(case.regulariser for case in listed))
    figure = Figure(figsize=(1.75 * len(kinds), 1.95 * len(names)), layout='constrained')
    axes = figure.subplots(len(names), len(kinds), sharex=True, sharey=True, squeeze=False)
    limit = 1.6 * max(map(abs, config.start))
    ticks = np.linspace(-limit, limit, 24)
    points = np.stack(np.meshgrid(ticks, ticks), -1)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, name in enumerate(names):
        for j, kind in enumerate(kinds):
            group = [(c, p) for c, p in zip(listed, paths, strict=True) if (c.objective, c.regulariser) == (name, kind)]
            if not group:
                continue
            case, path = group[len(group) // 2]
            v = np.asarray(compilation.jit(jax.vmap(case.field))(points.reshape(-1, 2))).reshape(points.shape)
            ax = axes[i, j]
            ax.set_axis_on()
            ax.streamplot(ticks, ticks, v[..., 0], v[..., 1], color='0.8', linewidth=0.6, arrowsize=0.6, density=0.55)
            for label, color in zip(MODES, ('C3', 'C0', 'C2', 'C4'), strict=True):
                if kind != 'none' and label not in ('simultaneous', 'alternating'):
                    continue
                ax.plot(*path[label].T, color=color, lw=0.9, label=f'{label} steps')
            ax.plot(*config.start, 'o', color='k', ms=3, label='start')
            ax.plot(0, 0, '*', color='k', ms=8, label='equilibrium')
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect='equal')
            ax.set_title(f'{kind} {case.strength}'.replace('gamma', 'γ').replace('sigma', 'σ').replace('weight', 'λ'), fontsize=9)
            lowest = not any((c.objective, c.regulariser) == (other, kind) for c in listed for other in names[i + 1 :])
            ax.set(xlabel='θ' if lowest else None)
            ax.locator_params(nbins=3)
            ax.tick_params(labelsize=7, labelbottom=lowest)
        axes[i, 0].set_ylabel(f'{name.replace("_", "-")}\nψ', fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc='center', bbox_to_anchor=(0.73, 0.2), frameon=False, fontsize=9)
    return figure


def report(config: Any, rows: list[dict[str, Any]], of_adam: list[dict[str, Any]]) -> str:
    """The end tables."""

    def complexes(values: list[tuple[float, float]] | None) -> str:
        if values is None:
            return 'none'
        (re, im), (other, _) = values
        if im > 1e-6:
            return f'{re + 0.0:.4f} +- {im:.4f}i'
        return f'{re:.4f}, {other:.4f}'

    def number(value: float | None) -> str:
        return '-' if value is None else f'{value:.6f}'

    table: list[tuple] = [
        (
            'objective',
            'regulariser',
            'eigenvalues',
            'theory',
            'factor sim.',
            'theory',
            'factor alt.',
            'simultaneous',
            'alternating',
        )
    ]
    for row in rows:
        ends = [f'{row[f"{name}_outcome"]} {row[f"{name}_distance"]:.1e}' for name in MODES[:2]]
        numbers = [number(row[name]) for name in ('simultaneous_factor', 'simultaneous_theory', 'alternating_factor')]
        label = f'{row["regulariser"]} {row["strength"]}'.strip()
        table.append((row['objective'], label, complexes(row['eigenvalues']), complexes(row['theory']), *numbers, *ends))
    title = (
        f'Dirac-GAN: eigenvalues of the Jacobian at (0, 0), growth in one step of {config.step_size:g} there, '
        f'and distance from there after {config.steps} steps from {config.start}'
    )
    ahead = MODES[2:]
    anticipating: list[tuple] = [
        ('objective', 'regulariser', *(column for name in ahead for column in (f'factor {name}', 'theory')), *ahead)
    ]
    for row in rows:
        numbers = [number(row[f'{name}_{kind}']) for name in ahead for kind in ('factor', 'theory')]
        ends = [f'{row[f"{name}_distance"]:.1e}' for name in ahead]
        anticipating.append((row['objective'], f'{row["regulariser"]} {row["strength"]}'.strip(), *numbers, *ends))
    adam: list[tuple] = [('objective', *MODES)]
    adam += [(row['objective'], *(f'{row[f"{name}_distance"]:.1e}' for name in MODES)) for row in of_adam]
    titles = (
        title,
        'Optimistic and extragradient steps: growth in one step at (0, 0), and distance from there at the end',
        f'Adam at a rate of {config.adam_rate:g}, beta1 = 0 and beta2 = .9, without a regulariser: largest distance at the end',
    )
    return '\n'.join(runs.table(rows, title=title) for rows, title in zip((table, anticipating, adam), titles, strict=True))
