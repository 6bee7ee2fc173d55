"""Layers whose kernels are divided by a norm: the largest singular value, or the length for each output feature.

The stored kernel is the one drawn by the initialiser, at the papers' scale, relative to which an optimizer's step is large or
small. (`flax.linen.SpectralNorm` and `WeightNorm`, whose variables and names these are, store the divided kernel.)
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.typing import Array

Layer = Callable[[Array], Array]


def _by_weights(layer: nn.Module, x: Array, change: Callable[[str, Array], Array], initialising: bool) -> Array:
    """Applies the layer to `x` after `change(name, parameter)` has been applied to each of its parameters."""
    if initialising:
        layer(x)  # draws the parameters

    def changed(variables: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: change('/'.join(k.key for k in path[1:]), leaf), variables)

    return nn.map_variables(lambda layer: layer(x), 'params', changed)(layer)


def _unit(x: Array, axis: Any = None) -> Array:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis, keepdims=True) + 1e-12)


class SpectralNorm(nn.Module):
    """A layer whose kernel is divided by an estimate of its largest singular value: see `spectral_norm`."""

    layer_instance: nn.Module

    @nn.compact
    def __call__(self, x: Array, *, update_stats: bool) -> Array:
        layer, initialising = self.layer_instance, self.is_initializing()

        def normalised(name: str, kernel: Array) -> Array:
            if kernel.ndim < 2:
                return kernel
            W = kernel.reshape(-1, kernel.shape[-1])
            draw = lambda: jax.random.normal(self.make_rng('params'), (1, W.shape[1]))
            vector = self.variable('batch_stats', f'{layer.name}/{name}/u', draw)
            value = self.variable('batch_stats', f'{layer.name}/{name}/sigma', jnp.ones, ())
            v = _unit(vector.value @ W.T)
            u = jax.lax.stop_gradient(_unit(v @ W))
            u = jnp.where((u != 0).any(), u, vector.value)  # from u = 0, which a kernel of 0 leads to, no iteration leaves
            sigma = (jax.lax.stop_gradient(v) @ W @ u.T)[0, 0]
            if update_stats:
                vector.value, value.value = u, sigma
            return (W / jnp.where(sigma != 0, sigma, 1)).reshape(kernel.shape)

        return _by_weights(layer, x, normalised, initialising)


class WeightNorm(nn.Module):
    """A layer whose kernel has unit length for each output feature, times a learned scale: see `weight_norm`."""

    layer_instance: nn.Module
    use_scale: bool = True
    feature_axis: int = -1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        layer = self.layer_instance

        def normalised(name: str, kernel: Array) -> Array:
            if name != 'kernel':
                return kernel
            feature = self.feature_axis % kernel.ndim
            direction = _unit(kernel, tuple(i for i in range(kernel.ndim) if i != feature))
            if not self.use_scale:
                return direction
            scale = self.param(f'{layer.name}/{name}/scale', nn.initializers.ones, (kernel.shape[feature],))
            return direction * jnp.expand_dims(scale, [i for i in range(kernel.ndim) if i != feature])

        return _by_weights(layer, x, normalised, self.is_initializing())


def spectral_norm(layer: nn.Module, *, train: bool) -> Layer:
    """Divides the kernel of a layer by its largest singular value (Miyato et al. 2018, eq. 8, algorithm 1).

    Each call performs one power iteration, and stores its result in the collection 'batch_stats' only in training. The kernel is
    treated as a matrix with the last axis as columns. For a `ConvTranspose`, this is the matrix of the convolution that it
    transposes, which has the same norm.
    """
    return lambda x: SpectralNorm(layer)(x, update_stats=train)


def weight_norm(layer: nn.Module, *, train: bool) -> Layer:
    """Replaces the kernel of a layer by g v / |v| for each output feature (Salimans and Kingma 2016, eq. 2).

    g is initialised to 1, and v as the layer draws its kernel.
    """
    del train
    return WeightNorm(layer, feature_axis=getattr(layer, 'feature_axis', -1))


def data_dependent_weight_norm(layer: nn.Module, *, learn_scale: bool = True) -> Layer:
    """Weight norm whose scales and biases are initialised from data (Salimans and Kingma 2016, eqs. 5 and 6).

    `layer` must not have a bias. At initialisation, each output feature has mean 0 and variance 1 over the batch passed to
    `init`. With `learn_scale=False`, the scales keep their initial values, as in the authors' semi-supervised classifiers.
    """
    direction = WeightNorm(layer, use_scale=False, feature_axis=getattr(layer, 'feature_axis', -1))
    return lambda x: _StartStandardised(learn_scale)(direction(x))


class _StartStandardised(nn.Module):
    """Maps `[..., c]` to scale x + bias, which at initialisation has mean 0 and variance 1 in each channel."""

    learn_scale: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.learn_scale:
            scale = self.param('scale', lambda key: _standardising(x)[0])
        else:
            scale = self.variable('constants', 'scale', lambda: _standardising(x)[0]).value
        return scale * x + self.param('bias', lambda key: _standardising(x)[1])


def _standardising(x: Array) -> tuple[Array, Array]:
    """Returns the scale and the bias that standardise each channel over the batch of all devices, `[..., c] -> [c], [c]`."""
    axes = tuple(range(x.ndim - 1))
    mean = parallel.pmean(x.mean(axes))
    std = jnp.sqrt(parallel.pmean(jnp.square(x - mean).mean(axes)))
    # A feature that does not vary, as with a single example, starts at scale 1; its deviation may be rounding.
    varies = std > 8 * jnp.finfo(std.dtype).eps * jnp.abs(mean)
    scale = jnp.where(varies, 1 / jnp.where(varies, std, 1), 1)
    return scale, -mean * scale
