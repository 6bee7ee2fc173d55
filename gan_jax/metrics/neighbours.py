"""Nearest neighbours, which show whether a generator has copied its training data."""

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax import compilation
from gan_jax.metrics.pairwise import as_rows, feature_sets, rounded_mean, scan_blocks, smallest, squared_distances
from gan_jax.typing import AnyArray, Array


class Neighbours(NamedTuple):
    """The nearest examples of a bank in ascending order of distance, `[n, k]` each."""

    distance: Array
    """Euclidean distances."""
    index: Array  # type: ignore[assignment]  # a tuple has a method of this name
    """Rows of the bank."""


def nearest_neighbours(
    query: AnyArray, bank: AnyArray, k: int = 1, *, exclude_self: bool = False, block: int = 1024
) -> Neighbours:
    """The k nearest neighbours of `query` in `bank` and their distances, `[n, k]` each, by Euclidean distance over all entries.

    Of equal distances the lower index comes first. The computation takes O(block * (m + k d)) memory. Neighbours are chosen by
    |x|^2 + |y|^2 - 2 x.y, and their distances are then computed from the differences, so a copy has distance 0.

    Raises `ValueError` for examples of unequal size, a k that is not between 1 and the number of candidates, sets of different
    lengths with `exclude_self`, non-finite values, or a block below 1.

    Args:
        query: `[n, ...]`.
        bank: `[m, ...]`.
        k: number of neighbours.
        exclude_self: states that query and bank are the same set, and excludes each example from its own neighbours.
        block: number of queries that are compared with the bank at a time.
    """
    query, bank = feature_sets(query=as_rows(query), bank=as_rows(bank))
    if exclude_self and len(query) != len(bank):
        raise ValueError(f'exclude_self requires query and bank to be the same set, got {len(query)} and {len(bank)} examples')
    if not 1 <= k <= len(bank) - exclude_self:
        raise ValueError(f'k must be between 1 and the {len(bank) - exclude_self} candidates, got {k}')
    return _nearest(query, bank, k, exclude_self, block)


@partial(compilation.jit, static_argnames=('k', 'exclude_self', 'block'))
def _nearest(query: Array, bank: Array, k: int, exclude_self: bool, block: int) -> Neighbours:
    centre = rounded_mean(bank)
    query, bank = query - centre, bank - centre

    def near(_: None, part: tuple[Array, Array]) -> tuple[None, tuple[Array, ...]]:
        rows, index = part
        distance = squared_distances(rows, bank)
        if exclude_self:
            distance = jnp.where(index[:, None] == jnp.arange(len(bank)), jnp.inf, distance)
        found = smallest(distance, k)[1]
        distance = jnp.sqrt(jnp.square(rows[:, None] - bank[found]).sum(-1))
        return None, lax.sort((distance, found), dimension=1, num_keys=2)

    return Neighbours(*scan_blocks(near, None, query, block)[1])


class MemorisationTest(NamedTuple):
    """Distances of generated and held-out examples to their nearest training examples."""

    generated: float
    """Median over the generated examples."""
    held_out: float
    """Median over the held-out examples."""
    p_value: float
    """The p-value of the one-sided rank test (Mann and Whitney 1947) of the hypothesis that generated examples are not nearer
    than held-out ones. Given the training set, it is valid for independent samples and held-out examples of any distribution. A
    value near 0 means that the samples lie nearer to the training data than new data do, either because they are copies, or
    because they omit the rarer parts of the data."""
    nearer: int
    """The number of generated examples that are nearer than every held-out one; a few exact copies raise it."""
    nearer_p_value: float
    """The probability of at least this number if generated and held-out examples have the same distribution, by the exact test of
    exceedances (Epstein 1954). It is conservative if distances are tied, as for duplicates in the data."""

    @property
    def ratio(self) -> float:
        """Ratio of the medians, about 1 for new examples of the same kind.

        Below 1, the samples lie closer to the training data than new data do. NaN if half of the held-out examples are training
        examples.
        """
        return self.generated / self.held_out if self.held_out else math.nan


def nearest_distance(query: AnyArray, bank: Iterable[AnyArray], *, block: int = 1024) -> np.ndarray:
    """The distance of each of `query [n, ...]` to its nearest neighbour in a bank given as blocks `[m, ...]`; returns `[n]`.

    Only one block is held at a time, so the bank may be larger than memory. Raises `ValueError` as `nearest_neighbours` does, and
    for an empty bank.
    """
    nearest, size = np.full(len(query), np.inf), 0
    for part in bank:
        size = max(size, len(part))
        part = np.concatenate([part, np.repeat(part[:1], size - len(part), 0)])  # one program for all blocks
        nearest = np.minimum(nearest, np.asarray(nearest_neighbours(query, part, block=block).distance[:, 0], np.float64))
    if not size:
        raise ValueError('the bank must have at least one example')
    return nearest


def memorisation_test(generated: AnyArray, train: AnyArray | Iterable[AnyArray], held_out: AnyArray) -> MemorisationTest:
    """Compares the distances of `generated` and of `held_out` to their nearest training examples; all are `[n, ...]`.

    `train` may also be an iterable of blocks `[m, ...]`, of which one is held at a time. Raises `ValueError` as
    `nearest_distance` does.
    """
    blocks = [train] if isinstance(train, np.ndarray | jax.Array) else train
    both = nearest_distance(np.concatenate([generated, held_out]), blocks)
    return compare_distances(both[: len(generated)], both[len(generated) :])


def compare_distances(generated: np.ndarray, held_out: np.ndarray) -> MemorisationTest:
    """`memorisation_test`, given the distances `[m]` of generated and `[n]` of held-out examples to the training set."""
    from scipy import stats

    p_value = stats.mannwhitneyu(generated, held_out, alternative='less', method='asymptotic').pvalue
    nearer = int((generated < held_out.min()).sum())
    medians = float(np.median(generated)), float(np.median(held_out))
    return MemorisationTest(*medians, float(p_value), nearer, _exceedances(nearer, len(generated), len(held_out)))


def _exceedances(k: int, m: int, n: int) -> float:
    """The probability that at least k of m examples precede all of n others: C(m + n - k, n) / C(m + n, n)."""
    from scipy.special import gammaln

    return float(np.exp(gammaln(m + 1) - gammaln(m - k + 1) + gammaln(m + n - k + 1) - gammaln(m + n + 1)))
