"""Adversarial flow models: a GAN whose map from noise to data is the optimal transport (Lin et al. 2025, arXiv 2511.22475)."""

from collections.abc import Callable
from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.games.judgement import JudgementOptions, apply_network, judgement, refuse_packing
from gan_jax.objectives import Objective, relativistic
from gan_jax.penalties import Penalty, Schedule, Scheduled
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_PAIRED = relativistic()


class Transport(NamedTuple):
    """Examples that the generator has moved, and where from."""

    examples: Array
    """The generator's results, `[n, ...]`."""
    sources: Array
    """What they were generated from, `[n, ...]`: in sampling, noise."""
    targets: Array | None = None
    """Real points at the times of the results, `[n, ...]`; None in sampling."""
    times: Array | None = None
    """The times of the results, `[n]`; None in sampling, where they are 0, and for a flow of one step."""


def adversarial_flow(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _PAIRED,
    *,
    latent: Callable[[Key], Array],
    steps: int = 1,
    transport_weight: float | Schedule = 0.05,
    centring_weight: float = 0.01,
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """A generator that moves noise to data in one or several steps, at the least cost of transport.

    Noise z at time 1 and data x at time 0 define the flow x_t = (1 - t) x + t z. The generator maps x_s to a point at time
    t = s - 1 / steps, and the discriminator tells those from real points x_t. With w = s - t, the players minimise

        L_D = objective + centring_weight E[(D(x_t) + D(G(x_s)))^2],
        L_G = objective + transport_weight / w  E|G(x_s) - x_s|^2,

    where |.|^2 is the mean of the squares over the entries of an example. Many maps take one distribution to another, and the
    objective does not choose among them; the cost of transport chooses the map for which it is least. Between distributions on a
    line, this is the increasing map. The cost also draws the results towards the noise, so the weight should end small: the
    authors have .05 for points on a line, and .2 falling to .005 for images. Penalties are multiplied by w = 1 / `steps`, as the
    authors do with R1 and R2.

    The batch is an array of real examples, or for `gan_jax.sample` their number, and the play is a `Transport`. In sampling, the
    generator is applied `steps` times.

    Args:
        generator: `generator(x_s [batch, ...], train=) -> [batch, ...]`, of the same shape; if there are several steps,
            `generator(x_s, s [batch], t [batch], train=)`.
        discriminator: `discriminator(x_t, train=) -> logits [batch]`; if there are several steps,
            `discriminator(x_t, t [batch], train=)`.
        objective: the losses of both players; the authors' is `objectives.relativistic()`.
        latent: draws the noise of one example from one key, of the shape of an example.
        steps: number of steps from noise to data.
        transport_weight: weight of the cost of transport, or a function of the number of discriminator updates that returns it,
            such as an optax schedule; 0 leaves a GAN.
        centring_weight: weight of the term that keeps the logits around 0, which a relativistic objective does not determine.
        objective_weight: weight of the objective in the generator's loss.
        **options: of the judgement: `games.judgement.JudgementOptions`. No regularizer may move latents.

    Raises `ValueError` for fewer than 1 step, for a negative weight, for packing with several steps, because the points of a pack
    have different times, as `games.adversarial` does and, from `init`, if noise or the generator's results differ from the
    examples in shape.
    """
    if steps < 1:
        raise ValueError(f'a flow must have at least 1 step, got {steps}')
    if centring_weight < 0 or (not callable(transport_weight) and transport_weight < 0):
        raise ValueError(f'weights must be at least 0, got {transport_weight=} and {centring_weight=}')
    if steps > 1:
        refuse_packing(options.get('augmentation'), 'joins points at different times, but the discriminator takes a single time')
    options['penalties'] = [_scaled(penalty, 1 / steps) for penalty in options.get('penalties', ())]
    judge = judgement(discriminator, objective.undecided, options)
    judge = judge._replace(keeps_progress=judge.keeps_progress or callable(transport_weight))

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        z, times = latent(z_key)[None], _between(jnp.ones(1), steps)
        made, g_variables = generator.init_with_output(g_key, z, *times, train=False)
        if not made.shape == z.shape == batch[:1].shape:
            shapes = f'{made.shape[1:]}, {z.shape[1:]} and {batch.shape[1:]}'
            raise ValueError(f"the generator's results, its noise and the examples must have the same shape, got {shapes}")
        return g_variables, judge.init(batch, d_key, given=times[1:])

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Transport, Variables]:
        z_key, time_key, noise_key = jax.random.split(key, 3)
        z = jax.vmap(latent)(parallel.example_keys(len(batch), z_key))
        if not train:
            return Transport(flow(generator, variables, z, noise_key, steps=steps), z), _state(variables)
        if steps == 1:
            examples, state = apply_network(generator, variables, z, noise=noise_key)
            return Transport(examples, z, batch), state
        draw = lambda key: jax.random.randint(key, (), 1, steps + 1)
        s, t = _between(jax.vmap(draw)(parallel.example_keys(len(batch), time_key)).astype(z.dtype), steps)
        sources, targets = (_interpolated(batch, z, time) for time in (s, t))
        examples, state = apply_network(generator, variables, sources, s, t, noise=noise_key)
        return Transport(examples, sources, targets, t), state

    def judged(play: Transport) -> tuple[Array, Array, tuple[Array, ...]]:
        """Real points, the generator's results, and the discriminator's further inputs."""
        assert play.targets is not None  # in training
        return play.targets, play.examples, () if play.times is None else (play.times,)

    def discriminator_loss(
        variables: Variables, play: Transport, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        targets, examples, given = judged(play)
        loss, (state, metrics), real, fake = judge.discriminator_loss(objective, variables, targets, examples, key, given=given)
        if centring_weight:
            metrics['centring'] = jnp.square(real.logits + fake.logits).mean()
            loss += centring_weight * metrics['centring']
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Transport, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        targets, examples, given = judged(play)
        loss, metrics, _, _ = judge.generator_loss(
            objective, variables, targets, examples, key, given=given, weight=objective_weight
        )
        metrics['transport_cost'] = steps * jnp.square(play.examples - play.sources).mean()
        weight = transport_weight(judge.split(variables)[1]['updates']) if callable(transport_weight) else transport_weight
        return loss + weight * metrics['transport_cost'], metrics

    return Game(init, play, discriminator_loss, generator_loss)


def flow(generator: nn.Module, variables: Variables, noise: Array, key: Key | None = None, *, steps: int = 1) -> Array:
    """The examples to which the generator of `adversarial_flow` moves noise `[n, ...]` in `steps` steps, in inference mode.

    Args:
        generator: the network of the game.
        variables: its variables.
        noise: `[n, ...]`, of the shape of the examples.
        key: the key of its random stream 'noise', if it draws from it.
        steps: the number of steps of the game.
    """
    x = noise
    for number in range(steps, 0, -1):
        times = _between(jnp.full(len(x), number, x.dtype), steps)
        own = None if key is None else jax.random.fold_in(key, number)
        x, _ = apply_network(generator, variables, x, *times, train=False, noise=own)
    return x


def _scaled(penalty: Penalty | Scheduled, factor: float) -> Penalty | Scheduled:
    if isinstance(penalty, Scheduled):
        return penalty._replace(factor=lambda updates: factor * penalty.factor(updates))
    return lambda critic, real, fake, key: factor * penalty(critic, real, fake, key)


def _between(number: Array, steps: int) -> tuple[Array, ...]:
    """The times from and to which step `number [n]`, counted from the data, leads; empty if it is the only one."""
    return () if steps == 1 else (number / steps, (number - 1) / steps)


def _interpolated(x: Array, z: Array, times: Array) -> Array:
    """The points (1 - t) x + t z of the flow at times `[n]`."""
    t = times.reshape(-1, *[1] * (x.ndim - 1))
    return (1 - t) * x + t * z


def _state(variables: Variables) -> Variables:
    return {name: value for name, value in variables.items() if name != 'params'}
