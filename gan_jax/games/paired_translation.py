"""From image to image by pairs: pix2pix (Isola et al. 2017)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.games.adversarial import PROGRESS, apply_network
from gan_jax.objectives import Objective, non_saturating
from gan_jax.penalties import Penalty, Scheduled, total
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_CROSS_ENTROPY = non_saturating()


def paired_translation(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _CROSS_ENTROPY,
    *,
    l1_weight: float = 100.0,
    objective_weight: float = 1.0,
    penalties: Sequence[Penalty | Scheduled] = (),
) -> Game:
    """A generator of targets from inputs against a discriminator of real from generated targets, given the input (eqs. 1 to 4).

    The batch is `{'input': [batch, ...], 'target': [batch, ...]}`, of which sampling needs the input alone.

    Args:
        generator: `generator(input, train=) -> target`, with noise from the Flax random stream 'noise', in inference too.
        discriminator: `discriminator(pairs, train=) -> logits [batch, ...]`, of input and target joined along the last axis.
        objective: what each minimises, from `gan_jax.objectives`; a mean over all logits.
        l1_weight: of the mean absolute difference from the target, in the generator's loss (eq. 4).
        objective_weight: of the objective in the generator's loss; 0 is the paper's baseline of L1 alone.
        penalties: added to the discriminator's loss. They act on its function of the target at the given input: the condition
            is not interpolated, and no gradient is taken in it.

    Nothing here needs the whole batch: in a data-parallel run the networks, penalties and objectives that take an axis name
    want it. The discriminator's state after a generator's loss is thrown away. Raises `ValueError`, from `init`, if what the
    generator makes has not the target's shape.
    """

    def judge(variables: Variables, batch: Batch, target: Array, key: Key) -> tuple[Array, Variables]:
        return apply_network(discriminator, variables, jnp.concatenate([batch['input'], target], -1), noise=key)

    def init(key: Key, batch: Batch) -> tuple[Variables, Variables]:
        g_key, d_key = jax.random.split(key)
        source, target = batch['input'][:1], batch['target'][:1]
        # In inference mode batch norm has the same variables, and needs no axis.
        d_variables = discriminator.init(d_key, jnp.concatenate([source, target], -1), train=False)
        made, g_variables = generator.init_with_output(g_key, source, train=False)
        absolute_difference(made, target)
        return g_variables, {**d_variables, PROGRESS: {'updates': jnp.int32(0)}}

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        return apply_network(generator, variables, batch['input'], train=train, noise=key)

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        updates = variables[PROGRESS]['updates']
        real_key, fake_key, critic_key, penalty_key = jax.random.split(key, 4)
        real, state = judge(network, batch, batch['target'], real_key)
        fake, state = judge({**network, **state}, batch, play, fake_key)
        loss = objective.discriminator(real, fake).mean()
        metrics = {'real_logit': real.mean(), 'fake_logit': fake.mean()}
        if penalties:
            critic = lambda x: judge(network, batch, x, critic_key)[0]
            metrics['penalty'] = total(penalties, critic, batch['target'], play, penalty_key, updates).mean()
            loss += metrics['penalty']
        return loss, ({**state, PROGRESS: {'updates': updates + 1}}, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        real_key, fake_key = jax.random.split(key)
        real, _ = judge(network, batch, batch['target'], real_key)
        fake, _ = judge(network, batch, play, fake_key)
        l1 = absolute_difference(play, batch['target']).mean()
        return objective_weight * objective.generator(real, fake).mean() + l1_weight * l1, {'l1': l1}

    return Game(init, play, discriminator_loss, generator_loss)


def absolute_difference(a: Array, b: Array) -> Array:
    """The mean absolute difference of each example, `[batch]`. Raises `ValueError` unless both are of one shape."""
    if a.shape != b.shape:  # one channel against three would broadcast in silence
        raise ValueError(f'images that are compared are of one shape, got {a.shape} and {b.shape}')
    return jnp.abs(a - b).mean(tuple(range(1, a.ndim)))
