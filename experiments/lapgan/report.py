"""LAPGAN's end table, and the picture of every stage of samples next to those of real images."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np

import gan_jax
from experiments.shared import image_gan
from gan_jax import data, pyramids, runs
from gan_jax.metrics.extractors.classifier import classifier_scores, train_classifier
from gan_jax.metrics.frechet import frechet_distance_from_features
from gan_jax.runs import pictures
from gan_jax.typing import Array, Key

Stages = tuple[np.ndarray, ...]
"""Images at every size, finest first, `[n, h, w, c]`, approximately in [-1, 1]."""


def evaluate(trained: runs.Trained) -> dict[str, Any]:
    """The end table: the losses of every level, and the distance of every stage from held-out images.

    If there are no held-out images, distances are from training images. Losses are reported for runs of a single seed.
    """
    config: Any = trained.config
    _, train, test = trained.study.data
    known, held_out = (
        image_gan.at_random(images, config.samples) for images in (train.images, (train if test is None else test).images)
    )
    stages, real = trained.plays(config.samples), real_stages(config, held_out)
    sets = {'cascade': stages, 'level': from_real(trained, held_out), 'training': real_stages(config, known)}
    logged = trained.read_log()[-1] if config.seeds == 1 else {}
    losses = ('discriminator_loss', 'generator_loss')
    table: list[tuple] = [
        ('level', 'size', 'loss of D', 'loss of G', 'Fréchet distance', 'given real low-pass', 'training images')
    ]
    results: dict[str, Any] = {}
    for k in reversed(range(config.halvings + 1)):
        distances = {f'frechet_{name}': pixel_distance(real[k], found[k]) for name, found in sets.items()}
        own = {name: logged[f'level_{k}_{name}'] for name in losses if logged}
        results[f'level_{k}'] = {'size': real[k].shape[1], **own, **distances}
        table.append((str(k), str(real[k].shape[1]), *(own.get(name, '') for name in losses), *distances.values()))
    title = f'{config.dataset} after {trained.steps} steps, {config.samples} samples; distances in pixels'
    trained.tell(runs.table(table, title=title))
    if train.labels is not None and test is not None:
        seen = {'samples': stages[0], 'held-out': real[0], 'training': image_gan.floats(known)}
        results['classifier'] = judged(trained, seen)
    if trained.first:
        save_stages(trained, tuple(stage[:8] for stage in stages), real_stages(config, train.images[:8]))
    return results


def real_stages(config: Any, images: np.ndarray) -> Stages:
    """uint8 images as floats in [-1, 1] at every size, finest first."""
    return tuple(np.asarray(stage) for stage in pyramids.gaussian(jnp.asarray(image_gan.floats(images)), config.halvings))


def from_real(trained: runs.Trained, images: np.ndarray) -> Stages:
    """The output of each level conditioned on the low-pass images of real ones, finest first."""
    config, game = cast(Any, trained.config), cast(gan_jax.Game, trained.study.game)

    def one(state: gan_jax.TrainState, images: Array, key: Key) -> Any:
        stages = pyramids.gaussian(images, config.halvings)
        made = game.play(state.ema, images, key)[0]
        lows = [*(pyramids.up(stage) for stage in stages[1:]), 0]
        return tuple(low + made[f'level_{k}'] for k, low in enumerate(lows))

    return trained.mapped(one, images, 'from real')


def pixel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """The Fréchet distance between images clipped to [-1, 1], with pixels as features."""
    flat = [np.clip(images, -1, 1).reshape(len(images), -1) for images in (real, fake)]
    return float(frechet_distance_from_features(*flat))


def judged(trained: runs.Trained, seen: dict[str, np.ndarray]) -> dict[str, Any]:
    """Prints and returns a classifier's scores of the finest images."""
    config: Any = trained.config
    train = trained.study.data.train
    classifier = train_classifier(train.images, train.labels, name=config.dataset, cache=True)
    clipped = {name: np.clip(images, -1, 1) for name, images in seen.items()}
    scores = {name: classifier_scores(classifier.probabilities(images)) for name, images in clipped.items()}
    features = {name: classifier.features(images) for name, images in clipped.items()}
    distances = {n: float(frechet_distance_from_features(features['held-out'], features[n])) for n in ('samples', 'training')}
    confident = {name: found.confident for name, found in scores.items()}
    entropy = {name: found.class_entropy for name, found in scores.items()}
    rows: list[tuple] = [('', *seen)]
    rows.append(('recognised with probability >= .9', *confident.values()))
    rows.append(('entropy of the classes, nats', *entropy.values()))
    rows.append(('Fréchet distance, classifier features', *(distances.get(name, '') for name in seen)))
    trained.tell(runs.table(rows, title=f'judged by a classifier of {config.dataset}; not an FID'))
    return {'confident': confident, 'class_entropy': entropy, 'frechet_distance': distances}


def save_stages(trained: runs.Trained, *sets: Stages) -> None:
    """Writes `stages.png`, with one row per sample from coarse to fine.

    Each row starts with the coarsest image, followed by each high-pass image and the image that it completes. Samples are on the
    left, real pyramids on the right; a high-pass image is grey where it is 0.
    """
    blocks = []
    for stages in sets:
        columns = [stages[-1]]
        for fine, coarse in zip(stages[-2::-1], stages[:0:-1], strict=True):
            columns += [fine - np.asarray(pyramids.up(jnp.asarray(coarse))), fine]
        blocks += [*columns, np.ones_like(stages[0])]
    side = blocks[-1].shape[1]
    shown = [np.asarray(data.to_uint8(x)).repeat(side // x.shape[1], 1).repeat(side // x.shape[1], 2) for x in blocks[:-1]]
    rows = np.stack(shown, 1).reshape(-1, *shown[0].shape[1:])
    pictures.save_picture(trained.path / 'stages.png', pictures.image_grid(rows, columns=len(shown), scale=max(1, 64 // side)))
