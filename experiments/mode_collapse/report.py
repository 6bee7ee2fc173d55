"""The reports of `experiments.mode_collapse`: the table with published values, the picture, and the comparison of times."""

import dataclasses
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np

from experiments.mode_collapse.cells import Config
from experiments.mode_collapse.history import unlisted
from experiments.mode_collapse.problems import Problem
from gan_jax import keys, runs
from gan_jax.runs.advance import advancing, first_state

# Modes / high quality, % / reverse KL on mixtures; modes / KL on stacked MNIST.
PUBLISHED: dict[tuple[str, str], str] = {
    ('ring', 'gan'): '1 / 99.3 (VEEGAN); 6.3 +- .5 / 98.2 / .45 (PacGAN)',
    ('ring', 'unrolled:steps=5'): '7.6 / 35.6 (VEEGAN)',
    ('ring', 'packing:size=2'): '7.9 +- .1 / 95.6 / .07 (PacGAN)',
    ('ring', 'packing:size=3'): '7.8 +- .1 / 97.7 / .10 (PacGAN)',
    ('ring', 'packing:size=4'): '7.8 +- .1 / 95.9 / .07 (PacGAN)',
    ('grid', 'gan'): '3.3 / .5 (VEEGAN); 17.3 +- .8 / 94.8 / .70 (PacGAN)',
    ('grid', 'unrolled:steps=5'): '23.6 / 16 (VEEGAN)',
    ('grid', 'packing:size=2'): '23.8 +- .7 / 91.3 / .13 (PacGAN)',
    ('grid', 'packing:size=3'): '24.6 +- .4 / 94.2 / .06 (PacGAN)',
    ('grid', 'packing:size=4'): '24.8 +- .2 / 93.6 / .04 (PacGAN)',
    ('gmm1d', 'gan'): 'KL .322 (MAD-GAN, unverified)',
    ('gmm1d', 'unrolled:steps=5'): 'KL 1.321 (MAD-GAN, unverified)',
    ('gmm1d', 'wasserstein'): 'KL .614 (MAD-GAN, unverified)',
    ('gmm1d', 'madgan'): 'KL .145 (MAD-GAN, unverified)',
    ('metz_quarter', 'gan'): '30.6 +- 20.7 / 5.99 (Metz); 78.5 +- 17.6 / 5.21 (PacGAN)',
    ('metz_quarter', 'unrolled:steps=1'): '65.4 +- 34.8 / 5.91 (Metz)',
    ('metz_quarter', 'unrolled:steps=5'): '236.4 +- 63.3 / 4.67 (Metz)',
    ('metz_quarter', 'unrolled:steps=10'): '327.2 +- 74.7 / 4.66 (Metz)',
    ('metz_quarter', 'packing:size=2'): '484.5 +- 33.0 / 2.61 (PacGAN)',
    ('metz_quarter', 'packing:size=3'): '601.3 / 2.00 (PacGAN)',
    ('metz_quarter', 'packing:size=4'): '667.4 / 1.81 (PacGAN)',
    ('metz_half', 'gan'): '628.0 +- 140.9 / 2.58 (Metz); 487.7 +- 34.6 / 2.24 (PacGAN)',
    ('metz_half', 'unrolled:steps=1'): '523.6 +- 55.8 / 2.44 (Metz)',
    ('metz_half', 'unrolled:steps=5'): '732.0 +- 45.0 / 1.66 (Metz)',
    ('metz_half', 'unrolled:steps=10'): '817.4 +- 37.9 / 1.43 (Metz)',
    ('metz_half', 'packing:size=2'): '840.7 / 1.00 (PacGAN)',
    ('metz_half', 'packing:size=3'): '866.6 / .90 (PacGAN)',
    ('metz_half', 'packing:size=4'): '820.2 / 1.15 (PacGAN)',
    ('veegan', 'gan'): '99 / 3.40 (VEEGAN); 78.9 +- 6.5 / 4.50 (PacGAN)',
    ('veegan', 'unrolled:steps=5'): '48.7 / 4.32 (VEEGAN)',
    ('veegan', 'packing:size=2'): '1000 / .06 (PacGAN)',
    ('veegan', 'packing:size=3'): '- / .06 (PacGAN)',
    ('veegan', 'packing:size=4'): '- / .07 (PacGAN)',
    ('veegan', 'wasserstein_gp'): '959 / .73 (MEG)',
    ('veegan', 'madgan'): '890 / .91 (MAD-GAN, unverified)',
    ('r3gan', 'rpgan_r1_r2'): '1000 / .0781 (R3GAN)',
    ('r3gan', 'gan_r1_r2'): '693 / .9270 (R3GAN)',
    ('r3gan', 'rpgan_r1'): 'fails (R3GAN)',
    ('r3gan', 'gan_r1'): 'fails (R3GAN)',
}
SOURCES = {
    'VEEGAN': 'Srivastava et al. 2017; other networks and settings',
    'PacGAN': "Lin et al. 2018, its authors' own runs; on mixtures larger networks and 400,000 iterations",
    'MAD-GAN': 'Ghosh et al. 2018; KL of histograms on gmm1d, other networks on stacked MNIST; not checked against the paper',
    'Metz': "Metz et al. 2017, as PacGAN's authors quote it",
    'MEG': 'Kumar et al. 2019',
    'R3GAN': 'Huang et al. 2024, small residual networks',
}
TITLES = {
    'modes': 'modes', 'high_quality': 'high quality, %', 'reverse_kl': 'reverse KL', 'kl': 'KL', 'recognised': 'recognised, %'
}  # fmt: skip
SHARES = ('high_quality', 'recognised')
COLUMNS = 5
"""Number of moments in the picture."""


def report(data: str, title: str, problem: Problem, results: dict[str, dict[str, Any]], samples: int) -> str:
    """The table and its legend. `data` is the key of the published values."""
    names = problem.columns
    heads = [f'{TITLES[name]}, {moment}' for moment in ('last', 'best') for name in names]
    rows: list[tuple] = [('method', *heads, 'diverged', 's', 'published')]
    for text, result in results.items():
        values = [
            runs.spread(unlisted(result[moment][name]), 100 if name in SHARES else 1)
            for moment in ('last', 'best')
            for name in names
        ]
        lost = sum(result['diverged'])
        diverged = f'{lost} of {len(result["diverged"])}' if lost else '-'
        rows.append((text, *values, diverged, f'{result["seconds"]:.0f}', PUBLISHED.get((data, text), '-')))
    published = ' '.join(row[-1] for row in rows)
    lines = [
        runs.table(rows, title=title),
        f'a perfect sampler: {problem.note(samples)}',
        'published: ' + ' / '.join(TITLES[name] for name in names if name != 'recognised'),
        *(f'  {name}: {source}' for name, source in SOURCES.items() if f'({name}' in published),
        'differences from the recipe:',
        *(f'  {text}: {settings_text(result["settings"])}' for text, result in results.items() if result['settings']),
    ]
    return '\n'.join(lines)


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as they are written on a command line."""
    text = lambda value: ' '.join(value) if isinstance(value, list | tuple) else f'{value}'
    return ', '.join(f'{name.replace("_", " ")} {text(value)}' for name, value in settings.items())


def picture(problem: Problem, folders: dict[str, pathlib.Path]) -> Any:
    """A figure of what the first seed that has not diverged generates, with methods as rows and moments as columns."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * COLUMNS + 1, 1.7 * len(folders)))
    axes = figure.subplots(len(folders), COLUMNS, squeeze=False)
    for row, (text, folder) in zip(axes, folders.items(), strict=True):
        frames = sorted(folder.glob('shown/*.npy'))
        chosen = [frames[i] for i in sorted({*np.linspace(0, len(frames) - 1, COLUMNS).astype(int).tolist()})] if frames else []
        for ax in row[len(chosen) :]:
            ax.axis('off')
        for ax, frame in zip(row, chosen, strict=False):
            problem.panel(ax, np.load(frame))
            ax.set(xticks=[], yticks=[])
            ax.set_title(f'step {int(frame.stem)}', fontsize=7)
        row[0].set_ylabel(text.replace(':', '\n').replace('_', ' '), fontsize=7)
    return figure


def compare_serial(cells: dict[str, tuple[Config, runs.Study]], *, steps: int = 100, repetitions: int = 3) -> dict[str, float]:
    """Compares the time of all seeds in one program with that of the same number of single runs.

    Prints a table and returns the ratios of step times by method.

    Args:
        cells: The options and the study of each method.
        steps: Number of steps in one timing.
        repetitions: Number of timings, of which the median is used.
    """
    ratios: dict[str, float] = {}
    rows: list[tuple] = [('method', 'ms / step', 'single runs, ms', 'ratio', 'compile, s', 'single', 'ratio of whole runs')]
    for text, (config, study) in cells.items():
        count, total = config.seeds, config.steps // study.data.trial.components
        sides = [_Timed(config, study, steps), _Timed(dataclasses.replace(config, seeds=1), study, steps)]
        times: list[list[float]] = [[], []]
        for _ in range(repetitions):
            for side, found in zip(sides, times, strict=True):
                found.append(side.seconds() / steps)
        one, single = (statistics.median(found) for found in times)
        ratios[text] = one / (count * single)
        whole = (sides[0].compilation + total * one) / (count * (sides[1].compilation + total * single))
        figures = [1e3 * one, 1e3 * count * single, ratios[text], sides[0].compilation, count * sides[1].compilation, whole]
        rows.append((text, *(f'{value:.3g}' for value in figures)))
    print(runs.table(rows, title=f'{count} seeds in one program, next to {count} runs of one seed'))
    return ratios


class _Timed:
    """A cell that is compiled and run, but not evaluated."""

    def __init__(self, config: Config, study: runs.Study, steps: int) -> None:
        start = time.perf_counter()
        roots = keys.roots(config.seed, config.seeds)
        self._state, self._steps = first_state(config, study, roots), steps
        self._advance = advancing(config, study, roots)
        self.seconds(1)
        self.compilation = time.perf_counter() - start

    def seconds(self, steps: int | None = None) -> float:
        start = time.perf_counter()
        self._state, _ = self._advance(self._state, steps or self._steps)
        jax.block_until_ready(self._state)
        return time.perf_counter() - start
