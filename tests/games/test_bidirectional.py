"""BiGAN and ALI: the game's value on every pair of maps between three points, and what each objective teaches the encoder."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick

import gan_jax
from gan_jax import augmentations, games, latents, networks, objectives, penalties
from gan_jax.games.bidirectional import Inference, pair
from gan_jax.registry import build

POINTS = np.eye(3, dtype=np.float32)
MAPS = np.array(list(itertools.product(range(3), repeat=3)))
"""All 27 maps from three points to three points, as the numbers of the images."""


class Table(nn.Module):
    """A discriminator with one logit for each pair of points, which are one-hot."""

    @nn.compact
    def __call__(self, x, code, *, train=True):
        logits = self.param('logits', nn.initializers.zeros, (3, 3))
        return jnp.einsum('ni,ij,nj->n', x, logits, code)


def tables(objective, **options) -> gan_jax.Game:
    one_hot = lambda key: jax.nn.one_hot(jax.random.randint(key, (), 0, 3), 3)
    return games.bidirectional(networks.MLP((3,)), networks.MLP((3,)), Table(), objective, latent=one_hot, **options)


def joint(map_, inverse):
    """The distribution of (x, z) over pairs, [3, 3]: of (x, E(x)), or of (G(z), z)."""
    found = np.zeros((3, 3))
    for i, image in enumerate(map_):
        found[(image, i) if inverse else (i, image)] += 1 / 3
    return found


def test_the_value_is_that_of_the_paper_and_least_only_for_inverse_maps():
    # C(E, G) = 2 JSD - log 4; only E and G that are inverse reach -log 4 (Donahue et al. 2017, theorems 1 and 2).
    game = tables(objectives.minimax())
    loss = jax.jit(jax.vmap(lambda logits, play: game.discriminator_loss({'params': {'logits': logits}}, play, POINTS, key)[0]))
    by_g = jax.jit(jax.vmap(lambda logits, play: game.generator_loss({'params': {'logits': logits}}, play, POINTS, key)[0]))
    key, plays, best, expected, inverse = jax.random.key(0), [], [], [], []
    for encoder, generator in itertools.product(MAPS, MAPS):
        p, q = joint(encoder, inverse=False), joint(generator, inverse=True)
        mean, log = (p + q) / 2, lambda x: np.log(np.where(x > 0, x, 1))
        divergence = ((p * (log(p) - log(mean))).sum() + (q * (log(q) - log(mean))).sum()) / 2
        plays.append(Inference(POINTS[generator], POINTS, POINTS[encoder]))
        best.append(
            np.where(p > 0, 30.0, 0)
            - np.where(q > 0, 30.0, 0)
            + np.log(np.where((p > 0) & (q > 0), p / np.where(q > 0, q, 1), 1))
        )
        expected.append(2 * divergence - math.log(4))
        inverse.append((encoder[generator] == range(3)).all() and (generator[encoder] == range(3)).all())
    logits, plays = jnp.asarray(np.array(best), jnp.float32), jax.tree.map(lambda *x: jnp.stack(x), *plays)
    values = -np.asarray(loss(logits, plays))
    np.testing.assert_allclose(values, expected, atol=1e-5)
    np.testing.assert_allclose(by_g(logits, plays), values, atol=1e-6)
    assert sum(inverse) == 6  # the permutations
    np.testing.assert_array_equal(np.isclose(values, -math.log(4), atol=1e-5), inverse)


def test_a_better_discriminator_of_the_table_does_not_exist():
    game, key = tables(objectives.minimax()), jax.random.key(0)
    play = Inference(POINTS[[0, 0, 1]], POINTS, POINTS[[0, 1, 1]])
    loss = lambda logits: game.discriminator_loss({'params': {'logits': logits}}, play, POINTS, key)[0]
    # p has (0, 0), (1, 1) and (2, 1), q has (0, 0), (0, 1) and (1, 2), each with 1/3.
    best = jnp.zeros((3, 3)).at[[1, 2], [1, 1]].set(30.0).at[[0, 1], [1, 2]].set(-30.0)
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)
    assert float(-loss(best)) == pytest.approx(2 * (2 / 3) * math.log(2) - math.log(4), abs=1e-5)


OBJECTIVES = [
    'minimax',
    'non_saturating',
    'wasserstein',
    'least_squares',
    'hinge',
    'relativistic',
    'relativistic_average',
    'f_gan',
]


@pytest.mark.parametrize('text', OBJECTIVES)
def test_every_objective_draws_both_kinds_of_pairs_together(text):
    # G raises the logit of its pairs, and E lowers that of real ones.
    game = tables(build(objectives.OBJECTIVES, text))
    logits = jax.random.uniform(jax.random.key(1), (3, 3), minval=0.05, maxval=0.1)  # so that logits are between 0 and 1
    play = Inference(*jax.random.uniform(jax.random.key(2), (3, 3, 3)))
    loss = lambda play: game.generator_loss({'params': {'logits': logits}}, play, POINTS, jax.random.key(0))[0]
    gradient = jax.grad(loss)(play)
    # The gradients lie along those of the logits: the loss falls in the generated logits, and rises in the real ones.
    along_fake = (gradient.examples * (play.latents @ logits.T)).sum(1)
    along_real = (gradient.codes * (POINTS @ logits)).sum(1)
    assert (along_fake < 0).all() and (along_real > 0).all()


def test_non_saturating_is_the_loss_with_kinds_exchanged():
    game = tables(objectives.non_saturating())
    logits = jax.random.normal(jax.random.key(1), (3, 3))
    play = Inference(*jax.random.uniform(jax.random.key(2), (3, 3, 3)))
    score = lambda x, z: np.einsum('ni,ij,nj->n', x, logits, z)
    real, fake = score(POINTS, play.codes), score(play.examples, play.latents)
    expected = np.logaddexp(0, real).mean() + np.logaddexp(0, -fake).mean()  # Dumoulin et al. 2017, algorithm 1
    loss, _ = game.generator_loss({'params': {'logits': logits}}, play, POINTS, jax.random.key(0))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


class Flat(nn.Module):
    """A linear discriminator of images and codes."""

    @nn.compact
    def __call__(self, x, code, *, train=True):
        assert x.shape[1:] == (4, 4, 1) and code.shape[1:] == (2,)
        return networks.MLP((1,), squeeze=True)(jnp.concatenate([x.reshape(len(x), -1), code], -1))


def images(**options) -> gan_jax.Game:
    return games.bidirectional(
        networks.MLPGenerator((4, 4, 1), ()),
        networks.MLP((2,)),
        Flat(),
        objectives.wasserstein(),
        latent=latents.normal(2),
        **options,
    )


def test_penalties_take_gradients_of_examples_and_codes():
    game = images(penalties=[penalties.r1(2.0)])
    batch = jnp.ones((3, 4, 4, 1))
    g, d = quick(game.init)(batch, jax.random.key(0))
    play, _ = quick(game.play)(g, batch, jax.random.key(1))
    _, (_, metrics) = quick(game.discriminator_loss)(d, play, batch, jax.random.key(2))
    (kernel,) = (x for x in jax.tree.leaves(d['params']) if x.ndim == 2)
    assert kernel.shape == (16 + 2, 1)
    expected = float(jnp.square(kernel).sum())
    assert float(metrics['penalty']) == pytest.approx(expected, rel=1e-5)


def test_augmentations_change_examples_and_not_codes():
    triple = augmentations.Augmentation(lambda: (), lambda state, x, keys: 3 * x, lambda state, real: state)
    batch = jax.random.normal(jax.random.key(3), (3, 4, 4, 1))
    plain, game = images(), images(augmentation=triple)
    g, d = game.init(batch, jax.random.key(0))
    play, _ = game.play(g, batch, jax.random.key(1))
    _, (_, metrics) = game.discriminator_loss(d, play, batch, jax.random.key(2))
    _, (_, expected) = plain.discriminator_loss(d, play._replace(examples=3 * play.examples), 3 * batch, jax.random.key(2))
    for name in ('real_logit', 'fake_logit'):
        assert float(metrics[name]) == pytest.approx(float(expected[name]), abs=1e-5)


def test_samples_by_number_have_no_codes():
    game = images()
    g, _ = game.init(jnp.zeros((1, 4, 4, 1)), jax.random.key(0))
    play, _ = game.play(g, jnp.zeros(5), jax.random.key(1), train=False)
    assert play.examples.shape == (5, 4, 4, 1) and play.latents.shape == (5, 2) and play.codes is None
    play, _ = game.play(g, jnp.ones((5, 4, 4, 1)), jax.random.key(1), train=False)
    assert play.codes.shape == (5, 2)
    np.testing.assert_array_equal(pair(play.examples, play.codes)[:, 16:], play.codes)


def test_what_is_refused():
    with pytest.raises(ValueError, match='packing joins examples whose codes differ'):
        images(augmentation=augmentations.packing(2))
    game = games.bidirectional(networks.MLP((2,)), networks.MLP((3,)), Table(), objectives.hinge(), latent=latents.normal(2))
    with pytest.raises(ValueError, match=r'codes must have the shape of latents, got \(3,\) and \(2,\)'):
        game.init(jnp.zeros((1, 2)), jax.random.key(0))
