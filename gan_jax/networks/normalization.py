"""Normalisation of a layer's weights or of its output, and the table from which networks choose."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.errors import InputError
from gan_jax.networks.batch_norm import BatchNorm
from gan_jax.networks.channels import channel_broadcast, channel_mean
from gan_jax.networks.weight_normalization import Layer, spectral_norm, weight_norm
from gan_jax.registry import Table
from gan_jax.typing import Array


class VirtualBatchNorm(nn.Module):
    """Batch norm by a fixed reference batch, `[reference + n, ..., c]` to the same shape (Salimans et al. 2016, section 3.5).

    The first `reference` = R rows are the reference batch and are normalised by their own statistics. Every other row is
    normalised by the joint statistics of the reference batch and itself, whose first and second moments weight the reference by
    R / (R + 1) and the row by 1 / (R + 1), so that rows outside the reference do not depend on each other. Moments are over all
    axes except the channels; scale and bias are learned.

    Args:
        reference: number of rows in the reference batch.
        epsilon: added to the variance.
        dtype: dtype of the result.
        scale_init: initialiser of the scale.

    Raises `ValueError` for fewer rows than `reference`.
    """

    reference: int
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array) -> Array:
        R = self.reference
        if x.shape[0] < R:
            raise ValueError(f'the first {R} rows must be the reference batch, got {x.shape[0]} rows in total')
        scale = self.param('scale', self.scale_init, x.shape[-1:])
        bias = self.param('bias', nn.initializers.zeros, x.shape[-1:])
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        means = channel_mean(x, lead=1)
        variances = channel_mean(jnp.square(x - channel_broadcast(means, x.shape)), lead=1)
        mean = means[:R].mean(0, keepdims=True)
        variance = (variances[:R] + jnp.square(means[:R] - mean)).mean(0, keepdims=True)
        # The joint moments are taken about the means, because E[x^2] - E[x]^2 would cancel.
        shift = means[R:] - mean
        joint_variance = (R * variance + variances[R:]) / (R + 1) + R * jnp.square(shift / (R + 1))
        mean = jnp.concatenate([jnp.broadcast_to(mean, means[:R].shape), mean + shift / (R + 1)])
        variance = jnp.concatenate([jnp.broadcast_to(variance, means[:R].shape), joint_variance])
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        y = (x - channel_broadcast(mean, x.shape)) * channel_broadcast(factor, x.shape) + channel_broadcast(bias, x.shape)
        return y.astype(self.dtype)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale and a bias for each class (Dumoulin et al. 2017, eq. 5; de Vries et al. 2017, section 4).

    Maps `(x [n, ..., c], labels [n])` to `[n, ..., c]`. Labels are integers below `classes`; all classes share the statistics of
    the batch.

    Args:
        classes: number of classes.
        momentum: weight of the old value in a moving average.
        epsilon: added to the variance.
        dtype: dtype of the result.
        statistics: member of `STATISTICS`, the moments used in inference.

    Raises `ValueError` unless there is one label for each example, and `InputError` for unknown statistics.
    """

    classes: int
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    statistics: str = 'running'

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        if labels.shape != x.shape[:1]:
            raise ValueError(f'expected one label for each of {x.shape[0]} examples, got labels of shape {labels.shape}')
        x = BatchNorm(
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=jnp.promote_types(x.dtype, jnp.float32),
            use_scale=False,
            use_bias=False,
            **_moments(self.statistics, train=train),
        )(x)
        shape = (self.classes, x.shape[-1])
        # Weights read from a file are NumPy arrays, which traced labels cannot index.
        scale = jnp.asarray(self.param('scale', nn.initializers.ones, shape))[labels]
        bias = jnp.asarray(self.param('bias', nn.initializers.zeros, shape))[labels]
        return (x * channel_broadcast(scale, x.shape) + channel_broadcast(bias, x.shape)).astype(self.dtype)


def instance_norm(x: Array, *, epsilon: float = 1e-5, dtype: Any = jnp.float32) -> Array:
    """Standardises every channel of every image over its positions, `[n, ..., c]` to the same shape (Ulyanov et al. 2017).

    There are no learned parameters, and images do not depend on each other. Raises `InputError` for maps with a single position,
    which would become 0.
    """
    if math.prod(x.shape[1:-1]) < 2:
        raise InputError(f'instance norm requires more than one position per image, got shape {x.shape}; choose another norm')
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x = x - channel_broadcast(channel_mean(x, lead=1), x.shape)
    factor = jax.lax.rsqrt(channel_mean(jnp.square(x), lead=1) + epsilon)
    return (x * channel_broadcast(factor, x.shape)).astype(dtype)


STATISTICS = ('running', 'batch')
"""Moments by which batch norm normalises in inference: the running averages, or those of the given batch."""


def _moments(statistics: str, *, train: bool) -> dict[str, Any]:
    if statistics not in STATISTICS:
        raise InputError(f"the statistics of batch norm in inference must be 'running' or 'batch', not {statistics!r}")
    by_averages = not train and statistics == 'running'
    return {'use_running_average': by_averages, 'track': train}


class Normalization(NamedTuple):
    """How the layers of a network are normalised."""

    weights: Callable[..., Layer]
    """`(layer, train=) -> function`, applied to every layer."""
    output: Callable[..., Layer]
    """`(train=, dtype=, scale_init=, reference=, statistics=) -> function`, applied to the output of a hidden layer."""
    use_bias: bool = True
    """Whether a layer has a bias; False if `output` learns one, which would make the layer's redundant."""
    needs_reference: bool = False
    """Whether the first rows must be a reference batch, which is possible only in a generator."""

    def parts(
        self,
        train: bool,
        dtype: Any,
        scale_init: Callable = nn.initializers.ones,
        reference: int = 0,
        statistics: str = 'running',
    ) -> tuple[Callable[[nn.Module], Layer], Callable[[], Layer]]:
        """Returns both halves for one call of a network: `(layer -> function, () -> function)`.

        Args:
            train: whether the call is in training.
            dtype: dtype of the normalised outputs.
            scale_init: initialiser of learned scales.
            reference: number of rows in the reference batch of norm 'virtual'.
            statistics: member of `STATISTICS`, the moments that batch norm uses in inference.
        """
        options = {'scale_init': scale_init, 'reference': reference, 'statistics': statistics}
        output = functools.partial(self.output, train=train, dtype=dtype, **options)
        return functools.partial(self.weights, train=train), output


def _weights_as_they_are(layer: nn.Module, *, train: bool) -> Layer:
    del train
    return layer  # type: ignore[return-value]


def _output_as_it_is(**_: Any) -> Layer:
    return lambda x: x


def _batch_norm(*, train: bool, dtype: Any, scale_init: Callable, reference: int, statistics: str) -> Layer:
    del reference
    return BatchNorm(dtype=dtype, scale_init=scale_init, **_moments(statistics, train=train))


def _virtual_batch_norm(*, dtype: Any, scale_init: Callable, reference: int, **_: Any) -> Layer:
    return VirtualBatchNorm(reference, dtype=dtype, scale_init=scale_init)


def _layer_norm(*, dtype: Any, scale_init: Callable, **_: Any) -> Layer:
    def norm(x: Array) -> Array:  # over channels and positions, as in WGAN-GP's code
        axes = tuple(range(1, x.ndim))
        options: dict[str, Any] = {'epsilon': 1e-5, 'use_fast_variance': False, 'scale_init': scale_init}
        return nn.LayerNorm(reduction_axes=axes, feature_axes=-1, dtype=dtype, **options)(x)

    return norm


def _instance_norm(*, dtype: Any, **_: Any) -> Layer:
    return functools.partial(instance_norm, dtype=dtype)


NORMALIZATIONS: Table[Normalization] = Table(
    'normalization',
    {
        'batch': Normalization(_weights_as_they_are, _batch_norm, use_bias=False),
        'none': Normalization(_weights_as_they_are, _output_as_it_is),
        'spectral': Normalization(spectral_norm, _output_as_it_is),
        'weight': Normalization(weight_norm, _output_as_it_is),
        'virtual': Normalization(_weights_as_they_are, _virtual_batch_norm, use_bias=False, needs_reference=True),
        'instance': Normalization(_weights_as_they_are, _instance_norm),
        'layer': Normalization(_weights_as_they_are, _layer_norm),
    },
)
"""Name -> normalisation."""


def discriminator_normalization(name: str) -> Normalization:
    """Looks up the normalisation of a discriminator by its name.

    Raises `InputError` for an unknown name, and for one that requires a reference batch, which discriminators do not have.
    """
    normalization = NORMALIZATIONS[name]
    if normalization.needs_reference:
        known = ', '.join(other for other, member in NORMALIZATIONS.items() if not member.needs_reference)
        raise InputError(f'normalization {name!r} is only for generators; a discriminator takes {known}')
    return normalization


def with_reference(network: nn.Module, z: Array, size: int) -> Array:
    """Prepends the fixed reference batch of a network to its inputs: `[n, ...] -> [size + n, ...]`.

    The reference batch is stored in the collection 'reference'. It consists of the first `size` inputs passed to `init` if there
    are enough, as games ensure (`games.adversarial.init_generator`), so that it has the distribution of the run's inputs;
    otherwise it is drawn from N(0, 1). If `size` is 0, the inputs are returned unchanged.
    """
    if size == 0:
        return z
    draw = lambda: z[:size] if len(z) >= size else jax.random.normal(network.make_rng('params'), (size, *z.shape[1:]))
    return jnp.concatenate([network.variable('reference', 'z', draw).value, z])


def with_labels(
    norm: Callable[[], Layer],
    name: str,
    classes: int,
    labels: Array | None,
    *,
    train: bool,
    dtype: Any,
    statistics: str = 'running',
) -> Callable[[], Layer]:
    """Returns the normalisation of a generator's hidden outputs: `norm`, or with classes batch norm conditioned on the labels.

    Args:
        norm: factory of the normalisation without classes.
        name: its name in `NORMALIZATIONS`.
        classes: number of classes; 0 for an unconditional generator.
        labels: integers `[n]`; None for an unconditional generator.
        train: whether the call is in training.
        dtype: dtype of the normalised outputs.
        statistics: member of `STATISTICS`, the moments that batch norm uses in inference.

    Raises `ValueError` for labels without classes and for classes without labels, and `InputError` for classes with a norm other
    than batch norm.
    """
    if (labels is None) != (classes == 0):
        raise ValueError(
            f'labels must be given if and only if the network has classes: {classes=}, labels given: {labels is not None}'
        )
    if labels is None:
        return norm
    if name != 'batch':
        raise InputError(f"normalization {name!r} does not support classes; use 'batch'")
    layer = functools.partial(ConditionalBatchNorm, classes, dtype=dtype, statistics=statistics)
    return lambda: functools.partial(layer(), labels=labels, train=train)
