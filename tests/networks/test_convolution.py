"""The three convolution maps: equal to lax in value and derivatives, and only canonical convolutions in the CPU program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import gan_jax
from experiments.benchmark import steps
from gan_jax.networks import channels, convolution, layers, onednn
from gan_jax.networks import convolution_routes as routes
from gan_jax.networks.geometry import Geometry, same_geometry

CASES = [  # height, kernel, stride, padding
    (8, 4, 2, (1, 1)), (8, 5, 2, (1, 2)), (7, 3, 2, (1, 1)), (8, 3, 1, (1, 1)),
    (9, 1, 2, (0, 0)), (7, 5, 3, (0, 2)), (8, 2, 3, (0, 0)), (6, 1, 1, (0, 0)),
]  # fmt: skip


def operands(case, dtype):
    n, k, s, padding = case
    geometry = Geometry((n, n + 1), (k, k), (s, s), (padding, padding))
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, n, n + 1, 3), dtype)
    w = jax.random.normal(keys[1], (k, k, 3, 4), dtype)
    y = jax.random.normal(keys[2], (2, *geometry.output_size, 4), dtype)
    return geometry, x, w, y


def lax_conv(x, w, g):
    return jax.lax.conv_general_dilated(x, w, g.strides, g.padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


@pytest.mark.parametrize('case', CASES)
def test_values_first_and_second_derivatives_equal_lax(case):
    with jax.enable_x64(True):
        geometry, x, w, y = operands(case, jnp.float64)

        def second(conv):
            # A gradient penalty, differentiated: every one of the three maps, and each one's derivatives.
            def penalty(x, w):
                gx, gw = jax.grad(lambda x, w: jnp.tanh(conv(x, w, geometry)).sum(), (0, 1))(x, w)
                return (gx**2).sum() + (gw**2).sum()

            return jax.jit(jax.value_and_grad(penalty, (0, 1)))(x, w)

        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), second(convolution.conv), second(lax_conv))
        value, transpose = jax.vjp(lambda x, w: lax_conv(x, w, geometry), x, w)
        np.testing.assert_allclose(convolution.conv(x, w, geometry), value, atol=1e-6)
        np.testing.assert_allclose(convolution.conv_input(y, w, geometry), transpose(y)[0], atol=1e-6)
        np.testing.assert_allclose(convolution.conv_kernel(x, y, geometry), transpose(y)[1], atol=1e-6)


def every_route(x, w, y, g, convolve):
    """Name -> (a route's result, what it has to be)."""
    value, transpose = jax.vjp(lambda x, w: lax_conv(x, w, g), x, w)
    dx, dw = transpose(y)
    return {
        'conv': (convolve(x, w, g.strides, g.padding), value),
        'as_product': (routes.as_product(x, w, g.strides, g.padding), value),
        'as_phases': (routes.as_phases(y, w, g, convolve), dx),
        'as_one_convolution': (routes.as_one_convolution(y, w, g, convolve), dx),
        'as_canonical': (routes.as_canonical(x, y, g, convolve), dw),
        'as_patches': (routes.as_patches(x, y, g), dw),
        **({'as_swapped': (routes.as_swapped(x, y, g, False), dw)} if g.strides == (1, 1) else {}),
    }


@pytest.mark.parametrize('case', CASES)
def test_every_route_is_the_map(case):
    with jax.enable_x64(True):
        geometry, x, w, y = operands(case, jnp.float64)
        for name, (found, expected) in every_route(x, w, y, geometry, routes.canonical(False)).items():
            np.testing.assert_allclose(found, expected, atol=1e-9, err_msg=name)


@pytest.mark.skipif(not onednn.available(), reason='the call was not tested with this jaxlib or on this machine')
@pytest.mark.usefixtures('unkept')
@pytest.mark.parametrize('case', CASES)
def test_every_route_by_onednn_is_the_map(case):
    geometry, x, w, y = operands(case, jnp.float32)
    for name, (found, expected) in every_route(x, w, y, geometry, routes.canonical(True)).items():
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)


@pytest.mark.skipif(not onednn.available(), reason='the call was not tested with this jaxlib or on this machine')
@pytest.mark.usefixtures('unkept')
@pytest.mark.parametrize('shape', [(16, 8, 3, 16, 2), (8, 8, 16, 16, 1), (16, 12, 16, 12, 1)])
def test_programs_hold_the_chosen_routes(shape, monkeypatch):
    monkeypatch.setattr(onednn, 'WORTHWHILE', 1)
    n, size, c, o, stride = shape
    g = same_geometry((size, size), (3, 3), (stride, stride))
    x, w = jnp.ones((n, size, size, c)), jnp.ones((3, 3, c, o))
    y = jnp.ones((n, *g.output_size, o))
    calls = lambda map_, *a: jax.jit(lambda *a: map_(*a, g)).lower(*a).compile().as_text().count('__onednn$convolution"')
    assert calls(convolution.conv, x, w) == 1
    # Few channels: all phases in one convolution. Else one a phase.
    assert calls(convolution.conv_input, y, w) == (1 if c <= 8 else stride**2)
    # oneDNN is slow where the kernel of the canonical convolution, y, is large.
    assert calls(convolution.conv_kernel, x, y) == (1 if stride > 1 or size <= 8 else 0)


def test_exported_programs_hold_no_call_of_onednn(monkeypatch):
    monkeypatch.setattr(onednn, 'WORTHWHILE', 1)
    g = same_geometry((8, 8), (3, 3), (1, 1))
    function = jax.jit(lambda x, w: convolution.conv(x, w, g))
    exported = jax.export.export(function)(jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4)))
    assert '__onednn' not in exported.mlir_module()


def test_without_jit_a_convolution_is_the_same():
    geometry = same_geometry((8, 8), (5, 5), (2, 2))
    x, w = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((2, 8, 8, 3), (5, 5, 3, 4))))
    expected = convolution.conv(x, w, geometry)
    with jax.disable_jit():
        np.testing.assert_allclose(convolution.conv(x, w, geometry), expected, rtol=1e-6)


def test_without_jit_a_layer_is_the_same():
    x, layer = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), layers.Conv(4, (3, 3))
    variables = layer.init(jax.random.key(1), x)
    with jax.disable_jit():
        np.testing.assert_allclose(layer.apply(variables, x), jax.jit(layer.apply)(variables, x), rtol=1e-5, atol=1e-6)


def by_ours(x, w, bias):
    y = convolution.conv(x, w, same_geometry(x.shape[1:3], (3, 3), (2, 2)))
    y += channels.channel_broadcast(bias, y.shape)
    return jnp.sin(y).sum() + jnp.sin(channels.channel_mean(y)).sum()


def by_lax(x, w, bias):
    y = lax_conv(x, w, same_geometry(x.shape[1:3], (3, 3), (2, 2))) + bias
    return jnp.sin(y).sum() + jnp.sin(y.mean((0, 1, 2))).sum()


@pytest.mark.parametrize('of_all', [True, False])
def test_within_shard_map_what_devices_share_has_the_gradient_of_all(of_all):
    """With `check_vma`, JAX's default, which knows what varies over the devices, and sums the gradients of what does not."""
    mesh = jax.make_mesh((4,), ('i',), axis_types=(jax.sharding.AxisType.Auto,))
    x, w, bias = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(((8, 6, 6, 3), (3, 3, 3, 5), (5,))))

    def slopes(value):
        specs = {'mesh': mesh, 'in_specs': (P('i'), P(), P()), 'out_specs': P()}
        if of_all:
            return jax.grad(jax.shard_map(lambda *a: jax.lax.psum(value(*a), 'i'), **specs), (1, 2))
        return jax.shard_map(lambda *a: jax.grad(value, (1, 2))(*a), **specs)

    for a, b in zip(jax.jit(slopes(by_ours))(x, w, bias), jax.jit(slopes(by_lax))(x, w, bias), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_forward_mode_and_vmap():
    with jax.enable_x64(True):
        geometry, x, w, _ = operands(CASES[0], jnp.float64)
        many = jnp.stack([w, 2 * w, 3 * w])
        ours, theirs = (lambda w, f=f: f(x, w, geometry) for f in (convolution.conv, lax_conv))
        np.testing.assert_allclose(jax.jvp(ours, (w,), (w,))[1], jax.jvp(theirs, (w,), (w,))[1], atol=1e-9)
        np.testing.assert_allclose(jax.vmap(ours)(many), jax.vmap(theirs)(many), atol=1e-9)
        gradient = lambda f: jax.vmap(jax.vmap(jax.grad(lambda w: jnp.sin(f(w)).sum())))(jnp.stack([many, -many]))
        np.testing.assert_allclose(gradient(ours), gradient(theirs), atol=1e-9)
        inputs = jnp.stack([x, -x])
        np.testing.assert_allclose(
            jax.vmap(lambda x: convolution.conv(x, w, geometry))(inputs),
            jax.vmap(lambda x: lax_conv(x, w, geometry))(inputs),
            atol=1e-9,
        )


def test_grouped_convolutions_are_laxs_to_the_second_derivative():
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0))
        x, w = jax.random.normal(keys[0], (2, 5, 6, 6), jnp.float64), jax.random.normal(keys[1], (3, 3, 2, 9), jnp.float64)
        options = {'window_strides': (2, 1), 'padding': 'SAME', 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}

        def second(conv):
            def penalty(x, w):
                outputs = lambda x: jnp.tanh(conv(x, w, **options, feature_group_count=3)) * jnp.arange(9)  # each channel its own
                gradient = jax.grad(lambda x: outputs(x).sum())(x)
                return (gradient**2).sum()

            return jax.jit(jax.value_and_grad(penalty, (0, 1)))(x, w)

        ours, theirs = (second(f) for f in (convolution.conv_general_dilated, jax.lax.conv_general_dilated))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), ours, theirs)
    program = jax.make_jaxpr(
        lambda x: layers.Conv(features=4, kernel_size=(3, 3), feature_group_count=2).init(jax.random.key(0), x)
    )
    assert 'gan_jax_conv' in str(program(jnp.ones((1, 4, 4, 4))))


def test_a_flax_layer_on_these_maps_is_the_stock_layer():
    import flax.linen as nn

    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 3))
    for options in ({'strides': (2, 2)}, {'padding': 'VALID'}, {'kernel_dilation': (2, 2)}, {'feature_group_count': 3}):
        ours = layers.Conv(features=6, kernel_size=(3, 3), **options)
        stock = nn.Conv(features=6, kernel_size=(3, 3), **options)
        variables = stock.init(jax.random.key(1), x)
        np.testing.assert_allclose(ours.apply(variables, x), stock.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize('kernel', [3, 4, 5])
def test_transposed_layer_is_the_transpose_of_the_convolution(kernel):
    up = layers.ConvTranspose(5, (kernel, kernel), (2, 2), use_bias=False)
    y = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = up.init(jax.random.key(1), y)
    down = layers.Conv(features=3, kernel_size=(kernel, kernel), strides=(2, 2), use_bias=False)
    x = jax.random.normal(jax.random.key(2), (2, 8, 8, 5))
    # <up y, x> = <y, down x>
    a, b = jnp.vdot(up.apply(variables, y), x), jnp.vdot(y, down.apply(variables, x))
    np.testing.assert_allclose(a, b, rtol=1e-5)


# Small members of every family of networks, in the steps of the benchmark.
SMALL = {
    'dcgan': {'size': 16, 'channels': 1, 'width': 4, 'batch_size': 4},
    'sngan': {'size': 16, 'width': 4, 'batch_size': 4},
    'wgan_gp': {'size': 16, 'width': 4, 'batch_size': 4},
    'pix2pix': {},  # as it is: XLA rewrites convolutions of a single position that are too small for oneDNN's
    'cyclegan': {'size': 32, 'width': 4, 'blocks': 1, 'batch_size': 2},
    'r3gan': {'size': 16, 'batch_size': 4},
}


def step_of(name, options):
    """A training of the benchmark, its train step, and the shapes of its first state."""
    training = steps.STEPS[name](**options)
    optimizers = training.optimizers[:2]
    step = gan_jax.make_train_step(training.game, *optimizers, unroll_steps=training.unroll_steps)
    return (
        training,
        step,
        jax.eval_shape(lambda key: gan_jax.init(training.game, *optimizers, training.start, key), jax.random.key(0)),
    )


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('dcgan', SMALL['dcgan']),
        *(pytest.param(name, options, marks=pytest.mark.slow) for name, options in SMALL.items() if name != 'dcgan'),
        pytest.param('dcgan', {**SMALL['dcgan'], 'unroll_steps': 2}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures('unkept')
def test_the_cpu_program_of_a_network_holds_only_canonical_convolutions(name, options):
    training, step, state = step_of(name, options)
    many = gan_jax.many_steps(step, training.feed.by(jax.random.key(0)), 3)
    text = jax.jit(many).lower(state, training.feed.data, jnp.int32(3)).compile().as_text()
    assert set(re.findall(r'dim_labels=(\w+->\w+)', text)) <= {'b01f_01io->b01f'}
    assert 'dim_labels' in text or '__onednn$convolution"' in text
    assert 'lhs_dilate' not in text


@pytest.mark.parametrize('name', SMALL)
def test_every_convolution_of_a_network_is_one_of_the_three_maps(name):
    """By the program before it is compiled for a platform: none goes past them to lax."""
    training, step, state = step_of(name, SMALL[name])
    draw = lambda state: step(state, training.feed.by(jax.random.key(0))(training.feed.data, state.step))
    program = str(jax.make_jaxpr(draw)(state))
    assert 'gan_jax_conv_kernel' in program
    assert 'conv_general_dilated' not in program
