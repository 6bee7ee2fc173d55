"""Latent codes: parts of a generator's input that are to be recognisable in its examples (InfoGAN, Chen et al. 2016).

A `Code` has a known prior P(c) and a family of approximate posteriors Q(c | x), one of which a network selects for each example.
With them, the mutual information between codes and examples has a lower bound (section 5, eqs. 4 and 5):

    L_I = E[log Q(c | x)] + H(c)  <=  I(c; x),    with equality where Q(c | x) = P(c | x)

For a discrete code, also I(c; x) <= H(c), with equality where c is a function of x. For a density, H is the differential entropy,
and I(c; x) has no upper bound.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.ranges import Coordinate, DeviationAbove0, Range, Weight, checked
from gan_jax.registry import Table
from gan_jax.typing import Array, Key


class Code(NamedTuple):
    """One code c: its prior P(c), and the family of the posteriors Q(c | x)."""

    draw: Callable[[Key], Array]
    """Draws the code of one example from its key, `[size]`."""
    size: int
    """The number of entries of the code."""
    parameters: int
    """The number of parameters of Q(c | x), which the network provides for each example."""
    log_posterior: Callable[[Array, Array], Array]
    """`(codes [n, size], parameters [n, parameters]) -> log Q(c | x) [n]`, in nats."""
    entropy: float
    """H(c) in nats; for a density, the differential entropy."""
    weight: float = 1.0
    """The weight lambda of this code's information in the losses (eq. 6)."""


@checked
def categorical(classes: Annotated[int, Range(2, 10_000)] = 10, weight: Weight = 1.0) -> Code:
    """Equally likely categories, as one-hot vectors `[classes]`; the parameters of Q are logits `[n, classes]`.

    `weight` is that of its information. Raises `ValueError` for fewer than 2 or more than 10,000 classes and for a weight outside
    [0, 1e6].
    """
    draw = lambda key: jax.nn.one_hot(jax.random.randint(key, (), 0, classes), classes)
    log_posterior = lambda code, logits: (code * jax.nn.log_softmax(logits)).sum(-1)
    return Code(draw, classes, classes, log_posterior, math.log(classes), weight)


@checked
def uniform(
    low: Coordinate = -1.0, high: Coordinate = 1.0, deviation: DeviationAbove0 | None = 1.0, weight: Weight = 1.0
) -> Code:
    """A number uniform on [low, high), `[1]`; Q is a Gaussian.

    Args:
        low: lower end of the interval.
        high: upper end of the interval.
        deviation: the standard deviation of Q, whose single parameter is then its mean, as in the authors' code for MNIST; the
            information is then at most log(high - low) - log(deviation) - log(2 pi) / 2, -.226 by default. With None, the
            parameters are the mean and the logarithm of the standard deviation; since nothing limits the information about a
            continuous code, the loss is then not bounded below.
        weight: weight of its information in the losses.

    Raises `ValueError` unless `low` is below `high`, and for settings out of range.
    """
    if low >= high:
        raise ValueError(f'low must be below high, got {low} and {high}')
    draw = lambda key: jax.random.uniform(key, (1,), minval=low, maxval=high)
    return Code(draw, 1, *_gaussian(deviation), math.log(high - low), weight)


@checked
def normal(deviation: DeviationAbove0 | None = 1.0, weight: Weight = 1.0) -> Code:
    """A standard normal number, `[1]`; Q is a Gaussian, and both settings are as in `uniform`.

    Raises `ValueError` for settings out of range.
    """
    draw = lambda key: jax.random.normal(key, (1,))
    return Code(draw, 1, *_gaussian(deviation), math.log(2 * math.pi * math.e) / 2, weight)


CODES: Table[Callable[..., Code]] = Table('code', {'categorical': categorical, 'uniform': uniform, 'normal': normal})
"""Name -> factory. To add a code, add a factory above and an entry here; `tests/test_codes.py` then covers it."""


def joined(codes: Sequence[Code], latent: Callable[[Key], Array]) -> Callable[[Key], Array]:
    """A sampler of one example's latent, `key -> [c_1, c_2, ..., z]`: the codes in order, then what `latent(key)` draws."""

    def draw(key: Key) -> Array:
        *keys, rest = jax.random.split(key, len(codes) + 1)
        return jnp.concatenate([*(code.draw(k) for code, k in zip(codes, keys, strict=True)), latent(rest)])

    return draw


def information(codes: Sequence[Code], latents: Array, parameters: Array) -> Array:
    """log Q(c | x) + H(c) for each code and example, in nats, `[codes, n]`; its mean over examples is L_I (eqs. 4 and 5).

    Args:
        codes: the codes, of which there must be at least one.
        latents: the latents that `joined` draws, `[n, size]`; what follows the codes is ignored.
        parameters: the parameters of Q for the examples of these latents, code by code, `[n, sum of the codes' parameters]`.

    Raises `ValueError` if the latents have too few entries, or if the number of parameters differs from that of the codes.
    """
    size, count = sum(code.size for code in codes), sum(code.parameters for code in codes)
    if latents.shape[-1] < size or parameters.shape[-1] != count:
        raise ValueError(
            f'the codes require latents of at least {size} entries and {count} parameters, '
            f'got {latents.shape[-1]} and {parameters.shape[-1]}'
        )
    found, place, first = [], 0, 0
    for code in codes:
        own = parameters[:, first : first + code.parameters]
        found.append(code.log_posterior(latents[:, place : place + code.size], own) + code.entropy)
        place, first = place + code.size, first + code.parameters
    return jnp.stack(found)


def _gaussian(deviation: float | None) -> tuple[int, Callable[[Array, Array], Array]]:
    """The number of parameters of a Gaussian, and its log density."""

    def log_density(code: Array, parameters: Array) -> Array:
        log_deviation = math.log(deviation) if deviation is not None else parameters[:, 1]
        residual = (code[:, 0] - parameters[:, 0]) * jnp.exp(-log_deviation)
        return -jnp.square(residual) / 2 - log_deviation - math.log(2 * math.pi) / 2

    return (2 if deviation is None else 1), log_density
