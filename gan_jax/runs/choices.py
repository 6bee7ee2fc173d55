"""A game by flags: what every experiment on one generator and one discriminator lets its users choose."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import optax

from gan_jax import augmentations, penalties
from gan_jax.errors import InputError
from gan_jax.features import FEATURES
from gan_jax.games import adversarial
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization
from gan_jax.objectives import OBJECTIVES
from gan_jax.optimizers import OPTIMIZERS, Optimizers, clip_weights, historical_averaging
from gan_jax.ranges import Count, PlayerSteps, Positive, Seed, Share, ShareAbove0, Text, Weight
from gan_jax.registry import build
from gan_jax.runs.directory import Options
from gan_jax.training import Game, Step, make_train_step, minibatches_of_step
from gan_jax.typing import Array, Key


def check_objective(text: str, *, energies: bool = False) -> None:
    """Raises `InputError` for an objective of energies where D has logits, and the other way round."""
    needs = text.partition(':')[0] == 'energy_margin'
    if needs and not energies:
        raise InputError('objective energy_margin is for a D of energies, as in experiments.ebgan; here D has logits')
    if energies and not needs:
        raise InputError(f"EBGAN's D is low on real images, as only energy_margin has it, not {text}")


def check_fit(game: Game, batch: Any) -> None:
    """Raises `InputError` for networks, losses and a batch that do not go together, such as packs that do not divide it.

    Before anything is compiled or written. The game is one without `axis_name`; `batch` is that of one device, by its shapes.
    """

    def losses(batch: Any, key: Key) -> Any:
        generator, discriminator = game.init(key, batch)
        play, _ = game.play(generator, batch, key)
        return game.discriminator_loss(discriminator, play, batch, key), game.generator_loss(discriminator, play, batch, key)

    try:
        jax.eval_shape(losses, batch, jax.random.key(0))
    except ValueError as error:
        raise InputError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class GameOptions(Options):
    """Methods are written NAME or NAME:setting=value,setting=value, with the names and settings of the library's factories."""

    steps: Count = 10_000
    objective: str = 'non_saturating'
    """minimax, non_saturating, wasserstein, least_squares:a=-1,b=1,c=0, hinge, energy_margin:margin=10, relativistic,
    relativistic_average, or f_gan:divergence=kl."""
    penalties: tuple[str, ...] = ()
    """Any of r1:gamma=1, r2:gamma=1, roth:gamma=0.1, wgan_gp:weight=10,one_sided=True, dragan:weight=10."""
    penalty_at: Literal['seen', 'original'] | None = None
    """Penalties differentiate in what D sees, or in the examples before the augmentations, and through those. By default the
    latter with the augmentation 'adaptive', as in ADA, and the former otherwise."""
    penalty_every: Count = 1
    """Take the penalties at every n-th update of D, n times as strong."""
    penalty_decay: ShareAbove0 = 1.0
    """The penalties' weight at the last step, as a share of the first (Roth et al. 2017: .01)."""
    augmentations: tuple[str, ...] = ()
    """What D sees: any of instance_noise:sigma=0.1,updates=5000, diff_augment:policy=color+translation, adaptive:target=0.6,
    packing:size=2."""
    features: tuple[str, ...] = ()
    """Added to G's loss: feature_matching, feature_matching_l1, pulling_away:weight=0.1."""
    objective_weight: Weight = 1.0
    """Of the objective in G's loss: 0 leaves it the feature losses alone."""
    d_norm: str = 'none'
    """In D: batch, layer, instance, spectral, weight or none."""
    g_norm: str = 'none'
    """In G: batch, virtual, layer, instance, spectral, weight or none."""
    minibatch: str = 'none'
    """Layer of D that sees the batch: discrimination, stddev or none."""
    optimizers: str = 'adam'
    """Both players', by paper: adam:learning_rate=1e-3,beta1=0.5, unrolled, wgan, wgan_gp, ttur, improved_gan."""
    decay: Share = 1.0
    """The learning rates' value at the last step, as a share of the first; a cosine in between, and 1 for none."""
    clip_weights: Positive | None = None
    """Keep every parameter of D within this of 0 (WGAN: 0.01, part of --optimizers wgan)."""
    historical_averaging: Weight = 0.0
    """Weight of the pull of both players to their parameters' mean."""
    discriminator_steps: PlayerSteps | None = None
    """Of D, for --generator-steps of G; the optimizers' paper's if it is not given."""
    generator_steps: PlayerSteps = 1
    own_minibatches: bool = False
    """Real examples for G that D has not seen in the same step; otherwise those of D's first update again."""
    simultaneous: bool = False
    ema_decay: Share = 0.999
    init_from: Text | None = None
    """Start from the networks of this run's newest checkpoint, such as runs/dcgan; optimizers and schedules begin anew."""
    seed: Seed = 0

    def identity(self) -> dict[str, Any]:
        """What changes over the whole run makes its length part of what it is."""
        return super().identity() | ({} if self.decay == self.penalty_decay == 1 else {'decay_steps': self.steps})

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        return {'steps' if name == 'decay_steps' else name: value for name, value in identity.items()}

    energies: ClassVar[bool] = False
    """Whether D's outputs are energies, at least 0, and not logits."""

    def check(self) -> None:
        """Raises `InputError` for a name, a setting or a count that does not work, before anything is loaded or written."""
        check_objective(self.objective, energies=self.energies)
        NORMALIZATIONS[self.g_norm]
        discriminator_normalization(self.d_norm)
        minibatch_layer(self.minibatch, train=False, axis_name=None)
        nothing: Any = None  # a game is made of its networks only when it is initialised
        self.train_step(self.game(nothing, nothing, nothing))

    def players(self) -> Optimizers:
        """Both optimizers, with everything that acts on parameters, and D's steps. Raises `InputError`."""
        pair = build(OPTIMIZERS, self.optimizers)
        d_steps = pair.discriminator_steps if self.discriminator_steps is None else self.discriminator_steps
        before = [historical_averaging(self.historical_averaging)] if self.historical_averaging else []
        after = [clip_weights(self.clip_weights)] if self.clip_weights is not None else []
        rates = self.learning_rates()

        def scale(updates: int) -> list[optax.GradientTransformation]:
            # Optimizers count their own updates, of which a player may take several in a step.
            return [] if self.decay == 1 else [optax.scale_by_schedule(lambda count: rates(count // updates))]

        return Optimizers(
            optax.chain(*before, pair.generator, *scale(self.generator_steps)),
            optax.chain(*before, pair.discriminator, *scale(d_steps), *after),
            d_steps,
        )

    def learning_rates(self) -> optax.Schedule:
        """The learning rates' value after so many steps, as a share of the first."""
        return optax.cosine_decay_schedule(1.0, max(1, self.steps), self.decay)

    @property
    def minibatches(self) -> int:
        """How many minibatches a step takes."""
        d_steps = self.players().discriminator_steps
        return minibatches_of_step(d_steps, self.generator_steps, own_minibatches=self.own_minibatches)

    def game(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: Callable[[Key], Array],
        axis_name: str | None = None,
        rules: Callable[..., Game] = adversarial,
    ) -> Game:
        """The game of the two networks, with what was chosen. Raises `InputError` for what does not work.

        `rules` is `games.adversarial`, or another game that takes its options: `conditional`, `semi_supervised`.
        """
        chosen = [build(augmentations.AUGMENTATIONS, text, axis_name=axis_name) for text in self.augmentations]
        try:
            return rules(
                generator,
                discriminator,
                build(OBJECTIVES, self.objective, axis_name=axis_name),
                latent=latent,
                penalties=self._penalties(axis_name),
                penalty_at=self.penalty_at or ('original' if any(a.reads_logits for a in chosen) else 'seen'),
                augmentation=augmentations.chain(*chosen) if chosen else None,
                feature_losses=[build(FEATURES, text, axis_name=axis_name) for text in self.features],
                objective_weight=self.objective_weight,
                axis_name=axis_name,
            )
        except ValueError as error:
            raise InputError(str(error)) from error

    def _penalties(self, axis_name: str | None) -> list[Any]:
        chosen = [build(penalties.PENALTIES, text, axis_name=axis_name) for text in self.penalties]
        if self.penalty_every == 1 and self.penalty_decay == 1:
            return chosen
        factor = penalties.annealing(self.penalty_decay, max(2, self.steps * self.players().discriminator_steps))
        return [penalties.scheduled(penalty, every=self.penalty_every, factor=factor) for penalty in chosen]

    def train_step(self, game: Game, *, unroll_steps: int = 0, generator_batches: int = 1, axis_name: str | None = None) -> Step:
        """The game's train step. Raises `InputError` for counts that do not work."""
        players = self.players()
        try:
            return make_train_step(
                game,
                players.generator,
                players.discriminator,
                discriminator_steps=players.discriminator_steps,
                generator_steps=self.generator_steps,
                generator_batches=generator_batches,
                own_minibatches=self.own_minibatches,
                unroll_steps=unroll_steps,
                simultaneous=self.simultaneous,
                ema_decay=self.ema_decay,
                axis_name=axis_name,
            )
        except ValueError as error:
            raise InputError(str(error)) from error
