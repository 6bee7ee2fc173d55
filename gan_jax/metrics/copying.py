"""Whether a generator copies its training data: authenticity, and the test of Meehan et al. in cells of the data."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan_jax.metrics.estimates import Estimate
from gan_jax.metrics.neighbours import nearest_neighbours
from gan_jax.metrics.pairwise import feature_sets
from gan_jax.metrics.parzen import mean_estimate
from gan_jax.typing import AnyArray


def authenticity(train: AnyArray, fake: AnyArray, *, block: int = 1024) -> Estimate:
    """The share of authentic examples (Alaa et al. 2022, section 3.3), whose percentage is AuthPct, and its standard error.

    A generated example is authentic if it is farther from its nearest training example than that one is from the nearest other
    training example. The error is over the generated examples, for a fixed training set. Of new data, too, only a part is
    authentic, so compare with the value of held-out data. `train` must be the set that the generator was trained on. The
    computation takes O(block * n) memory.

    Raises `ValueError` for fewer than two training examples, unequal dimensions, non-finite features, or a block below 1.

    Args:
        train: features `[n, d]` of the training set.
        fake: features `[m, d]`.
        block: number of rows that are compared with the training set at a time.
    """
    (train,), (train, fake) = feature_sets(at_least=2, train=train), feature_sets(train=train, fake=fake)
    found = nearest_neighbours(fake, train, block=block)
    between = nearest_neighbours(train, train, exclude_self=True, block=block).distance[:, 0]
    own, distance = between[found.index[:, 0]], found.distance[:, 0]
    authentic = (distance > own).astype(distance.dtype)
    return mean_estimate(jnp.where(jnp.isnan(distance - own), jnp.nan, authentic))


class CopyingTest(NamedTuple):
    """The statistic C_T and that of each cell of the data."""

    value: float
    """The mean of the cells' z-scores, weighted by their shares of the held-out examples. Far below 0, samples are nearer to the
    training data than held-out data are, which indicates copying; far above 0, they are farther away."""
    cells: np.ndarray
    """`[cells]`, the z-scores; NaN for cells that are omitted."""
    shares: np.ndarray
    """`[cells]`, the share of the held-out examples in each cell."""


def copying_test(
    train: AnyArray,
    held_out: AnyArray,
    fake: AnyArray,
    *,
    cells: int = 3,
    least: int = 20,
    dimension: int = 64,
    seed: int = 0,
) -> CopyingTest:
    """The three-sample test for data copying, C_T (Meehan, Chaudhuri and Dasgupta 2020, section 4).

    k-means divides the training set into cells. In each of them the distances of generated and of held-out examples to their
    nearest training examples are compared by the statistic of Mann and Whitney (1947), in standard deviations of its distribution
    for equal sets. Cells with few generated examples, or without held-out ones, are omitted. The defaults are those of Meehan et
    al.'s and dgm-eval's code, including the projection of more than 64 features on their first 64 principal components. That code
    adds a continuity correction of half a rank to each cell, which the paper does not have.

    Raises `ValueError` for unequal dimensions, non-finite features, fewer training examples than cells, or if all cells are
    omitted.

    Args:
        train: features `[n, d]` of the training set.
        held_out: features `[l, d]` of new data.
        fake: features `[m, d]`.
        cells: number of cells.
        least: cells with at most this many generated examples are omitted.
        dimension: number of principal components of the training set to keep, if there are more features.
        seed: seed of k-means.
    """
    from sklearn.cluster import KMeans

    sets = [np.asarray(x, np.float64) for x in feature_sets(train=train, held_out=held_out, fake=fake)]
    if not 1 <= cells <= len(train):
        raise ValueError(f'{len(train)} training examples cannot be divided into {cells} cells')
    train, held_out, fake = _principal(sets, dimension)
    division = KMeans(cells, n_init=10, random_state=seed).fit(train)
    of_train, of_held_out, of_fake = (division.predict(x) for x in (train, held_out, fake))
    scores, shares = np.full(cells, np.nan), np.bincount(of_held_out, minlength=cells) / len(held_out)
    for cell in range(cells):
        parts = fake[of_fake == cell], held_out[of_held_out == cell]
        if len(parts[0]) > least and len(parts[1]):
            scores[cell] = _z_score(*(_nearest(part, train[of_train == cell]) for part in parts))
    used = np.isfinite(scores)
    if not used.any():
        raise ValueError(f'none of the {cells} cells has more than {least} generated examples and a held-out one')
    return CopyingTest(float(np.average(scores[used], weights=shares[used])), scores, shares)


def _principal(sets: list[np.ndarray], dimension: int) -> list[np.ndarray]:
    """The sets in the principal components of the first; unchanged if they have at most `dimension` features."""
    if sets[0].shape[1] <= dimension:
        return sets
    mean = sets[0].mean(0)
    axes = np.linalg.eigh((sets[0] - mean).T @ (sets[0] - mean))[1][:, ::-1][:, :dimension]
    return [(x - mean) @ axes for x in sets]


def _nearest(query: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return np.asarray(nearest_neighbours(query, bank).distance[:, 0], np.float64)


def _z_score(a: np.ndarray, b: np.ndarray) -> float:
    """The number of pairs with a > b, counting ties as half, in standard deviations from its mean for equal distributions."""
    from scipy.stats import rankdata

    m, n = len(a), len(b)
    greater = rankdata(np.concatenate([a, b]))[:m].sum() - m * (m + 1) / 2
    return float((greater - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12))
