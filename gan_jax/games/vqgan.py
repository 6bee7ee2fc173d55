"""VQGAN: an autoencoder against a discriminator of its reconstructions (Esser, Rombach and Ommer 2021)."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from gan_jax.games.differences import Difference, absolute_difference
from gan_jax.games.judgement import apply_network
from gan_jax.games.reconstruction import TermOptions, adversarial_term, reconstruct
from gan_jax.objectives import Objective, hinge
from gan_jax.ranges import Weight, checked
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

_HINGE = hinge()


class Reconstructed(NamedTuple):
    """What an autoencoder makes of images."""

    reconstruction: Array
    """`[n, ...]`"""
    code: Any
    """`[n, ...]`, such as the indices of a codebook."""
    loss: Array
    """The loss of the code, `[n]`."""
    back: Any = None
    """In training, and if the weight adapts: maps gradients of the reconstruction to those of the last layer."""


@checked
def vqgan(
    autoencoder: nn.Module,
    discriminator: nn.Module,
    objective: Objective = _HINGE,
    *,
    differences: Sequence[Difference] = (absolute_difference,),
    code_weight: Weight = 1.0,
    last_layer: Sequence[str] | None = ('decoder', 'last'),
    **settings: Unpack[TermOptions],
) -> Game:
    """An autoencoder, quantised or not, against a discriminator of real from reconstructed images (eqs. 4 to 7).

        L_rec + code_weight L_code + objective_weight lambda L_G,    lambda = |grad L_rec| / (|grad L_G| + 1e-6)

    L_rec is the sum of the differences, L_code the loss that the autoencoder returns for its code, L_G the generator's loss of
    the objective on the reconstructions, and lambda is `reconstruction.adaptive_weight` at the last layer.

    The batch is an array of images. The play is `Reconstructed`; sampling requires images, which it reconstructs. The same loss
    for a training step of your own is `reconstruction.adversary`.

    Args:
        autoencoder: `autoencoder(images, train=) -> (reconstructions, code, loss [n])`, such as `networks.QuantizedAutoencoder`.
            It may draw from the Flax random stream 'noise'.
        discriminator: `discriminator(images, train=) -> logits [n, ...]`; VQGAN has `networks.PatchDiscriminator`.
        objective: the losses of both players, from `gan_jax.objectives`, averaged over all logits.
        differences: losses of a reconstruction, whose sum is L_rec. `differences.perceptual(extractor)` is a perceptual one.
        code_weight: weight of the autoencoder's own loss.
        last_layer: the path of the last layer's parameters; None for lambda = 1. With 'kernel' appended, lambda is of its kernel
            alone, as in the authors' code.
        **settings: of `reconstruction.adversarial_term`.

    Raises `ValueError` for settings out of range, as `games.judgement.judgement` does, if there are no differences and, from
    `init`, if there are no parameters at `last_layer`.
    """
    if not differences:
        raise ValueError('an autoencoder requires at least one difference between images and reconstructions')
    term = adversarial_term(discriminator, objective, **settings)

    def init(batch: Array, key: Key) -> tuple[Variables, Variables]:
        g_key, d_key = jax.random.split(key)
        # Inference mode creates the same variables and does not require noise.
        variables = autoencoder.init(g_key, batch[:1], train=False)
        if last_layer is not None:
            layer_at(variables['params'], last_layer)
        return variables, term.judge.init(batch, d_key)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Reconstructed, Variables]:
        def decode(layer: Any) -> tuple[Array, Any]:
            params = variables['params'] if layer is None else _with_layer(variables['params'], last_layer or (), layer)
            own = {**variables, 'params': params}
            (made, code, loss), state = apply_network(autoencoder, own, batch, train=train, noise=key)
            return made, (code, loss, state)

        adaptive = train and last_layer is not None
        layer = layer_at(variables['params'], last_layer) if adaptive and last_layer is not None else None
        made, back, (code, loss, state) = reconstruct(decode, layer, adaptive=adaptive)
        return Reconstructed(made, code, loss, back), state

    def discriminator_loss(
        variables: Variables, play: Reconstructed, batch: Batch, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        return term.discriminator_loss(variables, batch, play.reconstruction, key)

    def generator_loss(variables: Variables, play: Reconstructed, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        plain = lambda made: sum(difference(batch, made) for difference in differences).mean()  # type: ignore[union-attr]
        loss, metrics = term.autoencoder_loss(variables, batch, play.reconstruction, plain, play.back, key)
        code_loss = play.loss.mean()
        return loss + code_weight * code_loss, {**metrics, 'code_loss': code_loss}

    return Game(init, play, discriminator_loss, generator_loss)


def layer_at(params: Any, path: Sequence[str]) -> Any:
    """The parameters of the layer at a path such as `('decoder', 'last')`. Raises `ValueError` if there are none."""
    found = params
    for name in path:
        if not isinstance(found, dict) or name not in found:
            layers = dict.fromkeys('/'.join(other[:-1]) for other in flatten_dict(params))
            raise ValueError(f'there is no layer {"/".join(path)}; the layers are {", ".join(layers)}')
        found = found[name]
    return found


def _with_layer(params: Any, path: Sequence[str], layer: Any) -> Any:
    if not path:
        return layer
    name, *rest = path
    return {**params, name: _with_layer(params[name], rest, layer)}
