"""Adversarial objectives: the losses of both players as functions of the discriminator's logits.

Every loss takes `(real, fake)` logits of the same shape `[batch, ...]` and returns one number per logit, unreduced. `real` and
`fake` are logits, never probabilities: D(x) = sigmoid(logit), log D = -softplus(-logit), log(1 - D) = -softplus(logit).

An objective that its paper states as a single value, min over G of max over D, is zero-sum here: the generator's loss is minus
the discriminator's, including the term of the real data. The gradient of that term vanishes in the plain game, but not with
unrolling, where the future discriminator depends on the generator (Metz et al. 2017, eq. 7).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.divergences import DIVERGENCES, Divergence
from gan_jax.ranges import Coordinate, Margin, ShareBelow1, checked
from gan_jax.registry import Table
from gan_jax.typing import Array

Loss = Callable[[Array, Array], Array]


class Objective(NamedTuple):
    """The two losses of an adversarial game, each `(real, fake) -> loss`, with logits and losses of the same shape.

    Both raise `ValueError` if the logits differ in shape.
    """

    discriminator: Loss
    generator: Loss
    undecided: float | None = None
    """The optimal logit of an example that is as likely real as generated. None if it does not exist: if adding a constant to
    all logits leaves the discriminator equally good, or if its outputs do not express such a likelihood.
    """
    zero_sum: bool = False
    """Whether the generator's loss is minus the discriminator's."""
    energies: bool = False
    """Whether the discriminator's outputs are energies, low for real examples, rather than logits."""

    def realness(self, logits: Array) -> Array:
        """The discriminator's outputs, of any shape, negated if they are energies: high for real examples."""
        return -logits if self.energies else logits


def _objective(discriminator: Loss, generator: Loss, undecided: float | None = None, zero_sum: bool = False) -> Objective:
    def checked(loss: Loss) -> Loss:
        def call(real: Array, fake: Array) -> Array:
            if real.shape != fake.shape:  # [n, 1] and [n] would silently broadcast to [n, n]
                raise ValueError(f'real and fake logits must have the same shape, got {real.shape} and {fake.shape}')
            return loss(real, fake)

        return call

    return Objective(checked(discriminator), checked(generator), undecided, zero_sum)


def _zero_sum(discriminator: Loss, undecided: float | None = None) -> Objective:
    return _objective(discriminator, lambda real, fake: -discriminator(real, fake), undecided, zero_sum=True)


def _cross_entropy(smoothing: float) -> Loss:
    """Real examples have target `1 - smoothing`, generated ones 0 (Salimans et al. 2016, section 3.4: one-sided)."""
    # (1 - s) softplus(-l) + s softplus(l) = softplus(-l) + s l
    return lambda real, fake: jax.nn.softplus(-real) + smoothing * real + jax.nn.softplus(fake)


def _undecided(smoothing: float) -> float:
    """The logit of D = (1 - smoothing) / 2, the optimum of the smoothed cross-entropy where p = q."""
    return math.log((1 - smoothing) / (1 + smoothing))


@checked
def minimax(smoothing: ShareBelow1 = 0.0) -> Objective:
    """The zero-sum game on the cross-entropy (Goodfellow et al. 2014, eq. 1).

    `smoothing` is one-sided label smoothing: the target of real examples is `1 - smoothing`. Raises `ValueError` unless it is
    in [0, 1).
    """
    return _zero_sum(_cross_entropy(smoothing), _undecided(smoothing))


@checked
def non_saturating(smoothing: ShareBelow1 = 0.0) -> Objective:
    """ "Modified minimax": the generator maximises log D(G(z)) (Goodfellow et al. 2014, section 3).

    `smoothing` is one-sided label smoothing: the target of real examples is `1 - smoothing`. Raises `ValueError` unless it is
    in [0, 1).
    """
    return _objective(_cross_entropy(smoothing), lambda real, fake: jax.nn.softplus(-fake), _undecided(smoothing))


def wasserstein() -> Objective:
    """The difference of the critic's means, zero-sum (Arjovsky et al. 2017, eq. 2).

    The critic must be kept Lipschitz, by `optimizers.clip_weights`, `penalties.wgan_gp` or spectral normalization.
    """
    return _zero_sum(lambda real, fake: fake - real)


@checked
def least_squares(a: Coordinate = 0.0, b: Coordinate = 1.0, c: Coordinate = 1.0) -> Objective:
    """LSGAN: half the squares of D(real) - b and D(fake) - a, against half the square of D(fake) - c (Mao et al. 2017, eq. 2).

    `(a, b, c) = (0, 1, 1)` is the paper's 0-1 coding (eq. 9); `(-1, 1, 0)` minimises Pearson's chi-squared (eq. 8). Raises
    `ValueError` unless a < b, because high logits mean real throughout, and for a value outside [-1000, 1000].
    """
    if a >= b:
        raise ValueError(f'a and b are the targets of generated and real examples, and a must be below b, got {a} and {b}')
    return _objective(
        lambda real, fake: (jnp.square(real - b) + jnp.square(fake - a)) / 2,
        lambda real, fake: jnp.square(fake - c) / 2,
        (a + b) / 2,
    )


def hinge() -> Objective:
    """The hinge loss, applied to each example (Lim and Ye 2017; Miyato et al. 2018, eqs. 16 and 17)."""
    return _objective(lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake), lambda real, fake: -fake, 0.0)


@checked
def energy_margin(margin: Margin = 10.0) -> Objective:
    """EBGAN: D's outputs are energies, low for real examples and above the margin for others (Zhao et al. 2017, eqs. 1 and 2).

    The hinge is applied to each example. Raises `ValueError` unless the margin is above 0 and at most 1e6.
    """
    objective = _objective(lambda real, fake: real + jax.nn.relu(margin - fake), lambda real, fake: fake)
    return objective._replace(energies=True)


def relativistic() -> Objective:
    """RpGAN: compares real example i with generated example i by the logistic function (Jolicoeur-Martineau 2019).

    With `penalties.r1` and `penalties.r2` it is the loss of R3GAN (Huang et al. 2024).
    """
    return _objective(lambda real, fake: jax.nn.softplus(fake - real), lambda real, fake: jax.nn.softplus(real - fake))


def relativistic_average() -> Objective:
    """RaGAN: compares each example with the mean logit of the other kind by the logistic function (Jolicoeur-Martineau 2019).

    The mean is over all logits of the global batch, across devices.
    """

    def mean(logits: Array) -> Array:
        return parallel.pmean(logits.mean())

    return _objective(
        lambda real, fake: jax.nn.softplus(mean(fake) - real) + jax.nn.softplus(fake - mean(real)),
        lambda real, fake: jax.nn.softplus(mean(real) - fake) + jax.nn.softplus(real - mean(fake)),
    )


@checked
def f_gan(divergence: str | Divergence = 'jensen_shannon', non_saturating: bool = False, **settings: Any) -> Objective:
    """The variational bound of an f-divergence between data and model, zero-sum (Nowozin et al. 2016, eq. 7).

    Logits are V(x). The bound's function is T = g_f(V), and T > f'(1) means "real" (`Divergence.threshold`).

    Args:
        divergence: a `Divergence`, or a name in `divergences.DIVERGENCES`.
        non_saturating: if true, the generator maximises E[g_f(V)] instead (section 3.2).
        settings: settings of the named divergence, such as `pi` or `a`.

    Raises `ValueError` for an unknown divergence and for settings out of range.
    """
    if not isinstance(divergence, str | Divergence):
        raise ValueError(f'divergence must be a name or a Divergence, not {divergence!r}')
    d = DIVERGENCES[divergence](**settings) if isinstance(divergence, str) else divergence
    discriminator = lambda real, fake: d.conjugate_activation(fake) - d.activation(real)
    if non_saturating:
        return _objective(discriminator, lambda real, fake: -d.activation(fake), d.undecided)
    return _zero_sum(discriminator, d.undecided)


OBJECTIVES: Table[Callable[..., Objective]] = Table(
    'objective',
    {
        'minimax': minimax,
        'non_saturating': non_saturating,
        'wasserstein': wasserstein,
        'least_squares': least_squares,
        'hinge': hinge,
        'energy_margin': energy_margin,
        'relativistic': relativistic,
        'relativistic_average': relativistic_average,
        'f_gan': f_gan,
    },
)
"""Name -> factory. To add an objective, add a factory above and an entry here; `tests/test_objectives.py` then covers it."""
