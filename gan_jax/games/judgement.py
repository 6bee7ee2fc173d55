"""The judgement of one discriminator: what it sees, its losses, and what it counts. Every game has one for each discriminator."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.augmentations import Augmentation, chain
from gan_jax.features import FeatureLoss
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty, Scheduled, total
from gan_jax.typing import Array, Key, Metrics, Variables

PROGRESS = 'progress'
"""The collection of the discriminator's variables that counts its updates and holds the augmentation's state."""
PenaltyAt = Literal['seen', 'original']


class Shown(NamedTuple):
    """Examples on their way to the discriminator."""

    examples: Array
    """Before the augmentation, `[n, ...]`."""
    seen: tuple[Array, ...]
    """What the discriminator sees of them, and of what lies beside them."""
    augment: Callable[[Array], tuple[Array, ...]]
    """The same augmentation, of the same draws, of other examples."""


class Verdict(NamedTuple):
    """One pass through the discriminator."""

    output: Any
    logits: Array
    features: Sequence[Array]
    """Empty if there are no feature losses."""
    state: Variables


class Judgement(NamedTuple):
    """A discriminator with all that acts on what it sees and on both players' losses; made by `judgement`.

    `given` are inputs that the discriminator has after the examples, such as labels; `beside` are images that it sees beside the
    examples: they are augmented by the same draws, and penalties hold them. The discriminator is called with
    `*join(example, *beside), *given`.
    """

    discriminator: nn.Module
    undecided: float | None
    """The logit at which the discriminator is undecided; None if there is none."""
    penalties: Sequence[Penalty | Scheduled]
    penalty_at: PenaltyAt
    augmentation: Augmentation
    feature_losses: Sequence[FeatureLoss]
    feature_layer: int
    logit: Callable[[Any], Array]
    join: Callable[..., tuple[Array, ...]]
    keeps_progress: bool

    def init(self, examples: Array, key: Key, *, given: Sequence[Array] = (), beside: Sequence[Array] = ()) -> Variables:
        """The discriminator's variables, of the examples' shapes."""
        group = self.augmentation.group
        blank = [jnp.zeros((group, *x.shape[1:]), x.dtype) for x in (examples, *beside)]
        progress = self._progress()
        seen = self._augment(progress, blank[0], blank[1:], jax.random.split(key, group))
        # Inference mode has the same variables, and needs no noise.
        variables = self.discriminator.init(key, *self.join(*seen), *(x[:1] for x in given), train=False)
        return {**variables, PROGRESS: progress} if self.keeps_progress else variables

    def split(self, variables: Variables) -> tuple[Variables, Any]:
        """The network's own variables, and the progress."""
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        return network, variables.get(PROGRESS, self._progress())

    def show(self, progress: Any, examples: Array, key: Key, *, beside: Sequence[Array] = ()) -> Shown:
        """Examples `[n, ...]` through the augmentation."""
        augment = lambda x: self._augment(progress, x, beside, parallel.example_keys(len(x), key))
        return Shown(examples, augment(examples), augment)

    def judge(self, network: Variables, seen: Sequence[Array], key: Key, *, given: Sequence[Array] = ()) -> Verdict:
        """One pass in training; the key is that of the discriminator's random stream 'noise'."""
        options = {'features_too': True} if self.feature_losses else {}
        output, state = apply_network(self.discriminator, network, *self.join(*seen), *given, noise=key, **options)
        output, features = output if self.feature_losses else (output, ())
        return Verdict(output, self.logit(output), features, state)

    def penalty(
        self, network: Variables, progress: Any, real: Shown, fake: Shown, noise: Key, key: Key, *, given: Sequence[Array] = ()
    ) -> Array:
        """The mean of the sum of the penalties, of which there is at least one; `noise` is the key of D's random stream."""
        seen = self.penalty_at == 'seen'
        points = (real.seen[0], fake.seen[0]) if seen else (real.examples, fake.examples)
        on_its_way = (lambda x: (x, *real.seen[1:])) if seen else real.augment
        critic = lambda x: self.judge(network, on_its_way(x), noise, given=given).logits
        return total(self.penalties, critic, *points, progress['updates'], key).mean()

    def moved(self, progress: Any, logits: Array) -> Variables:
        """The collection PROGRESS after one more update, in which real examples had these logits; empty if none is kept."""
        if not self.keeps_progress:
            return {}
        heard = logits - (self.undecided or 0)
        state = self.augmentation.update(progress['augmentation'], heard)
        return {PROGRESS: jax.lax.stop_gradient({'updates': progress['updates'] + 1, 'augmentation': state})}

    def feature_loss(self, real: Sequence[Array], fake: Sequence[Array]) -> Array:
        """The sum of the feature losses, of which there is at least one, on all features of each side."""
        matched = [f[self.feature_layer].reshape(len(f[self.feature_layer]), -1) for f in (real, fake)]
        return sum(term(*matched) for term in self.feature_losses)  # type: ignore[return-value]

    def discriminator_loss(
        self,
        objective: Objective,
        variables: Variables,
        real: Array,
        fake: Array,
        key: Key,
        *,
        given: Sequence[Array] = (),
        beside: Sequence[Array] = (),
    ) -> tuple[Array, tuple[Variables, Metrics], Verdict, Verdict]:
        """The objective's loss and the penalties, the discriminator's state and metrics, and both verdicts.

        Real and generated examples `[n, ...]` pass through apart, each with its own batch statistics.
        """
        network, progress = self.split(variables)
        real_key, fake_key, penalty_key, noise_key = jax.random.split(key, 4)
        noise_keys = jax.random.split(noise_key, 3)
        # What lies beside both is then one and the same, also between them.
        shown_real, shown_fake = (
            self.show(progress, x, k, beside=beside) for x, k in ((real, real_key), (fake, real_key if beside else fake_key))
        )
        of_real = self.judge(network, shown_real.seen, noise_keys[0], given=given)
        of_fake = self.judge({**network, **of_real.state}, shown_fake.seen, noise_keys[1], given=given)
        loss = objective.discriminator(of_real.logits, of_fake.logits).mean()
        metrics = {'real_logit': of_real.logits.mean(), 'fake_logit': of_fake.logits.mean()}
        if self.penalties:
            metrics['penalty'] = self.penalty(network, progress, shown_real, shown_fake, noise_keys[2], penalty_key, given=given)
            loss += metrics['penalty']
        return loss, ({**of_fake.state, **self.moved(progress, of_real.logits)}, metrics), of_real, of_fake

    def generator_loss(
        self,
        objective: Objective,
        variables: Variables,
        real: Array,
        fake: Array,
        key: Key,
        *,
        given: Sequence[Array] = (),
        beside: Sequence[Array] = (),
        weight: float = 1.0,
    ) -> tuple[Array, Metrics, Verdict, Verdict]:
        """`weight` times the objective's loss and the feature losses, metrics, and both verdicts."""
        network, progress = self.split(variables)
        real_key, fake_key, noise_key = jax.random.split(key, 3)
        noise_keys = jax.random.split(noise_key)
        # An objective that ignores the real logits costs no pass over the real examples: nothing else depends on them.
        shown_real = self.show(progress, real, real_key, beside=beside)
        of_real = self.judge(network, shown_real.seen, noise_keys[0], given=given)
        shown_fake = self.show(progress, fake, real_key if beside else fake_key, beside=beside)
        of_fake = self.judge(network, shown_fake.seen, noise_keys[1], given=given)
        loss = weight * objective.generator(of_real.logits, of_fake.logits).mean()
        metrics: Metrics = {}
        if self.feature_losses:
            metrics['feature_loss'] = self.feature_loss(of_real.features, of_fake.features)
            loss += metrics['feature_loss']
        return loss, metrics, of_real, of_fake

    def _progress(self) -> Any:
        return {'updates': jnp.int32(0), 'augmentation': self.augmentation.init()}

    def _augment(self, progress: Any, examples: Array, beside: Sequence[Array], keys: Key) -> tuple[Array, ...]:
        state = progress['augmentation']
        if not beside:
            return (self.augmentation.apply(state, examples, keys),)
        return self.augmentation.apply(state, (examples, *beside), keys)


def judgement(
    discriminator: nn.Module,
    undecided: float | None,
    *,
    penalties: Sequence[Penalty | Scheduled] = (),
    penalty_at: PenaltyAt = 'seen',
    augmentation: Augmentation | None = None,
    feature_losses: Sequence[FeatureLoss] = (),
    feature_layer: int = -1,
    logit: Callable[[Any], Array] = lambda output: output,
    join: Callable[..., tuple[Array, ...]] = lambda *seen: seen,
) -> Judgement:
    """The judgement of a discriminator.

    Args:
        discriminator: for feature losses it takes `features_too=True -> (output, [features, ...])`.
        undecided: the logit at which it is undecided under the objective, or None.
        penalties: and `penalty_at`, `augmentation`, `feature_losses`, `feature_layer`: as of `games.adversarial`.
        logit: `output -> logits of being real [n, ...]`.
        join: `(example, *beside) -> what the discriminator is called with`.

    Raises `ValueError` for an augmentation that follows logits where the discriminator is never undecided.
    """
    augment = augmentation or chain()
    if augment.reads_logits and undecided is None:
        raise ValueError(
            'an adaptive augmentation follows the sign of real logits, which says nothing under this objective; '
            'minimax, non_saturating, least_squares, hinge and f_gan have a logit at which D is undecided'
        )
    if penalty_at not in ('seen', 'original'):
        raise ValueError(f"penalties are at what is 'seen' or at the 'original', not {penalty_at!r}")
    keeps = augmentation is not None or any(isinstance(p, Scheduled) for p in penalties)
    return Judgement(discriminator, undecided, penalties, penalty_at, augment, feature_losses, feature_layer, logit, join, keeps)


def apply_network(
    network: nn.Module, variables: Variables, *inputs: Array, train: bool = True, noise: Key | None = None, **options: Any
) -> tuple[Any, Variables]:
    """The network's output, and its state: all collections but the parameters, as the call left them.

    `noise` is the key of the random stream of that name.
    """
    state = {name: value for name, value in variables.items() if name != 'params'}
    rngs = None if noise is None else {'noise': noise}
    if not train:
        return network.apply(variables, *inputs, train=False, rngs=rngs, **options), state
    return network.apply(variables, *inputs, train=True, mutable=list(state), rngs=rngs, **options)  # type: ignore[return-value]
