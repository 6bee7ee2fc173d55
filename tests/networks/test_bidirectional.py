"""Networks of BiGAN and ALI: pairs in float64 NumPy, and codes from the distribution that an encoder predicts."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import normal

from gan_jax import networks


def test_a_pair_is_judged_by_its_features_joined_to_its_code():
    images, codes = normal(1, 3, 8, 8, 1), normal(2, 3, 2)
    network = networks.PairDiscriminator(networks.DCGANDiscriminator(2, 2, norm='none', outputs=4), (5,))
    variables = jax.tree.map(lambda x: normal(3, *x.shape), network.init(jax.random.key(0), images, codes))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables['params'])
    seen, _ = network.network.apply({'params': variables['params']['network']}, images, features_too=True)
    leaky = lambda x: np.where(x > 0, x, 0.2 * x)
    hidden = np.concatenate([leaky(np.asarray(seen, np.float64)), codes], 1) @ p['MLP_0']['Dense_0']['kernel']
    hidden = leaky(hidden + p['MLP_0']['Dense_0']['bias'])
    expected = hidden @ p['MLP_0']['Dense_1']['kernel'] + p['MLP_0']['Dense_1']['bias']
    logits, features = network.apply(variables, images, codes, features_too=True)
    np.testing.assert_allclose(logits, expected[:, 0], rtol=1e-4)
    assert [f.shape[1:] for f in features] == [(4, 4, 2), (5,)]
    np.testing.assert_allclose(features[-1], hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network.apply(variables, images, codes), logits)


def test_codes_have_the_predicted_mean_and_variance():
    class Told:
        def __call__(self, x, *, train=True):
            return x

    network = networks.StochasticEncoder(Told())
    means, variances = jnp.array([1.0, -2.0]), jnp.array([4.0, 0.25])
    x = jnp.broadcast_to(jnp.concatenate([means, jnp.log(variances)]), (4000, 4))
    draw = lambda key: network.apply({}, x, rngs={'noise': key})
    codes = draw(jax.random.key(0))
    error = np.sqrt(np.asarray(variances) / 4000)
    np.testing.assert_array_less(np.abs(codes.mean(0) - means), 5 * error)
    np.testing.assert_allclose(codes.var(0), variances, rtol=5 * (2 / 4000) ** 0.5)
    np.testing.assert_array_equal(draw(jax.random.key(0)), codes)
    assert np.abs(draw(jax.random.key(1)) - codes).max() > 1
