"""Nearest neighbours: has the generator copied its training data?"""

from typing import NamedTuple

import numpy as np


def nearest_neighbours(query: np.ndarray, bank: np.ndarray, k: int = 1, *, block: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distances and indices, `[n, k]` each, of the k nearest in `bank [m, ...]` to each of `query [n, ...]`."""
    query, bank = (np.asarray(x, np.float32).reshape(len(x), -1) for x in (query, bank))
    squares = np.einsum('ij,ij->i', bank, bank)
    distances, indices = [], []
    for start in range(0, len(query), block):
        part = query[start : start + block]
        near = squares - 2 * part @ bank.T
        index = np.argsort(near, axis=1, kind='stable')[:, :k]
        distances.append(np.linalg.norm(part[:, None] - bank[index], axis=2))  # again, without cancellation
        indices.append(index)
    return np.concatenate(distances), np.concatenate(indices)


class MemorisationTest(NamedTuple):
    """Distances of generated and of held-out examples to their nearest training example."""

    generated: float
    """Median over the generated examples."""
    held_out: float
    """Median over the held-out examples."""

    @property
    def ratio(self) -> float:
        """About 1 for new examples of the same kind; below 1, the samples lie closer to the training data than new data do."""
        return self.generated / self.held_out


def memorisation_test(generated: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> MemorisationTest:
    """Compares the nearest-training-example distance of `generated` with that of `held_out`; all `[n, ...]`."""
    medians = (float(np.median(nearest_neighbours(x, train)[0])) for x in (generated, held_out))
    return MemorisationTest(*medians)
