"""oneDNN's convolution, which jaxlib's CPU back end contains but never chooses.

On a CPU it is 1.1 to 3 times as fast as the convolution that XLA chooses. The custom call is internal to XLA, and a
configuration that XLA cannot read aborts the process. It is therefore created by a single function, for a single layout, and
only with the versions of jaxlib that it was tested with; with any other, `available` returns False and callers use `lax`.

XLA cannot serialise a program that contains this call, so such a program can be neither exported nor kept in a persistent
compilation cache.
"""

import functools
import json
import platform
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import jaxlib
from jax.interpreters import mlir

from gan_jax import compilation
from gan_jax.typing import Array

Pair = tuple[int, int]

TESTED = frozenset({'0.10.2', '0.12.0.1'})
"""The versions of jaxlib with which the call was tested."""

WORTHWHILE = 1_000_000
"""Number of products from which a convolution (of .1 ms and more) justifies a program that must be compiled in every process."""


@functools.cache
def available() -> bool:
    """Returns whether this jaxlib has the call in the form that `convolution` writes."""
    return jaxlib.__version__ in TESTED and platform.machine().lower() in ('x86_64', 'amd64')


def chosen(context: mlir.LoweringRuleContext, products: int) -> bool:
    """Returns whether a convolution with this number of products uses oneDNN in the program that is being lowered."""
    if not available() or context.module_context.lowering_parameters.for_export or products < WORTHWHILE:
        return False
    return compilation.keep_out_of_cache()


def convolution(x: Array, w: Array, strides: Pair, padding: tuple[Pair, Pair], dilation: Pair = (1, 1)) -> Array:
    """Computes the convolution `[n, h, w, c], [a, b, c, o] -> [n, h', w', o]`, all in float32.

    Args:
        x: images.
        w: kernel.
        strides: strides along height and width.
        padding: `((top, bottom), (left, right))`, which may be negative.
        dilation: dilation of the kernel.

    Raises `TypeError` for other dtypes.
    """
    if {x.dtype, w.dtype} != {jnp.dtype('float32')}:
        raise TypeError(f'the call requires float32, got {x.dtype} and {w.dtype}')
    x = x[(slice(None), *(slice(max(0, -low), n - max(0, -high)) for n, (low, high) in zip(x.shape[1:3], padding, strict=True)))]
    padding = tuple((max(0, low), max(0, high)) for low, high in padding)  # type: ignore[assignment]
    height, width = (
        (n + low + high - (k - 1) * d - 1) // s + 1
        for n, k, s, d, (low, high) in zip(x.shape[1:3], w.shape[:2], strides, dilation, padding, strict=True)
    )
    images = {'dims': '4', 'data': {'batch_dim': '0', 'feature_dim': '3', 'spatial_dims': ['1', '2']}}
    kernel = {'input_feature_dim': '2', 'output_feature_dim': '3', 'spatial_dims': ['0', '1'], 'shape': _texts(w.shape)}
    window = {
        'size': _texts(w.shape[:2]),
        'pad_left': _texts(low for low, _ in padding),
        'pad_right': _texts(high for _, high in padding),
        'strides': _texts(strides),
        'window_dilations': _texts(dilation),
    }
    config = {
        'dims': '4', 'feature_groups': '1', 'input': images, 'kernel': {'dims': '4', 'filter': kernel}, 'output': images,
        'window': window,
    }  # fmt: skip
    call = jax.ffi.ffi_call(
        '__onednn$convolution',
        jax.ShapeDtypeStruct((x.shape[0], height, width, w.shape[3]), x.dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({'onednn_conv_config': config}),
    )
    return call(x, w)


def _texts(numbers: Iterable[int]) -> list[str]:
    return [str(number) for number in numbers]
