"""An experiment as one value, which gives all experiments the same capabilities.

An experiment defines which game is played on which data and how it is observed, as a `Study`, and its figures (`evaluation`).
Everything else is provided by `training`: several seeds in one program, several devices, data on the device or streamed,
resumption, pictures, scores during training, the final sampler, and the mean and interval in the final table.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gan_jax.data.feeds import Feed, Joined, Stream
from gan_jax.metrics import moments
from gan_jax.metrics.extractors import Extractor
from gan_jax.runs.directory import RunDirectory
from gan_jax.runs.generators import Generator, Translator
from gan_jax.runs.loop import Callback
from gan_jax.training import Game, Trainer, TrainState
from gan_jax.typing import Batch, Key


class Judge(NamedTuple):
    """What scores a run during training."""

    extractor: Extractor
    reference: moments.FeatureMoments | moments.Gaussian
    """Moments of the features of real images."""


class Study(NamedTuple):
    """Everything that defines a run, created before anything is written."""

    game: Game | None
    """None for models other than games, which are trained in the same way."""
    trainer: Trainer
    feed: Feed | Stream | Joined
    """Data on the device, or read as required."""
    example: Batch
    """A minibatch, or some of its rows, with which the players are initialised."""
    generator: Generator | Translator | None = None
    """How the final sampler draws images; also used for pictures and scores by default."""
    known: Mapping[str, Any] = {}
    """The values, as JSON, that the configuration's `generator` requires to recreate the generator without the data."""
    show: Callable[[TrainState, Key], Any] | None = None
    """Computes the content of a picture and is compiled; by default 64 images of the generator."""
    picture: Callable[[Any], Any] | None = None
    """Maps that content, as NumPy arrays, to a uint8 image `[h, w, c]` or a matplotlib figure; by default a grid."""
    judge: Callable[[], Judge] | None = None
    """Creates the judge for --score-every, which may take a minute. Only for generators of images."""
    notes: tuple[Callable[[RunDirectory], Callback], ...] = ()
    """Creates further callbacks. For several seeds, they receive states with a leading axis of seeds."""
    data: Any = None
    """Data for `evaluate`, and for actions on the finished run."""
    side_by_side: bool = False
    """Whether several seeds are mapped over at once even on a CPU, which is best for small networks without convolutions."""
