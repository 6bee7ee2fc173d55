"""Vector quantisation against NumPy, and the quantised autoencoder's shapes, counts and codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal

from gan_jax import networks
from gan_jax.errors import InputError

SHAPE = (3, 4, 2)
CODEBOOK = np.random.default_rng(0).normal(size=(5, 2))


def quantise(z, codebook=CODEBOOK):
    return networks.VectorQuantizer(5, commitment=0.25).apply({'params': {'codebook': jnp.asarray(codebook)}}, jnp.asarray(z))


def test_the_nearest_code_and_its_loss():
    with jax.enable_x64(True):
        z = np.random.default_rng(1).normal(size=SHAPE)
        found, codes, loss = quantise(z)
        distances = ((z[..., None, :] - CODEBOOK) ** 2).sum(-1)
        np.testing.assert_array_equal(codes, distances.argmin(-1))
        assert len(np.unique(codes)) > 2 and codes.shape == SHAPE[:-1]
        np.testing.assert_allclose(found, CODEBOOK[np.asarray(codes)], rtol=1e-12)
        np.testing.assert_allclose(loss, 1.25 * distances.min(-1).mean(-1) / 2, rtol=1e-12)  # 1 + beta of one value


def test_gradients_are_straight_through_and_of_each_term():
    with jax.enable_x64(True):
        z = np.random.default_rng(1).normal(size=SHAPE)
        cotangent = np.random.default_rng(2).normal(size=SHAPE)
        codes = np.asarray(quantise(z)[1])
        nearest = CODEBOOK[codes]
        through = lambda z, codebook: (quantise(z, codebook)[0] * cotangent).sum()
        of_z, of_codebook = jax.grad(through, (0, 1))(jnp.asarray(z), jnp.asarray(CODEBOOK))
        np.testing.assert_allclose(of_z, cotangent, rtol=1e-12)
        np.testing.assert_array_equal(of_codebook, 0)
        of_z, of_codebook = jax.grad(lambda z, c: quantise(z, c)[2].sum(), (0, 1))(jnp.asarray(z), jnp.asarray(CODEBOOK))
        each = 2 * (z - nearest) / (4 * 2)
        np.testing.assert_allclose(of_z, 0.25 * each, rtol=1e-10)
        expected = np.stack([-each[codes == k].sum(0) for k in range(5)])
        np.testing.assert_allclose(of_codebook, expected, rtol=1e-10, atol=1e-15)


def test_codes_of_images_decode_to_their_reconstructions():
    network, x = networks.QuantizedAutoencoder(1, 6, 3, width=2, norm='none'), normal(0, 2, 8, 8, 1)

    @jax.jit
    def look(key):
        variables = network.init(key, x)
        made, codes, loss = network.apply(variables, x, train=False)
        return made, codes, loss, network.apply(variables, codes, method='decode')

    made, codes, loss, decoded = look(jax.random.key(1))
    assert made.shape == x.shape and codes.shape == (2, 2, 2) and loss.shape == (2,)
    close(decoded, made, atol=1e-5)


@pytest.mark.parametrize('norm', ['none', 'batch', 'spectral', 'weight', 'layer', 'instance'])
def test_shapes_and_where_the_last_layer_is(norm):
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    network = networks.QuantizedAutoencoder(halvings=3, norm=norm)
    (made, codes, loss), variables = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), x)
    assert made.shape == x.shape and codes.shape == (2, 4, 4) and loss.shape == (2,)
    last = variables['params']['decoder']['last']
    assert {name: leaf.shape for name, leaf in last.items()} == {'kernel': (3, 3, 32, 3), 'bias': (3,)}


def test_parameters():
    x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    network = networks.QuantizedAutoencoder(1, 7, 5, width=2, halvings=2, norm='none')
    params = jax.eval_shape(lambda x: network.init(jax.random.key(0), x), x)['params']
    # kernel a^2 c o, and a bias: down 1 -> 2 -> 4 and a block of 4 channels, to 5; 5 -> 4, a block, up 4 -> 2 -> 2, out 1
    conv = lambda side, c, o: side**2 * c * o + o
    block = conv(3, 4, 4) + conv(1, 4, 4)
    encoder = conv(4, 1, 2) + conv(4, 2, 4) + block + conv(1, 4, 5)
    decoder = conv(3, 5, 4) + block + conv(4, 4, 2) + conv(4, 2, 2) + conv(3, 2, 1)
    counted = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    assert counted == {'encoder': encoder, 'decoder': decoder, 'quantizer': 7 * 5}


def test_sizes_that_cannot_be_halved():
    with pytest.raises(InputError, match='28 x 28 cannot be halved 3 times; both sides must be multiples of 8'):
        jax.eval_shape(lambda: networks.QuantizedAutoencoder(halvings=3).init(jax.random.key(0), jnp.zeros((1, 28, 28, 3))))


def test_the_nearest_code_far_from_the_origin():
    rng = np.random.default_rng(0)
    codebook = 1000 + rng.normal(size=(32, 8))
    z = 1000 + rng.normal(size=(500, 8))
    codes = networks.VectorQuantizer(32).apply({'params': {'codebook': jnp.float32(codebook)}}, jnp.float32(z))[1]
    distances = np.square(np.float32(z)[:, None].astype(float) - np.float32(codebook).astype(float)).sum(-1)
    np.testing.assert_array_equal(codes, distances.argmin(-1))
