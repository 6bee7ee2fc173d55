"""The standard game: one generator, one discriminator (Goodfellow et al. 2014)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.augmentations import Augmentation, chain
from gan_jax.features import FeatureLoss
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty, Scheduled, scheduled
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

PROGRESS = 'progress'
"""The collection of the discriminator's variables that counts its updates and holds the augmentation's state."""


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    penalties: Sequence[Penalty | Scheduled] = (),
    augmentation: Augmentation | None = None,
    feature_losses: Sequence[FeatureLoss] = (),
    feature_layer: int = -1,
    objective_weight: float = 1.0,
    axis_name: str | None = None,
) -> Game:
    """A generator of examples from latents against a discriminator of real from generated examples.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        discriminator: `discriminator(examples, train=) -> logits [batch, ...]`; for feature losses also `features_too=True ->
            (logits, [features, ...])`.
        objective: what each minimises, from `gan_jax.objectives`.
        latent: one example's latent from one key, from `gan_jax.latents`.
        penalties: added to the discriminator's loss, from `gan_jax.penalties`; they act on what the discriminator sees.
        augmentation: of what the discriminator sees, from `gan_jax.augmentations`.
        feature_losses: added to the generator's loss, from `gan_jax.features`, on the features `feature_layer`.
        objective_weight: of the objective in the generator's loss; 0 leaves it the feature losses alone (Salimans et al. 2016,
            section 3.1).
        axis_name: the axis of a data-parallel run; networks, penalties and losses that take one want the same.

    The batch is an array of real examples. Real and generated examples pass through the discriminator apart, each with its
    own batch statistics. The discriminator's state after a generator's loss is thrown away.
    """
    terms = [p if isinstance(p, Scheduled) else scheduled(p) for p in penalties]
    augment = augmentation or chain()
    keeps_progress = augmentation is not None or any(isinstance(p, Scheduled) for p in penalties)

    def see(progress: Any, examples: Array, key: Key) -> Array:
        return augment.apply(progress['augmentation'], examples, parallel.example_keys(key, len(examples), axis_name))

    def init(key: Key, batch: Batch) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        progress = {'updates': jnp.int32(0), 'augmentation': augment.init()}
        examples = jnp.zeros((augment.group, *batch.shape[1:]), batch.dtype)
        seen = augment.apply(progress['augmentation'], examples, jax.random.split(z_key, augment.group))
        # In inference mode batch norm has the same variables, and needs no axis.
        d_variables = discriminator.init(d_key, seen, train=False)
        if keeps_progress:
            d_variables = {**d_variables, PROGRESS: progress}
        return generator.init(g_key, latent(z_key)[None], train=False), d_variables

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        z = jax.vmap(latent)(parallel.example_keys(key, len(batch), axis_name if train else None))
        return _apply(generator, variables, z, train)

    def split(variables: Variables) -> tuple[Variables, Any]:
        """The network's own variables, and the progress."""
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        return network, variables.get(PROGRESS, {'updates': jnp.int32(0), 'augmentation': augment.init()})

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        network, progress = split(variables)
        real_key, fake_key, penalty_key = jax.random.split(key, 3)
        seen_real, seen_fake = see(progress, batch, real_key), see(progress, play, fake_key)
        real, state = _apply(discriminator, network, seen_real)
        fake, state = _apply(discriminator, {**network, **state}, seen_fake)
        loss = objective.discriminator(real, fake).mean()
        metrics = {'real_logit': real.mean(), 'fake_logit': fake.mean()}
        if terms:
            critic = lambda x: _apply(discriminator, network, x)[0]
            keys = jax.random.split(penalty_key, len(terms))
            values = [term(critic, seen_real, seen_fake, key, progress['updates']) for term, key in zip(terms, keys, strict=True)]
            metrics['penalty'] = jnp.stack(values).sum(0).mean()
            loss += metrics['penalty']
        if keeps_progress:
            moved = {'updates': progress['updates'] + 1, 'augmentation': augment.update(progress['augmentation'], real)}
            state = {**state, PROGRESS: jax.lax.stop_gradient(moved)}
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        network, progress = split(variables)
        real_key, fake_key = jax.random.split(key)
        seen = see(progress, batch, real_key), see(progress, play, fake_key)
        # An objective that ignores the real logits costs no pass over the real examples: nothing else depends on them.
        if not feature_losses:
            real, fake = (_apply(discriminator, network, x)[0] for x in seen)
            return objective_weight * objective.generator(real, fake).mean(), {}
        (real, real_features), (fake, fake_features) = (_apply(discriminator, network, x, features_too=True)[0] for x in seen)
        matched = [f[feature_layer].reshape(len(f[feature_layer]), -1) for f in (real_features, fake_features)]
        value = sum(loss(*matched) for loss in feature_losses)
        return objective_weight * objective.generator(real, fake).mean() + value, {'feature_loss': value}

    return Game(init, play, discriminator_loss, generator_loss)


def _apply(network: nn.Module, variables: Variables, x: Array, train: bool = True, **options: Any) -> tuple[Any, Variables]:
    """The network's output, and its state: all collections but the parameters, as the call left them."""
    state = {name: value for name, value in variables.items() if name != 'params'}
    if not train:
        return network.apply(variables, x, train=False, **options), state
    return network.apply(variables, x, train=True, mutable=list(state), **options)  # type: ignore[return-value]
