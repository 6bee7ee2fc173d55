"""Batch norm (Ioffe and Szegedy 2015) whose variance is about the mean, so that it is right far from the origin too.

In float32 E[x^2] - E[x]^2 loses all digits where the mean is a hundred times the deviation: of a mean of 100 and a deviation of
.01 nothing is left. Variables and their names are those of `flax.linen.BatchNorm`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.networks.channels import channel_broadcast, channel_mean
from gan_jax.typing import Array


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean and (biased) variance of each channel over all other axes: `[..., c] -> [c], [c]`.

    Of a batch that devices share, the moments of their parts, all of one size, are exchanged at once, and combined by
    var = E_d[var_d] + E_d[(mean_d - mean)^2] (Chan, Golub and LeVeque 1983, eq. 2.1).
    """
    mean = channel_mean(x)
    # The shift is a constant to differentiation: E[(x - shift)^2] - (mean - shift)^2 has the variance's derivatives for any
    # shift, and at the mean its second term is an exact 0. So no derivative sums x - mean, which is 0, over the batch.
    shift = jax.lax.stop_gradient(mean)
    variance = channel_mean(jnp.square(x - channel_broadcast(shift, x.shape))) - jnp.square(mean - shift)
    if parallel.axis_size() == 1:
        return mean, variance
    means, variances = parallel.all_gather(jnp.stack([mean, variance])[None]).swapaxes(0, 1)
    mean = means.mean(0)
    return mean, variances.mean(0) + jnp.square(means - mean).mean(0)


class BatchNorm(nn.Module):
    """`[..., c]` to the same shape: every channel at mean 0 and variance 1, times a learned scale, plus a learned bias.

    By the batch's moments, of which the collection 'batch_stats' keeps moving averages `mean` and `var`; with
    `use_running_average` by those averages. Moments are at least float32. An initialisation moves no average.
    With `track=False` nothing moves the averages, and a call may be one in which nothing is mutable.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Callable = nn.initializers.ones
    track: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1:]
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
        running_variance = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.use_running_average:
            mean, variance = running_mean.value, running_variance.value
        else:
            mean, variance = batch_moments(x)
            if self.track and not self.is_initializing():
                moved = lambda old, new: self.momentum * old + (1 - self.momentum) * new
                running_mean.value, running_variance.value = (
                    moved(running_mean.value, mean),
                    moved(running_variance.value, variance),
                )
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if self.use_scale:
            factor = factor * self.param('scale', self.scale_init, channels)
        # The shift is a constant to differentiation, and what the mean's derivative is, the offset's is.
        shift = jax.lax.stop_gradient(mean)
        offset = (shift - mean) * factor
        if self.use_bias:
            offset = offset + self.param('bias', nn.initializers.zeros, channels)
        spread = lambda values: channel_broadcast(values, x.shape)
        return ((x - spread(shift)) * spread(factor) + spread(offset)).astype(self.dtype)
