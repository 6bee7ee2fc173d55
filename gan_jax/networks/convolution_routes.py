"""How the three convolution maps of `networks.convolution` are computed on a CPU.

Everything is expressed in two forms that run at full speed anywhere in a program, including inside loops: a matrix product, and
the canonical convolution `NHWC, HWIO -> NHWC` with padding, strides and a dilated kernel, by oneDNN or by XLA. `conv`,
`conv_input` and `conv_kernel` choose one of the implementations below them by shape alone. Milliseconds in comments are medians
on 2 cores with AVX2 (`size x size x channels in -> channels out`, batch size 64).

Arguments mean the same throughout: `x` are the images of the convolution, `[n, h, w, c]`, `w` is its kernel, `[a, b, c, o]`, `y`
its result, `[n, h', w', o]`, and `g` its geometry; `fast` allows oneDNN's convolution, and `convolve` is a canonical
convolution.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.networks import onednn
from gan_jax.networks.geometry import Geometry, Pair
from gan_jax.typing import Array

Canonical = Callable[..., Array]
"""`(x, w, strides, padding, dilation=(1, 1)) -> y`"""

FEW_CHANNELS = 8
"""Number of channels up to which a convolution is bound by memory traffic rather than by products."""
FEW_IMAGES = 8
"""Batch size below which the canonical form of the kernel's gradient, whose channels are the images, has too few channels."""
SMALL_WINDOW = 64
"""Number of output positions, the size of the kernel in that form, up to which oneDNN is faster than XLA at stride 1."""


def conv(x: Array, w: Array, g: Geometry, fast: bool) -> Array:
    """Computes the convolution, `[n, h', w', o]`."""
    if not fast and x.shape[3] <= FEW_CHANNELS:  # 28x28x1 -> 32: .7 as a product, 2.0 by XLA's convolution, .8 by oneDNN's
        return as_product(x, w, g.strides, g.padding)
    return canonical(fast)(x, w, g.strides, g.padding)


def conv_input(y: Array, w: Array, g: Geometry, fast: bool) -> Array:
    """Computes the transpose in the input, `[n, h, w, c]`."""
    if w.shape[2] <= FEW_CHANNELS and g.strides != (1, 1):  # 32x32x3 <- 64: 5.7 against 8.5 by phases (XLA: 9.2, 19.1)
        return as_one_convolution(y, w, g, canonical(fast))
    return as_phases(y, w, g, canonical(fast))


def conv_kernel(x: Array, y: Array, g: Geometry, fast: bool) -> Array:
    """Computes the transpose in the kernel, `[a, b, c, o]`."""
    if g.strides == (1, 1) and y.shape[3] < x.shape[3] and y.shape[3] <= FEW_CHANNELS:
        return as_swapped(x, y, g, fast)  # two images of 64x64x24 -> 3, 7x7: 10.7 with patches of x, 1.2 with those of y
    positions = g.output_size[0] * g.output_size[1]
    if g.kernel_size == (1, 1) or x.shape[0] < FEW_IMAGES:
        # 16x16x128 -> 128, 1x1: 11 against 19 canonical. One image of 64x64x128, 3x3: 26 against 46.
        return as_patches(x, y, g)
    # y is the kernel of the canonical convolution. oneDNN is slow if it is large: 302 for 32x32x64, 3x3, against XLA's 108.
    return as_canonical(x, y, g, canonical(fast and (g.strides != (1, 1) or positions <= SMALL_WINDOW)))


def canonical(fast: bool) -> Canonical:
    """Returns oneDNN's canonical convolution if `fast`, and XLA's otherwise."""
    return onednn.convolution if fast else _xla_convolution


def _xla_convolution(x: Array, w: Array, strides: Pair, padding: tuple[Pair, Pair], dilation: Pair = (1, 1)) -> Array:
    return lax.conv_general_dilated(x, w, strides, padding, rhs_dilation=dilation, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _patches(x: Array, kernel_size: Pair, output_size: Pair, strides: Pair, padding: tuple[Pair, Pair]) -> Array:
    """Extracts the inputs of each output position, `[n, h, w, c] -> [n h' w', a b c]`; padding may be negative."""
    (sh, sw), (oh, ow), channels = strides, output_size, x.shape[3]
    ends = [
        (o - 1) * s + k - n - low
        for n, o, s, k, (low, _) in zip(x.shape[1:3], output_size, strides, kernel_size, padding, strict=True)
    ]
    pads = [(low, end, 0) for (low, _), end in zip(padding, ends, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    taps = [
        x[:, a : a + (oh - 1) * sh + 1 : sh, b : b + (ow - 1) * sw + 1 : sw]
        for a in range(kernel_size[0])
        for b in range(kernel_size[1])
    ]
    return jnp.concatenate(taps, -1).reshape(-1, len(taps) * channels)


def as_product(x: Array, w: Array, strides: Pair, padding: tuple[Pair, Pair]) -> Array:
    """Computes the convolution as one matrix product of patches, `[n, h', w', o]`."""
    height, width = (
        (n + low + high - k) // s + 1 for n, k, s, (low, high) in zip(x.shape[1:3], w.shape[:2], strides, padding, strict=True)
    )
    rows = _patches(x, w.shape[:2], (height, width), strides, padding)  # type: ignore[arg-type]
    return (rows @ w.reshape(-1, w.shape[3])).reshape(x.shape[0], height, width, w.shape[3])


def as_patches(x: Array, y: Array, g: Geometry) -> Array:
    """Computes the kernel's gradient as one matrix product of patches, `[a, b, c, o]`."""
    rows = _patches(x, g.kernel_size, g.output_size, g.strides, g.padding)
    return lax.dot_general(rows, y.reshape(-1, y.shape[3]), (((0,), (0,)), ((), ()))).reshape(*g.kernel_size, x.shape[3], -1)


def as_swapped(x: Array, y: Array, g: Geometry, fast: bool) -> Array:
    """Computes the kernel's gradient at stride 1 from the convolution of y to x, whose kernel is the same, rotated."""
    padding = [
        (k - 1 - low, n - o + low)
        for n, o, k, (low, _) in zip(g.input_size, g.output_size, g.kernel_size, g.padding, strict=True)
    ]
    back = dataclasses.replace(g, input_size=g.output_size, padding=tuple(padding))  # type: ignore[arg-type]
    return conv_kernel(y, x, back, fast)[::-1, ::-1].swapaxes(2, 3)


def as_canonical(x: Array, y: Array, g: Geometry, convolve: Canonical) -> Array:
    """Computes the kernel's gradient as a convolution of images, with x's channels as the batch, by a kernel that is y."""
    padding = [
        (low, (o - 1) * s + k - n - low)
        for n, o, k, s, (low, _) in zip(g.input_size, g.output_size, g.kernel_size, g.strides, g.padding, strict=True)
    ]
    w = convolve(x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3), (1, 1), tuple(padding), g.strides)
    return w.transpose(1, 2, 0, 3)


# The transpose in the input. Tap a of output i touches input position i s + a - pad. Input position t s + r is therefore reached
# by the taps a = (r + pad) mod s + s m, each from output t + (r + pad) // s - m: for each residue r, a "phase", this is a
# convolution of y with stride 1. Dilating y instead would spend 1 - 1 / s^2 of the products on zeros.


def _phases(n: int, o: int, k: int, s: int, pad: int) -> list[tuple[slice, Pair]]:
    """Returns the taps that reach each residue of the input position modulo the stride, and the padding of `y` for them."""
    result = []
    for r in range(min(s, n)):
        first, shift = (r + pad) % s, (r + pad) // s
        taps, length = len(range(first, k, s)), len(range(r, n, s))
        result.append((slice(first, k, s), (taps - 1 - shift, length - 1 + shift - (o - 1))))
    return result


def as_phases(y: Array, w: Array, g: Geometry, convolve: Canonical) -> Array:
    """Computes the transpose in the input as one convolution per phase, with the results interleaved: `[n, h, w, c]`."""
    rows, columns = (
        _phases(*sizes)
        for sizes in zip(g.input_size, g.output_size, g.kernel_size, g.strides, (p[0] for p in g.padding), strict=True)
    )
    (height, width), (sh, sw) = g.input_size, g.strides
    shape = (y.shape[0], -(-height // sh), -(-width // sw), w.shape[2])

    def phase(taps: tuple[slice, slice], pads: tuple[Pair, Pair]) -> Array:
        kernel = w[taps[0], taps[1]]
        if 0 in kernel.shape:
            return jnp.zeros(shape, y.dtype)
        x = convolve(y, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), pads)
        return jnp.pad(x, [(0, full - part) for full, part in zip(shape, x.shape, strict=True)])

    if (sh, sw) == (1, 1):
        return phase((rows[0][0], columns[0][0]), (rows[0][1], columns[0][1]))
    grid = [[phase((r, c), (top, left)) for c, left in columns] for r, top in rows]
    x = jnp.stack([jnp.stack(row, axis=3) for row in grid], axis=2)
    return x.reshape(shape[0], shape[1] * len(rows), shape[2] * len(columns), shape[3])[:, :height, :width]


@functools.cache
def _shared_taps(k: int, s: int, pad: int) -> tuple[int, np.ndarray]:
    """Returns the lowest offset of `y` that a phase reads, and the tap of each offset from it on and each phase (k for none)."""
    reads = [((r + pad) // s - m, r, (r + pad) % s + s * m) for r in range(s) for m in range(len(range((r + pad) % s, k, s)))]
    low, high = min(offset for offset, _, _ in reads), max(offset for offset, _, _ in reads)
    taps = np.full((high - low + 1, s), k)
    for offset, r, tap in reads:
        taps[offset - low, r] = tap
    return low, taps


def as_one_convolution(y: Array, w: Array, g: Geometry, convolve: Canonical) -> Array:
    """Computes the transpose in the input with the phases as channels, `[n, h, w, c]`.

    This takes more products but fewer passes over memory, which is faster for few channels.
    """
    (sh, sw), (height, width) = g.strides, g.input_size
    sizes = -(-height // sh), -(-width // sw)
    (top, rows), (left, columns) = (
        _shared_taps(k, s, pad) for k, s, (pad, _) in zip(g.kernel_size, g.strides, g.padding, strict=True)
    )
    # The padding adds a row and a column of zeros, for phases without a tap at an offset.
    kernel = jnp.pad(w, ((0, 1), (0, 1), (0, 0), (0, 0)))[rows][:, :, columns]  # [offset, phase, offset, phase, c, o]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(len(rows), len(columns), w.shape[3], -1)
    pads = tuple(
        (-low, n + low + len(taps) - 1 - o)
        for low, taps, n, o in zip((top, left), (rows, columns), sizes, g.output_size, strict=True)
    )
    x = convolve(y, kernel, (1, 1), pads).reshape(y.shape[0], *sizes, sh, sw, w.shape[2])
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(y.shape[0], sizes[0] * sh, sizes[1] * sw, w.shape[2])
    return x[:, :height, :width]
