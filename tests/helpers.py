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


def random_variables(network, *inputs):
    """Normal variables in the shapes of a network's, of unit gain, without compiling its initialisation."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    leaves, tree = jax.tree.flatten(shapes)
    fans = [max(1, leaf.size // leaf.shape[-1]) if leaf.ndim > 1 else 1 for leaf in leaves]
    return jax.tree.unflatten(tree, [normal(i, *x.shape) / fan**0.5 for i, (x, fan) in enumerate(zip(leaves, fans, strict=True))])


def paths(variables):
    """The shapes of variables by path."""
    return {'/'.join(str(k.key) for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def close(a, b, atol=1e-6):
    """Asserts that pytrees are equal but for rounding."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


def upsampled(x, taps):
    """NumPy images `[n, h, w, c]`: zeros between pixels, then a convolution of gain 2 along each axis, padded as StyleGAN2's."""
    weights, n = 2 * np.asarray(taps) / np.sum(taps), len(taps)

    def one(row):
        zeros = np.zeros(2 * len(row))
        zeros[::2] = row
        return np.convolve(np.pad(zeros, ((n + 1) // 2, (n - 2) // 2)), weights, 'valid')

    return np.apply_along_axis(one, 2, np.apply_along_axis(one, 1, x))


def downsampled(x, taps):
    """NumPy images `[n, h, w, c]`: a convolution, of which every second value is kept."""
    weights, n = np.asarray(taps) / np.sum(taps), len(taps)
    one = lambda row: np.convolve(np.pad(row, ((n - 1) // 2, (n - 2) // 2)), weights, 'valid')[::2][: len(row) // 2]
    return np.apply_along_axis(one, 2, np.apply_along_axis(one, 1, x))
