"""The game of a style-based generator: which layers mix, and where the path length goes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import games, latents, networks, objectives, path_lengths

LAYERS = 4


class Identity(nn.Module):
    """The style is the latent times a parameter, and the example its styles."""

    layers: int = LAYERS

    def setup(self):
        self.scale = self.param('scale', nn.initializers.ones, ())

    def styles(self, z, *, train=True):
        return self.scale * z

    def synthesise(self, w, *, train=True):
        return jnp.broadcast_to(w[:, None] if w.ndim == 2 else w, (len(w), self.layers, w.shape[-1]))

    def __call__(self, z, *, train=True):
        return self.synthesise(self.styles(z, train=train))


class Flat(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=True):
        return networks.MLP((1,), squeeze=True)(x.reshape(len(x), -1))


def make(**options):
    return games.style_based(Identity(), Flat(), objectives.non_saturating(), latent=latents.normal(3), **options)


def examples(n, train=True, **options):
    game = make(**options)
    batch = jnp.zeros((n, LAYERS, 3))
    variables, _ = game.init(batch[:1], jax.random.key(0))
    return np.asarray(jax.jit(lambda key: game.play(variables, batch, key, train=train)[0].examples)(jax.random.key(1)))


def test_styles_mix_from_a_layer_on_that_is_uniform():
    n = 6000
    found = examples(n, mixing=0.75)
    same = (found == found[:, :1]).all(-1)  # the first style
    assert same[:, 0].all() and (np.diff(same.astype(int), axis=1) <= 0).all()  # never the first again after the second
    np.testing.assert_array_equal(found[~same].reshape(-1, 3), (found[:, -1:] * ~same[..., None])[~same])  # there is one second
    begins = np.bincount(same.sum(1), minlength=LAYERS + 1)
    # From layers 1, 2 and 3 with probability .25 each, and from none with .25; three deviations are .017.
    np.testing.assert_allclose(begins / n, [0, 0.25, 0.25, 0.25, 0.25], atol=0.02)


@pytest.mark.parametrize(('mixing', 'train'), [(0.0, True), (1.0, False)])
def test_one_style_without_mixing_and_in_inference(mixing, train):
    found = examples(4, train, mixing=mixing)
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], LAYERS, 1))
    assert len(np.unique(found)) == 12


def test_the_path_length_is_the_generators_alone():
    """With J = s I, |J^T y| = s |y| / sqrt(layers), whatever the styles; the penalty is due at every other update."""
    regularized, plain = make(path_regularization=path_lengths.path_length(every=2)), make()
    batch, keys = jnp.ones((8, LAYERS, 3)), jax.random.split(jax.random.key(2), 3)
    g, d = regularized.init(batch, keys[0])
    for due in (True, False):
        play, state = regularized.play(g, batch, keys[1])
        other = play._replace(paths=None)
        loss, metrics = regularized.generator_loss(d, play, batch, keys[2])
        base, found = plain.generator_loss(d, other, batch, keys[2])
        assert play.paths.penalties.shape == (4,) and bool(np.any(play.paths.penalties)) == due and not found
        assert float(loss - base) == pytest.approx(float(play.paths.penalties.mean()), rel=1e-4, abs=1e-6)
        assert float(metrics['path_length']) == float(state['paths']['mean']) > 0
        losses = [game.discriminator_loss(d, play, batch, keys[2])[0] for game in (regularized, plain)]
        assert losses[0] == losses[1]
        g = {**g, **state}
    assert regularized.play(g, batch, keys[1], train=False)[0].paths is None
    three = jax.eval_shape(lambda: regularized.play(g, batch[:3], keys[1])[0].paths)
    assert three.penalties.shape == (2,)  # half of the batch, rounded up


class Normalised(Identity):
    def setup(self):
        super().setup()
        self.norm = nn.BatchNorm()

    def synthesise(self, w, *, train=True):
        return self.norm(super().synthesise(w), use_running_average=not train)


def test_statistics_that_would_not_be_updated_are_refused():
    game = games.style_based(Normalised(), Flat(), objectives.non_saturating(), latent=latents.normal(3))
    with pytest.raises(ValueError, match="does not update 'batch_stats'"):
        game.init(jnp.zeros((1, LAYERS, 3)), jax.random.key(0))


def test_a_probability_out_of_range_is_refused():
    with pytest.raises(ValueError, match='mixing is a probability, from 0 to 1, not 2'):
        make(mixing=2)
