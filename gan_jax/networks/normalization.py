"""Normalisation of a layer's weights or of its output, and the table that networks choose from."""

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
    """Batch norm by a fixed reference batch (Salimans et al. 2016, section 3.5), `[reference + n, ..., c]` to the same shape.

    The first `reference` rows are the reference batch and have their own statistics. Every other row has those of the
    reference batch and itself together: first and second moments `(R * reference's + row's) / (R + 1)`. So no row's output
    depends on another's outside the reference. Moments are over all axes but the channels'; scale and bias are learned.
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
            raise ValueError(f'the first {R} rows are the reference batch, got {x.shape[0]} rows in all')
        scale = self.param('scale', self.scale_init, x.shape[-1:])
        bias = self.param('bias', nn.initializers.zeros, x.shape[-1:])
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        means = channel_mean(x, lead=1)
        variances = channel_mean(jnp.square(x - channel_broadcast(means, x.shape)), lead=1)
        mean = means[:R].mean(0, keepdims=True)
        variance = (variances[:R] + jnp.square(means[:R] - mean)).mean(0, keepdims=True)
        # The joint moments, written about the means: E[x^2] - E[x]^2 would cancel.
        shift = means[R:] - mean
        joint_variance = (R * variance + variances[R:]) / (R + 1) + R * jnp.square(shift / (R + 1))
        mean = jnp.concatenate([jnp.broadcast_to(mean, means[:R].shape), mean + shift / (R + 1)])
        variance = jnp.concatenate([jnp.broadcast_to(variance, means[:R].shape), joint_variance])
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        y = (x - channel_broadcast(mean, x.shape)) * channel_broadcast(factor, x.shape) + channel_broadcast(bias, x.shape)
        return y.astype(self.dtype)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale and a bias for each class (Dumoulin et al. 2017, eq. 5; de Vries et al. 2017, section 4).

    `(x [n, ..., c], labels [n]) -> [n, ..., c]`. Labels are integers below `classes`; all classes share the batch statistics.
    Raises `ValueError` unless there is one label for each example.
    """

    classes: int
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    statistics: str = 'running'
    """Of `STATISTICS`."""

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = True) -> Array:
        if labels.shape != x.shape[:1]:
            raise ValueError(f'one label for each of {x.shape[0]} examples, got labels of shape {labels.shape}')
        x = BatchNorm(
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=jnp.promote_types(x.dtype, jnp.float32),
            use_scale=False,
            use_bias=False,
            **_moments(self.statistics, train=train),
        )(x)
        shape = (self.classes, x.shape[-1])
        # Weights read from a file are NumPy's, which traced labels do not index.
        scale = jnp.asarray(self.param('scale', nn.initializers.ones, shape))[labels]
        bias = jnp.asarray(self.param('bias', nn.initializers.zeros, shape))[labels]
        return (x * channel_broadcast(scale, x.shape) + channel_broadcast(bias, x.shape)).astype(self.dtype)


def instance_norm(x: Array, *, epsilon: float = 1e-5, dtype: Any = jnp.float32) -> Array:
    """Every channel of every image at mean 0 and variance 1 over its positions (Ulyanov et al. 2017), `[n, ..., c]`.

    Nothing is learned, and no image's output depends on another. Raises `InputError` for maps of a single position, of which
    nothing would be left.
    """
    if math.prod(x.shape[1:-1]) < 2:
        raise InputError(f'instance norm is over the positions of an image, and has one at shape {x.shape}; choose another norm')
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x = x - channel_broadcast(channel_mean(x, lead=1), x.shape)
    factor = jax.lax.rsqrt(channel_mean(jnp.square(x), lead=1) + epsilon)
    return (x * channel_broadcast(factor, x.shape)).astype(dtype)


STATISTICS = ('running', 'batch')
"""By what moments batch norm normalises in inference: the running averages, or those of the batch that is given."""


def _moments(statistics: str, *, train: bool) -> dict[str, Any]:
    if statistics not in STATISTICS:
        raise InputError(f"batch norm infers by 'running' averages or the statistics of the 'batch', not {statistics!r}")
    by_averages = not train and statistics == 'running'
    return {'use_running_average': by_averages, 'track': train}


class Normalization(NamedTuple):
    """What becomes of a network's layers."""

    weights: Callable[..., Layer]
    """`(layer, train=) -> function`, of every layer."""
    output: Callable[..., Layer]
    """`(train=, dtype=, scale_init=, reference=, statistics=) -> function`, of a hidden layer's output."""
    use_bias: bool = True
    """False where `output` has a learned bias, which makes the layer's own redundant."""
    needs_reference: bool = False
    """Whether the first rows are a reference batch, as they can be in a generator only."""

    def parts(
        self,
        train: bool,
        dtype: Any,
        scale_init: Callable = nn.initializers.ones,
        reference: int = 0,
        statistics: str = 'running',
    ) -> tuple[Callable[[nn.Module], Layer], Callable[[], Layer]]:
        """`(layer -> function, () -> function)`: both halves, for one call of a network."""
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


def discriminator_normalization(name: str) -> Normalization:
    """A member of the table. Raises `InputError` for one that only a generator can have: a judge has no reference batch."""
    normalization = NORMALIZATIONS[name]
    if normalization.needs_reference:
        known = ', '.join(other for other, member in NORMALIZATIONS.items() if not member.needs_reference)
        raise InputError(f"normalization {name!r} is a generator's; a discriminator has {known}")
    return normalization


def with_reference(network: nn.Module, z: Array, size: int) -> Array:
    """`[n, ...] -> [size + n, ...]`: the network's fixed reference batch before the inputs.

    It stands in the collection 'reference': the first inputs that `init` is given, if there are `size` of them, as games give it
    (`games.adversarial.init_generator`), so that they have the distribution of the run's own; otherwise N(0, 1). With `size` 0
    nothing happens.
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
    """The normalisation of hidden outputs in a generator that may be told labels: `norm`, or with classes batch norm by class.

    Raises `ValueError` for labels without classes and for classes without labels, `InputError` for classes and a norm that is
    not batch norm.
    """
    if (labels is None) != (classes == 0):
        raise ValueError(
            f'labels are for a network with classes, which wants them: {classes=}, labels given: {labels is not None}'
        )
    if labels is None:
        return norm
    if name != 'batch':
        raise InputError(f"normalization {name!r} knows no classes; 'batch' does")
    layer = functools.partial(ConditionalBatchNorm, classes, dtype=dtype, statistics=statistics)
    return lambda: functools.partial(layer(), labels=labels, train=train)
