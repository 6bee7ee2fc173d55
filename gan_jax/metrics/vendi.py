"""The Vendi score: the effective number of different examples in a set (Friedman and Dieng 2023)."""

import math

import jax.numpy as jnp
import numpy as np

from gan_jax.metrics.moments import check_rows
from gan_jax.metrics.pairwise import concrete
from gan_jax.typing import AnyArray


def vendi_score(features: AnyArray, *, order: float = 1.0) -> AnyArray:
    """The exponential of the entropy of the eigenvalues of K / n, with the cosine similarities K of `features [n, d]`; a scalar.

    It is n for orthogonal examples and 1 for examples that all point in the same direction (Friedman and Dieng 2023, definition
    3.1). The score uses no real data; compare it with that of the same number of real examples. An order other than 1 replaces
    Shannon's entropy by Rényi's (Pasarkar and Dieng 2024): large orders look at frequent examples, and small ones at rare
    examples. Order 0 is the rank, and order infinity the inverse of the largest eigenvalue.

    The eigenvalues are those of the smaller of the matrices `[n, n]` and `[d, d]`, or squares of singular values; below a
    rounding error of the largest, they count as zero. On the host the computation is in float64, and under a transformation in
    the precision of the features. Raises `ValueError` for fewer than two rows, a negative order and, on the host, rows that are
    zero or not finite.
    """
    check_rows(features=features)
    if not order >= 0:
        raise ValueError(f'the order of an entropy must be at least 0, got {order}')
    on_host = concrete(features)
    xp = np if on_host else jnp
    x = np.asarray(features, np.float64) if on_host else jnp.asarray(features, jnp.promote_types(features.dtype, jnp.float32))
    norms = xp.linalg.norm(x, axis=1, keepdims=True)
    if on_host and not norms.all():
        raise ValueError(f'features contains {int((norms == 0).sum())} rows of zeros, which have no direction')
    x = x / norms
    n, d = x.shape
    floor = max(n, d) * xp.finfo(x.dtype).eps
    if on_host:
        values: AnyArray = np.linalg.eigvalsh(x.T @ x if d < n else x @ x.T)
    else:  # in float32, these products would round away the small eigenvalues of features far from 0
        values, floor = jnp.square(jnp.linalg.svd(x, compute_uv=False)[::-1]), floor**2
    p = xp.where(values > floor * values[-1], values, 0)
    p = p / p.sum()
    if order == 1:
        return xp.exp(-(p * xp.log(xp.where(p > 0, p, 1))).sum())
    if math.isinf(order):
        return 1 / p[-1]
    # In log sum p^order / (1 - order), the sum is near 1 for orders near 1, and underflows for large ones.
    if abs(order - 1) < 0.5:
        log_powers = xp.log1p((p * xp.expm1((order - 1) * xp.log(xp.where(p > 0, p, 1)))).sum())
    else:
        share = p / p[-1]
        log_powers = order * xp.log(p[-1]) + xp.log(xp.where(share > 0, xp.where(share > 0, share, 1) ** order, 0).sum())
    return xp.exp(log_powers / (1 - order))
