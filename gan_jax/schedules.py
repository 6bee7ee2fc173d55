"""What changes over training, as functions of the number of images that the discriminator has been shown.

Images rather than steps: a schedule then means the same whatever the batch size and the number of updates a step takes. It
replaces a constant in the method that it acts on: a penalty's weight (`penalties.scheduled`), the probability of an augmentation
(`augmentations.diff_augment`), the second decay of Adam (`optimizers.adam`), a learning rate (`optax.scale_by_schedule`), or the
generator's average (`training.make_train_step`). The defaults are those of R3GAN on CIFAR-10 (Huang et al. 2024, the authors'
code), where each of these follows half a cosine.

Arguments mean the same throughout: `start` and `end` are the values at 0 and from `images` on, `images` the number over which the
value changes (None for the whole run), and `shape` the course between, see `between`. Factories raise `ValueError` for values out
of range.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp

from gan_jax.ranges import Range, Share, ShareBelow1, checked
from gan_jax.registry import Table
from gan_jax.typing import Array

Schedule = Callable[[Array], Array]
"""From a count, an integer or a float `[]`, to a value `[]`: of images here, of updates in the methods that take one."""

Shape = Literal['cosine', 'linear', 'geometric']
Images = Annotated[float, Range(0, 1e12)]
ImagesAbove0 = Annotated[float, Range(0, 1e12, above=True)]


class Course(NamedTuple):
    """A value that goes from `start` to `end`, and stays there."""

    start: float
    end: float
    images: float | None
    """The number of images over which it does; None for the whole run."""
    shape: Shape = 'cosine'

    def over(self, run: float) -> Schedule:
        """The value as a function of the number of images, in a run that shows `run` of them."""
        return between(self.start, self.end, run if self.images is None else self.images, shape=self.shape)


def between(start: float, end: float, images: float, *, shape: Shape = 'cosine') -> Schedule:
    """A schedule from `start` at 0 to `end` at `images`, and `end` from there on.

    With t the share of the images shown, from 0 to 1: `cosine` is end + (start - end) (1 + cos(pi t)) / 2 (Loshchilov and Hutter
    2017, eq. 5), `linear` is start + t (end - start), `geometric` is start (end / start)^t.

    Raises `ValueError` for a number of images that is not above 0, an unknown shape, and a geometric schedule of values that are
    not above 0.
    """
    if not images > 0:
        raise ValueError(f'a schedule needs more than 0 images, got {images}')
    if shape not in ('cosine', 'linear', 'geometric'):
        raise ValueError(f"the shape of a schedule is 'cosine', 'linear' or 'geometric', not {shape!r}")
    if shape == 'geometric' and not (start > 0 and end > 0):
        raise ValueError(f'a geometric schedule needs values above 0, got {start} to {end}; cosine and linear reach 0')

    def value(count: Array) -> Array:
        t = jnp.minimum(jnp.asarray(count, jnp.float32) / images, 1)
        if shape == 'geometric':
            return start * (end / start) ** t
        return end + (start - end) * ((1 + jnp.cos(jnp.pi * t)) / 2 if shape == 'cosine' else 1 - t)

    return value


@checked
def learning_rate(end: Share = 0.25, images: ImagesAbove0 | None = None, shape: Shape = 'cosine') -> Course:
    """Both players' learning rates, from those of the optimizers to the share `end` of them."""
    return _course(1.0, end, images, shape)


@checked
def gamma(end: Share = 0.1, images: ImagesAbove0 | None = None, shape: Shape = 'cosine') -> Course:
    """The weight of every penalty, from the penalty's own to the share `end` of it."""
    return _course(1.0, end, images, shape)


@checked
def beta2(
    start: ShareBelow1 = 0.9, end: ShareBelow1 = 0.99, images: ImagesAbove0 | None = None, shape: Shape = 'cosine'
) -> Course:
    """The second decay of both players' Adam, from `start` to `end`."""
    return _course(start, end, images, shape)


@checked
def probability(start: Share = 0.0, end: Share = 0.55, images: ImagesAbove0 | None = None, shape: Shape = 'cosine') -> Course:
    """The probability of every augmentation that has one, from `start` to `end`."""
    return _course(start, end, images, shape)


@checked
def half_life(start: Images = 0.0, end: Images = 5e6, images: ImagesAbove0 | None = None, shape: Shape = 'cosine') -> Course:
    """The half-life of the generator's average, from `start` images to `end` images; see `decay_of_half_life`."""
    return _course(start, end, images, shape)


def _course(start: float, end: float, images: float | None, shape: Shape) -> Course:
    between(start, end, 1.0, shape=shape)  # refuses what cannot be
    return Course(start, end, images, shape)


def decay_of_half_life(images: Array | float, per_update: float) -> Array:
    """The decay of a moving average, `[]`, in which the weight of a value halves every `images` images (Karras et al. 2020).

    2^(-per_update / images) for an average that is updated once in `per_update` images; 0 for a half-life of 0, which keeps the
    newest value alone.
    """
    return 0.5 ** (per_update / jnp.maximum(images, 1e-8))


ANNEALED: Table[Callable[..., Course]] = Table(
    'schedule over images',
    {
        'learning_rate': learning_rate,
        'gamma': gamma,
        'beta2': beta2,
        'probability': probability,
        'half_life': half_life,
    },
)
"""What it acts on -> factory of a course."""
