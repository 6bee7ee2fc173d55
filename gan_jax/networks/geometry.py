"""The geometry of a convolution: its sizes, strides and padding."""

import dataclasses

from jax import lax

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What the three maps of one convolution share.

    Args:
        input_size: `(height, width)` of the input.
        kernel_size: `(height, width)` of the kernel.
        strides: strides along height and width.
        padding: `((top, bottom), (left, right))`.
    """

    input_size: Pair
    kernel_size: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    @property
    def output_size(self) -> Pair:
        """The `(height, width)` of the convolution's result."""
        height, width = (
            (n + low + high - k) // s + 1
            for n, k, s, (low, high) in zip(self.input_size, self.kernel_size, self.strides, self.padding, strict=True)
        )
        return height, width


def same_geometry(input_size: Pair, kernel_size: Pair, strides: Pair) -> Geometry:
    """Returns the geometry with `ceil(input / stride)` output positions: the padding that TensorFlow and Flax call SAME."""
    padding = lax.padtype_to_pads(input_size, kernel_size, strides, 'SAME')
    return Geometry(input_size, kernel_size, strides, tuple((int(low), int(high)) for low, high in padding))  # type: ignore
