"""The options of experiments, one tree: where a run lives, how it trains, by which method, and which game it plays."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import optax

from gan_jax import augmentations, penalties, placement
from gan_jax.data.reading import Size, size_of
from gan_jax.errors import InputError
from gan_jax.features import FEATURES
from gan_jax.games import adversarial
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizers, clip_weights, historical_averaging
from gan_jax.penalties import Penalty
from gan_jax.ranges import (
    BatchSize,
    Checked,
    Compared,
    Count,
    DataDir,
    Names,
    PlayerSteps,
    Positive,
    Range,
    Seed,
    SeedCount,
    Share,
    ShareAbove0,
    Sides,
    Text,
    UnrollSteps,
    Weight,
    Whole,
    refuse_given,
)
from gan_jax.registry import build
from gan_jax.runs.directory import Options
from gan_jax.training import Game, Trainer, minibatches_of_step, trainer
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

    Before anything is compiled or written; `batch` is that of one device, by its shapes.
    """

    def losses(batch: Any, key: Key) -> Any:
        generator, discriminator = game.init(batch, key)
        play, _ = game.play(generator, batch, key)
        return game.discriminator_loss(discriminator, play, batch, key), game.generator_loss(discriminator, play, batch, key)

    try:
        jax.eval_shape(losses, batch, jax.random.key(0))
    except ValueError as error:
        raise InputError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class TrainOptions(Options):
    """How long a run trains, by which seeds, on which devices, and how often it is looked at."""

    steps: Count = 10_000
    batch_size: BatchSize = 64
    seed: Seed = 0
    seeds: SeedCount = 1
    """How many: --seed, the one after it, ..., all in one program. The end table has means and 95 % intervals over them, pictures
    and the sampler are of the first."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """What splits a batch over the devices of one process; those of several processes always go by shard_map. Several seeds are
    spread over the devices first."""
    init_from: Text | None = None
    """Start from the networks of this run's newest checkpoint, such as runs/dcgan; optimizers and schedules begin anew."""
    checkpoint_every: Count = 2000

    log_every: ClassVar[int] = 50
    free: ClassVar[tuple[str, ...]] = ('samples', 'sample_every', 'score_every', 'checkpoint_every', 'memory_limit')

    def check(self) -> None:
        """Raises `InputError` for what cannot work, before anything is loaded or written."""
        if self.seeds == 1:
            placement.check_divisible(self.batch_size)


@dataclasses.dataclass(frozen=True)
class MethodOptions(TrainOptions):
    """Methods are written NAME or NAME:setting=value,setting=value, with the names and settings of the library's factories."""

    samples: Compared = 2000
    """In the end table."""
    sample_every: Count = 400
    score_every: Whole = 0
    """Every so many steps, the Frechet distance of --samples samples to the data, in the features of a classifier of the data
    set, to scores.jsonl and scores.png; 0 for never."""
    memory_limit: Annotated[float, Range(0, 1e6)] = 2.0
    """Gigabytes up to which a data set is held on the device; a larger one is read as it is needed."""
    objective: str = 'non_saturating'
    """minimax, non_saturating, wasserstein, least_squares:a=-1,b=1,c=0, hinge, energy_margin:margin=10, relativistic,
    relativistic_average, or f_gan:divergence=kl."""
    objective_weight: Weight = 1.0
    """Of the objective in G's loss: 0 leaves it its other losses alone."""
    penalties: Names = ()
    """Any of r1:gamma=1, r2:gamma=1, roth:gamma=0.1, wgan_gp:weight=10,one_sided=True, dragan:weight=10."""
    penalty_every: Count = 1
    """Take the penalties at every n-th update of D, n times as strong."""
    penalty_decay: ShareAbove0 = 1.0
    """The penalties' weight at the last step, as a share of the first (Roth et al. 2017: .01)."""
    optimizers: str = 'adam'
    """Both players', by paper: adam:learning_rate=1e-3,beta1=0.5, unrolled, wgan, wgan_gp, ttur, improved_gan."""
    schedule: str = 'constant'
    """Of both learning rates over --steps: constant, cosine:end=0.1, or linear:start=0.5,end=0. `end` is their value at the last
    step as a share of the first, `start` the share of the steps after which they begin to fall."""
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
    unroll_steps: UnrollSteps = 0
    """Updates of D that G looks ahead (Metz et al. 2017)."""
    ema_decay: Share = 0.999
    """Of the averaged generator, which draws; 0 for the present one."""

    energies: ClassVar[bool] = False
    """Whether D's outputs are energies, at least 0, and not logits."""
    of_penalties: ClassVar[tuple[str, ...]] = ('penalty_every', 'penalty_decay')
    generator_batches: ClassVar[int] = 1
    """Minibatches joined into one for an update of G."""

    def identity(self) -> dict[str, Any]:
        """What changes over the whole run makes its length part of what it is."""
        steady = self.schedule == 'constant' and self.penalty_decay == 1
        return super().identity() | ({} if steady else {'decay_steps': self.steps})

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        return {'steps' if name == 'decay_steps' else name: value for name, value in identity.items()}

    def check(self) -> None:
        super().check()
        check_objective(self.objective, energies=self.energies)
        self.rules()
        nothing: Any = None  # a trainer looks at its game when it is called
        self.trainer(nothing)
        self.check_penalties()

    def check_penalties(self) -> None:
        """Raises `InputError` for options of penalties where there are none."""
        if not self.penalties:
            refuse_given(self, *self.of_penalties, because='is of --penalties, and there are none')

    def rules(self) -> tuple[Objective, list[Penalty]]:
        """The objective and the penalties. Raises `InputError`."""
        return build(OBJECTIVES, self.objective), self._penalties()

    def _penalties(self) -> list[Any]:
        chosen = [build(penalties.PENALTIES, text) for text in self.penalties]
        if self.penalty_every == 1 and self.penalty_decay == 1:
            return chosen
        factor = penalties.annealing(self.penalty_decay, max(2, self.steps * self.players().discriminator_steps))
        return [penalties.scheduled(penalty, every=self.penalty_every, factor=factor) for penalty in chosen]

    def players(self) -> Optimizers:
        """Both optimizers, with everything that acts on parameters, and D's steps. Raises `InputError`."""
        pair = build(OPTIMIZERS, self.optimizers)
        d_steps = pair.discriminator_steps if self.discriminator_steps is None else self.discriminator_steps
        before = [historical_averaging(self.historical_averaging)] if self.historical_averaging else []
        after = [clip_weights(self.clip_weights)] if self.clip_weights is not None else []
        factor = build(SCHEDULES, self.schedule)(self.steps)

        def scale(updates: int) -> list[optax.GradientTransformation]:
            # Optimizers count their own updates, of which a player may take several in a step.
            return [] if self.schedule == 'constant' else [optax.scale_by_schedule(lambda count: factor(count // updates))]

        return Optimizers(
            optax.chain(*before, pair.generator, *scale(self.generator_steps)),
            optax.chain(*before, pair.discriminator, *scale(d_steps), *after),
            d_steps,
        )

    def trainer(self, game: Game) -> Trainer:
        """How the game is trained. Raises `InputError` for counts that do not work."""
        try:
            return trainer(
                game,
                self.players(),
                generator_steps=self.generator_steps,
                generator_batches=self.generator_batches,
                own_minibatches=self.own_minibatches,
                unroll_steps=self.unroll_steps,
                simultaneous=self.simultaneous,
                ema_decay=self.ema_decay,
            )
        except ValueError as error:
            raise InputError(str(error)) from error

    @property
    def minibatches(self) -> int:
        """How many minibatches a step takes."""
        d_steps = self.players().discriminator_steps
        return minibatches_of_step(d_steps, self.generator_steps, self.generator_batches, self.own_minibatches)


@dataclasses.dataclass(frozen=True)
class GameOptions(MethodOptions):
    """A generator and a discriminator, and what is done to what D sees."""

    penalty_at: Literal['seen', 'original'] | None = None
    """Penalties differentiate in what D sees, or in the examples before the augmentations, and through those. By default the
    latter with the augmentation 'adaptive', as in ADA, and the former otherwise."""
    augmentations: Names = ()
    """What D sees: any of instance_noise:sigma=0.1,updates=5000, diff_augment:policy=color+translation, adaptive:target=0.6,
    packing:size=2."""
    features: Names = ()
    """Added to G's loss: feature_matching, feature_matching_l1, pulling_away:weight=0.1."""
    d_norm: str = 'none'
    """In D: batch, layer, instance, spectral, weight or none."""
    g_norm: str = 'none'
    """In G: batch, virtual, layer, instance, spectral, weight or none."""
    minibatch: str = 'none'
    """Layer of D that sees the batch: discrimination, stddev or none."""

    of_penalties: ClassVar[tuple[str, ...]] = ('penalty_at', 'penalty_every', 'penalty_decay')

    def check(self) -> None:
        super().check()
        NORMALIZATIONS[self.g_norm]
        discriminator_normalization(self.d_norm)
        minibatch_layer(self.minibatch)
        nothing: Any = None  # a game is made of its networks only when it is initialised
        self.game(nothing, nothing, nothing)

    def game(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: Callable[[Key], Array],
        rules: Callable[..., Game] = adversarial,
    ) -> Game:
        """The game of the two networks, with what was chosen. Raises `InputError` for what does not work.

        `rules` is `games.adversarial`, or another game that takes its options: `conditional`, `semi_supervised`.
        """
        objective, penalties = self.rules()
        chosen = [build(augmentations.AUGMENTATIONS, text) for text in self.augmentations]
        try:
            return rules(
                generator,
                discriminator,
                objective,
                latent=latent,
                penalties=penalties,
                penalty_at=self.penalty_at or ('original' if any(a.reads_logits for a in chosen) else 'seen'),
                augmentation=augmentations.chain(*chosen) if chosen else None,
                feature_losses=[build(FEATURES, text) for text in self.features],
                objective_weight=self.objective_weight,
            )
        except ValueError as error:
            raise InputError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class DataOptions(Checked):
    """Images by name; beside `TrainOptions`, whose `memory_limit` they go by."""

    dataset: Text = 'digits'
    """'digits' (offline), a TFDS name such as mnist, fashion_mnist or imagenet_resized/32x32, a folder of images, whose folders
    are classes if every image is in one, or a .npz or .npy file. A folder may hold folders train and test; a TFDS name may end
    with what to train on, as svhn_cropped:train+extra."""
    data_dir: DataDir | None = None
    """Where TFDS data sets are prepared; TFDS_DATA_DIR if it is not given."""
    size: Sides | None = None
    """Of squares 28 or 4 * 2^n; or HEIGHTxWIDTH as 64x96, of which the shorter side is one of those, and the other as often to be
    halved; or native, the one that all images have. The data set's own if it is not given (16 for the digits, 64 for a folder).
    Images are cropped about their centres."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour; the data set's own if it is not given."""
    skip_broken: bool = False
    """Leave out the images of a folder that cannot be read, and count them."""

    @property
    def shape(self) -> Size | Literal['native'] | None:
        """What `size` says."""
        if isinstance(self.size, int) or self.size is None:
            return self.size
        if self.size == 'native':
            return 'native'
        height, width = map(int, self.size.split('x'))
        return size_of(height, width)
