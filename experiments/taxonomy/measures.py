"""What is measured of a trained model: likelihoods, time, and what a classifier and a Parzen window say of its samples."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import median_seconds
from experiments.taxonomy.images import Binary, black_and_white, intensities
from gan_jax import compilation, runs
from gan_jax.metrics.extractors.classifier import Classifier, classifier_scores
from gan_jax.metrics.parzen import parzen_bandwidth, parzen_log_likelihood


def seconds_per_step(trained: runs.Trained) -> float:
    """The median over the logged lines, without the first, which includes compilation."""
    rates = [row['images_per_second'] for row in trained.read_log()]
    images = trained.config.batch_size * trained.config.seeds
    return float(np.median([images / rate for rate in rates[1:] or rates]))


def measure(trained: runs.Trained, test: Binary) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Likelihoods of the test set, samples and their timing for a trained model: its figures, and arrays to be drawn."""
    config: Any = trained.config
    model, state = trained.study.data, trained.state
    x = jnp.asarray(test.pixels, jnp.float32)
    likelihoods = {
        kind: compilation.jit(evaluate)(state, x, trained.key('likelihood')) for kind, evaluate in model.evaluate.items()
    }
    sample = compilation.jit(model.sample, static_argnums=2)
    arrays = jax.tree.map(np.asarray, sample(state, trained.key('table'), config.samples)._asdict())
    if model.walk is not None:
        arrays['walk'] = np.asarray(compilation.jit(model.walk)(state, trained.key('walk')))
    wait = lambda n: jax.block_until_ready(sample(state, trained.key('timed'), n))
    timed: dict[str, Callable[[], Any]] = {str(n): functools.partial(wait, n) for n in (1, 100)}
    for call in timed.values():
        call()  # compiles
    one, hundred = median_seconds(timed, 3).values()
    return {
        'likelihoods': {kind: [float(value) for value in estimate] for kind, estimate in likelihoods.items()},
        'parameters': sum(leaf.size for leaf in jax.tree.leaves(model.parameters(state))),
        'passes': model.passes,
        'seconds_per_sample': one,
        'seconds_per_sample_of_100': hundred / 100,
    }, arrays


def judged(
    judge: Classifier, pixels: np.ndarray, probabilities: np.ndarray, validation: Binary, test: Binary
) -> dict[str, float]:
    """Scores of samples by the classifier, and by a Parzen window.

    The classifier reads `pixels`; the Parzen window is fitted to `probabilities`, and its width is chosen on 1,000 validation
    images.
    """
    scores = classifier_scores(judge.probabilities(black_and_white(pixels)))
    width = parzen_bandwidth(probabilities, intensities(validation.grey[:1000])).sigma
    window = parzen_log_likelihood(probabilities, intensities(test.grey), width)
    return {'recognised': scores.confident, 'class_entropy': scores.class_entropy, 'parzen': float(window.value)}
