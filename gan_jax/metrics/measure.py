"""What a measure is: a function of the outputs of an extractor, what it requires of them, and how it is described in lists."""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

import numpy as np

from gan_jax.metrics.moments import FeatureMoments, Gaussian

P = ParamSpec('P')


class Found(NamedTuple):
    """The requested outputs of an extractor on a set of images, and what is known of the images."""

    size: int | None
    """The number of images, or None for statistics from a file that does not specify it."""
    moments: FeatureMoments | Gaussian = FeatureMoments(np.zeros((), np.int64), np.empty(0), np.empty((0, 0)))
    """The moments of no features if they were not requested."""
    features: np.ndarray = np.empty((0, 0))
    """`[n, d]`; empty if they were not requested."""
    logits: np.ndarray = np.empty((0, 0))
    """`[n, classes]`; empty if they were not requested."""
    images: np.ndarray = np.empty((0, 0, 0, 0), np.uint8)
    """`[n, h, w, c]`; empty if they were not requested."""
    labels: np.ndarray = np.empty(0, np.int32)
    """`[n]`; empty if they were not requested."""


Row = tuple[str, float, float | None, str]
"""The first four fields of a `Score`."""


class Measure(NamedTuple):
    """A function of the outputs of an extractor on real and on generated images."""

    call: Callable[..., list[Row]]
    """`(real: Found, fake: Found) -> rows`; `real` is None if the measure does not use real images. Measures that use held-out
    images take them as a third argument."""
    real: str | None
    """The field of the real `Found` that the measure requires: 'moments', 'features', 'images', or None."""
    fake: str
    """The field of the generated `Found` that the measure requires: 'moments', 'features', 'logits' or 'images'. Measures of
    'images' do without an extractor."""
    split: str | None = None
    """The split that the real images must come from, whatever the protocol says; None if any will do."""
    held_out: str | None = None
    """The field of the `Found` of the split `HELD_OUT` that the measure requires, or None."""
    labelled: bool = False
    """Whether the measure requires the labels of both sets."""
    about: str = ''
    """What it computes and after which paper, in one sentence."""
    settings: str = ''
    """The settings that it was built with, as `name=value, name=value`."""


def described(factory: Callable[P, Measure]) -> Callable[P, Measure]:
    """Wraps a factory so that its measures carry the first line of its docstring and their settings."""
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def build(*args: P.args, **kwargs: P.kwargs) -> Measure:
        measure = factory(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        settings = ', '.join(f'{name}={value}' for name, value in given.arguments.items() if name != 'name')
        return measure._replace(about=(factory.__doc__ or '').partition('\n')[0].strip(), settings=settings)

    return build
