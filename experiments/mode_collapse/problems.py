"""The data sets of `experiments.mode_collapse`: what is drawn, which networks play, how modes are counted, what is shown."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data, latents, networks
from gan_jax.errors import InputError
from gan_jax.metrics.extractors.classifier import train_classifier
from gan_jax.metrics.modes import coverage_floor, label_coverage, mode_coverage, stacked_labels
from gan_jax.networks.stacked_mnist import STACKED_MNIST, stacked_networks
from gan_jax.ranges import Checked, Side, Text, Width, flag
from gan_jax.runs import pictures
from gan_jax.typing import Array, Key

STACKED = 'stacked_mnist'
MIXTURES = {'ring': 'ring_veegan', 'grid': 'grid_veegan', 'gmm1d': 'madgan_1d'}
"""Short names."""
Scores = dict[str, Any]
RECOGNISED = 0.9
"""Probability with which a classifier has to read a digit: noise is read as something too."""


@dataclasses.dataclass(frozen=True)
class ProblemOptions(Checked):
    """A data set whose modes are known, and the networks on it."""

    data: str = 'ring'
    """ring, grid, gmm1d, stacked_mnist, or any other mixture, such as ring_unrolled or gmm:modes=10,seed=1."""
    latent_size: Width | None = None
    """16 on mixtures; on stacked_mnist the networks'."""
    width: Width = 128
    """Of hidden layers, on mixtures."""
    networks: str = 'metz_quarter'
    """On stacked_mnist: metz_quarter, metz_half, metz, veegan or r3gan."""
    digits: Text = 'mnist'
    """What is stacked: mnist, or digits, which needs no download."""
    size: Side | None = None
    """Height and width of what is stacked; the data set's own if it is not given (16 for the digits)."""
    data_dir: Text | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""

    def check_problem(self) -> None:
        """Raises `InputError` for options of other data, before anything is loaded."""
        STACKED_MNIST[self.networks]
        ignored = ('width',) if self.data == STACKED else ('networks', 'digits', 'size', 'data_dir')
        for name in ignored:
            if getattr(self, name) != getattr(ProblemOptions, name):
                raise InputError(f'{flag(name)} is not of --data {self.data}')


class Problem(NamedTuple):
    """A data set whose modes are known."""

    feed: Callable[[int, int], data.Feed]
    """`(batch size, minibatches a step) -> Feed`"""
    example: Array
    """One example, of a batch of it: zeros `[1, ...]`."""
    networks: Callable[..., tuple[nn.Module, nn.Module]]
    """`(minibatch=None, outputs=None) -> (generator, discriminator)`"""
    classifier: nn.Module
    """AdaGAN's, of data against mixture."""
    latent: Callable[[Key], Array]
    unrolled: dict[str, Any]
    """Options of Metz et al. 2017 on such data."""
    observer: Callable[[], Callable[[Array], Array]]
    """Makes the function from examples `[n, ...]` to what is counted, `[n, ...]`; it may take a minute."""
    score: Callable[[Array], Scores]
    """What was observed, `[n, ...]`, to scalars by name."""
    columns: tuple[str, ...]
    """The names of the scores, in the table's order."""
    rank: Callable[[Scores], Array]
    """The greater, the better a checkpoint."""
    panel: Callable[[Any, np.ndarray], None]
    """`(matplotlib axes, examples)`"""
    shown: int
    """How many examples a panel has."""
    note: Callable[[int], str]
    """Of n samples: what a perfect sampler would have."""
    images: bool = False
    """Whether examples are images, made by convolutions."""


def make(options: ProblemOptions) -> Problem:
    """The data set of the options. Raises `InputError` for one that is not there."""
    options.check_problem()
    if options.data == STACKED:
        digits = data.load(options.digits, size=options.size, data_dir=options.data_dir)
        return stacked_problem(digits, options.digits, pair=options.networks, latent_size=options.latent_size)
    mixture = data.mixture(MIXTURES.get(options.data, options.data))
    return mixture_problem(mixture, width=options.width, latent_size=options.latent_size or 16)


def mixture_problem(mixture: data.Mixture, *, width: int, latent_size: int) -> Problem:
    """A mixture of Gaussians, shifted and scaled so that its centres reach from -1 to 1, to which no score is sensitive."""
    low, high = mixture.centres.min(0), mixture.centres.max(0)
    scale = (high - low).max() / 2 or 1.0  # a single mode has no extent
    mixture = data.Mixture((mixture.centres - (low + high) / 2) / scale, mixture.stds / scale)
    modes, dimension = mixture.centres.shape

    def pair(minibatch: str | None = None, outputs: int | None = None) -> tuple[nn.Module, nn.Module]:
        judge = networks.MLP((width, width, outputs or 1), squeeze=outputs is None, minibatch=minibatch or 'none')
        return networks.MLP((width, width, dimension)), judge

    def panel(ax: Any, points: np.ndarray) -> None:
        if dimension == 1:
            ax.hist(points[:, 0], bins=100, range=(-1.4, 1.4))
            for centre in mixture.centres[:, 0]:
                ax.axvline(centre, color='0.6', lw=0.8, zorder=0)
            ax.set(xlim=(-1.4, 1.4), yscale='log')
            return
        ax.scatter(*mixture.centres.T, s=30, facecolors='none', edgecolors='0.6', lw=0.8)
        ax.scatter(*points.T, s=2, alpha=0.4, lw=0)
        ax.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect='equal')

    inside = {1: math.erf(3 / 2**0.5), 2: 1 - math.exp(-4.5)}[dimension]
    return Problem(
        feed=lambda batch_size, minibatches: data.generated(mixture.sample, batch_size, minibatches=minibatches),
        example=jnp.zeros((1, dimension)),
        networks=pair,
        classifier=pair()[1],
        latent=latents.normal(latent_size),
        unrolled={'objective': 'minimax', 'simultaneous': True},
        observer=lambda: lambda points: points,
        score=lambda points: mode_coverage(points, mixture.centres, mixture.stds)._asdict(),
        columns=('modes', 'high_quality', 'reverse_kl'),
        rank=lambda scores: scores['modes'] + scores['high_quality'] / 2,
        panel=panel,
        shown=500,
        note=lambda n: f'{modes} modes, at least {100 * inside:.2f} % high quality, reverse KL about {(modes - 1) / (2 * n):.4f}',
    )


def stacked_latent(pair: str, latent_size: int | None) -> Callable[[Key], Array]:
    """What the generator of a pair of networks takes, by default of their paper's size."""
    latent_size = latent_size or STACKED_MNIST[pair].latent_size
    return latents.uniform(latent_size) if pair == 'veegan' else latents.normal(latent_size)


def stacked_problem(digits: data.Images, name: str, *, pair: str, latent_size: int | None) -> Problem:
    """Stacked digits, 1000 modes, counted by a classifier of single digits on each channel."""
    size = digits.images.shape[1]

    labels = digits.labels
    if labels is None or set(labels.tolist()) != set(range(10)):
        raise InputError(f'{name} is not labelled 0 to 9, so its stacks have no modes to count')

    @functools.cache
    def observer() -> Callable[[Array], Array]:
        classify = train_classifier(digits.images, labels, name=name, cache=True).extractor.apply

        def observe(images: Array) -> Array:
            """Each stack's label, and how many of its digits are recognised, int `[n, 2]`."""
            channels = images.transpose(0, 3, 1, 2).reshape(-1, size, size, 1)
            probabilities = jax.nn.softmax(classify(channels).logits).reshape(-1, 3, 10)
            recognised = (probabilities.max(-1) >= RECOGNISED).sum(-1)
            return jnp.stack([stacked_labels(probabilities.argmax(-1)), recognised], -1)

        return observe

    def score(observed: Array) -> Scores:
        return {**label_coverage(observed[:, 0], 1000)._asdict(), 'recognised': observed[:, 1].mean() / 3}

    def panel(ax: Any, images: np.ndarray) -> None:
        ax.imshow(pictures.image_grid(np.asarray(data.to_uint8(images)), columns=4))

    def note(n: int) -> str:
        floor = coverage_floor(n, 1000)
        alike = jnp.repeat(data.to_float(jnp.asarray(digits.images[:2000])), 3, -1)
        recognised = float(score(observer()(alike))['recognised'])
        return f"{floor.modes:.1f} modes, KL {floor.kl:.4f} and that of the digits' own frequencies, {recognised:.1%} recognised"

    return Problem(
        feed=lambda batch_size, minibatches: data.stacked_digits(digits.images, batch_size, minibatches=minibatches),
        example=jnp.zeros((1, size, size, 3)),
        networks=lambda minibatch=None, outputs=None: stacked_networks(pair, size, minibatch=minibatch, outputs=outputs),
        classifier=stacked_networks(pair, size)[1],
        latent=stacked_latent(pair, latent_size),
        unrolled={},
        observer=observer,
        score=score,
        columns=('modes', 'kl', 'recognised'),
        rank=lambda scores: scores['modes'] * scores['recognised'] - scores['kl'] / 100,
        panel=panel,
        shown=16,
        note=note,
        images=True,
    )
