"""The standard game: one generator, one discriminator (Goodfellow et al. 2014), and what games built on it can ask of it."""

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
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

PROGRESS = 'progress'
"""The collection of the discriminator's variables that counts its updates and holds the augmentation's state."""


class Reading(NamedTuple):
    """What the batch and the discriminator's output mean. By default the batch is the examples, and the output their logits."""

    examples: Callable[[Batch], Array] = lambda batch: batch
    """`batch -> real examples [n, ...]`"""
    generator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """What the generator is called with after the latents, `[n, ...]` each."""
    discriminator: Callable[[Batch], tuple[Array, ...]] = lambda batch: ()
    """What the discriminator is called with after real and after generated examples, `[n, ...]` each."""
    logit: Callable[[Any], Array] = lambda output: output
    """`the discriminator's output -> logits of being real [n, ...]`"""


class Auxiliary(NamedTuple):
    """Further losses on the discriminator's output. Each is `(real output, fake output, batch) -> (loss, metrics)`, a mean."""

    discriminator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]
    generator: Callable[[Any, Any, Batch], tuple[Array, Metrics]]


class _Judgement(NamedTuple):
    output: Any
    logits: Array
    features: Sequence[Array]
    state: Variables


_PLAIN = Reading()


def adversarial(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    penalties: Sequence[Penalty | Scheduled] = (),
    penalty_at: Literal['seen', 'original'] = 'seen',
    augmentation: Augmentation | None = None,
    feature_losses: Sequence[FeatureLoss] = (),
    feature_layer: int = -1,
    objective_weight: float = 1.0,
    axis_name: str | None = None,
    reading: Reading = _PLAIN,
    auxiliary: Auxiliary | None = None,
) -> Game:
    """A generator of examples from latents against a discriminator of real from generated examples.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`.
        discriminator: `discriminator(examples, train=) -> logits [batch, ...]`; for feature losses also `features_too=True ->
            (logits, [features, ...])`. Calls in training may draw from the Flax random stream 'noise'.
        objective: what each minimises, from `gan_jax.objectives`.
        latent: one example's latent from one key, from `gan_jax.latents`.
        penalties: added to the discriminator's loss, from `gan_jax.penalties`.
        penalty_at: what the penalties' gradients are in: what the discriminator sees, or the examples before the augmentation,
            through which they are differentiated (as in the code of ADA and R3GAN).
        augmentation: of what the discriminator sees, from `gan_jax.augmentations`.
        feature_losses: added to the generator's loss, from `gan_jax.features`, on the features `feature_layer`.
        objective_weight: of the objective in the generator's loss; 0 leaves it the feature losses alone (Salimans et al. 2016,
            section 3.1).
        axis_name: the axis of a data-parallel run; networks, penalties and losses that take one want the same.
        reading: how other games use this one: the batch and the discriminator's output are what it says.
        auxiliary: added to both players' losses.

    The batch is an array of real examples. Real and generated examples pass through the discriminator apart, each with its
    own batch statistics. The discriminator's state after a generator's loss is thrown away.
    """
    augment = augmentation or chain()
    if augment.reads_logits and objective.undecided is None:
        raise ValueError(
            'an adaptive augmentation follows the sign of real logits, which says nothing under this objective; '
            'minimax, non_saturating, least_squares, hinge and f_gan have a logit at which D is undecided'
        )
    if penalty_at not in ('seen', 'original'):
        raise ValueError(f"penalties are at what is 'seen' or at the 'original', not {penalty_at!r}")
    keeps_progress = augmentation is not None or any(isinstance(p, Scheduled) for p in penalties)

    def see(progress: Any, examples: Array, key: Key) -> Array:
        return augment.apply(progress['augmentation'], examples, parallel.example_keys(key, len(examples), axis_name))

    def judge(network: Variables, seen: Array, batch: Batch, key: Key) -> _Judgement:
        options = {'features_too': True} if feature_losses else {}
        inputs = reading.discriminator(batch)
        output, state = apply_network(discriminator, network, seen, *inputs, noise=key, **options)
        output, features = output if feature_losses else (output, ())
        return _Judgement(output, reading.logit(output), features, state)

    def init(key: Key, batch: Batch) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        progress = {'updates': jnp.int32(0), 'augmentation': augment.init()}
        real = reading.examples(batch)
        examples = jnp.zeros((augment.group, *real.shape[1:]), real.dtype)
        seen = augment.apply(progress['augmentation'], examples, jax.random.split(z_key, augment.group))
        for_g, for_d = reading.generator(batch), tuple(x[:1] for x in reading.discriminator(batch))
        # In inference mode batch norm has the same variables, and needs no axis.
        d_variables = discriminator.init(d_key, seen, *for_d, train=False)
        if keeps_progress:
            d_variables = {**d_variables, PROGRESS: progress}
        return init_generator(generator, g_key, latent, z_key, *for_g), d_variables

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        size = len(jax.tree.leaves(batch)[0])
        z = jax.vmap(latent)(parallel.example_keys(key, size, axis_name if train else None))
        return apply_network(generator, variables, z, *reading.generator(batch), train=train)

    def split(variables: Variables) -> tuple[Variables, Any]:
        """The network's own variables, and the progress."""
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        return network, variables.get(PROGRESS, {'updates': jnp.int32(0), 'augmentation': augment.init()})

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        network, progress = split(variables)
        real_key, fake_key, penalty_key, noise_key = jax.random.split(key, 4)
        noise_keys = jax.random.split(noise_key, 3)
        seen_real, seen_fake = see(progress, reading.examples(batch), real_key), see(progress, play, fake_key)
        real = judge(network, seen_real, batch, noise_keys[0])
        fake = judge({**network, **real.state}, seen_fake, batch, noise_keys[1])
        state = fake.state
        loss = objective.discriminator(real.logits, fake.logits).mean()
        metrics = {'real_logit': real.logits.mean(), 'fake_logit': fake.logits.mean()}
        if penalties:
            points = (seen_real, seen_fake) if penalty_at == 'seen' else (reading.examples(batch), play)
            on_its_way = (lambda x: x) if penalty_at == 'seen' else (lambda x: see(progress, x, real_key))
            critic = lambda x: judge(network, on_its_way(x), batch, noise_keys[2]).logits
            metrics['penalty'] = total(penalties, critic, *points, penalty_key, progress['updates']).mean()
            loss += metrics['penalty']
        if auxiliary is not None:
            value, found = auxiliary.discriminator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        if keeps_progress:
            heard = real.logits - (objective.undecided or 0)
            moved = {'updates': progress['updates'] + 1, 'augmentation': augment.update(progress['augmentation'], heard)}
            state = {**state, PROGRESS: jax.lax.stop_gradient(moved)}
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        network, progress = split(variables)
        real_key, fake_key, noise_key = jax.random.split(key, 3)
        noise_keys = jax.random.split(noise_key)
        # An objective that ignores the real logits costs no pass over the real examples: nothing else depends on them.
        real = judge(network, see(progress, reading.examples(batch), real_key), batch, noise_keys[0])
        fake = judge(network, see(progress, play, fake_key), batch, noise_keys[1])
        loss = objective_weight * objective.generator(real.logits, fake.logits).mean()
        metrics: Metrics = {}
        if feature_losses:
            matched = [f[feature_layer].reshape(len(f[feature_layer]), -1) for f in (real.features, fake.features)]
            metrics['feature_loss'] = sum(term(*matched) for term in feature_losses)
            loss += metrics['feature_loss']
        if auxiliary is not None:
            value, found = auxiliary.generator(real.output, fake.output, batch)
            loss, metrics = loss + value, metrics | found
        return loss, metrics

    return Game(init, play, discriminator_loss, generator_loss)


def init_generator(
    generator: nn.Module, key: Key, latent: Callable[[Key], Array], latent_key: Key, *conditions: Array
) -> Variables:
    """The variables of a generator; the reference batch of virtual batch norm, if it has one, is of the game's own latents.

    `conditions` are what it is called with after the latents, `[n, ...]` each: the reference batch has theirs in turn.
    """

    def init(n: int) -> Variables:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(latent_key, jnp.arange(n))
        z = latent(latent_key)[None] if n == 1 else jax.vmap(latent)(keys)
        return generator.init(key, z, *(x[jnp.arange(n) % len(x)] for x in conditions), train=False)

    reference = jax.tree.leaves(jax.eval_shape(lambda: init(1)).get('reference', {}))
    return init(max([1, *(len(leaf) for leaf in reference)]))


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
