"""Vector arithmetic on latents (Radford et al. 2016, section 6.3.2); a classifier chooses the exemplars and judges the results.

A concept is a class and a weight: for bright strokes on black, the mean brightness measures how heavy the strokes are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import data, latents
from gan_jax.metrics.extractors.classifier import Classifier
from gan_jax.typing import AnyArray, Key

EXEMPLARS = 3
COLUMNS = 3 * (EXEMPLARS + 2) + 5
"""Columns of the picture: three concepts, each with its mean and a gap, and five results."""
Generate = Callable[[Any], AnyArray]


class Sight(NamedTuple):
    """The classifier's view of samples, each array `[n]`."""

    labels: np.ndarray
    confidence: np.ndarray
    weight: np.ndarray
    """Mean brightness, in [0, 1]."""


class Concepts(NamedTuple):
    """For each class with enough samples: latents of its exemplars, `[3, size]`, and its median weight."""

    heavy: dict[int, np.ndarray]
    light: dict[int, np.ndarray]
    median: dict[int, float]


def look(generate: Generate, classifier: Classifier, z: Any) -> Sight:
    """The classifier's view of the samples of `z [n, size]`."""
    images = np.asarray(generate(z))
    probabilities = classifier.probabilities(images)
    return Sight(probabilities.argmax(1), probabilities.max(1), (images.mean((1, 2, 3)) + 1) / 2)


def find_concepts(z: np.ndarray, seen: Sight, classes: int) -> Concepts:
    """Exemplars among the samples that are recognised with probability >= .9.

    They are the first three samples within the heaviest and within the lightest tenth of each class. A class whose tenth has
    fewer than three samples is left out.
    """
    found = Concepts({}, {}, {})
    for label in range(classes):
        own = np.flatnonzero((seen.labels == label) & (seen.confidence >= 0.9))
        tenth = len(own) // 10
        if tenth >= EXEMPLARS:
            order = own[np.argsort(seen.weight[own])]
            found.light[label], found.heavy[label] = (z[np.sort(part)[:EXEMPLARS]] for part in (order[:tenth], order[-tenth:]))
            found.median[label] = float(np.median(seen.weight[own]))
    return found


def judge(generate: Generate, classifier: Classifier, concepts: Concepts) -> dict[str, Any]:
    """Whether heavy a - light a + light b is a heavy b: shares over all ordered pairs of classes.

    The shares of the exemplars' own means are included for comparison.
    """
    heavy, light, median = concepts
    pairs = [(a, b) for a in median for b in median if a != b]
    target, middle = np.array([b for _, b in pairs]), np.array([median[b] for _, b in pairs])
    made = {
        'result': [latents.analogy(heavy[a], light[a], light[b]) for a, b in pairs],
        'light b': [light[b].mean(0) for _, b in pairs],
        'heavy b': [heavy[b].mean(0) for _, b in pairs],
    }
    results: dict[str, Any] = {'pairs': len(pairs), 'classes': list(median)}
    for name, z in made.items():
        seen = look(generate, classifier, np.stack(z))
        right, heavier = seen.labels == target, seen.weight > middle
        shares = {'of class b': right, 'heavier than the median of b': heavier, 'both': right & heavier}
        results[name] = {title: float(share.mean()) for title, share in shares.items()}
    return results


def picture_rows(generate: Generate, concepts: Concepts, pairs: Sequence[tuple[int, int]], key: Key) -> np.ndarray:
    """A row of images for each pair, `[len(pairs) * COLUMNS, h, w, c]`.

    Each row shows heavy a, light a and light b, with three exemplars and the image of their mean for each, then the result and
    four variants with noise U(-.25, .25) added to its latent, as in the paper.
    """
    heavy, light, _ = concepts
    size = next(iter(heavy.values())).shape[1]
    noise = np.asarray(jax.random.uniform(key, (4, size), minval=-0.25, maxval=0.25))
    rows: list[np.ndarray] = []
    for a, b in pairs:
        result = np.asarray(latents.analogy(heavy[a], light[a], light[b]))
        for z in (heavy[a], light[a], light[b]):
            images = np.asarray(data.to_uint8(generate(np.concatenate([z, z.mean(0, keepdims=True)]))))
            rows += [images, np.full_like(images[:1], 255)]
        rows.append(np.asarray(data.to_uint8(generate(np.concatenate([result[None], result + noise])))))
    return np.concatenate(rows)
