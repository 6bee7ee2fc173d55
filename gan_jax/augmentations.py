"""Augmentations of the discriminator's input, applied to real and generated examples alike in both players' losses.

An augmentation acts on examples `[batch, ...]` with one key per example, draws afresh at every call, and is differentiable with
respect to the examples. An example may be a pytree of images that belong together, such as the input and the output of a
translation: all of them are transformed by the same draws, while noise is independent for each. Whatever changes during
training (a noise level, a probability) is the augmentation's state. It is stored among the discriminator's variables, so it is
checkpointed, averaged over devices and advanced by an unroll.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.pipeline import pipeline
from gan_jax.ranges import Count, Deviation, Range, Share, checked
from gan_jax.registry import Table
from gan_jax.schedules import Schedule
from gan_jax.typing import Array, Key

State = Any
Transform = Callable[[Array, Key], Array]


class Augmentation(NamedTuple):
    """An augmentation as pure functions; its state holds arrays only."""

    init: Callable[[], State]
    apply: Callable[[State, Any, Key], Any]
    """`(state, examples [batch, ...], keys [batch]) -> what the discriminator sees`"""
    update: Callable[[State, Array], State]
    """`(state, logits of real examples) -> state`, called once per update of the discriminator."""
    group: int = 1
    """The number of examples that the discriminator sees as one."""
    reads_logits: bool = False
    """Whether `update` uses the logits. The logit at which D is undecided, if the objective has one, is subtracted from them
    first.
    """


def _stateless(apply: Callable[[Any, Key], Any], group: int = 1) -> Augmentation:
    return Augmentation(lambda: (), lambda state, x, keys: apply(x, keys), lambda state, real: state, group)


@checked
def instance_noise(sigma: Deviation = 0.1, updates: Count | None = None) -> Augmentation:
    """Gaussian noise of standard deviation `sigma` on every entry (Sønderby et al. 2017; Arjovsky and Bottou 2017, section 3.1).

    With `updates`, the level falls linearly to 0 over that many updates of the discriminator; without, it is constant. Raises
    `ValueError` if `sigma` is outside [0, 1000] or `updates` is below 1.
    """

    def level(count: Array) -> Array | float:
        return sigma if updates is None else sigma * jnp.maximum(1 - count / updates, 0)

    def apply(count: Array, x: Any, keys: Key) -> Any:
        leaves, structure = jax.tree.flatten(x)
        noisy = []
        for i, leaf in enumerate(leaves):
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, i) if i else keys
            noise = jax.vmap(lambda key, leaf=leaf: jax.random.normal(key, leaf.shape[1:], leaf.dtype))(own)
            noisy.append(leaf + level(count) * noise)
        return jax.tree.unflatten(structure, noisy)

    return Augmentation(lambda: jnp.int32(0), apply, lambda count, real: count + 1)


@checked
def packing(size: Annotated[int, Range(1, 1000)] = 2) -> Augmentation:
    """PacGAN: the discriminator judges `size` examples at once, joined along their last axis (Lin et al. 2018, section 3).

    `[batch, ..., c] -> [batch / size, ..., size * c]`. Raises `ValueError` if `size` is outside [1, 1000] and, when applied, if
    it does not divide the batch.
    """

    def pack(x: Array) -> Array:
        if len(x) % size:
            raise ValueError(f'{len(x)} examples do not divide into packs of {size}')
        packs = x.reshape(-1, size, *x.shape[1:])
        return jnp.moveaxis(packs, 1, -2).reshape(len(packs), *x.shape[1:-1], size * x.shape[-1])

    return _stateless(lambda x, keys: jax.tree.map(pack, x), size)


def color(x: Array, key: Key) -> Array:
    """Changes an image `[h, w, c]`: brightness by U[-.5, .5), saturation by U[0, 2), contrast by U[.5, 1.5) (Zhao et al. 2020).

    The three are applied in this order; saturation and contrast are factors.
    """
    brightness, saturation, contrast = jax.random.uniform(key, (3,), x.dtype)
    x = x + brightness - 0.5
    mean = x.mean(-1, keepdims=True)
    x = (x - mean) * (2 * saturation) + mean
    mean = x.mean()
    return (x - mean) * (contrast + 0.5) + mean


def translation(x: Array, key: Key, *, ratio: float = 0.125) -> Array:
    """Shifts an image `[h, w, c]` by whole pixels, at most `ratio` of each side, and fills with zeros (Zhao et al. 2020)."""
    most = [_rounded(ratio * side) for side in x.shape[:2]]
    shift = jax.random.randint(key, (2,), 0, 2 * jnp.array(most) + 1)
    padded = jnp.pad(x, [*((n, n) for n in most), (0, 0)])
    return jax.lax.dynamic_slice(padded, (*shift, 0), x.shape)


def cutout(x: Array, key: Key, *, ratio: float = 0.5) -> Array:
    """Sets a rectangle of an image `[h, w, c]`, `ratio` of each side and centred anywhere in it, to zero (Zhao et al. 2020)."""
    inside = jnp.ones((1, 1), bool)
    for axis, axis_key in enumerate(jax.random.split(key)):
        side, length = x.shape[axis], _rounded(ratio * x.shape[axis])
        first = jax.random.randint(axis_key, (), 0, side + 1 - length % 2) - length // 2
        distance = jnp.arange(side) - first
        inside = inside & jnp.expand_dims((distance >= 0) & (distance < length), 1 - axis)
    return jnp.where(inside[..., None], 0, x)


def _rounded(length: float) -> int:
    """Rounds halves up, as the authors' code does; Python's `round` rounds them to the nearest even number."""
    return int(length + 0.5)


def flip(x: Array, key: Key) -> Array:
    """Mirrors an image `[h, w, c]` left to right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), x[:, ::-1], x)


TRANSFORMS: Table[Transform] = Table('transform', {'color': color, 'translation': translation, 'cutout': cutout, 'flip': flip})
"""Name -> `transform(image [h, w, c] in [-1, 1], key) -> image`."""


@checked
def diff_augment(
    policy: str | Sequence[str] = ('color', 'translation', 'cutout'), probability: Share | Schedule = 1.0
) -> Augmentation:
    """DiffAugment: applies each of the named transforms in turn, each with the given probability per image (Zhao et al. 2020).

    `policy` names members of `TRANSFORMS`, as a sequence or as one string joined by plus signs. `probability` may be a function
    of the number of the discriminator's updates. Examples must be images `[batch, h, w, c]`. Raises `ValueError` for an unknown
    name, for a probability outside [0, 1] and, when applied, for other shapes.
    """
    return _given(_with_probability(policy), probability)


class Adaptive(NamedTuple):
    """The state of `adaptive`: the probability, and what has been observed since it last changed."""

    probability: Array
    signs: Array
    updates: Array


@checked
def adaptive(
    policy: str | Sequence[str] = ('color', 'translation', 'cutout'),
    target: Annotated[float, Range(-1, 1)] = 0.6,
    images: Count = 500_000,
    every: Count = 4,
) -> Augmentation:
    """Transforms of DiffAugment whose probability follows the discriminator's overfitting (Karras et al. 2020, section 3.2).

    The heuristic is r = E[sign(D(real))] over `every` updates, of logits that are 0 where D is undecided. The probability rises
    if r is above the target and falls otherwise, at a rate that takes it from 0 to 1 in `images` real images; it stays in
    [0, 1]. `ada` does the same with the paper's transforms, which are slower.

    Args:
        policy: the transforms, as in `diff_augment`.
        target: the value of r to aim for, in [-1, 1].
        images: the number of real images in which the probability can rise from 0 to 1.
        every: the number of discriminator updates between changes of the probability.

    Raises `ValueError` for an unknown transform, for settings out of range and, when applied, for shapes other than
    `[batch, h, w, c]`.
    """
    return _following(_with_probability(policy), target, images, every)


@checked
def ada(
    policy: str | Sequence[str] = ('blit', 'geom', 'color'),
    probability: Share | Schedule | None = None,
    color_share: Share = 1.0,
    target: Annotated[float, Range(-1, 1)] | None = None,
    images: Count | None = None,
    every: Count | None = None,
) -> Augmentation:
    """Adaptive discriminator augmentation with the transforms of its paper (Karras et al. 2020, "ADA", appendix B).

    Each transform of the named stages is drawn for each image with one probability, which follows the discriminator's overfitting
    as in `adaptive` or is given. Geometric transforms are one resampling, and those of colour one matrix; see
    `gan_jax.pipeline`. The paper recommends the default stages.

    Args:
        policy: names members of `pipeline.STAGES`, as a sequence or as one string joined by plus signs, in any order.
        probability: a probability, or a function of the number of the discriminator's updates; None to adapt it.
        color_share: the probability of changes of colour, as a share of the others'.
        target: as in `adaptive`, with its default if it is None. Like `images` and `every`, it is only for a probability that
            adapts.
        images: the number of real images in which the probability can rise from 0 to 1, as in `adaptive`.
        every: the number of discriminator updates between changes of the probability, as in `adaptive`.

    Raises `ValueError` for an unknown stage and for one that is named twice, for settings out of range, for settings without
    effect (`target`, `images` or `every` beside a probability, `color_share` without the stage 'color') and, when applied, for
    shapes other than `[batch, h, w, c]` and for the stage 'color' if images have neither 1 nor 3 channels.
    """
    names = _names(policy)
    one = pipeline(names, color_share)
    if color_share != 1 and 'color' not in names:
        raise ValueError(f'color_share requires the stage color, which the policy {"+".join(names)} does not name')
    adaptation = (('target', target), ('images', images), ('every', every))
    given: dict[str, Any] = {name: value for name, value in adaptation if value is not None}
    if given and probability is not None:
        raise ValueError(f'{", ".join(given)} would have no effect, because the probability is given and does not adapt')

    def apply(probability: Array | float, images: Any, keys: Key) -> Any:
        _check_images('ADA', images)
        leaves, structure = jax.tree.flatten(images)
        each = lambda i: lambda image, key: one(probability, image, key, i)
        return jax.tree.unflatten(structure, [jax.vmap(each(i))(leaf, keys) for i, leaf in enumerate(leaves)])

    return _following(apply, **given) if probability is None else _given(apply, probability)


Randomly = Callable[[Array | float, Any, Key], Any]
"""`(probability, images, keys) -> images`"""


def _given(transform: Randomly, probability: float | Schedule) -> Augmentation:
    """Applies a transform with a probability, or a function of the number of the discriminator's updates."""
    if not callable(probability):
        return _stateless(functools.partial(transform, probability))
    after = lambda count, x, keys: transform(probability(count), x, keys)
    return Augmentation(lambda: jnp.int32(0), after, lambda count, real: count + 1)


def _following(transform: Randomly, target: float = 0.6, images: int = 500_000, every: int = 4) -> Augmentation:
    """Applies a transform with a probability that follows the signs of real logits."""

    def update(state: Adaptive, real: Array) -> Adaptive:
        sign = parallel.pmean(jnp.sign(real).mean())
        signs, updates = state.signs + sign, state.updates + 1
        due = updates == every
        batch = parallel.batch_size(len(real))
        moved = jnp.clip(state.probability + jnp.sign(signs / every - target) * batch * every / images, 0, 1)
        return Adaptive(jnp.where(due, moved, state.probability), jnp.where(due, 0, signs), jnp.where(due, jnp.int32(0), updates))

    init = lambda: Adaptive(jnp.float32(0), jnp.float32(0), jnp.int32(0))
    return Augmentation(init, lambda state, x, keys: transform(state.probability, x, keys), update, reads_logits=True)


def _names(policy: str | Sequence[str]) -> Sequence[str]:
    return policy.split('+') if isinstance(policy, str) else policy


def _check_images(method: str, images: Any) -> None:
    shapes = [image.shape for image in jax.tree.leaves(images)]
    if any(len(shape) != 4 or shape[:3] != shapes[0][:3] for shape in shapes):
        raise ValueError(f'{method} requires images [batch, h, w, c], got {", ".join(map(str, shapes))}')


def _with_probability(policy: str | Sequence[str]) -> Randomly:
    transforms = [TRANSFORMS[name] for name in _names(policy)]

    def one(probability: Array | float, image: Array, key: Key) -> Array:
        for i, transform in enumerate(transforms):
            coin, own = jax.random.split(jax.random.fold_in(key, i))
            image = jnp.where(jax.random.bernoulli(coin, probability), transform(image, own), image)
        return image

    def apply(probability: Array | float, images: Any, keys: Key) -> Any:
        _check_images('DiffAugment', images)
        return jax.tree.map(lambda x: jax.vmap(one, (None, 0, 0))(probability, x, keys), images)

    return apply


def chain(*augmentations: Augmentation) -> Augmentation:
    """Applies augmentations one after another. Packing, which joins examples, must come last; otherwise raises `ValueError`."""
    for augmentation in augmentations[:-1]:
        if augmentation.group > 1:
            raise ValueError('packing must come last in a chain, because it joins examples')

    def apply(states: Sequence[State], x: Any, keys: Key) -> Any:
        for i, (augmentation, state) in enumerate(zip(augmentations, states, strict=True)):
            x = augmentation.apply(state, x, jax.vmap(jax.random.fold_in, (0, None))(keys, i))
        return x

    def update(states: Sequence[State], real: Array) -> State:
        logits = jnp.repeat(real, group, axis=0)  # every example of a pack has the logit of the pack
        return tuple(a.update(s, real if a.group > 1 else logits) for a, s in zip(augmentations, states, strict=True))

    group = augmentations[-1].group if augmentations else 1
    return Augmentation(
        lambda: tuple(a.init() for a in augmentations), apply, update, group, any(a.reads_logits for a in augmentations)
    )


AUGMENTATIONS: Table[Callable[..., Augmentation]] = Table(
    'augmentation',
    {'instance_noise': instance_noise, 'diff_augment': diff_augment, 'adaptive': adaptive, 'ada': ada, 'packing': packing},
)
"""Name -> factory."""
