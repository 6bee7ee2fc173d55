"""The types used in the library's signatures."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray
Key = jax.Array
"""A typed key, `jax.random.key(seed)`."""
Batch = Any
"""A pytree of arrays whose leading axis counts examples."""
Variables = Mapping[str, Any]
"""A Flax collection dict: `{'params': ..., 'batch_stats': ..., ...}`."""
Metrics = dict[str, Any]
"""Named scalars for display."""
Sampler = Callable[[Key, int], Array]
"""`(key, n) -> [n, ...]` samples of a distribution."""
