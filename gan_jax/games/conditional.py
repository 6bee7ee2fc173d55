"""Games with labels: conditional GAN (Mirza and Osindero 2014), the projection discriminator, and AC-GAN (Odena et al. 2017)."""

from collections.abc import Callable
from typing import Any, Unpack

import flax.linen as nn
import jax.numpy as jnp
import optax

from gan_jax.games.adversarial import Auxiliary, Reading, adversarial
from gan_jax.games.judgement import JudgementOptions, check_options, refuse_packing
from gan_jax.objectives import Objective
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics


def conditional(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    auxiliary: Auxiliary | None = None,
    **options: Unpack[JudgementOptions],
) -> Game:
    """The standard game conditioned on labels; batches are `{'image': [n, ...], 'label': int [n]}`.

    The generator receives the labels of the batch, so the game concerns p(image | label) only, whatever the frequencies of the
    classes. To sample, pass labels only: `gan_jax.sample(game, state, {'label': labels}, key)`.

    Args:
        generator: `generator(z [n, size], labels [n], train=) -> examples`.
        discriminator: `discriminator(examples, labels, train=) -> logits [n]`, which concatenates or projects the label. With
            `auxiliary` it does not receive the label:
            `discriminator(examples, train=) -> (logits [n], class logits [n, classes])`.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the generator's loss.
        auxiliary: the additional losses of AC-GAN, `auxiliary_classifier()`.
        **options: of the judgement: `games.judgement.JudgementOptions`. Penalties hold each example's label fixed; a point
            between a real and a generated example has the label of both.

    Raises `ValueError` for packing, because the examples of a pack have different labels, and as `games.adversarial` does.
    """
    check_options(options)
    because = 'joins examples of different labels, but a conditional discriminator takes a single label'
    refuse_packing(options.get('augmentation'), because)
    label = lambda batch: (batch['label'],)
    reading = Reading(examples=lambda batch: batch['image'], generator=label, discriminator=label)
    if auxiliary is not None:
        reading = reading._replace(discriminator=lambda batch: (), logit=lambda output: output[0])
    return adversarial(
        generator,
        discriminator,
        objective,
        latent=latent,
        objective_weight=objective_weight,
        reading=reading,
        auxiliary=auxiliary,
        **options,
    )


def auxiliary_classifier(weight: float = 1.0, generator_weight: float = 1.0, generated: bool = True) -> Auxiliary:
    """AC-GAN: both players aim to make the label recognisable from real and generated images (Odena et al. 2017, section 3, L_C).

    L_C is the mean cross-entropy of the real images plus that of the generated ones; each player's loss includes it with that
    player's weight. The term of the real images is constant for the plain generator, but not for an unrolled one. With
    `generated=False` the discriminator learns the classes from real images only, and the generator's loss includes only its own
    images; with a generator weight of .1, this is what the code of WGAN-GP does on CIFAR-10.

    Raises `ValueError` for a negative weight.
    """
    if weight < 0 or generator_weight < 0:
        raise ValueError(f'weights must be at least 0, got {weight} and {generator_weight}')

    def discriminator(real: Any, fake: Any, batch: Batch) -> tuple[Array, Metrics]:
        of_real, of_fake = (_cross_entropy(output, batch) for output in (real, fake))
        metrics = {'real_accuracy': _accuracy(real, batch), 'fake_accuracy': _accuracy(fake, batch)}
        value = of_real + of_fake if generated else of_real
        return weight * value, {'class_loss': value, **metrics}

    def generator(real: Any, fake: Any, batch: Batch) -> tuple[Array, Metrics]:
        of_real, of_fake = (_cross_entropy(output, batch) for output in (real, fake))
        value = of_real + of_fake if generated else of_fake
        return generator_weight * value, {'generator_class_loss': value}

    return Auxiliary(discriminator, generator)


def _cross_entropy(output: Any, batch: Batch) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(output[1], batch['label']).mean()


def _accuracy(output: Any, batch: Batch) -> Array:
    return (output[1].argmax(-1) == batch['label']).astype(jnp.float32).mean()
