"""Batch norm (Ioffe and Szegedy 2015) that takes the variance about the mean, so that it is accurate far from the origin too.

In float32, E[x^2] - E[x]^2 loses more digits the larger the mean is relative to the deviation: none are left for a mean of 100
and a deviation of .01. The variables and their names are those of `flax.linen.BatchNorm`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from gan_jax import parallel
from gan_jax.networks.channels import channel_broadcast, channel_mean
from gan_jax.typing import Array, Key, Variables

MOMENTS = 'moments'
"""The name under which batch norms record the moments of a batch, in the collection 'intermediates'."""


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Returns the mean and the (biased) variance of each channel over all other axes: `[..., c] -> [c], [c]`.

    If devices share the batch in equal parts, the moments of the parts are exchanged in one collective and combined by
    `var = E_d[var_d] + E_d[(mean_d - mean)^2]` (Chan, Golub and LeVeque 1983, eq. 2.1).
    """
    mean = channel_mean(x)
    # Differentiation treats the shift as a constant: E[(x - shift)^2] - (mean - shift)^2 has the derivatives of the variance
    # for any shift, and its second term is exactly 0 at the mean. No derivative then sums x - mean, which is 0, over the batch.
    shift = jax.lax.stop_gradient(mean)
    variance = channel_mean(jnp.square(x - channel_broadcast(shift, x.shape))) - jnp.square(mean - shift)
    if parallel.axis_size() == 1:
        return mean, variance
    means, variances = parallel.all_gather(jnp.stack([mean, variance])[None]).swapaxes(0, 1)
    mean = means.mean(0)
    return mean, variances.mean(0) + jnp.square(means - mean).mean(0)


class BatchNorm(nn.Module):
    """Batch norm, `[..., c]` to the same shape: each channel is standardised, then multiplied by a scale and shifted by a bias.

    Normalises by the moments of the batch and keeps their moving averages `mean` and `var` in the collection 'batch_stats', or
    normalises by these averages. Moments are at least float32. Initialisation does not change the averages.

    Args:
        use_running_average: whether to normalise by the moving averages instead of the moments of the batch.
        momentum: weight of the old value in a moving average.
        epsilon: added to the variance.
        dtype: dtype of the result.
        use_scale: whether to learn a scale for each channel.
        use_bias: whether to learn a bias for each channel.
        scale_init: initialiser of the scale.
        track: whether to update the averages; if False, a call works without mutable collections.
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
            self.sow('intermediates', MOMENTS, (mean, variance))  # for `standing_statistics`; otherwise nothing
            if self.track and not self.is_initializing():
                moved = lambda old, new: self.momentum * old + (1 - self.momentum) * new
                running_mean.value, running_variance.value = (
                    moved(running_mean.value, mean),
                    moved(running_variance.value, variance),
                )
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if self.use_scale:
            factor = factor * self.param('scale', self.scale_init, channels)
        # Differentiation treats the shift as a constant; the derivative of the mean passes through the offset.
        shift = jax.lax.stop_gradient(mean)
        offset = (shift - mean) * factor
        if self.use_bias:
            offset = offset + self.param('bias', nn.initializers.zeros, channels)
        spread = lambda values: channel_broadcast(values, x.shape)
        return ((x - spread(shift)) * spread(factor) + spread(offset)).astype(self.dtype)


def standing_statistics(
    network: nn.Module, variables: Variables, draw: Callable[[Key], tuple[Array, ...]], keys: Key
) -> Variables:
    """A generator's variables, with the averages of every batch norm replaced by its mean moments over batches of inputs.

    These are the standing statistics of Brock et al. (2019, appendix C), who take about 100 batches. A generator whose parameters
    are averaged over training needs them, because its running averages belong to other parameters; unlike the moments of the
    batch that is drawn, they make every image independent of the others. Variances are averaged over batches like means.

    Args:
        network: the generator, `network(*inputs, train=)`.
        variables: its variables. Collections other than 'batch_stats', and other entries of that, are kept.
        draw: the inputs of one batch from its key, `key -> (latents [b, size], labels [b], ...)`.
        keys: a key for each batch, `[batches]`.

    Raises `ValueError` for a network without batch norm.
    """

    def moments(key: Key) -> Any:
        _, state = network.apply(variables, *draw(key), train=True, mutable=['batch_stats', 'intermediates'])
        return state.get('intermediates', {})

    found = flatten_dict(jax.tree.map(lambda x: x.mean(0), jax.lax.map(moments, keys)))
    standing = {path[:-1]: values for path, values in found.items() if path[-1] == MOMENTS}
    if not standing:
        raise ValueError(f'{type(network).__name__} has no batch norm, so it has no standing statistics')
    statistics = flatten_dict(variables['batch_stats'])
    for path, ((mean, variance),) in standing.items():
        statistics |= {(*path, 'mean'): mean, (*path, 'var'): variance}
    return {**variables, 'batch_stats': unflatten_dict(statistics)}
