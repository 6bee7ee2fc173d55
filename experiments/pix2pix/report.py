"""pix2pix's pairs, end table, and picture of held-out pairs."""

from typing import Any, NamedTuple

import numpy as np

from experiments.shared.image_gan import floats
from experiments.shared.translation import central, load_pairs, save_titled
from gan_jax import data, runs
from gan_jax.errors import InputError
from gan_jax.metrics.distances import pair_distances
from gan_jax.metrics.extractors import EXTRACTORS, Extractor
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.metrics.imagesets import collect
from gan_jax.metrics.kernel import kernel_distance
from gan_jax.registry import build

SHOWN = 8
"""Number of held-out images that are drawn."""
COMPARED = 4
"""Minimal number of images for a standard error of the kernel distance."""


class Pairs(NamedTuple):
    """uint8 images `{'input': [n, ...], 'target': [n, ...]}`, and the extractor of the features in which outputs are compared."""

    train: dict[str, np.ndarray]
    """The training images, at the size they are cropped from."""
    held_out: dict[str, np.ndarray]
    extractor: Extractor | None


def load(config: Any) -> Pairs:
    """The pairs and the extractor of the options. Raises `InputError` for what cannot be read or compared."""
    extractor = build(EXTRACTORS, config.compare_features) if config.compare_features else None
    options: dict[str, Any] = {'skip_broken': config.skip_broken, 'direction': config.direction}
    train, held_out = load_pairs(config.dataset, config.size, config.samples, **options)
    if extractor and len(held_out['input']) < COMPARED:
        count = len(held_out['input'])
        raise InputError(f'--compare-features requires at least {COMPARED} held-out images; there are {count}')
    return Pairs(train, held_out, extractor)


def evaluate(trained: runs.Trained, alone: runs.Trained | None) -> dict[str, dict[str, float]]:
    """The figures of one seed, and of the same seed of the run on L1 alone, unless that has diverged."""
    config: Any = trained.config
    pairs: Pairs = trained.study.data
    models = {'L1 alone' if config.l1_alone else 'pix2pix': trained}
    if alone is not None and alone.finite[trained.number]:
        models['L1 alone'] = alone.seed(trained.number)
    outputs = {model: own.translated(pairs.held_out['input']) for model, own in models.items()}
    if trained.first:
        rows = slice(0, SHOWN)
        columns = [('input', pairs.held_out['input'][rows]), *((model, x[rows]) for model, x in outputs.items())]
        save_titled(trained.path / 'validation.png', [*columns, ('target', pairs.held_out['target'][rows])])
    results = figures(outputs, central(pairs.train['target'], config.size), pairs.held_out['target'], pairs.extractor)
    rows_of: list[tuple] = [('', 'L1, [-1, 1]')]
    if pairs.extractor is not None:
        rows_of = [('', 'L1, [-1, 1]', 'kernel distance', '+-', 'Fréchet distance', 'pair distances')]
        trained.tell(f'features: {pairs.extractor.name}')
    for model, result in results.items():
        values = [result.get('l1', ''), *(value for name, value in result.items() if name != 'l1')]
        rows_of.append((model, *values, *[''] * (len(rows_of[0]) - 1 - len(values))))
    title = f'{config.dataset}, {len(pairs.held_out["target"])} validation pairs, after {trained.steps} steps'
    trained.tell(runs.table(rows_of, title=title))
    return results


def figures(
    outputs: dict[str, np.ndarray], train: np.ndarray, targets: np.ndarray, extractor: Extractor | None
) -> dict[str, dict[str, float]]:
    """The figures of every model's outputs in [-1, 1] and of the mean training target, which ignores the labels.

    Both are compared with the held-out targets, in L1 and, if there is an extractor, in its features.

    Args:
        outputs: Outputs of each model, `[n, h, w, c]` in [-1, 1].
        train: Training targets, uint8.
        targets: Held-out targets, uint8.
        extractor: Extractor of features, or None.
    """
    blind = np.broadcast_to(floats(train).mean(0), targets.shape)
    truth = floats(targets)
    results = {model: {'l1': float(np.abs(x - truth).mean())} for model, x in {**outputs, 'mean training image': blind}.items()}
    if extractor is None:
        return results
    real = collect(extractor, [targets], {'features'})
    others = {**{model: np.asarray(data.to_uint8(x)) for model, x in outputs.items()}, 'training targets': train}
    for model, images in others.items():
        found = collect(extractor, [images], {'features'})
        kernel = kernel_distance(real.features, found.features)
        results.setdefault(model, {}).update(
            kernel_distance=float(kernel.value),
            kernel_distance_standard_error=float(np.asarray(kernel.standard_error)),
            frechet_distance=float(frechet_distance_from_features(real.features, found.features)),
            pair_distance_ratio=pair_distances(found.features, real.features).ratio,
        )
    return results
