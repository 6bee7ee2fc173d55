"""The table and the pictures of the taxonomy."""

import pathlib
from typing import Any

import numpy as np

from experiments.taxonomy.common import Sample
from gan_jax import runs
from gan_jax.runs import pictures

TITLES = {'vae': 'VAE', 'made': 'MADE', 'rbm': 'RBM', 'gsn': 'GSN', 'gan': 'GAN', 'real': 'real'}
SHOWN = 20
"""Number of images in a row of a picture."""


def table(results: dict[str, Any], real: dict[str, float], title: str) -> str:
    """A row for each model, another for each further bound, and one for real images."""
    head = (
        '',
        'log p(x)',
        'test, nats',
        'parameters',
        'ms/step',
        'passes',
        'ms/sample',
        'batch of 100',
        'recognised',
        'entropy',
        'Parzen',
    )
    rows: list[tuple] = [head]
    scores = lambda r: (f'{100 * r["recognised"]:.1f} %', f'{r["class_entropy"]:.2f}', f'{r["parzen"]:.0f}')
    for name, r in results.items():
        times = f'{1e3 * r["seconds_per_sample"]:.2f}', f'{1e3 * r["seconds_per_sample_of_100"]:.2f}'
        cells = r['parameters'], f'{1e3 * r["seconds_per_step"]:.1f}', r['passes'], *times, *scores(r)
        found = [(kind, f'{value:.2f} +- {error:.2f}') for kind, (value, error) in r['likelihoods'].items()] or [('none', '-')]
        rows += [(TITLES[name], *found[0], *cells), *(('', *pair, *[''] * len(cells)) for pair in found[1:])]
    rows.append(('real', *[''] * 7, *scores(real)))
    return runs.table(rows, title=title)


def draw(path: pathlib.Path, arrays: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Writes the pictures to `path` and returns their names.

    `samples.png` shows each model's pixels above their probabilities. `chains.png` shows the chains, if there are any, at
    geometrically spaced steps.
    """
    strips = [
        (TITLES[name] if i == 0 else '', a[kind][:SHOWN]) for name, a in arrays.items() for i, kind in enumerate(Sample._fields)
    ]
    pictures.save_figure(path / 'samples.png', rows_of_images(strips))
    chains = {name: a['walk'] for name, a in arrays.items() if 'walk' in a}
    if not chains:
        return ['samples.png']
    strips = []
    for name, walk in chains.items():
        moments = np.unique(np.geomspace(1, len(walk), SHOWN).astype(int)) - 1
        strips.append((f'{TITLES[name]}, steps\n0 to {len(walk) - 1}', walk[moments]))
    pictures.save_figure(path / 'chains.png', rows_of_images(strips))
    return ['samples.png', 'chains.png']


def rows_of_images(rows: list[tuple[str, np.ndarray]]) -> Any:
    """A figure with one titled row for each pair of a title and vectors `[n, d]` in [0, 1]."""
    from matplotlib.figure import Figure

    longest = max(len(vectors) for _, vectors in rows)
    figure = Figure(figsize=(0.45 * longest + 0.8, 0.47 * len(rows)), layout='compressed')
    for ax, (title, vectors) in zip(np.atleast_1d(figure.subplots(len(rows), 1)), rows, strict=True):
        size = round(vectors.shape[1] ** 0.5)
        padded = np.pad(vectors.reshape(-1, size, size), ((0, longest - len(vectors)), (1, 1), (1, 1)), constant_values=1)
        ax.imshow(np.hstack(list(padded)), cmap='gray', vmin=0, vmax=1, interpolation='nearest')
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(title, rotation=0, ha='right', va='center', fontsize=8)
        ax.spines[:].set_visible(False)
    return figure
