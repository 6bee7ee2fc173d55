"""Distances between pairs of samples, which show whether a generator varies as much as its data (Metz et al. 2017, sec. 3.4)."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax import compilation
from gan_jax.metrics.pairwise import as_rows, feature_sets, rounded_mean, scan_blocks, squared_distances
from gan_jax.typing import AnyArray, Array


class PairDistances(NamedTuple):
    """Histograms of the Euclidean distances of all pairs within a set of samples, and within the data."""

    edges: np.ndarray
    """`[bins + 1]`, from 0 to twice the largest distance of an example from the centre of its set."""
    samples: np.ndarray
    """`[bins]`, the share of the pairs of samples in each bin."""
    data: np.ndarray
    """`[bins]`, the same for the data."""

    @property
    def medians(self) -> tuple[float, float]:
        """The median distances of the samples and of the data, interpolated within their bins."""
        return _median(self.edges, self.samples), _median(self.edges, self.data)

    @property
    def ratio(self) -> float:
        """The samples' median over the data's: about 1 for new examples of the same kind, near 0 for a collapsed generator."""
        samples, data = self.medians
        return samples / data


def pair_distances(samples: AnyArray, data: AnyArray, *, bins: int = 200, block: int = 1024) -> PairDistances:
    """Compares the distances within a set of samples with those within the data (Metz et al. 2017, section 3.4).

    Every pair of a set counts once. The computation takes O(block * n) memory. Distances are rounded as in
    `pairwise.squared_distances`.

    Raises `ValueError` for fewer than 2 or more than 50,000 examples, examples of unequal size, non-finite values, fewer than 1
    bin, a block below 1, or two sets each of whose examples are identical.

    Args:
        samples: `[n, ...]`.
        data: `[m, ...]`.
        bins: number of bins of both histograms.
        block: number of rows that are compared with all others at a time.
    """
    samples, data = feature_sets(at_least=2, samples=as_rows(samples), data=as_rows(data))
    if max(len(samples), len(data)) > 50_000:
        raise ValueError(f'each set must have at most 50,000 examples, got {len(samples)} and {len(data)}')
    if bins < 1:
        raise ValueError(f'a histogram must have at least 1 bin, got {bins}')
    bound = jnp.maximum(_bound(samples), _bound(data))
    if not bound > 0:
        raise ValueError('the examples of each set are all identical')
    counts = [np.asarray(_histogram(x, bound, bins, block), np.float64) for x in (samples, data)]
    edges = np.linspace(0, float(bound), bins + 1)
    return PairDistances(edges, *(c / c.sum() for c in counts))


def _centred(x: Array) -> Array:
    return x - rounded_mean(x)


def _bound(x: Array) -> Array:
    """An upper bound on the distance between two examples: twice the largest distance from the centre."""
    return 2 * jnp.linalg.norm(_centred(x), axis=1).max()


@partial(compilation.jit, static_argnames=('bins', 'block'))
def _histogram(x: Array, bound: Array, bins: int, block: int) -> Array:
    x = _centred(x)

    def step(counts: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        rows, index = part
        distance = jnp.sqrt(squared_distances(rows, x))
        number = jnp.minimum((distance * (bins / bound)).astype(int), bins - 1)
        later = index[:, None] < jnp.arange(len(x))  # counts each pair once and excludes the padding of the last block
        return counts.at[jnp.where(later, number, bins)].add(1), None

    return scan_blocks(step, jnp.zeros(bins + 1, jnp.int32), x, block)[0][:bins]


def _median(edges: np.ndarray, shares: np.ndarray) -> float:
    cumulated = np.concatenate([[0], np.cumsum(shares)])
    i = int(np.searchsorted(cumulated, 0.5) - 1)
    return float(edges[i] + (0.5 - cumulated[i]) / shares[i] * (edges[i + 1] - edges[i]))
