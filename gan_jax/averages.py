"""Averages of a generator's variables over training: exponential ones, and EDM2's power functions, which can be chosen later.

A power-function average of relative width sigma weights the values of the past by p(s) = (gamma + 1) s^gamma / t^(gamma + 1),
where t is the number of updates so far, so that its profile grows with training; sigma is the standard deviation of p over t
(Karras et al. 2024, "EDM2", section 3). From snapshots of two such averages, taken during a run, an average of any other width
is reconstructed after it: `reconstructed`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.ranges import Range, checked
from gan_jax.typing import Array

RelativeWidth = Annotated[float, Range(0, 12**-0.5, above=True)]
"""The standard deviation of an average's weights as a share of the length of training; that of equal weights is 12^(-1/2)."""


def decayed_average(old: Any, new: Any, decay: Array | float) -> Any:
    """`decay * old + (1 - decay) * new` of pytrees with leaves of equal shapes. Non-float leaves are copied from `new`."""

    def average(old: Array, new: Array) -> Array:
        return (decay * old + (1 - decay) * new).astype(new.dtype) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(average, old, new)


def moving_average(old: Any, new: Any, decay: float, count: Array) -> Any:
    """The exponential moving average of a pytree, with decay `min(decay, (1 + count) / (10 + count))`.

    The decay starts small so that early values are forgotten quickly. Non-float leaves are copied from `new`.

    Args:
        old: the average so far.
        new: the values to include, with leaves of the shapes of `old`.
        decay: the decay in the limit of many updates.
        count: the number of updates so far.
    """
    return decayed_average(old, new, jnp.minimum(decay, (1 + count) / (10 + count)))


class PowerAverage(NamedTuple):
    """A power-function average, as arrays."""

    exponent: Array
    """gamma, `[]`."""
    average: Any
    """A pytree of the averaged values."""

    def updated(self, new: Any, updates: Array) -> 'PowerAverage':
        """The average after update number `updates`, from 1, to the values `new`: EDM2's decay of (1 - 1 / t)^(gamma + 1).

        The weight of update s is then the integral of p from s - 1 to s. Non-float leaves are copied from `new`.
        """
        share = -jnp.expm1((self.exponent + 1) * jnp.log1p(-1 / updates))

        def average(old: Array, new: Array) -> Array:
            return (old + share * (new - old)).astype(new.dtype) if jnp.issubdtype(new.dtype, jnp.floating) else new

        return PowerAverage(self.exponent, jax.tree.map(average, self.average, new))


def power_average(values: Any, width: float) -> PowerAverage:
    """An average of this relative width before the first update. Only the shapes of `values` matter.

    Raises `ValueError` as `exponent_of_width` does.
    """
    return PowerAverage(jnp.float32(exponent_of_width(width)), jax.tree.map(jnp.copy, values))


def width_of_exponent(exponent: float) -> float:
    """sigma_rel = (gamma + 1)^(1/2) / ((gamma + 2) (gamma + 3)^(1/2)), the relative width of an average (EDM2, section 3.1)."""
    return (exponent + 1) ** 0.5 / ((exponent + 2) * (exponent + 3) ** 0.5)


@checked
def exponent_of_width(width: RelativeWidth) -> float:
    """The exponent gamma >= 0 of this relative width: the largest root of (gamma + 2)^2 (gamma + 3) - (gamma + 1) / sigma^2.

    Raises `ValueError` for a width that is not above 0, or above that of equal weights, 12^(-1/2) = .2887.
    """
    return max(0.0, float(np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()))


def coefficients(steps: Sequence[int], exponents: Sequence[float], step: int, exponent: float) -> np.ndarray:
    """The coefficients `[n]` of snapshots whose sum has the weights of another average, by least squares (EDM2, appendix C).

    They minimise the integral of (sum_i x_i p_i(s) - p(s))^2, where each p vanishes beyond its own number of updates.

    Args:
        steps: the number of updates before each snapshot, `[n]`.
        exponents: the exponent of each snapshot, `[n]`.
        step: the number of updates of the average that is wanted.
        exponent: its exponent.
    """
    t, gamma = np.asarray(steps, np.float64), np.asarray(exponents, np.float64)

    def product(t: Any, gamma: Any, other: Any, delta: Any) -> Any:
        """The integral of the product of two profiles, of gamma after t updates and of delta after `other`."""
        both = gamma + delta + 1
        powers = both * np.log(np.minimum(t, other)) - (gamma + 1) * np.log(t) - (delta + 1) * np.log(other)
        return (gamma + 1) * (delta + 1) / both * np.exp(powers)

    norms = np.sqrt(product(t, gamma, t, gamma))
    gram = product(t[:, None], gamma[:, None], t, gamma) / norms[:, None] / norms
    return np.linalg.lstsq(gram, product(t, gamma, step, exponent) / norms, rcond=1e-13)[0] / norms


def weighted_sum(shares: Iterable[float], trees: Iterable[Any]) -> Any:
    """The sum of shares times pytrees, of which there must be at least one, as NumPy arrays of the trees' types.

    Trees are taken one after another, so that an iterator need not hold them together. Non-float leaves are those of the last.
    """
    total = last = None
    for share, tree in zip(shares, trees, strict=True):
        last = jax.tree.map(np.asarray, tree)
        scaled = jax.tree.map(lambda x, share=share: share * x.astype(np.float64) if _floating(x) else x, last)
        total = scaled if total is None else jax.tree.map(lambda a, b: a + b if _floating(b) else b, total, scaled)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), total, last)


def _floating(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def reconstructed(
    snapshots: Sequence[tuple[int, float]], read: Callable[[Sequence[int]], Iterable[Any]], step: int, width: float
) -> Any:
    """The average of another relative width after `step` updates, as NumPy arrays, from snapshots of a run.

    From snapshots of the widths .05 and .1 at every twentieth of the run, the relative error of the weights in the L2 norm is
    2.6 % for a width of .03, .2 % for .075, .6 % for .15 and 6 % for .25; with twice as many, it is a third of this.

    Args:
        snapshots: the number of updates before each snapshot, and its relative width; those of more than `step` updates are not
            used, nor are snapshots taken before any update.
        read: returns the averages of the snapshots with these numbers, in their order; it may be a generator function.
        step: the number of updates of the average that is wanted.
        width: its relative width.

    Raises `ValueError` as `exponent_of_width` does, and if there is no snapshot of `step` updates or fewer.
    """
    exponent = exponent_of_width(width)
    used = [number for number, (at, _) in enumerate(snapshots) if 0 < at <= step]
    if not used:
        raise ValueError(f'there is no snapshot of {step} updates or fewer')
    steps, widths = zip(*(snapshots[number] for number in used), strict=True)
    shares = coefficients(steps, [exponent_of_width(own) for own in widths], step, exponent)
    return weighted_sum(shares, read(used))
