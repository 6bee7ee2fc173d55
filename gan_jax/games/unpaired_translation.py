"""Image-to-image translation between two unpaired sets: CycleGAN (Zhu et al. 2017)."""

from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.games.differences import absolute_difference
from gan_jax.games.image_pool import empty_pool, exchange
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement
from gan_jax.games.parts import by_collection, part_of, replaced, state_of
from gan_jax.objectives import Objective, least_squares
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

POOL = 'pool'
"""The collection of the discriminators' variables that holds the pools of generated images."""

_LEAST_SQUARES = least_squares()


class Translations(NamedTuple):
    """The generators' output for a batch. `x_a` resembles the batch's `a`, and `x_b` its `b`."""

    fake_a: Array
    """The translation of the batch's `b`; `fake_b` is that of its `a`."""
    fake_b: Array
    cycle_a: Array
    """The translation of `fake_b`: the batch's `a` after a round trip."""
    cycle_b: Array
    identity_a: Array | None = None
    """The batch's `a` passed through the generator of `a`; None if the game does not use it."""
    identity_b: Array | None = None

    def fake(self, side: str) -> Array:
        """`fake_a` for side 'a', and `fake_b` otherwise."""
        return self.fake_a if side == 'a' else self.fake_b


def unpaired_translation(
    a_to_b: nn.Module,
    b_to_a: nn.Module,
    discriminator_a: nn.Module,
    discriminator_b: nn.Module,
    objective: Objective = _LEAST_SQUARES,
    *,
    cycle_weight: float = 10.0,
    identity_weight: float = 0.5,
    objective_weight: float = 2.0,
    pool_size: int = 50,
    **options: Unpack[JudgementOptions],
) -> Game:
    """Generators from A to B and back that invert each other, each against a separate discriminator (eqs. 1 to 3).

    The batch is `{'a': [batch, ...], 'b': [batch, ...]}`, drawn independently. The play is `Translations`. Both generators form
    one player, with parameters `{'a_to_b': ..., 'b_to_a': ...}`, and both discriminators the other, `{'a': ..., 'b': ...}`. The
    discriminators' state after the generators' loss is discarded, including the pools, and so is what an unroll does to it.

    Args:
        a_to_b: `generator(images, train=) -> images`; noise, if any, comes from the Flax random stream 'noise'.
        b_to_a: the generator of the opposite direction.
        discriminator_a: `discriminator(images, train=) -> logits [batch, ...]`, the discriminator of A.
        discriminator_b: the discriminator of B.
        objective: the losses of both players, from `gan_jax.objectives`, averaged over all logits.
        cycle_weight: weight of the mean absolute difference after a round trip, for each direction.
        identity_weight: times `cycle_weight`, the weight of the mean absolute difference that a generator makes to images that
            are already of its output side (section 5.2, "photo generation from paintings"; the authors' code has it
            everywhere); 0 disables it.
        objective_weight: weight of the objective in the generators' loss. Least squares are halved in `gan_jax.objectives` but
            not in the paper's generator loss; the default of 2 compensates.
        pool_size: number of generated images in each discriminator's pool; 0 disables it. A discriminator sees what `exchange`
            returns for the generated images; the generators' loss uses the images themselves.
        **options: of the judgement by each discriminator: `games.judgement.JudgementOptions`. Of the generated images, those
            returned by the pool are augmented.

    Raises `ValueError` for a negative pool size, as `games.judgement.judgement` does and, from `init`, if the sets differ in
    shape and the identity loss is used.
    """
    if pool_size < 0:
        raise ValueError(f'pool_size must be at least 0, got {pool_size}')
    generators = {'a_to_b': a_to_b, 'b_to_a': b_to_a}
    judges = {
        side: judgement(discriminator, objective.undecided, options)
        for side, discriminator in (('a', discriminator_a), ('b', discriminator_b))
    }

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        keys = jax.random.split(key, 4)
        a, b = batch['a'][:1], batch['b'][:1]
        if identity_weight and a.shape != b.shape:
            raise ValueError(f'identity_weight must be 0 if the sets differ in shape, got {a.shape[1:]} and {b.shape[1:]}')
        # Inference mode creates the same variables and does not require noise.
        g_variables = by_collection(
            {'a_to_b': a_to_b.init(keys[0], a, train=False), 'b_to_a': b_to_a.init(keys[1], b, train=False)}
        )
        d_variables = by_collection({'a': judges['a'].init(a, keys[2]), 'b': judges['b'].init(b, keys[3])})
        pools = {}
        if pool_size:
            fakes = jax.eval_shape(lambda: play(g_variables, {'a': a, 'b': b}, keys[0], train=False)[0])
            example = lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
            pools = {POOL: {side: empty_pool(pool_size, example(fakes.fake(side))) for side in judges}}
        return g_variables, {**d_variables, **pools}

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Translations, Variables]:
        def translate(variables: Variables, direction: str, images: Array, key: Key) -> tuple[Array, Variables]:
            own = part_of(variables, direction)
            result, state = apply_network(generators[direction], own, images, train=train, noise=key)
            return result, replaced(variables, direction, state)

        a, b, keys = batch['a'], batch['b'], jax.random.split(key, 6)
        fake_a, variables = translate(variables, 'b_to_a', b, keys[0])
        fake_b, variables = translate(variables, 'a_to_b', a, keys[1])
        cycle_a, variables = translate(variables, 'b_to_a', fake_b, keys[2])
        cycle_b, variables = translate(variables, 'a_to_b', fake_a, keys[3])
        identity_a = identity_b = None
        if identity_weight:
            identity_a, variables = translate(variables, 'b_to_a', a, keys[4])
            identity_b, variables = translate(variables, 'a_to_b', b, keys[5])
        return Translations(fake_a, fake_b, cycle_a, cycle_b, identity_a, identity_b), state_of(variables)

    def discriminator_loss(
        variables: Variables, play: Translations, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        own, pools = _networks(variables), {}
        loss = jnp.zeros(())
        metrics: Metrics = {}
        for (side, judge), side_key in zip(judges.items(), jax.random.split(key), strict=True):
            pool_key, judge_key = jax.random.split(side_key)
            shown = play.fake(side)
            if pool_size:
                pools[side], shown = exchange(variables[POOL][side], shown, pool_key)
            value, (state, found), _, _ = judge.discriminator_loss(objective, part_of(own, side), batch[side], shown, judge_key)
            loss += value
            metrics |= _of_side(found, side)
            own = replaced(own, side, state)
        return loss, ({**state_of(own), **({POOL: pools} if pool_size else {})}, metrics)

    def generator_loss(variables: Variables, play: Translations, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        own, loss = _networks(variables), jnp.zeros(())
        metrics: Metrics = {}
        for (side, judge), side_key in zip(judges.items(), jax.random.split(key), strict=True):
            variables, fake = part_of(own, side), play.fake(side)
            value, found, _, _ = judge.generator_loss(objective, variables, batch[side], fake, side_key, weight=objective_weight)
            loss += value
            metrics |= _of_side(found, side)
        difference = lambda x_a, x_b: (absolute_difference(x_a, batch['a']) + absolute_difference(x_b, batch['b'])).mean()
        metrics['cycle'] = difference(play.cycle_a, play.cycle_b)
        loss += cycle_weight * metrics['cycle']
        if identity_weight:
            metrics['identity'] = difference(play.identity_a, play.identity_b)
            loss += cycle_weight * identity_weight * metrics['identity']
        return loss, metrics

    return Game(init, play, discriminator_loss, generator_loss)


def _networks(variables: Variables) -> Variables:
    """The discriminators' variables without the pools."""
    return {name: value for name, value in variables.items() if name != POOL}


def _of_side(metrics: Metrics, side: str) -> Metrics:
    return {f'{name}_{side}': value for name, value in metrics.items()}
