"""What an estimator returns: a number, and how far it may be off."""

from typing import NamedTuple

from gan_jax.typing import Array


class Estimate(NamedTuple):
    """A value with the standard deviation of its estimator."""

    value: Array
    standard_error: Array | None
    """None where the estimator has none: the spread over overlapping subsets, for one, is no standard error."""
