"""DCGAN's rules and shapes; MLPs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import networks
from gan_jax.errors import InputError
from gan_jax.networks.dcgan import stages


def test_sizes():
    assert [stages(n) for n in (8, 16, 28, 32, 64, 128)] == [(4, 1), (4, 2), (7, 2), (4, 3), (4, 4), (4, 5)]
    for size in (0, 4, 7, 12, 30, 48):
        with pytest.raises(InputError, match=r'these networks take 28 and 4 \* 2\^n'):
            stages(size)


@pytest.mark.parametrize(('size', 'channels', 'kernel_size'), [(8, 1, 3), (28, 1, 5), (32, 3, 4), (64, 3, 5)])
def test_shapes_and_features(size, channels, kernel_size):
    generator = networks.DCGANGenerator(size, channels, width=2, kernel_size=kernel_size)
    discriminator = networks.DCGANDiscriminator(2, kernel_size)
    z = jax.random.normal(jax.random.key(0), (3, 10))
    images, _ = generator.init_with_output(jax.random.key(1), z)
    assert (
        images[0].shape == (3, size, size, channels) if isinstance(images, tuple) else images.shape == (3, size, size, channels)
    )
    (logits, features), _ = discriminator.init_with_output(jax.random.key(2), jnp.asarray(images), features_too=True)
    assert logits.shape == (3,)
    base, halvings = stages(size)
    assert [f.shape for f in features] == [(3, size >> i, size >> i, 2 << (i - 1)) for i in range(1, halvings + 1)]
    assert features[-1].shape[1] == base


def paths(variables):
    return {'/'.join(str(k.key) for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def test_the_papers_network_at_64_pixels():
    # Radford et al. 2016, fig. 1: 100 -> 4x4x1024 -> 512 -> 256 -> 128 -> 3, kernels 5x5; batch norm in every layer but G's last
    # and D's first.
    g = paths(jax.eval_shape(networks.DCGANGenerator(64).init, jax.random.key(0), jnp.zeros((1, 100))))
    assert g['params/Dense_0/kernel'].shape == (100, 4 * 4 * 1024)
    kernels = [g[f'params/ConvTranspose_{i}/kernel'].shape for i in range(4)]
    assert kernels == [(5, 5, 512, 1024), (5, 5, 256, 512), (5, 5, 128, 256), (5, 5, 3, 128)]
    assert sum('BatchNorm' in path and path.endswith('scale') for path in g) == 4
    d = paths(jax.eval_shape(networks.DCGANDiscriminator().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    kernels = [d[f'params/Conv_{i}/kernel'].shape for i in range(4)]
    assert kernels == [(5, 5, 3, 128), (5, 5, 128, 256), (5, 5, 256, 512), (5, 5, 512, 1024)]
    assert sum('BatchNorm' in path and path.endswith('scale') for path in d) == 3
    assert [path for path in d if 'Dense' in path and path.endswith('kernel')] == ['params/Dense_0/kernel']
    assert d['params/Dense_0/kernel'].shape == (4 * 4 * 1024, 1)


def test_initial_weights():
    variables = networks.DCGANGenerator(32, width=64).init(jax.random.key(0), jnp.zeros((1, 100)))
    for path, leaf in paths(variables['params']).items():
        if path.endswith('kernel'):
            assert float(leaf.std()) == pytest.approx(0.02, rel=0.05) and abs(float(leaf.mean())) < 1e-3
        if path.endswith('scale'):
            assert float(leaf.mean()) == pytest.approx(1, abs=0.01) and float(leaf.std()) == pytest.approx(0.02, rel=0.4)


def test_half_precision_keeps_parameters_and_outputs_in_float32():
    generator = networks.DCGANGenerator(8, 1, width=4, dtype=jnp.bfloat16)
    discriminator = networks.DCGANDiscriminator(4, dtype=jnp.bfloat16)
    mlp = networks.MLP((4, 1), squeeze=True, dtype=jnp.bfloat16)
    x, g = generator.init_with_output(jax.random.key(0), jnp.ones((2, 4)), train=False)
    (logits, features), d = discriminator.init_with_output(jax.random.key(0), x, train=False, features_too=True)
    y, m = mlp.init_with_output(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves((g, d, m))} == {jnp.dtype('float32')}
    assert x.dtype == logits.dtype == y.dtype == jnp.float32
    assert features[0].dtype == jnp.bfloat16


def test_mlp():
    mlp = networks.MLP((3, 1), input_scale=0.25, squeeze=True)
    x = jax.random.normal(jax.random.key(0), (5, 2))
    (y, hidden), variables = mlp.init_with_output(jax.random.key(1), x, features_too=True)
    p = variables['params']
    h = np.maximum(0, x / 4 @ p['Dense_0']['kernel'] + p['Dense_0']['bias'])
    np.testing.assert_allclose(hidden[0], h, atol=1e-6)
    np.testing.assert_allclose(y, (h @ p['Dense_1']['kernel'] + p['Dense_1']['bias'])[:, 0], atol=1e-6)
