"""What several test files use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

quick = functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}
)
"""For programs that are compiled for longer than they run."""


def drawn(feed, step, seed=0):
    """The batch of a step, of a feed and a seed's key."""
    return feed.by(jax.random.key(seed))(feed.data, jnp.int32(step))


def normal(seed, *shape):
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def paths(variables):
    """The shapes of variables by path."""
    return {'/'.join(str(k.key) for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def close(a, b, atol=1e-6):
    """Asserts that pytrees are equal but for rounding."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)
