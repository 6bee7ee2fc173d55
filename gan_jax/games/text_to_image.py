"""From text to images: matching-aware and interpolating text-conditional GANs (Reed et al., ICML 2016)."""

from collections.abc import Callable
from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax import parallel
from gan_jax.games.adversarial import Auxiliary, Reading, WithNeighbours, adversarial
from gan_jax.games.judgement import JudgementOptions, check_options, refuse_packing
from gan_jax.objectives import Objective
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_MISMATCHED = 'mismatched'


class Play(NamedTuple):
    """The generator's output for a batch."""

    image: Array | WithNeighbours
    """The image of each example's own text, `[n, ...]`; `WithNeighbours` in training with a regularizer that moves latents."""
    interpolated: Array | WithNeighbours | None
    """The images of texts between those of examples 2k and 2k + 1, `[n / 2, ...]`, or `WithNeighbours`; only for GAN-INT in
    training.
    """


def text_to_image(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    objective_weight: float = 1.0,
    mismatch_weight: float = 0.5,
    interpolation_weight: float = 0.0,
    beta: float = 0.5,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A generator of images from texts against a discriminator of whether an image is real and whether it matches its text.

    Batches are `{'image': [n, ...], 'text': [n, size], 'label': int [n]}`: the texts are vectors of captions (`gan_jax.text`),
    and the labels say what the captions describe. A real image with another example's text is a third kind of example, which
    the discriminator learns to reject (GAN-CLS, algorithm 1). With the objective's losses L of (real, fake) logits, its loss is

        (1 - mismatch_weight) L(D(x, t), D(G(z, t), t)) + mismatch_weight L(D(x, t), D(x, t')).

    With cross-entropies and a weight of .5 this is the paper's loss; with a weight of 0 it is the plain conditional game. The
    mismatched text t' is taken from the batch if it has an entry `{'mismatched': [n, size]}`. Otherwise it is that of the next
    example in the global batch, cyclically, with a different label and a different text, or simply that of the next example if
    no such example exists.

    GAN-INT (eq. 5) adds `interpolation_weight` times the generator's loss on half as many additional images, of the texts
    `beta t_2k + (1 - beta) t_2k+1`. These have no real images, so the discriminator never learns from them.

    The play is a `Play`. To sample, pass texts only: `gan_jax.sample(game, state, {'text': vectors}, key).image`.

    Args:
        generator: `generator(z [n, size], text [n, size], train=) -> images`.
        discriminator: `discriminator(images, *texts, train=) -> logits [n, texts]`, for each image with each of its texts.
        objective: the losses of both players, from `gan_jax.objectives`.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        objective_weight: weight of the objective in the generator's loss.
        mismatch_weight: in [0, 1]; the authors use .5.
        interpolation_weight: at least 0; GAN-INT uses 1.
        beta: in [0, 1].
        **options: of the judgement: `games.judgement.JudgementOptions`. Penalties hold each example's text fixed.

    Raises `ValueError` for weights out of range, for packing, in training for GAN-INT on an odd number of examples, and as
    `games.adversarial` does.
    """
    check_options(options)
    if not (0 <= mismatch_weight <= 1 and 0 <= beta <= 1 and interpolation_weight >= 0):
        weights = f'{mismatch_weight=}, {interpolation_weight=}, {beta=}'
        raise ValueError(f'mismatch_weight and beta must be from 0 to 1 and interpolation_weight at least 0, got {weights}')
    because = 'joins images of different texts, but each pair of image and text must be judged separately'
    refuse_packing(options.get('augmentation'), because)

    def matching(real: Array, fake: Array, batch: Batch) -> tuple[Array, Metrics]:
        # The loss of the standard game is L(matched, fake): this shifts a share of it to the mismatched texts.
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
        objective_weight=objective_weight,
        reading=reading,
        auxiliary=auxiliary,
        **options,
    )

    def between(batch: Batch) -> Batch:
        """Interpolates pairs of neighbours, which are on the same device, so that nothing has to be gathered."""
        n = len(batch['text'])
        if n % 2:
            raise ValueError(f'texts are interpolated in pairs, which requires an even number of examples per device, got {n}')
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
        # In both players' batches, because the discriminator may normalise by its inputs.
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

    It is taken from the next example of the global batch, cyclically, that differs in both label and text, or from the next
    example if no such example exists. In O(n size) memory: the batch is rotated by one example at a time until every example
    has a match.
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
