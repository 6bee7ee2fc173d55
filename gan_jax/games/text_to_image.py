"""From words to images: matching-aware and interpolated text-conditional GANs (Reed et al., ICML 2016)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import parallel
from gan_jax.augmentations import Augmentation
from gan_jax.features import FeatureLoss
from gan_jax.games.adversarial import Auxiliary, Reading, adversarial
from gan_jax.games.judgement import PenaltyAt
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty, Scheduled
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_MISMATCHED = 'mismatched'


class Play(NamedTuple):
    """What the generator makes of a batch."""

    image: Array
    """Of each example's own text, `[n, ...]`."""
    interpolated: Array | None
    """Of the texts between those of examples 2k and 2k + 1, `[n / 2, ...]`: GAN-INT in training only."""


def text_to_image(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    penalties: Sequence[Penalty | Scheduled] = (),
    penalty_at: PenaltyAt = 'seen',
    augmentation: Augmentation | None = None,
    feature_losses: Sequence[FeatureLoss] = (),
    feature_layer: int = -1,
    objective_weight: float = 1.0,
    mismatch_weight: float = 0.5,
    interpolation_weight: float = 0.0,
    beta: float = 0.5,
) -> Game:
    """A generator of images from texts, and a discriminator that asks whether an image is real and whether the text is its own.

    Batches are `{'image': [n, ...], 'text': [n, size], 'label': int [n]}`: vectors of captions (`gan_jax.text`), and what the
    captions are about. A real image with another example's text is a third kind of example, which the discriminator learns to
    refuse (GAN-CLS, algorithm 1): with the objective's losses L of (real, fake) logits its loss is

        (1 - mismatch_weight) L(D(x, t), D(G(z, t), t)) + mismatch_weight L(D(x, t), D(x, t')).

    With cross-entropies and a weight of .5 that is the paper's; with a weight of 0 the plain conditional game. The other text t'
    is the batch's own choice if it has any, `{'mismatched': [n, size]}`; otherwise that of the next example in the whole batch,
    cyclically, whose label and text are both others; of the next example at all if there is none.

    GAN-INT (eq. 5) adds `interpolation_weight` times the generator's loss on half as many images again, of the texts
    `beta t_2k + (1 - beta) t_2k+1`, which have no real image: the discriminator never learns from them.

    Args:
        generator: `generator(z [n, size], text [n, size], train=) -> images`.
        discriminator: `discriminator(images, *texts, train=) -> logits [n, texts]`: of each image with each of its texts.
        objective: what each minimises, from `gan_jax.objectives`.
        latent: and `penalties`, `penalty_at`, `augmentation`, `feature_losses`, `feature_layer`, `objective_weight`: as of
            `games.adversarial`. Penalties hold each example's own text.
        mismatch_weight: from 0 to 1; the authors' is .5.
        interpolation_weight: at least 0; GAN-INT's is 1.
        beta: from 0 to 1.

    The play is a `Play`. To sample, give it texts only: `gan_jax.sample(game, state, {'text': vectors}, key).image`.

    Raises `ValueError` for weights out of range, for packing and, in training, for GAN-INT on an odd number of examples.
    """
    if not (0 <= mismatch_weight <= 1 and 0 <= beta <= 1 and interpolation_weight >= 0):
        weights = f'{mismatch_weight=}, {interpolation_weight=}, {beta=}'
        raise ValueError(f'mismatch_weight and beta are from 0 to 1, interpolation_weight is at least 0; got {weights}')
    if augmentation is not None and augmentation.group > 1:
        raise ValueError('packing joins images of different texts, and a pair of image and text is judged by itself')

    def matching(real: Array, fake: Array, batch: Batch) -> tuple[Array, Metrics]:
        # The game's own loss is L(matched, fake): this moves a share of it to the mismatched texts.
        if _MISMATCHED not in batch:
            return jnp.float32(0), {}
        moved = objective.discriminator(real[:, 0], real[:, 1]).mean() - objective.discriminator(real[:, 0], fake[:, 0]).mean()
        return mismatch_weight * moved, {'mismatched_logit': real[:, 1].mean()}

    reading = Reading(
        examples=lambda batch: batch['image'],
        generator=lambda batch: (batch['text'],),
        discriminator=lambda batch: tuple(batch[name] for name in ('text', _MISMATCHED) if name in batch),
        logit=lambda output: output[:, 0],
    )
    auxiliary = Auxiliary(matching, lambda real, fake, batch: (jnp.float32(0), {}))
    base = adversarial(
        generator,
        discriminator,
        objective,
        latent=latent,
        penalties=penalties,
        penalty_at=penalty_at,
        augmentation=augmentation,
        feature_losses=feature_losses,
        feature_layer=feature_layer,
        objective_weight=objective_weight,
        reading=reading,
        auxiliary=auxiliary,
    )

    def between(batch: Batch) -> Batch:
        """Pairs of neighbours lie on one device each, so that nothing has to be gathered."""
        n = len(batch['text'])
        if n % 2:
            raise ValueError(f'texts are interpolated in pairs, of an even number of examples on each device; got {n}')
        even, odd = (batch['text'][i::2] for i in (0, 1))
        return {'image': batch['image'][::2], 'text': beta * even + (1 - beta) * odd}

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Play, Variables]:
        own_key, between_key = jax.random.split(key)
        images, state = base.play(variables, {'text': batch['text']}, own_key, train=train)
        if not (interpolation_weight and train):
            return Play(images, None), state
        texts = {'text': between(batch)['text']}
        interpolated, state = base.play({**variables, **state}, texts, between_key)
        return Play(images, interpolated), state

    def with_mismatched(batch: Batch) -> Batch:
        # Both players' batches: the discriminator may normalise by what it is shown.
        if not mismatch_weight:
            return {name: value for name, value in batch.items() if name != _MISMATCHED}
        if _MISMATCHED in batch:
            return batch
        return {**batch, _MISMATCHED: mismatched(batch['text'], batch['label'])}

    def discriminator_loss(variables: Variables, play: Play, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        return base.discriminator_loss(variables, play.image, with_mismatched(batch), key)

    def generator_loss(variables: Variables, play: Play, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        own_key, between_key = jax.random.split(key)
        loss, metrics = base.generator_loss(variables, play.image, with_mismatched(batch), own_key)
        if play.interpolated is None:
            return loss, metrics
        extra, _ = base.generator_loss(variables, play.interpolated, between(batch), between_key)
        return loss + interpolation_weight * extra, {**metrics, 'interpolation_loss': extra}

    return base._replace(play=play, discriminator_loss=discriminator_loss, generator_loss=generator_loss)


def mismatched(text: Array, label: Array) -> Array:
    """Another example's text for each example, `[n, size], [n] -> [n, size]`.

    It is that of the next example of the whole batch, cyclically, of another label and another text; where there is none, of
    the next example. In O(n size) memory: the batch is turned by one example at a time until every example has found its own.
    """
    texts, labels = parallel.all_gather(text), parallel.all_gather(label)
    n = len(texts)
    known = lax.stop_gradient(texts)

    def turn(search: tuple[Array, Array]) -> tuple[Array, Array]:
        shift, shifts = search
        ahead = lambda x: jnp.roll(x, -shift, axis=0)
        other = (ahead(labels) != labels) & (ahead(known) != known).any(-1)
        return shift + 1, jnp.where((shifts == 0) & other, shift, shifts)

    searching = lambda search: (search[0] < n) & (search[1] == 0).any()
    _, shifts = lax.while_loop(searching, turn, (jnp.int32(1), jnp.zeros(n, jnp.int32)))
    chosen = (jnp.arange(n) + jnp.maximum(shifts, 1)) % n
    return parallel.local_rows(texts[chosen])
