"""The result of an estimator: a value and its standard error."""

from typing import NamedTuple

from gan_jax.typing import Array


class Estimate(NamedTuple):
    """A value with the standard deviation of its estimator."""

    value: Array
    standard_error: Array | None
    """None if the estimator does not provide one. The spread over overlapping subsets, for example, is not a standard error."""
