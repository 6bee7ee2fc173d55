"""Resampling by a factor of two: by repetition and averages of pixels, or through a separable FIR filter.

A convolution of a repeated map, and the average of a convolution, are each one convolution with stride 2 whose kernel is larger
by one.

Through a filter, high frequencies do not alias. Enlarging puts a zero after every pixel and then filters; shrinking filters and
then keeps every second pixel (Karras et al. 2020, "StyleGAN2", whose filter is (1, 3, 3, 1)). Pixels beyond the edges count as
zeros. R3GAN names its filter by what follows a repetition of pixels: its (1, 2, 1) is the same (1, 3, 3, 1), as
`after_repetition` computes. Both maps are sums of shifted images rather than convolutions, since a depthwise convolution is slow
on a CPU.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.errors import InputError
from gan_jax.networks.convolution import conv, conv_input
from gan_jax.networks.geometry import Geometry
from gan_jax.typing import Array


def upsample(x: Array) -> Array:
    """Repeats every pixel four times: `[n, h, w, c] -> [n, 2h, 2w, c]`."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def downsample(x: Array) -> Array:
    """Averages blocks of 2 x 2 pixels: `[n, 2h, 2w, c] -> [n, h, w, c]`."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def upsample_conv(x: Array, w: Array) -> Array:
    """The SAME convolution of `upsample(x)`, `[n, h, w, c], [a, b, c, o] -> [n, 2h, 2w, o]`, in the dtype of x.

    It takes (a + 1) (b + 1) / (4 a b) of the products: 4/9 for a kernel of 3 x 3. Raises `ValueError` for a kernel of even sides.
    """
    kernel = _box(w)[::-1, ::-1].swapaxes(2, 3).astype(x.dtype)
    return conv_input(x, kernel, _halving(w, 2 * x.shape[1], 2 * x.shape[2]))


def conv_downsample(x: Array, w: Array) -> Array:
    """`downsample` of the SAME convolution, `[n, 2h, 2w, c], [a, b, c, o] -> [n, h, w, o]`, in the dtype of x.

    It takes (a + 1) (b + 1) / (4 a b) of the products: 4/9 for a kernel of 3 x 3. Raises `ValueError` for a kernel of even sides,
    and for maps of odd sides.
    """
    return conv(x, (_box(w) / 4).astype(x.dtype), _halving(w, *x.shape[1:3]))


def _box(w: Array) -> Array:
    """A kernel convolved with 2 x 2 ones, `[a, b, ...] -> [a + 1, b + 1, ...]`."""
    one_more = lambda low, high, axis: jnp.pad(w, [(low, high) if i == axis else (0, 0) for i in range(w.ndim)])
    for axis in (0, 1):
        w = one_more(0, 1, axis) + one_more(1, 0, axis)
    return w


def _halving(w: Array, height: int, width: int) -> Geometry:
    """The convolution with `_box(w)` that halves maps. Raises `ValueError` for kernels of even sides and maps of odd ones."""
    a, b = w.shape[:2]
    if a % 2 == 0 or b % 2 == 0 or height % 2 or width % 2:
        raise ValueError(f'kernels must have odd sides and maps even ones, got {(a, b)} and {(height, width)}')
    return Geometry((height, width), (a + 1, b + 1), (2, 2), ((a // 2, a // 2), (b // 2, b // 2)))


def after_repetition(taps: Sequence[float]) -> tuple[float, ...]:
    """The filter that repeats each pixel and then applies `taps`: `after_repetition((1, 2, 1))` is `(1, 3, 3, 1)`."""
    return tuple(np.convolve(taps, (1, 1)).tolist())


def filtered_upsample(x: Array, taps: Sequence[float] = (1, 3, 3, 1)) -> Array:
    """`[n, h, w, c] -> [n, 2h, 2w, c]` through a filter whose taps are scaled to sum to 2 along each axis.

    With the default taps this is bilinear interpolation between zeros beyond the edges. Raises `ValueError` for fewer than two
    taps, and for taps that sum to 0.
    """
    weights = 2 * _normalised(taps)
    for axis in (1, 2):
        x = _upsampled(x, weights, axis)
    return x


def filtered_downsample(x: Array, taps: Sequence[float] = (1, 3, 3, 1)) -> Array:
    """`[n, h, w, c] -> [n, h / 2, w / 2, c]`, odd sides rounded down, through a filter whose taps are scaled to sum to 1.

    With an even number of symmetric taps it is the transpose of `filtered_upsample`, divided by 4. Raises `ValueError` as that
    function does.
    """
    weights = _normalised(taps)
    for axis in (1, 2):
        x = _downsampled(x, weights, axis)
    return x


def halved_exactly(size: int | tuple[int, int], times: int) -> tuple[int, int]:
    """Returns the height and width of images, squares or `(height, width)`, after `times` halvings.

    Raises `InputError` if a side is not divisible by 2^times.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height % 2**times or width % 2**times:
        raise InputError(f'images of {height} x {width} cannot be halved {times} times; use fewer stages or another size')
    return height >> times, width >> times


def filtered(x: Array, taps: Sequence[float] = (1, 3, 3, 1), *, padding: tuple[int, int] = (0, 0), gain: float = 1.0) -> Array:
    """Filters without resampling, `[n, h, w, c] -> [n, h + grown, w + grown, c]`, where `grown = sum(padding) - len(taps) + 1`.

    Args:
        x: images.
        taps: the filter, which is scaled to sum to `gain` along each axis.
        padding: the number of zeros before the first and after the last pixel of each axis.
        gain: the sum of the taps.

    Before or after a strided convolution this is resampling by two: a 3 x 3 convolution with stride 2 and without padding follows
    a padding of (2, 2), and a padding of (1, 1) with a gain of 2 follows the transpose of that convolution (Karras et al. 2020).
    Raises `ValueError` as `filtered_upsample` does.
    """
    weights = gain * _normalised(taps)
    for axis in (1, 2):
        x = _banded(x, weights, axis, padding)
    return x


def _banded(x: Array, weights: np.ndarray, axis: int, padding: tuple[int, int]) -> Array:
    """One axis as a product with a band matrix: shifted images would be fused with the convolution's phases, and computed anew
    for every tap.
    """
    size = x.shape[axis]
    offsets = np.arange(size) - np.arange(size + sum(padding) - len(weights) + 1)[:, None] + padding[0]
    inside = (offsets >= 0) & (offsets < len(weights))
    band = jnp.asarray(np.where(inside, weights[np.clip(offsets, 0, len(weights) - 1)], 0), x.dtype)
    return jnp.einsum('oi,niwc->nowc' if axis == 1 else 'oi,nhic->nhoc', band, x, precision=lax.Precision.HIGHEST)


def _normalised(taps: Sequence[float]) -> np.ndarray:
    """The filter `[taps]` with sum 1, reversed, so that an output is the inner product of these weights with its inputs."""
    weights = np.asarray(taps, np.float64)
    if weights.ndim != 1 or len(weights) < 2 or weights.sum() == 0:
        raise ValueError(f'a resampling filter needs at least two taps with a sum other than 0, got {tuple(taps)}')
    return weights[::-1] / weights.sum()


def _upsampled(x: Array, weights: np.ndarray, axis: int) -> Array:
    before = (len(weights) + 1) // 2  # zeros at the low edge of the image with its zeros between
    # Of output 2i + phase only every second tap meets a pixel: pixel i + shift.
    phases = []
    for phase in (0, 1):
        met = [k for k in range(len(weights)) if (phase + k - before) % 2 == 0]
        phases.append({(phase + k - before) // 2: float(weights[k]) for k in met})
    shifts = [shift for phase in phases for shift in phase]
    low, high = max(0, -min(shifts)), max(0, max(shifts))
    padded, size = _padded(x, axis, low, high), x.shape[axis]
    rows = [
        sum(weight * lax.slice_in_dim(padded, low + shift, low + shift + size, axis=axis) for shift, weight in phase.items())
        for phase in phases
    ]
    shape = list(x.shape)
    shape[axis] = 2 * size
    return jnp.stack(rows, axis + 1).reshape(shape)


def _downsampled(x: Array, weights: np.ndarray, axis: int) -> Array:
    size = x.shape[axis] // 2
    before = (len(weights) - 1) // 2
    padded = _padded(x, axis, before, max(0, 2 * size - 1 + len(weights) - before - x.shape[axis]))
    taken = (lax.slice_in_dim(padded, k, k + 2 * size - 1, 2, axis) for k in range(len(weights)))
    return sum(float(weight) * part for weight, part in zip(weights, taken, strict=True))  # type: ignore[return-value]


def _padded(x: Array, axis: int, low: int, high: int) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (low, high)
    return jnp.pad(x, widths)
