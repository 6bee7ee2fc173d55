"""An adversarial loss for autoencoders, VQGAN's (Esser et al. 2021), as a piece of any training step: see `adversary`.

`games.vqgan` is built from the same pieces. The three points on which published code differs are explicit here:

- Gradients: the autoencoder's loss never updates the discriminator, the discriminator's loss never reaches the autoencoder, and
  the adaptive weight is a constant to both.
- The weight: the paper has an epsilon of 1e-6, the authors' code 1e-4, a limit of 1e4, and the last layer's kernel alone.
- The start: the discriminator learns from the first step, and only its influence begins later. In the authors' code it also
  waits, and the loss then begins with an untrained discriminator.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from gan_jax import parallel
from gan_jax.games.judgement import GeneratorTerms, Judgement, JudgementOptions, judgement
from gan_jax.keys import named
from gan_jax.objectives import Objective, hinge
from gan_jax.ranges import Positive, Weight, Whole, checked
from gan_jax.training import Player, new_player, update_discriminator
from gan_jax.typing import Array, Key, Metrics, Variables

_HINGE = hinge()


def adaptive_weight(reconstruction: Any, adversarial: Any, *, epsilon: float = 1e-6, largest: float = 1e4) -> Array:
    """|reconstruction| / (|adversarial| + epsilon), at most `largest`: VQGAN's weight (Esser et al. 2021, eq. 7), a scalar.

    With this weight the two terms are equally strong at the layer whose gradients are given. The gradients are averaged over
    devices before their norms are taken. The result is a constant to differentiation, and at least float32: squares of gradients
    in half precision overflow or vanish.

    Args:
        reconstruction: the gradient of the reconstruction loss with respect to the parameters of one layer, a pytree.
        adversarial: that of the adversarial loss, a pytree.
        epsilon: added to the norm of the adversarial gradient.
        largest: upper limit of the weight, which a discriminator that has saturated would exceed.
    """
    # One array, so that there is one all-reduce.
    flat = [ravel_pytree(tree)[0] for tree in lax.stop_gradient((reconstruction, adversarial))]
    gradients = jnp.stack([x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in flat])
    of_reconstruction, of_adversarial = jnp.linalg.norm(parallel.pmean(gradients), axis=1)
    return jnp.minimum(of_reconstruction / (of_adversarial + epsilon), largest)


class TermOptions(JudgementOptions, total=False):
    """The options of an adversarial term, which `adversary` and `games.vqgan` pass on to `adversarial_term`."""

    objective_weight: float
    start: int
    discriminator_waits: bool
    largest_weight: float


class AdversarialTerm(NamedTuple):
    """A discriminator of reconstructions, its influence on the autoencoder, and when that begins; see `adversary`."""

    judge: Judgement
    objective: Objective
    weight: float
    start: int
    waits: bool
    largest_weight: float

    def discriminator_loss(
        self, variables: Variables, real: Array, fake: Array, key: Key
    ) -> tuple[Array, tuple[Variables, Metrics]]:
        """The discriminator's loss, and its state and metrics; 0 for the first `start` updates if it waits.

        Args:
            variables: the discriminator's variables.
            real: the images, `[n, ...]`.
            fake: their reconstructions, `[n, ...]`.
            key: the key of all random draws.
        """
        loss, found, _, _ = self.judge.discriminator_loss(self.objective, variables, real, fake, key)
        if self.waits:
            loss = jnp.where(self._updates(variables) >= self.start, loss, 0)
        return loss, found

    def autoencoder_loss(
        self,
        variables: Variables,
        real: Array,
        fake: Array,
        plain: Callable[[Array], Array],
        back: Callable[[Array], Any] | None,
        key: Key,
    ) -> tuple[Array, Metrics]:
        """`plain(fake)` plus the adversarial term, and metrics.

        Args:
            variables: the discriminator's variables.
            real: the images, `[n, ...]`.
            fake: their reconstructions, `[n, ...]`.
            plain: `reconstructions -> scalar`, the loss without a discriminator.
            back: maps a gradient with respect to the reconstructions to one with respect to the last layer's parameters; None
                for a weight that does not adapt.
            key: the key of all random draws.
        """

        def adversarial(variables: Variables, fake: Array) -> GeneratorTerms:
            paired = bool(self.judge.feature_losses)
            return self.judge.generator_terms(self.objective, variables, real, fake, key, paired=paired)

        value, matched, _, _ = adversarial(variables, fake)
        reconstruction = plain(fake)
        weight = jnp.asarray(self.weight, reconstruction.dtype)
        if back is not None:
            fixed, opponent = lax.stop_gradient((fake, variables))
            of_plain, of_adversarial = jax.grad(plain)(fixed), jax.grad(lambda x: adversarial(opponent, x).objective)(fixed)
            weight *= adaptive_weight(back(of_plain), back(of_adversarial), largest=self.largest_weight)
        begun = True if self.start == 0 else self._updates(variables) > self.start
        metrics = {
            'reconstruction_loss': reconstruction,
            'adversarial_loss': value,
            'adversarial_weight': jnp.where(begun, weight, 0),
        }
        term = weight * value
        if matched is not None:
            metrics['feature_loss'] = matched
            term += matched
        return reconstruction + jnp.where(begun, term, 0), metrics

    def _updates(self, variables: Variables) -> Array:
        return self.judge.split(variables)[1]['updates']


@checked
def adversarial_term(
    discriminator: nn.Module,
    objective: Objective = _HINGE,
    *,
    objective_weight: Weight = 0.8,
    start: Whole = 0,
    discriminator_waits: bool = False,
    largest_weight: Positive = 1e4,
    **options: Unpack[JudgementOptions],
) -> AdversarialTerm:
    """The adversarial term of `adversary` and of `games.vqgan`, whose settings these are.

    Args:
        discriminator: `discriminator(images, train=) -> logits [n, ...]`, such as `networks.PatchDiscriminator`.
        objective: the losses of both sides, from `gan_jax.objectives`. The authors halve the discriminator's hinge loss, which
            Adam does not notice.
        objective_weight: weight of the adversarial term beside lambda, 0.8 as in the authors' configurations. With 0 the
            autoencoder ignores the discriminator, except for feature losses.
        start: the adversarial term enters once the discriminator has had more than this number of updates; with 0, at once.
        discriminator_waits: whether the discriminator, too, learns nothing in its first `start` updates, as in the authors'
            code. Adam counts these updates, so that the following ones are several times too large: the first after n idle
            updates is up to (1 - b1) sqrt((1 - b2^(n + 1)) / (1 - b2)) learning rates, 13 for n = 1000, b1 = .5 and b2 = .999.
        largest_weight: upper limit of lambda.
        **options: of the judgement: `games.judgement.JudgementOptions`. Feature losses are part of the adversarial term, but are
            not multiplied by its weights.

    Raises `ValueError` for settings out of range, for a discriminator that waits for a start of 0, and as
    `games.judgement.judgement` does.
    """
    if discriminator_waits and start == 0:
        raise ValueError('discriminator_waits requires a start above 0 to wait for')
    judge = judgement(discriminator, objective.undecided, options)
    judge = judge._replace(keeps_progress=judge.keeps_progress or start > 0)
    return AdversarialTerm(judge, objective, objective_weight, start, discriminator_waits, largest_weight)


class Adversary(NamedTuple):
    """A discriminator with its optimizer, as three pure functions to call in the training step of any autoencoder."""

    init: Callable[[Array, Key], Player]
    """`(images, key) -> judge`: the discriminator's player, a pytree to keep beside the autoencoder's own state."""
    loss: Callable[..., tuple[Array, tuple[Array, Any, Metrics]]]
    """`(judge, images, decode, layer, plain, key) -> (loss, (reconstructions, others, metrics))`.

    `decode(layer) -> (reconstructions, others)` is the autoencoder as a function of the parameters of its last layer, and
    `layer` are the present ones; `others` is passed on. `plain(reconstructions) -> scalar` is the loss without a discriminator.
    """
    update: Callable[[Player, Array, Array, Key], tuple[Player, Metrics]]
    """`(judge, images, reconstructions, key) -> (judge, metrics)`: one update, through which no gradient flows back."""


@checked
def adversary(
    discriminator: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective = _HINGE,
    *,
    adaptive: bool = True,
    **settings: Unpack[TermOptions],
) -> Adversary:
    """VQGAN's adversarial loss for an autoencoder that you train yourself (Esser et al. 2021, eqs. 5 to 7).

    The autoencoder's loss is plain + objective_weight * lambda * L_G, where L_G is the generator's loss of the objective on the
    reconstructions and lambda the `adaptive_weight` of plain and L_G at the last layer. In your step, with
    `model.apply(variables, images) -> (reconstructions, codebook loss)`:

        critic = adversary(networks.PatchDiscriminator(16), optax.adam(1e-4, 0.5, 0.9), start=1000)
        judge = critic.init(images, key)

        def step(params, opt_state, judge, images, key):
            def loss(params):
                decode = lambda last: model.apply({'params': {**params, 'last': last}}, images)
                plain = lambda made: jnp.abs(images - made).mean()
                value, (made, codebook, metrics) = critic.loss(judge, images, decode, params['last'], plain, key)
                return value + codebook, made

            (value, made), gradient = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            judge, metrics = critic.update(judge, images, made, key)
            return optax.apply_updates(params, updates), opt_state, judge, value

    All three functions are pure and may be compiled, differentiated and mapped. On several devices, bind `parallel.AXIS` and
    average your own gradient with `parallel.pmean`; the discriminator's gradient and lambda are averaged here.

    Args:
        discriminator: `discriminator(images, train=) -> logits [n, ...]`, such as `networks.PatchDiscriminator`.
        optimizer: the discriminator's optimizer.
        objective: the losses of both sides, from `gan_jax.objectives`.
        adaptive: whether to multiply by lambda. Otherwise `layer` is not used.
        **settings: of `adversarial_term`.

    Raises `ValueError` for settings out of range, and as `games.judgement.judgement` does.
    """
    term = adversarial_term(discriminator, objective, **settings)

    def init(images: Array, key: Key) -> Player:
        return new_player(term.judge.init(images, named(key, 'discriminator')), optimizer)

    def loss(
        judge: Player,
        images: Array,
        decode: Callable[[Any], tuple[Array, Any]],
        layer: Any,
        plain: Callable[[Array], Array],
        key: Key,
    ) -> tuple[Array, tuple[Array, Any, Metrics]]:
        made, back, others = reconstruct(decode, layer, adaptive=adaptive)
        value, metrics = term.autoencoder_loss(lax.stop_gradient(judge.variables), images, made, plain, back, named(key, 'loss'))
        return value, (made, others, metrics)

    def update(judge: Player, images: Array, made: Array, key: Key) -> tuple[Player, Metrics]:
        fakes = lambda variables, made, images, key: term.discriminator_loss(variables, images, made, key)
        return update_discriminator(fakes, optimizer, judge, lax.stop_gradient(made), images, named(key, 'update'))

    return Adversary(init, loss, update)


def reconstruct(
    decode: Callable[[Any], tuple[Array, Any]], layer: Any, *, adaptive: bool
) -> tuple[Array, Callable[[Array], Any] | None, Any]:
    """`decode(layer)` as reconstructions, `back` of `AdversarialTerm.autoencoder_loss`, and others; `back` is a pytree."""
    if not adaptive:
        made, others = decode(layer)
        return made, None, others
    made, back, others = jax.vjp(decode, layer, has_aux=True)
    return made, lax.stop_gradient(back), others
