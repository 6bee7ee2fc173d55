"""The types that the library's signatures speak of."""

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
"""Named scalars, for people to look at."""
Sampler = Callable[[Key, int], Array]
"""`(key, n) -> [n, ...]` examples of a distribution."""
