"""VAE-GAN: a variational autoencoder that reconstructs a discriminator's features (Larsen et al. 2016)."""

from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import latents, parallel
from gan_jax.features import feature_reconstruction
from gan_jax.games.adversarial_autoencoder import Autoencoded
from gan_jax.games.differences import difference
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement, refuse_packing
from gan_jax.games.parts import by_collection, part_of, replaced, state_of
from gan_jax.objectives import Objective, non_saturating
from gan_jax.ranges import Weight, checked
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_CROSS_ENTROPY = non_saturating()
_LIKENESS = (feature_reconstruction(),)


class Variational(NamedTuple):
    """A training play. The two reconstructions are equal in value."""

    mean: Array
    """Of q(z | x), `[n, size]`."""
    log_variance: Array
    """Of q(z | x), `[n, size]`."""
    for_encoder: Array
    """Reconstructions `[n, ...]` through a decoder that is held fixed."""
    for_decoder: Array
    """Reconstructions `[n, ...]` of codes that are held fixed."""
    sample: Array
    """`[n, ...]`, decoded from draws of the prior."""


@checked
def vae_gan(
    encoder: nn.Module,
    decoder: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _CROSS_ENTROPY,
    *,
    prior_weight: Weight = 1.0,
    gamma: Weight = 1e-3,
    pixel_weight: Weight = 0.0,
    objective_weight: Weight = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A variational autoencoder against a discriminator of reconstructions and samples (algorithm 1).

    With L_prior = KL(q(z|x) || N(0, I)), L_like the feature losses between images and their reconstructions, by default
    `features.feature_reconstruction`, and L_G the objective's loss of reconstructions and samples, half of each,

        encoder:  prior_weight L_prior + L_like
        decoder:  gamma L_like + objective_weight L_G

    and the discriminator has the objective's loss alone. In the paper's sum each of the three terms has weight 1; here real
    examples weigh as much as both kinds of generated ones together, and L_G is half of the paper's, so that a paper's gamma is
    twice the gamma here.

    The encoder and the decoder are one player, with parameters
    `{'encoder': ..., 'decoder': ...}`; its loss is the sum of both, and no gradient of one reaches the other. For this the play
    has two reconstructions of equal value, each of which is judged; XLA computes them once.

    The batch is an array of examples. The play is `Variational` in training and `Autoencoded` in sampling, which requires
    examples and reconstructs them from the means of q(z|x).

    Args:
        encoder: `encoder(examples, train=) -> [n, 2 size]`, means and log variances of q(z|x).
        decoder: `decoder(codes [n, size], train=) -> examples`.
        discriminator: `discriminator(examples, train=, features_too=True) -> (logits, [features, ...])`. All three may draw from
            the Flax random stream 'noise'.
        objective: the losses of both players, from `gan_jax.objectives`. Every real example is compared with its reconstruction
            and with a sample.
        prior_weight: weight of L_prior.
        gamma: the decoder's weight of L_like, a sum over many features, beside L_G.
        pixel_weight: weight of half the squared difference of images and reconstructions, summed over pixels, for encoder and
            decoder. With 1, no feature losses and an objective weight of 0, the game is a plain variational autoencoder with
            p(x|z) = N(Dec(z), I).
        objective_weight: weight of L_G.
        **options: of the judgement of reconstructions and samples alike: `games.judgement.JudgementOptions`. The feature losses
            are L_like. No regularizer may move latents. Every real example is shown twice and counts twice, also for an adaptive
            augmentation.

    Raises `ValueError` for packing, for weights out of range, without feature losses if `pixel_weight` is 0, as
    `games.judgement.judgement` does and, from `init`, if the encoder does not return pairs.
    """
    options.setdefault('feature_losses', _LIKENESS)
    if not options['feature_losses'] and not pixel_weight:
        raise ValueError('a variational autoencoder requires feature losses or a pixel_weight above 0')
    because = 'would join a real image to itself, because it is compared with a reconstruction and a sample'
    refuse_packing(options.get('augmentation'), because)
    judge = judgement(discriminator, objective.undecided, options)

    def init(batch: Array, key: Key) -> tuple[Variables, Variables]:
        e_key, g_key, d_key = jax.random.split(key, 3)
        # Inference mode creates the same variables and does not require noise.
        code, of_encoder = encoder.init_with_output(e_key, batch[:1], train=False)
        if code.ndim != 2 or code.shape[1] % 2:
            raise ValueError(f'the encoder must return means and log variances [n, 2 size], not {code.shape}')
        of_decoder = decoder.init(g_key, jnp.split(code, 2, -1)[0], train=False)
        return by_collection({'encoder': of_encoder, 'decoder': of_decoder}), judge.init(batch, d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Variational | Autoencoded, Variables]:
        e_key, z_key, prior_key, g_key, s_key = jax.random.split(key, 5)
        parameters, state = apply_network(encoder, part_of(variables, 'encoder'), batch, train=train, noise=e_key)
        variables = replaced(variables, 'encoder', state)
        mean, log_variance = jnp.split(parameters, 2, -1)
        normal = lambda key: jax.vmap(latents.normal(mean.shape[1]))(parallel.example_keys(len(batch), key))

        def decode(variables: Variables, z: Array, key: Key) -> tuple[Array, Variables]:
            made, state = apply_network(decoder, part_of(variables, 'decoder'), z, train=train, noise=key)
            return made, replaced(variables, 'decoder', state)

        if not train:
            reconstruction, sample = (decode(variables, z, k)[0] for z, k in ((mean, g_key), (normal(prior_key), s_key)))
            return Autoencoded(reconstruction, mean, sample), state_of(variables)
        z = mean + jnp.exp(log_variance / 2) * normal(z_key)
        for_encoder, _ = decode(lax.stop_gradient(variables), z, g_key)
        for_decoder, variables = decode(variables, lax.stop_gradient(z), g_key)
        sample, variables = decode(variables, normal(prior_key), s_key)
        return Variational(mean, log_variance, for_encoder, for_decoder, sample), state_of(variables)

    def discriminator_loss(
        variables: Variables, play: Variational, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        real, fake = _alternating(batch, batch), _alternating(play.for_decoder, play.sample)
        return judge.discriminator_loss(objective, variables, real, fake, key)[:2]

    def generator_loss(variables: Variables, play: Variational, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        def judged(variables: Variables, reconstruction: Array, sample: Array) -> tuple[Array, Array]:
            real, fake = _alternating(batch, batch), _alternating(reconstruction, sample)
            terms = judge.generator_terms(objective, variables, real, fake, key, paired=True)
            if not judge.feature_losses:
                return terms.objective, jnp.zeros(())
            kept = [[layer[::2] for layer in verdict.features] for verdict in (terms.real, terms.fake)]
            return terms.objective, judge.feature_loss(*kept)

        value, for_decoder = judged(variables, play.for_decoder, play.sample)
        fixed, sample = lax.stop_gradient((variables, play.sample))
        _, for_encoder = judged(fixed, play.for_encoder, sample)
        metrics: Metrics = {}
        divergence = latents.kl_to_standard_normal(play.mean, play.log_variance).mean()
        loss = prior_weight * divergence + for_encoder + gamma * for_decoder + objective_weight * value
        if pixel_weight:
            error = lambda made: jnp.square(difference(batch, made)).reshape(len(batch), -1).sum(-1).mean() / 2
            metrics['pixel_loss'] = error(play.for_encoder)
            loss += pixel_weight * (metrics['pixel_loss'] + error(play.for_decoder))
        return loss, {'prior_loss': divergence, 'feature_loss': for_decoder, 'adversarial_loss': value, **metrics}

    return Game(init, play, discriminator_loss, generator_loss)


def _alternating(a: Array, b: Array) -> Array:
    """Rows of `a [n, ...]` and `b [n, ...]` in turn, `[2 n, ...]`, so that a device's share consists of its shares of both."""
    return jnp.stack([a, b], 1).reshape(-1, *a.shape[1:])
