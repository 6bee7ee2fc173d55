"""Two-dimensional convolution as three bilinear maps, each the transpose of the others.

    conv(x, w)         -> y     the convolution
    conv_input(y, w)   -> x     its transpose in the input: the "transposed" or "fractionally strided" convolution
    conv_kernel(x, y)  -> w     its transpose in the kernel: the gradient of the weights

Derivatives of any order, forward or reverse, consist of these three maps only. This is what makes a scanned or unrolled step
fast on a CPU. XLA's CPU back end runs convolutions at full speed only in the form `NHWC, HWIO -> NHWC`, and rewrites other forms
to it only in the entry computation. The gradients that autodiff derives from `lax.conv_general_dilated` have other forms, and
inside a `lax.scan` they fall back to a loop that is 10 to 70 times slower. Here each map has a CPU lowering in the fast form;
other platforms use the convolution of `lax`.

The maps are JAX primitives rather than `custom_vjp` functions, so that `jvp`, `linearize` and `vmap` work as well. A `vmap` over
kernels becomes a loop on the CPU, where grouped convolutions are slow, and a grouped convolution elsewhere.

Images are `[batch, height, width, channels]`, kernels `[height, width, channels in, channels out]`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gan_jax import compilation
from gan_jax.networks import convolution_routes as routes
from gan_jax.networks import onednn
from gan_jax.networks.geometry import Geometry, Pair
from gan_jax.networks.primitives import compile_alone, equally_varying, shaped
from gan_jax.typing import Array

_NHWC = ('NHWC', 'HWIO', 'NHWC')


def conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """Convolves images with a kernel: `[n, h, w, c], [a, b, c, o] -> [n, h', w', o]`."""
    return _bind(_conv_p, x, w, geometry)


def conv_input(y: Array, w: Array, geometry: Geometry) -> Array:
    """Applies the transposed convolution: `[n, h', w', o], [a, b, c, o] -> [n, h, w, c]`."""
    return _bind(_conv_input_p, y, w, geometry)


def conv_kernel(x: Array, y: Array, geometry: Geometry) -> Array:
    """Computes the gradient of the kernel from images and cotangents: `[n, h, w, c], [n, h', w', o] -> [a, b, c, o]`."""
    return _bind(_conv_kernel_p, x, y, geometry)


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Array:
    """Computes `conv` with the signature of `lax.conv_general_dilated`, for `layers.Conv`.

    Convolutions that the three maps do not cover (other ranks or layouts, dilation) are passed to `lax` unchanged.

    Args:
        lhs: images, `[n, h, w, c]` in the layout of the three maps.
        rhs: kernel, `[a, b, c, o]` in the layout of the three maps.
        window_strides: strides along height and width.
        padding: 'SAME', 'VALID' or `((top, bottom), (left, right))`.
        lhs_dilation: dilation of the images; None for none.
        rhs_dilation: dilation of the kernel; None for none.
        dimension_numbers: layouts of images, kernel and result.
        feature_group_count: number of groups of channels.
        **options: further options of `lax.conv_general_dilated`.
    """
    layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = (
        layout == lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), _NHWC)
        and set(lhs_dilation or ()) <= {1}
        and set(rhs_dilation or ()) <= {1}
        and all(value is None or (name, value) == ('batch_group_count', 1) for name, value in options.items())
    )
    if not plain:
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, **options
        )
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    (top, bottom), (left, right) = padding
    pads = ((int(top), int(bottom)), (int(left), int(right)))
    geometry = Geometry(lhs.shape[1:3], rhs.shape[:2], tuple(window_strides), pads)  # type: ignore[arg-type]
    return conv(lhs, rhs, geometry) if feature_group_count == 1 else _conv_of_groups(lhs, rhs, geometry, feature_group_count)


def _conv_of_groups(x: Array, w: Array, geometry: Geometry, groups: int) -> Array:
    """`conv` of each group of channels, `[n, h, w, groups * c], [a, b, c, groups * o] -> [n, h', w', groups * o]`."""
    apart = (a.reshape(*a.shape[:3], groups, -1) for a in (x, w))
    y = jax.vmap(lambda x, w: conv(x, w, geometry), 3, 3)(*apart)
    return y.reshape(*y.shape[:3], -1)


def _bind(primitive: Primitive, a: Array, b: Array, geometry: Geometry) -> Array:
    dtype = jnp.result_type(a, b)
    both = equally_varying(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    return primitive.bind(*both, geometry=geometry, grouped=False, precision=compilation.matmul_precision())


# The native lowerings: the convolution of lax and its transposes.


def _native_conv(x: Array, w: Array, g: Geometry) -> Array:
    return lax.conv_general_dilated(x, w, g.strides, g.padding, dimension_numbers=_NHWC)


def _native_conv_input(y: Array, w: Array, g: Geometry) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *g.input_size, w.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _native_conv(x, w, g), x)(y)[0]


def _native_conv_kernel(x: Array, y: Array, g: Geometry) -> Array:
    w = jax.ShapeDtypeStruct((*g.kernel_size, x.shape[3], y.shape[3]), y.dtype)
    return jax.linear_transpose(lambda w: _native_conv(x, w, g), w)(y)[0]


# The primitives. `grouped` operands and results have an additional leading axis, over which the map is applied.


def _primitive(name: str, native: Callable, cpu: Callable, shape: Callable, operands: Callable) -> Primitive:
    primitive = Primitive(name)

    def abstract(a: Any, b: Any, *, geometry: Geometry, grouped: bool, precision: Any) -> jax.core.ShapedArray:
        del precision
        groups = a.shape[:1] if grouped else ()
        return shaped((*groups, *shape(a.shape[grouped:], b.shape[grouped:], geometry)), a, b)

    def lowering(function: Callable, each: Callable) -> Callable:
        def apply(a: Array, b: Array, *, geometry: Geometry, grouped: bool, precision: Any) -> Array:
            one = functools.partial(function, g=geometry)
            with jax.default_matmul_precision(precision):  # that of where it was called, not of where it is compiled
                return each(one)(a, b) if grouped else one(a, b)

        return mlir.lower_fun(apply, multiple_results=False)

    def one_by_one(one: Callable) -> Callable:
        return lambda a, b: lax.map(lambda ab: one(*ab), (a, b))

    by_xla, by_onednn = (lowering(functools.partial(cpu, fast=fast), one_by_one) for fast in (False, True))

    def lower_on_cpu(context: mlir.LoweringRuleContext, a: Any, b: Any, *, grouped: bool, **options: Any) -> Any:
        values: list[Any] = [*context.avals_in, *context.avals_out]
        _, w, y = (value.shape[grouped:] for value in operands(*values))
        products = math.prod(w) * math.prod(y[:3])
        fast = all(value.dtype == jnp.float32 for value in values) and onednn.chosen(context, products)
        return (by_onednn if fast else by_xla)(context, a, b, grouped=grouped, **options)

    compile_alone(primitive)
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, lowering(native, jax.vmap))
    mlir.register_lowering(primitive, lower_on_cpu, platform='cpu')
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    return primitive


def _batch(primitive: Primitive, operands: Sequence[Array], axes: Sequence[int | None], *, grouped: bool, **options: Any) -> Any:
    a, b = operands
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    if axes[1] is None and not grouped and primitive is not _conv_kernel_p:  # images against one kernel: a larger batch
        a = jnp.moveaxis(a, axes[0], 0)  # type: ignore[arg-type]
        result = primitive.bind(a.reshape(-1, *a.shape[2:]), b, **options, grouped=False)
        return result.reshape(size, -1, *result.shape[1:]), 0
    a, b = (
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip((a, b), axes, strict=True)
    )
    if not grouped:
        return primitive.bind(a, b, **options, grouped=True), 0
    groups = a.shape[:2]
    a, b = (x.reshape(-1, *x.shape[2:]) for x in (a, b))
    result = primitive.bind(a, b, **options, grouped=True)
    return result.reshape(*groups, *result.shape[1:]), 0


# The last two arguments return the shape of the result, and sort operands and result into x, w and y.
_conv_p = _primitive(
    'gan_jax_conv', _native_conv, routes.conv, lambda x, w, g: (x[0], *g.output_size, w[3]), lambda x, w, y: (x, w, y)
)
_conv_input_p = _primitive(
    'gan_jax_conv_input',
    _native_conv_input,
    routes.conv_input,
    lambda y, w, g: (y[0], *g.input_size, w[2]),
    lambda y, w, x: (x, w, y),
)
_conv_kernel_p = _primitive(
    'gan_jax_conv_kernel',
    _native_conv_kernel,
    routes.conv_kernel,
    lambda x, y, g: (*g.kernel_size, x[3], y[3]),
    lambda x, y, w: (x, w, y),
)

ad.defbilinear(
    _conv_p, lambda ct, x, w, **g: _conv_input_p.bind(ct, w, **g), lambda ct, x, w, **g: _conv_kernel_p.bind(x, ct, **g)
)
ad.defbilinear(
    _conv_input_p, lambda ct, y, w, **g: _conv_p.bind(ct, w, **g), lambda ct, y, w, **g: _conv_kernel_p.bind(ct, y, **g)
)
ad.defbilinear(
    _conv_kernel_p, lambda ct, x, y, **g: _conv_input_p.bind(y, ct, **g), lambda ct, x, y, **g: _conv_p.bind(x, ct, **g)
)
