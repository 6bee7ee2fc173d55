"""The Inception score (Salimans et al. 2016, eq. 5), from the logits of Inception or of any other classifier.

The score is exp of the mean of KL(p(y|x) || p(y)), between 1 and the number of classes. It is computed from log_softmax, which is
finite where p log p of a confident p is not. The published score splits the samples and averages the scores of the splits. The
score of a split is biased, so scores with other sizes or numbers of splits are not comparable.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import parallel
from gan_jax.metrics.pairwise import feature_sets
from gan_jax.typing import AnyArray, Array


class InceptionScore(NamedTuple):
    """The scores of consecutive splits."""

    mean: Array
    """Mean over the splits, which is the Inception score of the literature."""
    std: Array
    """Standard deviation over the splits, with ddof 0, as published."""
    splits: Array
    """The score of each split, `[splits]`."""


def inception_score(logits: AnyArray, splits: int = 10) -> InceptionScore:
    """The Inception score of `logits [n, classes]` over consecutive splits (Salimans et al. 2016, eq. 5).

    Split i consists of the rows [i n // splits, (i + 1) n // splits) in the given order, so a sorted sample must be shuffled
    first. The original uses Inception's logits without their bias. Raises `ValueError` for fewer rows than splits, and for
    non-finite logits; under a transformation (`jax.jit`) the latter cannot be detected.
    """
    (logits,) = feature_sets(logits=logits)
    if not 1 <= splits <= len(logits):
        raise ValueError(f'{len(logits)} rows cannot be divided into {splits} splits')
    bounds = np.arange(splits + 1) * len(logits) // splits
    log_p = jax.nn.log_softmax(logits)
    scores = jnp.stack([_score(log_p[a:b]) for a, b in itertools.pairwise(bounds)])
    return InceptionScore(scores.mean(), scores.std(), scores)


class ScoreMoments(NamedTuple):
    """Sufficient statistics of the score of any number of samples, without splits."""

    size: Array
    """n, an integer."""
    probabilities: Array
    """p(y), the mean of p(y|x), `[classes]`."""
    negative_entropy: Array
    """The mean over x of the sum over y of p(y|x) log p(y|x)."""


def init(classes: int, dtype: jnp.dtype | type = jnp.float32) -> ScoreMoments:
    """The moments of an empty set of samples."""
    return ScoreMoments(jnp.zeros((), jnp.int32), jnp.zeros(classes, dtype), jnp.zeros((), dtype))


def update(moments: ScoreMoments, logits: AnyArray, mask: AnyArray | None = None) -> ScoreMoments:
    """Adds `logits [n, classes]` to the moments.

    Rows where `mask [n]` is false are padding and have no effect, whatever they contain. This is a pure function for loops and
    `lax.scan` and does not inspect values; non-finite logits give a non-finite score. Raises `ValueError` for wrong shapes.
    """
    if (
        logits.ndim != 2
        or logits.shape[1:] != moments.probabilities.shape
        or (mask is not None and mask.shape != logits.shape[:1])
    ):
        shapes = f'{logits.shape}' + ('' if mask is None else f' under a mask {mask.shape}')
        raise ValueError(f'logits must be [n, {len(moments.probabilities)}], and a mask must be [n], got {shapes}')
    rows = jnp.ones(len(logits), bool) if mask is None else jnp.asarray(mask, bool)
    log_p = jax.nn.log_softmax(jnp.where(rows[:, None], jnp.asarray(logits, moments.probabilities.dtype), 0))
    p = jnp.where(rows[:, None], jnp.exp(log_p), 0)
    size = rows.sum(dtype=jnp.int32)
    n = jnp.maximum(size, 1)
    return merge(moments, ScoreMoments(size, p.sum(0) / n, (p * log_p).sum() / n))


def merge(a: ScoreMoments, b: ScoreMoments) -> ScoreMoments:
    """The moments of the union of two sets, either of which may be empty."""
    size = a.size + b.size
    share = b.size.astype(b.probabilities.dtype) / jnp.maximum(size, 1)
    join = lambda x, y: x + (y - x) * share
    return ScoreMoments(size, join(a.probabilities, b.probabilities), join(a.negative_entropy, b.negative_entropy))


def all_reduce(moments: ScoreMoments) -> ScoreMoments:
    """The moments of the union of all devices' sets, by `merge`; the result is the same on every device."""
    size = parallel.psum(moments.size)
    share = moments.size.astype(moments.probabilities.dtype) / jnp.maximum(size, 1)
    return ScoreMoments(size, *parallel.psum((share * moments.probabilities, share * moments.negative_entropy)))


def value(moments: ScoreMoments) -> Array:
    """The score of all samples as one split, a scalar; NaN if the set is empty."""
    score = jnp.exp(moments.negative_entropy - (moments.probabilities * _log(moments.probabilities)).sum())
    return jnp.where(moments.size > 0, score, jnp.nan)


def _score(log_p: Array) -> Array:
    p = jnp.exp(log_p)
    return jnp.exp((p * (log_p - _log(p.mean(0)))).sum(1).mean())


def _log(p: Array) -> Array:
    """log p where p is positive, and 0 elsewhere, where it is multiplied by 0."""
    return jnp.log(jnp.where(p > 0, p, 1))
