"""Layers that let a discriminator compare an example with its batch, so that it can detect a generator that repeats itself.

Since examples of a batch are compared with each other, real and generated examples must be passed in separate calls. Statistics
are computed in float32 or wider, and results have the dtype of the input.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.ranges import Count, Width
from gan_jax.registry import Table, build
from gan_jax.typing import Array


class MinibatchDiscrimination(nn.Module):
    """Minibatch discrimination: appends how close the features of each example are to those of the others.

    Maps `[n, ...]` with A features f per example to `[n, A + features]` (Salimans et al. 2016, section 3.2). With B =
    `features`, C = `dimensions` and the parameter `T [A, B, C]`,

        M_i = f_i T,   c_b(i, j) = exp(-|M_ib - M_jb|_1),   o_b(i) = sum_j c_b(i, j)

    The batch comprises the examples of all devices.

    Args:
        features: number B of appended features; the default is that of the authors' code.
        dimensions: number C of dimensions in which they are compared; the default is that of the authors' code.
        include_self: whether the sum includes c(i, i) = 1, as in the paper; the authors' code leaves it out.
        kernel_init: initialiser of T.

    Raises `InputError` if `features` or `dimensions` is below 1.
    """

    features: int = 100
    dimensions: int = 5
    include_self: bool = True
    kernel_init: Callable = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', in_axis=0, out_axis=(1, 2))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if min(self.features, self.dimensions) < 1:
            sizes = f'features={self.features}, dimensions={self.dimensions}'
            raise InputError(f'minibatch discrimination requires at least 1 feature and 1 dimension, got {sizes}')
        f = x.reshape(x.shape[0], -1)
        T = self.param('T', self.kernel_init, (f.shape[1], self.features, self.dimensions))
        M = jnp.tensordot(f.astype(jnp.promote_types(f.dtype, T.dtype)), T, 1)
        everyone = parallel.all_gather(M)  # M rather than f, which is larger
        index = jnp.arange(everyone.shape[0])
        others = parallel.local_rows(index)[:, None] != index
        o = _closeness(M, everyone, others | self.include_self)
        return jnp.concatenate([f, o.astype(f.dtype)], axis=1)


def _closeness(M: Array, everyone: Array, counted: Array) -> Array:
    """Maps `[n, B, C], [N, B, C], [n, N]` to `[n, B]`, one dimension of C at a time: n x N x B x C values are never held."""

    @jax.checkpoint
    def add(distance: Array, coordinates: tuple[Array, Array]) -> tuple[Array, None]:
        own, other = coordinates
        return distance + jnp.abs(own[:, None] - other), None

    start = jnp.zeros((*counted.shape, M.shape[1]), M.dtype)
    distance, _ = jax.lax.scan(add, start, (jnp.moveaxis(M, -1, 0), jnp.moveaxis(everyone, -1, 0)))
    return jnp.where(counted[..., None], jnp.exp(-distance), 0).sum(1)


class MinibatchStddev(nn.Module):
    """Appends a channel with the spread of the batch, `[n, ..., c] -> [n, ..., c + 1]` (Karras et al. 2018, section 3).

    It is the standard deviation of each feature over the batch, averaged over all features. The batch comprises the examples of
    all devices or, with `group_size`, that many consecutive examples of one device (all of them if it has fewer). Raises
    `InputError` if the examples cannot be split into whole groups.
    """

    group_size: int | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n = x.shape[0]
        mean_of_devices = (lambda x: x) if self.group_size else parallel.pmean
        group = min(n, self.group_size or n)
        if group < 1 or n % group:
            raise InputError(f'a batch of {n} examples cannot be split into groups of {group}; group_size must divide it')
        groups = x.reshape(n // group, group, *x.shape[1:]).astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = mean_of_devices(groups.mean(1, keepdims=True))
        variance = mean_of_devices(jnp.square(groups - mean).mean(1))
        stddev = jnp.sqrt(variance + 1e-8)  # the authors' epsilon: the gradient at equal rows is 0, not 0 / 0
        spread = stddev.mean(tuple(range(1, stddev.ndim))).astype(x.dtype)
        channel = jnp.repeat(spread, group).reshape(n, *[1] * (x.ndim - 1))
        return jnp.concatenate([x, jnp.broadcast_to(channel, (*x.shape[:-1], 1))], axis=-1)


def _no_layer() -> Callable[[Array], Array]:
    return lambda x: x


def _discrimination(features: Width = 100, dimensions: Width = 5, include_self: bool = True) -> MinibatchDiscrimination:
    return MinibatchDiscrimination(features, dimensions, include_self)


def _stddev(group_size: Count | None = None) -> MinibatchStddev:
    return MinibatchStddev(group_size)


MINIBATCH_LAYERS: Table[Callable[..., Callable[[Array], Array]]] = Table(
    'minibatch layer', {'none': _no_layer, 'discrimination': _discrimination, 'stddev': _stddev}
)
"""Name -> factory of the layer that precedes the last layer of a discriminator."""


def minibatch_layer(text: str) -> Callable[[Array], Array]:
    """Builds a layer by its name, with settings as in 'discrimination:features=50'.

    Raises `InputError` for an unknown name or setting.
    """
    return build(MINIBATCH_LAYERS, text)
