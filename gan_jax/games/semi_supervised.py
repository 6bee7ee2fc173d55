"""Semi-supervised learning with a generator: K classes and a class "generated" (Salimans et al. 2016, section 5)."""

from collections.abc import Callable
from typing import Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gan_jax.games.adversarial import Reading, adversarial
from gan_jax.games.judgement import JudgementOptions, apply_network, check_options, refuse_packing
from gan_jax.objectives import Objective
from gan_jax.optimizers import averaged
from gan_jax.training import Game, Player
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


def semi_supervised(
    generator: nn.Module,
    classifier: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    unsupervised_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A classifier that learns from a few labels, and from telling unlabelled from generated examples.

    Batches are `{'labelled': {'image': [m, ...], 'label': int [m]}, 'unlabelled': [n, ...]}`. Class K + 1, "generated", has
    logit 0, so an example is real with probability D = Z / (Z + 1), where Z = sum_k exp l_k, and the logit of D is
    LSE(l) = log Z. The classifier's loss is

        mean(LSE(l) - l_y)  over the labelled, plus  unsupervised_weight / 2  times the objective's on LSE(l);

    with `objectives.minimax()` or `non_saturating()` the second term is the paper's L_unsupervised, halved as in the authors'
    code.

    The generator's loss is as in `games.adversarial`. Feature matching, which yields the best classifiers, is
    `feature_losses=[feature_matching()], objective_weight=0`. The paper's other generator uses `objectives.minimax()` and a
    classifier with minibatch discrimination.

    `init` performs data-dependent initialisation of the classifier, if it has any, on the unlabelled examples it receives (the
    authors used 500). For sampling, `batch` only gives the number of samples, as in
    `gan_jax.sample(game, state, jnp.zeros(64), key)`.

    Args:
        generator: `generator(z, train=) -> examples`.
        classifier: `classifier(examples, train=) -> logits [n, K]`; for feature losses also `features_too=True`. It may draw
            from the random stream 'noise'.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the generator's loss.
        unsupervised_weight: weight of the unsupervised loss, including penalties.
        **options: of the judgement: `games.judgement.JudgementOptions`. Augmentations apply to unlabelled and generated examples.

    Raises `ValueError` for a negative `unsupervised_weight`, for packing and as `games.adversarial` does.
    """
    check_options(options)
    refuse_packing(options.get('augmentation'), 'joins examples of different classes, but the classifier judges each alone')
    if unsupervised_weight < 0:
        raise ValueError(f'unsupervised_weight must be at least 0, got {unsupervised_weight}')
    reading = Reading(logit=lambda logits: jax.nn.logsumexp(logits, axis=-1))
    base = adversarial(
        generator,
        classifier,
        objective,
        latent=latent,
        objective_weight=objective_weight,
        reading=reading,
        **options,
    )

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        base_key, params_key, noise_key = jax.random.split(key, 3)
        g_variables, d_variables = base.init(batch['unlabelled'], base_key)
        rngs = {'params': params_key, 'noise': noise_key}
        return g_variables, {**d_variables, **classifier.init(rngs, batch['unlabelled'], train=True)}

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        return base.play(variables, batch['unlabelled'] if isinstance(batch, dict) else batch, key, train=train)

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        base_key, noise_key = jax.random.split(key)
        unsupervised, (state, metrics) = base.discriminator_loss(variables, play, batch['unlabelled'], base_key)
        images, labels = batch['labelled']['image'], batch['labelled']['label']
        logits, state = apply_network(classifier, {**variables, **state}, images, noise=noise_key)
        supervised = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        accuracy = (logits.argmax(-1) == labels).astype(jnp.float32).mean()
        metrics = {'supervised_loss': supervised, 'labelled_accuracy': accuracy, **metrics}
        return supervised + unsupervised_weight / 2 * unsupervised, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        return base.generator_loss(variables, play, batch['unlabelled'], key)

    return Game(init, play, discriminator_loss, generator_loss)


def classify(classifier: nn.Module, player: Player, images: Array, *, average: bool = True) -> Array:
    """The probabilities of the K classes for real images, `[n, ...] -> [n, K]`, in inference mode.

    Args:
        classifier: the network of the game.
        player: the discriminator's player.
        images: real images, `[n, ...]`.
        average: whether to use the averaged parameters kept by the player's optimizer (`optimizers.average_parameters`, as in
            `optax.chain(optax.adam(...), average_parameters(1 - 1e-4))`) rather than the current ones.

    Raises `ValueError` if the optimizer does not keep an average but one is requested.
    """
    params = averaged(player.opt_state) if average else player.params
    logits, _ = apply_network(classifier, {**player.state, 'params': params}, images, train=False)
    return jax.nn.softmax(logits)
