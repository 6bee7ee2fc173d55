"""The game of a style-based generator: style mixing and path length regularisation (Karras et al. 2019, 2020)."""

from collections.abc import Callable
from typing import NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel
from gan_jax.games.adversarial import adversarial
from gan_jax.games.judgement import JudgementOptions, apply_network, check_latents_stay, check_options
from gan_jax.objectives import Objective
from gan_jax.path_lengths import PathRegularization, Paths
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

PATHS = 'paths'
"""The collection of the generator's variables with the state of the path length regularisation."""


class Styled(NamedTuple):
    """Generated examples, and the path lengths of the update."""

    examples: Array
    """`[n, ...]`"""
    paths: Paths | None
    """None in inference, and without the regularisation."""


def style_based(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    *,
    latent: Callable[[Key], Array],
    mixing: float = 0.9,
    path_regularization: PathRegularization | None = None,
    objective_weight: float = 1.0,
    **options: Unpack[JudgementOptions],
) -> Game:
    """The standard game with a generator of two halves, latent to style and styles to example (Karras et al. 2019, 2020).

    In training, an example takes with probability `mixing` the style of a second latent from a layer on that is uniform over all
    but the first (Karras et al. 2019, section 3.1); here each example draws its own, and in the authors' code the batch shares
    one. The path length is that of further latents, on a part of the batch (Karras et al. 2020, section 3.2). The batch is an
    array of real examples; the play is a `Styled`.

    Args:
        generator: such as `networks.StyleGenerator`, with the number `layers` of styles of an example, and the methods
            `styles(z [n, size], train=) -> w [n, style size]` and `synthesise(w, train=) -> examples [n, ...]` for `w` of that
            shape or `[n, layers, style size]`. The latter may draw from the Flax random stream 'noise'; it is called with
            `train=False` throughout, so that an image depends on its own styles alone.
        discriminator: this and `objective`, `latent` and `objective_weight` are as in `games.adversarial`.
        mixing: the probability of two styles.
        path_regularization: added to the generator's loss, from `path_lengths.path_length`. Its state is in the collection PATHS.
        **options: of the judgement: `games.judgement.JudgementOptions`. No regularizer may move latents.

    Raises `ValueError` for a probability outside [0, 1], for a regularizer that moves latents, and as `games.adversarial` does;
    `init` raises it for synthesis with 'batch_stats', such as batch or spectral norm, which would not be updated.
    """
    check_options(options)
    if not 0 <= mixing <= 1:
        raise ValueError(f'mixing is a probability, from 0 to 1, not {mixing}')
    check_latents_stay(options.get('regularizers', ()))
    base = adversarial(
        generator,
        discriminator,
        objective,
        latent=latent,
        objective_weight=objective_weight,
        **options,
    )

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        variables, judge = base.init(batch, key)
        rngs = {'params': key, 'noise': key}
        alone = lambda: generator.init(rngs, styles(variables, 1, key)[0], train=False, method='synthesise')
        if 'batch_stats' in jax.eval_shape(alone):
            raise ValueError("style_based does not update 'batch_stats' of synthesis, which must not have batch or spectral norm")
        return (variables if path_regularization is None else {**variables, PATHS: path_regularization.init()}), judge

    def styles(network: Variables, size: int, key: Key, *, train: bool = False) -> tuple[Array, Variables]:
        """Styles of as many examples, `[size, style size]`, and the network's state."""
        z = jax.vmap(latent)(parallel.example_keys(size, key))
        return apply_network(generator, network, z, train=train, method='styles')

    def mixed(network: Variables, w: Array, key: Key) -> Array:
        """The styles of every layer, `[n, layers, style size]`. Second styles do not count in the average of styles."""
        other_key, layer_key = jax.random.split(key)
        layers: int = generator.layers  # type: ignore[attr-defined]
        begin = jax.vmap(lambda key: _crossover(layers, mixing, key))(parallel.example_keys(len(w), layer_key))
        second = (jnp.arange(layers) >= begin[:, None])[..., None]
        return jnp.where(second, styles(network, len(w), other_key)[0][:, None], w[:, None])

    def synthesised(network: Variables, w: Array, key: Key) -> Array:
        return apply_network(generator, network, w, train=False, method='synthesise', noise=key)[0]

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Styled, Variables]:
        network = {name: value for name, value in variables.items() if name != PATHS}
        style_key, mix_key, noise_key, path_key = jax.random.split(key, 4)
        w, state = styles(network, len(batch), style_key, train=train)
        if not train:
            others = {name: value for name, value in variables.items() if name == PATHS}
            return Styled(synthesised(network, w, noise_key), None), {**state, **others}
        examples = synthesised(network, mixed(network, w, mix_key), noise_key)
        if path_regularization is None:
            return Styled(examples, None), state
        first, second, noise_key, path_key = jax.random.split(path_key, 4)
        size = -(-len(batch) // path_regularization.shrink)
        paths, moved = path_regularization.apply(
            lambda w: synthesised(network, w, noise_key),
            lambda: mixed(network, styles(network, size, first)[0], second),
            variables[PATHS],
            path_key,
        )
        return Styled(examples, paths), {**state, PATHS: moved}

    def discriminator_loss(variables: Variables, play: Styled, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        return base.discriminator_loss(variables, play.examples, batch, key)

    def generator_loss(variables: Variables, play: Styled, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        loss, metrics = base.generator_loss(variables, play.examples, batch, key)
        if play.paths is None:
            return loss, metrics
        penalty = play.paths.penalties.mean()
        return loss + penalty, {**metrics, 'path_penalty': penalty, 'path_length': play.paths.mean}

    return Game(init, play, discriminator_loss, generator_loss)


def _crossover(layers: int, mixing: float, key: Key) -> Array:
    """The first layer that takes the second style; `layers` if none does."""
    mix_key, layer_key = jax.random.split(key)
    begin = jax.random.randint(layer_key, (), 1, layers)
    return jnp.where(jax.random.bernoulli(mix_key, mixing), begin, layers)
