"""The Fréchet distance between the Gaussians of two sets of features (Heusel et al. 2017, eq. 6)."""

import numpy as np


def frechet_distance_from_features(x: np.ndarray, y: np.ndarray) -> float:
    """|mean x - mean y|^2 + Tr(Cx + Cy - 2 (Cx Cy)^(1/2)) of features `[n, d]` and `[m, d]`, covariances with n - 1.

    Computed in float64. For factors C = A^T A, Tr (Cx Cy)^(1/2) is the sum of the singular values of Ax Ay^T, which needs no
    matrix root, holds at any rank, and adds no epsilon. Raises `ValueError` for fewer than two samples or unequal d.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f'need two sets [n >= 2, d] of features of one dimension, got {x.shape} and {y.shape}')
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    ax, ay = _factor(x), _factor(y)
    root = np.linalg.svd(ax @ ay.T, compute_uv=False).sum()
    return float(np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(ax**2) + np.sum(ay**2) - 2 * root)


def _factor(x: np.ndarray) -> np.ndarray:
    """A matrix A of at most d rows with A^T A the covariance of `x [n, d]`."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode='r')) if len(x) > x.shape[1] else centred
