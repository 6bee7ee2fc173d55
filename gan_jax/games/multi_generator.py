"""MAD-GAN: several generators, and one discriminator that tells them apart (Ghosh et al. 2018)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.nn import logsumexp, softplus

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.games.adversarial import PROGRESS, apply_network, init_generator
from gan_jax.penalties import Penalty, Scheduled, total
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


def multi_generator(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    generators: int,
    latent: Callable[[Key], Array],
    shared: Sequence[str] = (),
    non_saturating: bool = False,
    penalties: Sequence[Penalty | Scheduled] = (),
    axis_name: str | None = None,
) -> Game:
    """K generators against a discriminator of K + 1 classes: class i < K is generator i, class K is real.

    With D the softmax of the discriminator's logits, D maximises E_real log D_K + sum_i E_i log D_i, and generator i minimises
    E_i log(1 - D_K) (Ghosh et al. 2018, section 4). Real examples count once, and the K terms are summed. The generators' loss is
    the whole E_real log D_K + sum_i E_i log(1 - D_K), whose value at the optimum is -(K + 1) log(K + 1) + K log K; its first term
    acts only through an unrolled discriminator. With K = 1 this is the minimax game.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`; each of the K has parameters of its own.
        discriminator: `discriminator(examples, train=) -> logits [batch, K + 1]`, such as `MLP((128, K + 1))` or
            `DCGANDiscriminator(outputs=K + 1)`.
        generators: K.
        latent: one example's latent from one key, from `gan_jax.latents`.
        shared: names of the generator's layers whose parameters all K have in common, such as `('Dense_0', 'Dense_1')` for a
            trunk with K heads. A trunk of first layers runs once for all.
        non_saturating: the generators maximise sum_i E_i log D_K instead.
        penalties: added to the discriminator's loss, from `gan_jax.penalties`, on the logit of "real", log D_K / (1 - D_K). One
            that looks at generated examples is the mean of the K penalties on (real, examples of generator i).
        axis_name: the axis of a data-parallel run; networks and penalties that take one want the same.

    The play is `[K, batch, ...]`. All generators see the same latents, which the objective cannot tell from independent ones:
    only the K separate expectations are in it. `mixture` makes of a play samples of the whole model. Real examples and those of
    each generator pass through the discriminator apart, each with its own batch statistics.

    Raises `ValueError` for K < 1 and for logits that are not `[batch, K + 1]`, `InputError` for a layer that is not there and if
    every layer is shared.
    """
    K = generators
    if K < 1:
        raise ValueError(f'generators are 1 or more, got {K}')
    keeps_progress = any(isinstance(p, Scheduled) for p in penalties)

    def own(variables: Variables) -> Any:
        """For every leaf of the generators' variables 0, the axis of the K, or None where they share it."""
        return jax.tree_util.tree_map_with_path(lambda path, _: None if path[1].key in shared else 0, variables)

    def init(key: Key, batch: Batch) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        stacked = jax.vmap(lambda key: init_generator(generator, key, latent, z_key))(jax.random.split(g_key, K))
        layers = list(stacked.get('params', {}))
        if unknown := sorted(set(shared) - set(layers)):
            raise InputError(f'the generator has no layer {", ".join(unknown)} to share; it has {", ".join(layers)}')
        if layers and set(layers) == set(shared):
            raise InputError(f'all layers of the generator are shared ({", ".join(layers)}), so that the {K} generators are one')
        variables = jax.tree.map(lambda x, axis: x if axis == 0 else x[0], stacked, own(stacked))
        d_variables = discriminator.init(d_key, batch[:1], train=False)
        return variables, {**d_variables, PROGRESS: {'updates': jnp.int32(0)}} if keeps_progress else d_variables

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        z = jax.vmap(latent)(parallel.example_keys(key, len(batch), axis_name if train else None))
        apply = lambda variables: apply_network(generator, variables, z, train=train)
        examples, states = jax.vmap(apply, in_axes=(own(variables),), axis_size=K)(variables)
        return examples, jax.tree.map(lambda x, axis: x if axis == 0 else _merge(x), states, own(states))

    def judge(network: Variables, examples: Array) -> tuple[Array, Variables]:
        logits, state = apply_network(discriminator, network, examples)
        if logits.shape != (len(examples), K + 1):
            raise ValueError(f'{K} generators want discriminator logits {(len(examples), K + 1)}, got {logits.shape}')
        return logits, state

    def split(variables: Variables) -> tuple[Variables, Any]:
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        return network, variables.get(PROGRESS, {'updates': jnp.int32(0)})

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        network, progress = split(variables)
        real, state = judge(network, batch)
        fake, states = jax.vmap(lambda x: judge({**network, **state}, x))(play)
        loss = _cross_entropy(real, K) + jax.vmap(_cross_entropy)(fake, jnp.arange(K)).sum()
        guessed = fake[..., :K].argmax(-1) == jnp.arange(K)[:, None]
        metrics = {'real_logit': real_logit(real).mean(), 'fake_logit': real_logit(fake).mean(), 'told_apart': guessed.mean()}
        if penalties:
            critic = lambda x: real_logit(judge(network, x)[0])
            # What depends on the real examples alone is not batched by vmap, and computed once.
            term = lambda fake, key: total(penalties, critic, batch, fake, key, progress['updates'])
            metrics['penalty'] = jax.vmap(term)(play, jax.random.split(key, K)).mean()
            loss += metrics['penalty']
        state = jax.tree.map(_merge, states)
        if keeps_progress:
            state = {**state, PROGRESS: {'updates': progress['updates'] + 1}}
        return loss, (state, metrics)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        network, _ = split(variables)
        fake = jax.vmap(lambda x: real_logit(judge(network, x)[0]))(play)
        if non_saturating:
            return softplus(-fake).mean(1).sum(), {}
        real = real_logit(judge(network, batch)[0])
        return -softplus(-real).mean() - softplus(fake).mean(1).sum(), {}

    return Game(init, play, discriminator_loss, generator_loss)


def real_logit(logits: Array) -> Array:
    """The logit of D_K, log D_K / (1 - D_K), where the last class is real: `[..., K + 1] -> [...]`."""
    return logits[..., -1] - logsumexp(logits[..., :-1], axis=-1)


def mixture(play: Array, key: Key) -> Array:
    """Samples of the model as a whole, `[K, n, ...] -> [n, ...]`: each of a generator drawn uniformly at random.

    Which one depends on the key and the example's place only, so that more samples leave the first ones as they are.
    """
    K, n = play.shape[:2]
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, K))(parallel.example_keys(key, n))
    return play[chosen, jnp.arange(n)]


def _cross_entropy(logits: Array, label: Array | int) -> Array:
    """The mean of -log D_label over a batch of one class, `[batch, K + 1]`."""
    labels = jnp.full(len(logits), label)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _merge(rows: Array) -> Array:
    """One state of the `[K, ...]` that K calls made of it: batch statistics are averaged, counters are equal."""
    return rows.mean(0) if jnp.issubdtype(rows.dtype, jnp.floating) else rows[0]
