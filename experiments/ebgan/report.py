"""EBGAN's figures, tables and pictures."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from experiments.shared import image_gan
from gan_jax import data, runs
from gan_jax.metrics.extractors.classifier import Classifier, classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.networks.autoencoder import mean_energy
from gan_jax.runs import pictures

Energies = dict[str, np.ndarray]
"""Energies `[n]` of each set of images, by name."""


def save_reconstructions(trained: runs.Trained, network: nn.Module, *sets: np.ndarray) -> None:
    """Writes a picture of images above their reconstructions by the autoencoder: real images, then generated ones."""
    rows = []
    for images in sets:
        found = network.apply(trained.state.discriminator.variables, image_gan.floats(images), method='reconstruct')
        rows += [images, np.asarray(data.to_uint8(found))]  # type: ignore[arg-type]
    grid = pictures.image_grid(np.concatenate(rows), columns=len(rows[0]), scale=max(1, 48 // rows[0].shape[1]))
    pictures.save_picture(trained.path / 'reconstructions.png', grid)


def histograms(panels: dict[float, Energies]) -> Any:
    """A figure of energies with one panel for each margin, which is drawn as a dashed line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2 * len(panels)))
    for i, (margin, energies) in enumerate(panels.items()):
        ax = figure.add_subplot(len(panels), 1, i + 1)
        edges = np.histogram_bin_edges(np.concatenate(list(energies.values())), 80)
        for name, values in energies.items():
            ax.hist(values, edges.tolist(), density=True, histtype='step', label=name)
        ax.axvline(margin, color='0.5', ls='--', lw=1)
        ax.set_title(f'margin {margin:g}', fontsize=8)
        ax.set_yticks([])
        ax.spines[['top', 'right', 'left']].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel('energy')
    figure.tight_layout()
    return figure


def figures(seen: dict[str, np.ndarray], energies: Energies, classifier: Classifier) -> dict[str, Any]:
    """The figures of the end table, by set of images."""
    floats = {name: image_gan.floats(images) for name, images in seen.items()}
    features = {name: classifier.features(images) for name, images in floats.items()}
    results: dict[str, Any] = {'mean_image_energy': float(mean_energy(jnp.asarray(floats['training'])))}
    for name, images in floats.items():
        scores = classifier_scores(classifier.probabilities(images))
        results[name] = {
            'energy': float(energies[name].mean()),
            'energy_deviation': float(energies[name].std()),
            'confident': scores.confident,
            'class_entropy': scores.class_entropy,
            'rarest_class': float(scores.class_shares.min()),
        }
        if name != 'held-out':
            results[name]['frechet_distance'] = float(frechet_distance_from_features(features['held-out'], features[name]))
    return results


ROWS = {
    'energy': 'mean energy',
    'energy_deviation': 'its standard deviation',
    'confident': 'recognised with probability >= .9',
    'class_entropy': 'entropy of the classes, nats',
    'rarest_class': 'rarest class, share',
    'frechet_distance': 'Fréchet distance, classifier features',
}
"""Figure -> row title."""


def table(config: Any, results: dict[str, Any]) -> str:
    """The table of one run."""
    sets = ('generated', 'held-out', 'training')
    rows: list[tuple] = [('', *sets)]
    rows += [(title, *(results[name].get(key, '') for name in sets)) for key, title in ROWS.items()]
    rows.append(('energy of the mean image', '', '', results['mean_image_energy']))
    return runs.table(rows, title=f'{config.dataset}, {config.objective} after {config.steps} steps')


def sweep_table(config: Any, results: dict[float, Any]) -> str:
    """One row for each margin."""
    head = ('margin', 'E real', 'E generated', 'recognised', 'entropy', 'rarest', 'Fréchet')
    rows: list[tuple] = [head]
    for margin, found in results.items():
        own = found['generated']
        values = (own[key] for key in ('energy', 'confident', 'class_entropy', 'rarest_class', 'frechet_distance'))
        rows.append((f'{margin:g}', found['held-out']['energy'], *values))
    scale = next(iter(results.values()))['mean_image_energy']
    return runs.table(rows, title=f'{config.dataset} after {config.steps} steps; energy of the mean image {scale:.4g}')


def evaluate(trained: runs.Trained, panels: dict[float, Energies] | None = None) -> dict[str, Any]:
    """The figures of the end table by set of images. Adds the energies of the first seed to `panels`, by margin."""
    config: Any = trained.config
    source, train, held_out = trained.study.data
    real = {name: image_gan.at_random(x.images, config.samples) for name, x in (('held-out', held_out), ('training', train))}
    seen = {'generated': trained.images(config.samples), **real}
    discriminator = config.networks(source.size, source.channels)[1]
    energy = lambda state, x, key: discriminator.apply(state.discriminator.variables, x, train=False)
    energies = {name: trained.mapped(energy, images, 'energy') for name, images in seen.items()}
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    results = figures(seen, energies, classifier)
    if trained.first:
        panels = {} if panels is None else panels
        panels[config.margin] = energies
        pictures.save_figure(trained.path / 'energies.png', histograms({config.margin: energies}))
        save_reconstructions(trained, discriminator, seen['held-out'][:16], seen['generated'][:16])
    trained.tell(table(config, results))
    return results
