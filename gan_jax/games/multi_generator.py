"""MAD-GAN: several generators, and one discriminator that tells them apart (Ghosh et al. 2018)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.nn import logsumexp, softplus

from gan_jax import parallel
from gan_jax.errors import InputError
from gan_jax.games.adversarial import init_generator
from gan_jax.games.judgement import JudgementOptions, Verdict, apply_network, judgement
from gan_jax.regularizers import Heard
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
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """K generators against a discriminator of K + 1 classes: class i < K means generator i, class K means real.

    With D the softmax of the discriminator's logits, D maximises E_real log D_K + sum_i E_i log D_i, and generator i minimises
    E_i log(1 - D_K) (Ghosh et al. 2018, section 4). Real examples count once, and the K terms are summed. The generators' loss
    is the whole of E_real log D_K + sum_i E_i log(1 - D_K), whose value at the optimum is -(K + 1) log(K + 1) + K log K; its
    first term matters only with an unrolled discriminator. With K = 1 this is the minimax game.

    The play is `[K, batch, ...]`. All generators receive the same latents; the objective, which contains only the K separate
    expectations, does not distinguish them from independent ones. `mixture` turns a play into samples of the whole model. Real
    examples and those of each generator pass through the discriminator separately, each with their own batch statistics.

    Args:
        generator: `generator(z [batch, size], train=) -> examples [batch, ...]`; each of the K has separate parameters.
        discriminator: `discriminator(examples, train=) -> logits [batch, K + 1]`, such as `MLP((128, K + 1))` or
            `DCGANDiscriminator(outputs=K + 1)`.
        generators: K.
        latent: draws one example's latent from one key, from `gan_jax.latents`.
        shared: names of the generator's layers whose parameters are common to all K, such as `('Dense_0', 'Dense_1')` for a
            trunk with K heads. A trunk of first layers runs only once.
        non_saturating: whether the generators maximise sum_i E_i log D_K instead.
        objective_weight: weight of the generators' terms above, beside feature losses.
        **options: of the judgement: `games.judgement.JudgementOptions`. Penalties act on the logit of "real",
            log D_K / (1 - D_K); one that uses generated examples is the mean of the K penalties on (real, examples of generator
            i). Features of real examples are matched with those of all generators' examples together. For an adaptive
            augmentation, D is undecided where D_K is 1 / (K + 1), its value at the optimum. The terms of regularizers are means
            over the K generators, whose examples they weigh separately; none may move latents.

    Raises `ValueError` for K < 1, for logits that are not `[batch, K + 1]` and as `games.judgement.judgement` does;
    `InputError` for a layer that does not exist and if every layer is shared.
    """
    K = generators
    if K < 1:
        raise ValueError(f'generators must be at least 1, got {K}')
    judge = judgement(
        discriminator,
        -math.log(K),
        options,
        logit=real_logit,
    )

    def own(variables: Variables) -> Any:
        """For every leaf of the generators' variables: 0, the axis of the K generators, or None where they share it."""
        return jax.tree_util.tree_map_with_path(lambda path, _: None if path[1].key in shared else 0, variables)

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key, z_key = jax.random.split(key, 3)
        stacked = jax.vmap(lambda key: init_generator(generator, latent, (), z_key, key))(jax.random.split(g_key, K))
        layers = list(stacked.get('params', {}))
        if unknown := sorted(set(shared) - set(layers)):
            raise InputError(f'the generator has no layer {", ".join(unknown)} to share; it has {", ".join(layers)}')
        if layers and set(layers) == set(shared):
            raise InputError(
                f'all layers of the generator are shared ({", ".join(layers)}), which makes the {K} generators equal'
            )
        variables = jax.tree.map(lambda x, axis: x if axis == 0 else x[0], stacked, own(stacked))
        return variables, judge.init(batch, d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Array, Variables]:
        z = jax.vmap(latent)(parallel.example_keys(len(batch), key))
        apply = lambda variables: apply_network(generator, variables, z, train=train)
        examples, states = jax.vmap(apply, in_axes=(own(variables),), axis_size=K)(variables)
        return examples, jax.tree.map(lambda x, axis: x if axis == 0 else _merge(x), states, own(states))

    def judged(network: Variables, seen: Sequence[Array], key: Key) -> Verdict:
        verdict = judge.judge(network, seen, key)
        if verdict.output.shape != (len(seen[0]), K + 1):
            raise ValueError(f'{K} generators require discriminator logits {(len(seen[0]), K + 1)}, got {verdict.output.shape}')
        return verdict

    def discriminator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        network, progress = judge.split(variables)
        real_key, fake_key, penalty_key, noise_key = jax.random.split(key, 4)
        noise_keys = jax.random.split(noise_key, 3)
        shown = judge.show(progress, batch, real_key)
        real = judged(network, shown.seen, noise_keys[0])
        after_real = {**network, **real.state}

        def of_one(examples: Array, fake_key: Key, noise_key: Key, penalty_key: Key) -> tuple[Array, Variables, Metrics]:
            own = judge.show(progress, examples, fake_key)
            verdict = judged(after_real, own.seen, noise_key)
            terms: Metrics = {}
            # vmap does not batch what depends on the real examples alone, so it is computed once.
            if judge.penalties:
                terms['penalty'] = judge.penalty(network, progress, shown, own, noise_keys[2], penalty_key)
            if judge.regularizers:
                heard, noise = Heard(real.logits, verdict.logits), (noise_keys[0], noise_key)
                networks, own_key = (network, after_real), jax.random.fold_in(penalty_key, 0)
                terms['regularization'] = judge.regularization(networks, progress, (shown, own), heard, noise, own_key)
            return verdict.output, verdict.state, terms

        keys = [jax.random.split(k, K) for k in (fake_key, noise_keys[1], penalty_key)]
        fake, states, terms = jax.vmap(of_one)(play, *keys)
        loss = _cross_entropy(real.output, K) + jax.vmap(_cross_entropy)(fake, jnp.arange(K)).sum()
        guessed = fake[..., :K].argmax(-1) == jnp.arange(K)[:, None]
        metrics = {
            'real_logit': real.logits.mean(),
            'fake_logit': real_logit(fake).mean(),
            'told_apart': guessed.mean(),
        }
        means = {name: term.mean() for name, term in terms.items()}
        state = judge.progressed(progress, real.logits, real_logit(fake))
        return sum(means.values(), loss), ({**jax.tree.map(_merge, states), **state}, metrics | means)

    def generator_loss(variables: Variables, play: Array, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        network, progress = judge.split(variables)
        real_key, fake_key, noise_key = jax.random.split(key, 3)
        noise_keys = jax.random.split(noise_key)
        look = lambda x, key, noise: judged(network, judge.show(progress, x, key).seen, noise)
        real = look(batch, real_key, noise_keys[0])
        fake = jax.vmap(look)(play, jax.random.split(fake_key, K), jax.random.split(noise_keys[1], K))
        weighed = lambda loss: jax.vmap(lambda logits: judge.generator_mean(loss, progress, logits, logits))(fake.logits).sum()
        of_fake = weighed(lambda logits: softplus(-logits) if non_saturating else -softplus(logits))
        loss = of_fake if non_saturating else of_fake - softplus(-real.logits).mean()
        if not judge.feature_losses:
            return objective_weight * loss, {}
        together = [f.reshape(-1, *f.shape[2:]) for f in fake.features]
        feature_loss = judge.feature_loss(real.features, together)
        return objective_weight * loss + feature_loss, {'feature_loss': feature_loss}

    return Game(init, play, discriminator_loss, generator_loss)


def real_logit(logits: Array) -> Array:
    """The logit of D_K, log D_K / (1 - D_K), where the last class is real: `[..., K + 1] -> [...]`."""
    return logits[..., -1] - logsumexp(logits[..., :-1], axis=-1)


def mixture(play: Array, key: Key) -> Array:
    """Samples of the whole model, `[K, n, ...] -> [n, ...]`, each from a generator drawn uniformly at random.

    The choice depends only on the key and the example's position, so drawing more samples leaves the first ones unchanged.
    """
    K, n = play.shape[:2]
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, K))(parallel.example_keys(n, key))
    return play[chosen, jnp.arange(n)]


def _cross_entropy(logits: Array, label: Array | int) -> Array:
    """The mean of -log D_label over a batch `[batch, K + 1]` of a single class."""
    labels = jnp.full(len(logits), label)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _merge(rows: Array) -> Array:
    """Merges the states `[K, ...]` left by K calls into one: averages batch statistics and keeps counters, which are equal."""
    return rows.mean(0) if jnp.issubdtype(rows.dtype, jnp.floating) else rows[0]
