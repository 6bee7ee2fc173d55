"""Counts of modes, where the modes are known, and the share of the data that a model covers."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.pairwise import concrete
from gan_jax.metrics.parzen import mean_estimate, parzen_log_density
from gan_jax.typing import AnyArray, Array


class ModeCoverage(NamedTuple):
    """How samples cover a mixture of Gaussians."""

    modes: Array
    """Number of modes with at least one high-quality sample."""
    high_quality: Array
    """Share of the samples within `radius` standard deviations of a centre. In the plane, a perfect sampler attains
    1 - exp(-radius^2 / 2), which is 98.889 % for a radius of 3, not 100 %."""
    reverse_kl: Array
    """KL(histogram of the high-quality samples over modes || uniform), in nats; infinite if there are none."""


def mode_coverage(samples: AnyArray, centres: AnyArray, stds: AnyArray, *, radius: float = 3.0) -> ModeCoverage:
    """Modes, high-quality share and reverse KL of samples of a mixture, by the protocol of VEEGAN and PacGAN.

    Each sample belongs to the centre that is nearest in standard deviations, and is of high quality within `radius` of them. A
    sample that is NaN belongs to no mode. Raises `ValueError` for shapes that do not fit.

    Args:
        samples: `[n, d]`.
        centres: means of the components, `[modes, d]`.
        stds: standard deviations of the components, `[modes]`.
        radius: largest distance of a high-quality sample, in standard deviations.
    """
    if samples.ndim != 2 or not len(samples) or samples.shape[1:] != centres.shape[1:]:
        raise ValueError(f'samples {samples.shape} and centres {centres.shape} are not points of the same space')
    distance = jnp.linalg.norm(samples[:, None] - jnp.asarray(centres), axis=-1) / jnp.asarray(stds)
    good = distance.min(1) < radius
    counts = jnp.zeros(len(centres)).at[distance.argmin(1)].add(good)
    return ModeCoverage((counts > 0).sum(), good.mean(), _kl_to_uniform(counts))


class LabelCoverage(NamedTuple):
    """How labelled samples cover modes that are equally frequent in the data."""

    modes: Array | np.ndarray
    """Number of modes with at least one sample."""
    kl: Array | np.ndarray
    """KL(histogram of the samples over modes || uniform), in nats. It is not 0 for a perfect sampler: see `coverage_floor`."""


def stacked_labels(classes: AnyArray, *, num_classes: int = 10) -> Array:
    """The label of each image of stacked digits, from the classes predicted for its channels (Metz et al. 2017, section 3.3.1).

    Maps integer `classes [n, channels]` to labels `[n]` from 0 to `num_classes ** channels - 1`; the first channel is the most
    significant digit. Raises `ValueError` for another shape, classes that are not integers from 0 to num_classes - 1, and labels
    that would exceed 32 bits.
    """
    if classes.ndim != 2 or not classes.size:
        raise ValueError(f'classes must be [n, channels], got {classes.shape}')
    _check_labels(classes, num_classes)
    channels = classes.shape[1]
    if num_classes**channels > 2**31:
        raise ValueError(f'{channels} channels of {num_classes} classes have more than 2^31 labels')
    return (jnp.asarray(classes) * num_classes ** np.arange(channels - 1, -1, -1)).sum(1)


def label_coverage(labels: AnyArray, modes: int) -> LabelCoverage:
    """The number of modes and the KL of `labels [n]`, each a scalar.

    For stacked digits, use `label_coverage(stacked_labels(classes), 1000)`. Report n and `coverage_floor(n, modes)` with the KL.
    Raises `ValueError` for empty labels, or labels that are not integers from 0 to modes - 1.
    """
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f'labels must be [n], got {labels.shape}')
    _check_labels(labels, modes)
    counts = jnp.zeros(modes).at[jnp.asarray(labels)].add(1)
    return LabelCoverage((counts > 0).sum(), _kl_to_uniform(counts))


def coverage_floor(n: int, modes: int) -> LabelCoverage:
    """The exact expectation of `label_coverage` for n independent samples of a perfect sampler, in float64.

    The count of each mode is binomial, so E KL = modes E[(X / n) log(modes X / n)] with X ~ B(n, 1 / modes). For large n this is
    about (modes - 1) / (2 n); it is 0.0198 for 1000 modes and the 25,600 samples of Metz et al. Raises `ValueError` for n or
    modes below 1.
    """
    from scipy import stats

    if n < 1 or modes < 1:
        raise ValueError(f'n and modes must be at least 1, got {n} and {modes}')
    binomial, x = stats.binom(n, 1 / modes), np.arange(1, n + 1)
    kl = modes * np.sum(binomial.pmf(x) * x / n * np.log(modes * x / n))
    return LabelCoverage(np.asarray(modes * binomial.sf(0)), np.asarray(kl))


def density_coverage(
    samples: AnyArray, data: AnyArray, sigma: AnyArray | float, *, quantile: float = 0.05, block: int = 1024
) -> Estimate:
    """The coverage C of AdaGAN (Tolstikhin et al. 2017, section 4.3, and the authors' code), with its standard error.

    It is the share of the data whose density exceeds the 5 % quantile of the densities at the samples themselves, where the
    density is the Parzen window estimate of width sigma. The standard error is over the data, for fixed samples. The authors
    choose sigma by `parzen_bandwidth` among the median distance of consecutive samples times 2^-7 ... 2^6, on 500 held-out
    samples.

    Raises `ValueError` as `parzen_log_density` does, and for a quantile outside (0, 1).

    Args:
        samples: `[m, d]`.
        data: `[n, d]`.
        sigma: width of the Parzen window.
        quantile: quantile of the samples' densities that a data point must exceed.
        block: number of points whose density is computed at a time.
    """
    if not 0 < quantile < 1:
        raise ValueError(f'a quantile must be between 0 and 1, got {quantile}')
    threshold = jnp.quantile(parzen_log_density(samples, samples, sigma, block=block), quantile)
    densities = parzen_log_density(samples, data, sigma, block=block)
    covered = (densities > threshold).astype(densities.dtype)
    return mean_estimate(jnp.where(jnp.isnan(densities - threshold), jnp.nan, covered))


def _kl_to_uniform(counts: Array) -> Array:
    """KL(counts || uniform) in nats; infinite if all counts are zero."""
    p = counts / counts.sum()
    kl = jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1) * len(counts)), 0).sum()
    return jnp.where(counts.sum() > 0, kl, jnp.inf)


def _check_labels(labels: AnyArray, classes: int) -> None:
    """Raises `ValueError` for labels that indexing would silently drop or count elsewhere."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f'labels must be integers, got {labels.dtype}')
    if concrete(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f'labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}')
