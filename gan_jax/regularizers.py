"""Methods that act on the discriminator's logits, or on its logits for transformed examples, rather than on its gradient.

A regularizer may add a term to either player's loss and weigh the generated examples in the generator's loss. Logits are given
high for real: an objective of energies passes them negated. Whatever changes during training is the regularizer's state, which
is stored among the discriminator's variables, so that every discriminator of a game has its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.augmentations import diff_augment
from gan_jax.ranges import Count, DeviationAbove0, ShareAbove0, ShareBelow1, Weight, Whole, checked
from gan_jax.registry import Table
from gan_jax.typing import Array, Key

State = Any
Change = Callable[[Any, Key], Any]
"""`(examples [n, ...], keys [n]) -> examples`; examples that belong together are a pytree, as in an augmentation."""


class Heard(NamedTuple):
    """What the discriminator says of a batch: logits `[n, ...]`, high for real."""

    real: Array
    fake: Array
    changed_real: Array | None = None
    """The logits of the real examples after `Regularizer.change`."""
    changed_fake: Array | None = None
    """The logits of the generated examples after `Regularizer.change`."""
    neighbours: Array | None = None
    """The logits of the examples that are generated from the latents after `Regularizer.move`."""


class Regularizer(NamedTuple):
    """A regularizer as pure functions, each of which may be left out; its state holds arrays only."""

    init: Callable[[], State] = lambda: ()
    update: Callable[[State, Array, Array], State] = lambda state, real, fake: state
    """`(state, logits of real, logits of generated examples) -> state`, called once per update of the discriminator. Floating
    parts must be linear in the mean over the batch, because a step averages them over devices.
    """
    discriminator: Callable[[State, Heard], Array] | None = None
    """`(state, heard) -> [n, ...]`, whose mean is added to the discriminator's loss."""
    generator: Callable[[Array, Array], Array] | None = None
    """`(generated examples, those of the moved latents) -> [n]`, whose mean is added to the generator's loss; requires `move`."""
    change: Change | None = None
    """The discriminator also judges the examples after this change."""
    move: Callable[[Array, Key], Array] | None = None
    """`(latent of one example, key) -> latent`: a second latent to generate from."""
    weights: Callable[[Array, Array], Array] | None = None
    """`(number of real examples shown, logits of generated examples [n, ...]) -> [n]`: weights of the generated examples in the
    generator's loss, whose mean over the global batch is 1. Examples of weight 0 have no gradient.
    """


class Anchors(NamedTuple):
    """The state of `lecam`: averages of past logits, and the number of updates in them."""

    real: Array
    fake: Array
    updates: Array


@checked
def lecam(weight: Weight = 0.3, decay: ShareBelow1 = 0.99, start: Whole = 0, one_sided: bool = True) -> Regularizer:
    """weight times (D(x) - a_F)^2 + (D(G(z)) - a_R)^2, with a_R and a_F averages of past logits (Tseng et al. 2021, eq. 3).

    The anchors a_R and a_F are exponential moving averages, without bias, of the mean logits of real and of generated examples in
    all previous updates of the discriminator. With the Wasserstein objective the term bounds the LeCam divergence.

    Args:
        weight: the weight of the term in the discriminator's loss.
        decay: the decay of the averages.
        start: the number of updates before the term enters; at least one, because there are no anchors before.
        one_sided: whether only D(x) above a_F and D(G(z)) below a_R count, as in the authors' code.

    Raises `ValueError` for settings out of range.
    """

    def update(state: Anchors, real: Array, fake: Array) -> Anchors:
        # 1 at first, and 1 - decay in the limit. As a float32, a decay near 1 would be 1.
        new = (1 - decay) / -jnp.expm1((state.updates + 1.0) * math.log(decay)) if decay else 1.0
        towards = lambda old, logits: old + new * (logits.mean() - old)
        return Anchors(towards(state.real, real), towards(state.fake, fake), state.updates + 1)

    def discriminator(state: Anchors, heard: Heard) -> Array:
        apart = (heard.real - state.fake, state.real - heard.fake)
        squares = (jnp.square(jax.nn.relu(x) if one_sided else x) for x in apart)
        return jnp.where(state.updates >= max(start, 1), weight * sum(squares), 0)

    return Regularizer(lambda: Anchors(jnp.float32(0), jnp.float32(0), jnp.int32(0)), update, discriminator)


@checked
def bcr(
    real_weight: Weight = 10.0, fake_weight: Weight = 10.0, policy: str | Sequence[str] = ('flip', 'translation')
) -> Regularizer:
    """Balanced consistency: the discriminator's logits must not change with its examples (Zhao et al. 2021, "ICR", algorithm 1).

    Adds real_weight (D(x) - D(T(x)))^2 + fake_weight (D(G(z)) - D(T(G(z))))^2 to the discriminator's loss, where T are the
    transforms of `augmentations.TRANSFORMS` that `policy` names. T is applied before the augmentation of the game, whose draws
    are the same for both. A `fake_weight` of 0 is the consistency regularization of Zhang et al. 2020 (CR-GAN).

    Raises `ValueError` for weights outside [0, 1e6] and for an unknown transform. Examples must be images.
    """
    transform = diff_augment(policy)

    def discriminator(state: State, heard: Heard) -> Array:
        assert heard.changed_real is not None and heard.changed_fake is not None
        terms = ((real_weight, heard.real - heard.changed_real), (fake_weight, heard.fake - heard.changed_fake))
        # Without the terms of weight 0, XLA removes their passes through the discriminator.
        return sum((weight * jnp.square(apart) for weight, apart in terms if weight), jnp.zeros_like(heard.real))

    return Regularizer(discriminator=discriminator, change=lambda x, keys: transform.apply((), x, keys))


@checked
def zcr(deviation: DeviationAbove0 = 0.05, d_weight: Weight = 20.0, g_weight: Weight = 0.5) -> Regularizer:
    """Latent consistency: small changes of a latent should change its example, but not the logit (Zhao et al. 2020, algorithm 2).

    With z' = z + deviation N(0, I), adds d_weight (D(G(z)) - D(G(z')))^2 to the discriminator's loss and -g_weight times the mean
    square of the entries of G(z) - G(z') to the generator's. The defaults are StudioGAN's for CIFAR-10. Training takes a second
    pass of the generator.

    Raises `ValueError` for weights outside [0, 1e6] and for a deviation outside (0, 1000].
    """

    def discriminator(state: State, heard: Heard) -> Array:
        assert heard.neighbours is not None
        return d_weight * jnp.square(heard.fake - heard.neighbours)

    def generator(examples: Array, neighbours: Array) -> Array:
        return -g_weight * jnp.square(examples - neighbours).reshape(len(examples), -1).mean(1)

    def move(z: Array, key: Key) -> Array:
        return z + deviation * jax.random.normal(key, z.shape, z.dtype)

    # Without a term of weight 0, XLA removes the discriminator's pass over the neighbours.
    return Regularizer(discriminator=discriminator if d_weight else None, generator=generator if g_weight else None, move=move)


@checked
def top_k(decay: ShareAbove0 = 0.99, least: ShareAbove0 = 0.5, images: Count = 50_000) -> Regularizer:
    """The generator learns from the k examples of a batch that look most real to the discriminator (Sinha et al. 2020).

    k is the batch size times max(decay^epoch, least), rounded down, but at least 1. The loss is the mean over the k examples;
    the others have no gradient. An example with several logits is ranked by their mean.

    Args:
        decay: the factor of k from one epoch to the next.
        least: the smallest share of the batch.
        images: the number of real images of an epoch.

    Raises `ValueError` for shares outside (0, 1] or fewer than 1 image.
    """

    def weights(shown: Array, fake: Array) -> Array:
        realness = parallel.all_gather(jax.lax.stop_gradient(fake).reshape(len(fake), -1).mean(1))
        n = len(realness)
        share = jnp.maximum(decay ** (shown // images).astype(jnp.float32), least)
        k = jnp.maximum(jnp.floor(n * share + 1e-4), 1)  # n * share may lie below a whole number by rounding
        rank = jnp.argsort(jnp.argsort(-realness))  # equal logits in the order of the batch
        return parallel.local_rows(jnp.where(rank < k, n / k, 0))

    return Regularizer(weights=weights)


def discriminator_mean(
    regularizers: Sequence[Regularizer],
    states: Sequence[State],
    heard: Heard,
    ask: Callable[[Change, Key], tuple[Array, Array]],
    key: Key,
) -> Array:
    """The mean of the sum of the terms in the discriminator's loss.

    Args:
        regularizers: any number of regularizers.
        states: their states.
        heard: the logits of the batch.
        ask: `(change, key) -> (real, fake)`: the logits of the batch after a change.
        key: the key of the changes.
    """
    value = jnp.zeros(())
    for i, (regularizer, state) in enumerate(zip(regularizers, states, strict=True)):
        if regularizer.discriminator is None:
            continue
        found = heard
        if regularizer.change is not None:
            real, fake = ask(regularizer.change, jax.random.fold_in(key, i))
            found = heard._replace(changed_real=real, changed_fake=fake)
        value += regularizer.discriminator(state, found).mean()
    return value


def of_neighbours(regularizers: Sequence[Regularizer], examples: Array, neighbours: Array) -> Array:
    """The mean of the sum of the terms in the generator's loss, of examples `[n, ...]` and those of the moved latents."""
    terms = (regularizer.generator(examples, neighbours).mean() for regularizer in regularizers if regularizer.generator)
    return sum(terms, jnp.zeros(()))


def updated(regularizers: Sequence[Regularizer], states: Sequence[State], real: Array, fake: Array) -> tuple[State, ...]:
    """The states after an update of the discriminator.

    Args:
        regularizers: any number of regularizers.
        states: their states.
        real: the logits of the real examples, `[n, ...]`, high for real.
        fake: those of the generated examples, `[n, ...]`.
    """
    return tuple(regularizer.update(state, real, fake) for regularizer, state in zip(regularizers, states, strict=True))


def generator_mean(
    regularizers: Sequence[Regularizer], loss: Callable[[Array], Array], images: Array, fake: Array, realness: Array
) -> Array:
    """The mean of the generator's loss, in which regularizers may weigh the generated examples.

    Args:
        regularizers: any number of regularizers.
        loss: `logits of generated examples [n, ...] -> loss [n, ...]`.
        images: the number of real examples that the discriminator has been shown, `[]`.
        fake: the logits of the generated examples, `[n, ...]`.
        realness: the same, high for real.
    """
    weigh = [regularizer.weights for regularizer in regularizers if regularizer.weights is not None]
    if not weigh:
        return loss(fake).mean()
    weights = jnp.stack([weight(images, realness) for weight in weigh]).prod(0).reshape(-1, *[1] * (fake.ndim - 1))
    learned = jnp.where(weights > 0, fake, jax.lax.stop_gradient(fake))  # a loss may compare an example with the others
    return (weights * loss(learned)).mean()


def mover(regularizers: Sequence[Regularizer]) -> Callable[[Array, Key], Array] | None:
    """What moves latents; None if nothing does. Raises `ValueError` if two regularizers would."""
    moves = [regularizer.move for regularizer in regularizers if regularizer.move is not None]
    if len(moves) > 1:
        raise ValueError(f'one regularizer may move latents, not {len(moves)}')
    return moves[0] if moves else None


REGULARIZERS: Table[Callable[..., Regularizer]] = Table('regularizer', {'lecam': lecam, 'bcr': bcr, 'zcr': zcr, 'top_k': top_k})
"""Name -> factory. To add a regularizer, add a factory above and an entry here; `tests/test_regularizers.py` then covers it."""
