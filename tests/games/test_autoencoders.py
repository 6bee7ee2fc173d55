"""VAE-GAN and the adversarial autoencoder: their algorithms written out, and which gradients flow where."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal

import gan_jax
from gan_jax import data, games, latents, networks
from gan_jax.games.parts import part_of
from gan_jax.latents import kl_to_standard_normal

KEY = jax.random.key(0)
IMAGES = normal(1, 6, 2)
ENCODER, DECODER = networks.MLP((5, 6), jnp.tanh), networks.MLP((5, 2), jnp.tanh)
JUDGE = networks.MLP((4, 1), jnp.tanh, squeeze=True)
vae_gan = functools.partial(games.vae_gan, ENCODER, DECODER, JUDGE)


def gradients(game, g, d):
    def loss(params):
        play, _ = game.play({'params': params}, IMAGES, KEY)
        return game.generator_loss(d, play, IMAGES, KEY)[0]

    return jax.grad(loss)(g['params'])


# VAE-GAN.


def drawn(game, g):
    """The latents of reconstructions and of samples of a play, without its own variables: z = mean + sigma e, and z_p."""
    e, z_p = (jax.vmap(latents.normal(3))(gan_jax.parallel.example_keys(6, key)) for key in jax.random.split(KEY, 5)[1:3])
    return e, z_p


def test_vae_gan_is_algorithm_1():
    """The gradients of the encoder and of the decoder, from the losses that the paper gives each, with all terms written out."""
    game = vae_gan(gamma=0.1, prior_weight=0.7, objective_weight=0.5)
    g, d = game.init(IMAGES, KEY)
    e, z_p = drawn(game, g)
    softplus = jax.nn.softplus

    def losses(encoder, decoder):
        mean, log_variance = jnp.split(ENCODER.apply({'params': encoder}, IMAGES), 2, -1)
        made = DECODER.apply({'params': decoder}, mean + jnp.exp(log_variance / 2) * e)
        sample = DECODER.apply({'params': decoder}, z_p)
        (_, (of_real,)), (of_made, (features,)) = (JUDGE.apply(d, x, features_too=True) for x in (IMAGES, made))
        prior = kl_to_standard_normal(mean, log_variance).mean()
        like = jnp.square(of_real - features).sum(-1).mean() / 2
        adversarial = (softplus(-of_made).mean() + softplus(-JUDGE.apply(d, sample)).mean()) / 2
        return 0.7 * prior + like, 0.1 * like + 0.5 * adversarial

    encoder, decoder = g['params']['encoder'], g['params']['decoder']
    expected = {
        'encoder': jax.grad(lambda p: losses(p, decoder)[0])(encoder),
        'decoder': jax.grad(lambda p: losses(encoder, p)[1])(decoder),
    }
    close(gradients(game, g, d), expected, atol=2e-6)
    play, _ = game.play(g, IMAGES, KEY)
    np.testing.assert_array_equal(play.for_encoder, play.for_decoder)
    value, metrics = game.generator_loss(d, play, IMAGES, KEY)
    assert float(value) == pytest.approx(float(sum(losses(encoder, decoder))), rel=1e-5)
    logits = [JUDGE.apply(d, x) for x in (IMAGES, play.for_decoder, play.sample)]
    by_hand = softplus(-logits[0]).mean() + (softplus(logits[1]).mean() + softplus(logits[2]).mean()) / 2
    assert float(game.discriminator_loss(d, play, IMAGES, KEY)[0]) == pytest.approx(float(by_hand), rel=1e-5)
    assert {'prior_loss', 'feature_loss', 'adversarial_loss'} <= set(metrics)


def test_vae_gan_on_pixels_alone_is_a_variational_autoencoder():
    """Then the gradient is that of -log N(x; Dec(z), I) + KL with respect to everything at once."""
    game = vae_gan(pixel_weight=1.0, objective_weight=0.0, feature_losses=())
    g, d = game.init(IMAGES, KEY)
    e, _ = drawn(game, g)

    def bound(params):
        mean, log_variance = jnp.split(ENCODER.apply({'params': params['encoder']}, IMAGES), 2, -1)
        made = DECODER.apply({'params': params['decoder']}, mean + jnp.exp(log_variance / 2) * e)
        return (jnp.square(made - IMAGES).sum(-1) / 2 + kl_to_standard_normal(mean, log_variance)).mean()

    close(gradients(game, g, d), jax.grad(bound)(g['params']), atol=2e-6)


def test_vae_gan_samples_are_of_the_prior_and_reconstructions_of_the_means():
    game = vae_gan()
    g, _ = game.init(IMAGES, KEY)
    made, _ = game.play(g, IMAGES, KEY, train=False)
    mean = jnp.split(ENCODER.apply(part_of(g, 'encoder'), IMAGES), 2, -1)[0]
    close(made.code, mean)
    close(made.reconstruction, DECODER.apply(part_of(g, 'decoder'), mean))
    close(made.sample, DECODER.apply(part_of(g, 'decoder'), drawn(game, g)[1]))


# The adversarial autoencoder.

aae = functools.partial(games.adversarial_autoencoder, networks.MLP((5, 2), jnp.tanh), DECODER, JUDGE)


@pytest.mark.parametrize('latent', [latents.normal(2), data.mixture('ring_veegan').sample])
def test_the_prior_moves_the_encoder_and_not_the_decoder(latent):
    g, d = aae(latent=latent).init(IMAGES, KEY)
    a, b = (gradients(aae(latent=latent, objective_weight=w), g, d) for w in (0.0, 1.0))
    close(a['decoder'], b['decoder'], atol=0)
    assert all((x != y).any() for x, y in zip(jax.tree.leaves(a['encoder']), jax.tree.leaves(b['encoder']), strict=True))
    alone = gradients(aae(latent=latent, reconstruction_weight=0.0), g, d)
    assert all(not leaf.any() for leaf in jax.tree.leaves(alone['decoder']))


def test_the_adversarial_autoencoder_by_hand():
    """With the non-saturating loss: -log sigmoid of D at the codes, plus the squared difference; D sees draws of the prior."""
    game = aae(latent=lambda key: jnp.array([1.0, -2.0]), reconstruction_weight=3.0, objective_weight=0.5)
    g, d = game.init(IMAGES, KEY)
    play, _ = game.play(g, IMAGES, KEY)
    code = networks.MLP((5, 2), jnp.tanh).apply(part_of(g, 'encoder'), IMAGES)
    made = DECODER.apply(part_of(g, 'decoder'), code)
    close((play.code, play.reconstruction), (code, made))
    real, fake = JUDGE.apply(d, jnp.array([[1.0, -2.0]])), JUDGE.apply(d, code)
    softplus = jax.nn.softplus
    value, metrics = game.generator_loss(d, play, IMAGES, KEY)
    assert float(value) == pytest.approx(float(3 * jnp.square(made - IMAGES).mean() + softplus(-fake).mean() / 2), rel=1e-5)
    assert float(metrics['reconstruction_loss']) == pytest.approx(float(jnp.square(made - IMAGES).mean()), rel=1e-5)
    by_d = game.discriminator_loss(d, play, IMAGES, KEY)[0]
    assert float(by_d) == pytest.approx(float(softplus(-real).mean() + softplus(fake).mean()), rel=1e-5)
    sampled, _ = game.play(g, IMAGES, KEY, train=False)
    close(sampled.sample, jnp.broadcast_to(DECODER.apply(part_of(g, 'decoder'), jnp.array([[1.0, -2.0]])), (6, 2)))


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r'the same shape, got \(2,\) and \(3,\)'):
        aae(latent=latents.normal(3)).init(IMAGES, KEY)
    with pytest.raises(ValueError, match='means and log variances'):
        games.vae_gan(networks.MLP((5,)), DECODER, JUDGE).init(IMAGES, KEY)
    with pytest.raises(ValueError, match='feature losses or a pixel_weight'):
        vae_gan(feature_losses=())
    with pytest.raises(ValueError, match='gamma must be from 0'):
        vae_gan(gamma=-1.0)
