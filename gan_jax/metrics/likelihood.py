"""The feature likelihood divergence: how likely held-out data are under Gaussians around the samples (FLD).

Jiralerspong et al. 2023.
"""

import contextlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.pairwise import concrete, feature_sets, scan_blocks, squared_distances
from gan_jax.typing import AnyArray, Array, Key

_ORIGIN = 0.81
"""Factor of the squared distances from the mean of the data, at which one more Gaussian keeps every likelihood above zero."""
_ROUNDING = 32
"""Squared distances below this many epsilons of |x|^2 + |y|^2 count as zero."""


class LikelihoodDivergence(NamedTuple):
    """The divergence, with its error and its gap."""

    value: AnyArray
    """100 / d times the mean negative log-likelihood of held-out data, minus that under half of the training data. It is about 0
    for new examples of the same distribution, and very large for copies of training data."""
    standard_error: AnyArray
    """Over the held-out data, for given Gaussians."""
    gap: AnyArray
    """The same mean of the training data minus that of the held-out data. Far below 0, the samples are copies of the former."""


def feature_likelihood_divergence(
    train: AnyArray, held_out: AnyArray, fake: AnyArray, key: Key, *, steps: int = 50, rate: float = 0.5, block: int = 1024
) -> LikelihoodDivergence:
    """The feature likelihood divergence, FLD (Jiralerspong et al. 2023, section 3).

    Each generated example is the centre of an isotropic Gaussian, whose variance is fitted to maximise the likelihood of the
    training set. A sample that is a copy gets a tiny variance, which explains no held-out example. The value is the likelihood of
    held-out data under this mixture, compared with that under Gaussians around one half of the training set that are fitted to
    the other half. Features are first shifted and scaled to mean 0 and variance 1 of the held-out data.

    The procedure is that of the authors' code for up to 10,000 training examples: Adam on the logarithms of the variances, which
    start at that for which the nearest training example is most likely and are kept within exp(-40) and exp(20), with a further
    Gaussian around the mean of the data during the fit. That code takes minibatches of 10,000. The distances of all pairs are
    held in memory, which is O(n m). The computation is in float64, and under a transformation in the precision of the features.

    Raises `ValueError` for fewer than 4 training, 2 held-out or 1 generated examples, unequal dimensions, non-finite features,
    fewer than 1 step or a block below 1.

    Args:
        train: features `[n, d]` of the training set.
        held_out: features `[l, d]` of new data.
        fake: features `[m, d]`.
        key: divides the training set in halves.
        steps: number of steps of Adam.
        rate: learning rate.
        block: number of examples whose likelihoods are computed at a time.
    """
    on_host = concrete(train, held_out, fake, key)
    # Adam's first steps have the size of the rate however small a gradient is, so float32 would show its rounding errors.
    with jax.enable_x64(True) if on_host else contextlib.nullcontext():
        sets = feature_sets(train=train, held_out=held_out, fake=fake)
        if len(train) < 4 or len(held_out) < 2 or steps < 1:
            sizes = f'{len(train)}, {len(held_out)} and {steps}'
            raise ValueError(f'need at least 4 training and 2 held-out examples, and 1 step, got {sizes}')
        if not on_host:
            return _divergence(*sets, key, steps, rate, block)
        found = _divergence(*(x.astype(jnp.float64) for x in sets), key, steps, rate, block)
        return LikelihoodDivergence(*map(np.asarray, found))


@partial(compilation.jit, static_argnames=('steps', 'block'))
def _divergence(
    train: Array, held_out: Array, fake: Array, key: Key, steps: int, rate: float, block: int
) -> LikelihoodDivergence:
    mean, std = held_out.mean(0), held_out.std(0, ddof=1)
    varies = std > 8 * jnp.finfo(std.dtype).eps * jnp.abs(mean)  # the rest is rounding of a constant
    train, held_out, fake = ((x - mean) / jnp.where(varies, std, 1) for x in (train, held_out, fake))
    rows = jax.random.permutation(key, len(train))
    half = min(len(fake), len(train) // 2)
    centres, rest = train[rows[:half]], train[rows[half:]]
    fit = partial(_fitted, steps=steps, rate=rate, block=block)
    fake_log_variances, log_variances = fit(fake, train), fit(centres, rest)
    of_held_out = _negative_log_likelihoods(held_out, fake, fake_log_variances, block)
    of_train = _negative_log_likelihoods(train, fake, fake_log_variances, block)
    differences = 100 * (of_held_out - _negative_log_likelihoods(held_out, centres, log_variances, block))
    error = jnp.std(differences, ddof=1) / len(held_out) ** 0.5
    return LikelihoodDivergence(differences.mean(), error, 100 * (of_train.mean() - of_held_out.mean()))


def _fitted(centres: Array, data: Array, *, steps: int, rate: float, block: int) -> Array:
    """The logarithms of the variances `[m]` of Gaussians around `centres [m, d]` that make `data [n, d]` likely."""
    (m, d), n = centres.shape, len(data)
    to_centres = scan_blocks(lambda _, part: (None, _squared_distances(part[0], centres)), None, data, block)[1]
    to_mean = _ORIGIN * jnp.square(data - data.mean(0)).sum(1)
    optimizer = optax.adam(rate)

    def gradient(log_variances: tuple[Array, Array]) -> tuple[Array, Array]:
        own, origin = log_variances

        def add(total: tuple[Array, Array], part: tuple[tuple[Array, Array], Array]) -> tuple[tuple[Array, Array], None]:
            (near, far), index = part
            near_logs = _log_densities(near, own, d) - jnp.log(m)
            far_logs = _log_densities(far, origin, d)
            likelihood = jnp.logaddexp(jax.nn.logsumexp(near_logs, axis=1), far_logs)
            held = (index < n).astype(near.dtype)  # the padding of a block does not count
            near_shares = jnp.exp(near_logs - likelihood[:, None]) * held[:, None]
            far_shares = jnp.exp(far_logs - likelihood) * held
            change = lambda shares, distance, logs: (shares * (d - distance * jnp.exp(-logs)) / (2 * d * n)).sum(0)
            return (total[0] + change(near_shares, near, own), total[1] + change(far_shares, far, origin)), None

        return scan_blocks(add, (jnp.zeros_like(own), jnp.zeros_like(origin)), (to_centres, to_mean), block)[0]

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        log_variances, state = carry
        updates, state = optimizer.update(gradient(log_variances), state)
        own, origin = optax.apply_updates(log_variances, updates)
        return ((jnp.clip(own, -40, 20), origin), state), None

    start = jnp.log((to_centres.min(0) + 1e-3) / d), jnp.zeros((), centres.dtype)
    ((own, _), _), _ = lax.scan(step, (start, optimizer.init(start)), length=steps)
    return own


def _negative_log_likelihoods(data: Array, centres: Array, log_variances: Array, block: int) -> Array:
    """Minus the log-likelihoods of `data [n, d]` under the mixture of Gaussians, `[n]`, divided by d."""
    m, d = centres.shape

    def likelihoods(_: None, part: tuple[Array, Array]) -> tuple[None, Array]:
        logs = _log_densities(_squared_distances(part[0], centres), log_variances, d)
        return None, jax.nn.logsumexp(logs, axis=1)

    return (jnp.log(m) - scan_blocks(likelihoods, None, data, block)[1]) / d


def _squared_distances(x: Array, y: Array) -> Array:
    """`squared_distances`, but 0 where they are rounding errors: the variances of copies are smaller than those."""
    found = squared_distances(x, y)
    size = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)
    return jnp.where(found > _ROUNDING * jnp.finfo(x.dtype).eps * size, found, 0)


def _log_densities(squares: Array, log_variances: Array, d: int) -> Array:
    """Of isotropic Gaussians, at squared distances from their centres, with the logarithms of the variances."""
    return -(squares * jnp.exp(-log_variances) + d * (log_variances + jnp.log(2 * jnp.pi))) / 2
