"""The standard game: one generator, one discriminator (Goodfellow et al. 2014)."""

from collections.abc import Callable

import flax.linen as nn
import jax

from gan_jax import parallel
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    penalty: Penalty | None = None,
    axis_name: str | None = None,
) -> Game:
    """A generator of examples from latents against a discriminator of real from generated examples.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        discriminator: `discriminator(examples, train=) -> logits [batch, ...]`.
        objective: what each minimises, from `gan_jax.objectives`.
        latent: one example's latent from one key, from `gan_jax.latents`.
        penalty: added to the discriminator's loss, from `gan_jax.penalties`.
        axis_name: the axis of a data-parallel run; networks with batch norm want the same one.

    The batch is an array of real examples. Real and generated examples pass through the discriminator apart, each with its
    own batch statistics.
    """

    def init(key: Key, batch: Batch) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        # In inference mode batch norm has the same variables, and needs no axis.
        z = latent(z_key)[None]
        return generator.init(g_key, z, train=False), discriminator.init(d_key, batch[:1], train=False)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        z = jax.vmap(latent)(parallel.example_keys(key, len(batch), axis_name if train else None))
        return _apply(generator, variables, z, train)

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        real, state = _apply(discriminator, variables, batch)
        fake, state = _apply(discriminator, {**variables, **state}, play)
        loss = objective.discriminator(real, fake).mean()
        metrics = {'real_logit': real.mean(), 'fake_logit': fake.mean()}
        if penalty is not None:
            metrics['penalty'] = penalty(lambda x: _apply(discriminator, variables, x)[0], batch, play, key).mean()
            loss += metrics['penalty']
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        # An objective that ignores the real logits costs no pass over the real examples: nothing else depends on them.
        real, _ = _apply(discriminator, variables, batch)
        fake, _ = _apply(discriminator, variables, play)
        return objective.generator(real, fake).mean(), {}

    return Game(init, play, discriminator_loss, generator_loss)


def _apply(network: nn.Module, variables: Variables, x: Array, train: bool = True) -> tuple[Array, Variables]:
    """The network's output, and its state: all collections but the parameters, as the call left them."""
    state = {name: value for name, value in variables.items() if name != 'params'}
    if not train:
        return network.apply(variables, x, train=False), state  # type: ignore[return-value]
    return network.apply(variables, x, train=True, mutable=list(state))  # type: ignore[return-value]
