"""Scores during training, from samples that are drawn, evaluated and discarded on the device, block by block."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import compilation, hosts, parallel, placement
from gan_jax.errors import told_to_user
from gan_jax.metrics import moments, scores
from gan_jax.metrics.extractors import Extractor
from gan_jax.metrics.frechet import frechet_distance
from gan_jax.runs import pictures
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.loop import Callback
from gan_jax.training import TrainState
from gan_jax.typing import Array, Key

LOG = 'scores.jsonl'


def sample_moments(
    draw: Callable[[Any, Key], Array], extractor: Extractor, *, samples: int, block: int = 100
) -> Callable[[Any, Key], tuple[moments.FeatureMoments, scores.ScoreMoments | None]]:
    """A compiled `(state, key) -> (moments of the features, moments of the class scores)` of `samples` images.

    Block b uses the key `fold_in(key, b)`, so the result depends neither on the number of devices, which share the blocks, nor on
    the padding of the last block. Images are not stored.

    Args:
        draw: `(state, key) -> images [block, h, w, c]`.
        extractor: maps images to features.
        samples: number of images.
        block: number of images drawn at a time.
    """
    blocks = -(-samples // block)
    devices = len(placement.all_devices())
    numbers = np.arange(-(-blocks // devices) * devices)
    judge = compilation.exact(extractor.apply)
    apply = parallel.alone(lambda state, key: judge(draw(state, key)))  # a device draws whole blocks, not shares

    def collect(given: tuple[Any, Key], numbers: Array) -> tuple:
        state, key = given
        shapes = jax.eval_shape(apply, state, key)

        def one(carry: tuple, number: Array) -> tuple[tuple, None]:
            features, classes = carry
            outputs = apply(state, jax.random.fold_in(key, number))
            mask = number * block + jnp.arange(block) < samples
            features = moments.update(features, outputs.features, mask)
            return (features, None if classes is None else scores.update(classes, outputs.logits, mask)), None

        empty = moments.init(shapes.features.shape[1]), shapes.logits and scores.init(shapes.logits.shape[1])
        features, classes = jax.lax.scan(one, empty, numbers)[0]
        return moments.all_reduce(features), classes and scores.all_reduce(classes)

    run = parallel.split_map(collect)
    return lambda state, key: run((state, key), numbers)


def sample_scores(
    run: RunDirectory,
    draw: Callable[[TrainState, Key], Array],
    extractor: Extractor,
    reference: moments.FeatureMoments | moments.Gaussian,
    key: Key,
    *,
    every: int,
    samples: int,
    block: int = 100,
) -> Callback:
    """A callback that writes the Fréchet distance of samples to a reference to `scores.jsonl` and `scores.png`.

    The latents are the same each time. For a classifier, the Inception-style score without splits is written as well. The
    callback raises `InputError` if the samples cannot be scored.

    Args:
        run: directory of the run.
        draw: `(state, key) -> images [block, h, w, c]`.
        extractor: maps images to features.
        reference: moments of the features of real images.
        key: the key of the latents.
        every: interval in steps.
        samples: number of images.
        block: number of images drawn at a time.
    """
    look = sample_moments(draw, extractor, samples=samples, block=block)

    def call(step: int, state: TrainState) -> None:
        features, classes = look(state, key)
        with told_to_user(f'the samples of step {step} cannot be scored'):
            values = {'frechet_distance': float(frechet_distance(reference, features))}
        if classes is not None:
            values['score'] = float(scores.value(classes))
        if not hosts.leads():
            return
        run.log(step, values, LOG)
        rows = run.read_log(LOG)
        pictures.save_figure(
            run.path / 'scores.png',
            pictures.curves(rows, [[name] for name in values], title=f'{samples} samples; {extractor.name}'),
        )

    return Callback(every, call, together=True)
