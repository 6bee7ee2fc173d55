"""Path length regularisation of style-based generators (Karras et al. 2020, section 3.2).

It keeps the length of J^T y near a constant, where J is the Jacobian of the image in the style w and y is normal noise of unit
total variance. Steps in w then change the image by equal amounts wherever they are taken and whatever their direction.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import compilation, parallel
from gan_jax.numerics import safe_sqrt, when
from gan_jax.ranges import Count, ShareBelow1, Weight, checked
from gan_jax.typing import Array, Key

Synthesise = Callable[[Array], Array]
"""`styles [n, layers, size] -> images [n, h, w, c]`, where each image depends on its own styles alone."""


def path_lengths(synthesise: Synthesise, styles: Array, key: Key) -> Array:
    """The lengths |J^T y|, `styles [n, layers, size] -> [n]` (Karras et al. 2020, eq. 4).

        |J^T y|^2 = mean over layers l of |d <image, y> / d w_l|^2,    y ~ N(0, I) / sqrt(h w)

    The mean over layers is that of the authors' code.
    """
    images, pull_back = jax.vjp(synthesise, styles)
    keys = parallel.example_keys(len(images), key)
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
    (gradient,) = pull_back(noise / math.sqrt(math.prod(images.shape[1:3])))
    return safe_sqrt(jnp.square(gradient).sum(-1).mean(-1))


class Paths(NamedTuple):
    """The path lengths at one update of the generator."""

    penalties: Array
    """`[n]`, to be averaged and added to the generator's loss; zeros at updates at which the regularisation is not due."""
    mean: Array
    """The moving average of the lengths after the update."""


class PathRegularization(NamedTuple):
    """The penalty weight * (|J^T y| - a)^2, where a is the moving average of the lengths; created by `path_length`."""

    init: Callable[[], Any]
    """`() -> state`: the number of updates, and the moving average."""
    apply: Callable[[Synthesise, Callable[[], Array], Any, Key], tuple[Paths, Any]]
    """`(synthesise, () -> styles [n, layers, size], state, key) -> (paths, state)`; styles are drawn only when it is due."""
    shrink: int
    """The batch size is divided by this for the regularisation."""


@checked
def path_length(weight: Weight = 2.0, decay: ShareBelow1 = 0.99, every: Count = 4, shrink: Count = 2) -> PathRegularization:
    """Path length regularisation with the authors' settings (Karras et al. 2020, section 3.2, appendix B, and their code).

        weight * every * (|J^T y| - a)^2 at every n-th update,    a <- decay a + (1 - decay) mean |J^T y|

    The penalty compares with the average before the update, which is a constant to the gradient and the same on all devices; the
    authors' code compares with the one after it.

    Args:
        weight: weight of the penalty.
        decay: decay of the average a, which starts at 0.
        every: interval in updates of the generator; in between, the regularisation costs nothing.
        shrink: a share 1 / shrink of the batch is regularised, to save memory; each device rounds its own part of it up.

    Raises `ValueError` for settings out of range.
    """

    def init() -> Any:
        return {'updates': jnp.int32(0), 'mean': jnp.float32(0)}

    def apply(synthesise: Synthesise, styles: Callable[[], Array], state: Any, key: Key) -> tuple[Paths, Any]:
        mean = jax.lax.stop_gradient(state['mean'])

        def taken() -> tuple[Array, Array]:
            lengths = path_lengths(synthesise, styles(), key)
            moved = (1 - decay) * (lengths.mean() - mean)
            return weight * every * jnp.square(lengths - mean), jax.lax.stop_gradient(moved).astype(mean.dtype)

        penalties, moved = when(state['updates'] % every == 0, compilation.exact(taken))
        return Paths(penalties, mean + moved), {'updates': state['updates'] + 1, 'mean': mean + moved}

    return PathRegularization(init, apply, shrink)
