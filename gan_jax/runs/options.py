"""The options of experiments, as a class hierarchy: the directory of a run, its training, its method and its game."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import optax
from flax.errors import FlaxError

from gan_jax import augmentations, penalties, placement
from gan_jax.augmentations import AUGMENTATIONS
from gan_jax.averages import RelativeWidth
from gan_jax.data.reading import Size, size_of
from gan_jax.errors import InputError, told_to_user
from gan_jax.features import FEATURES
from gan_jax.games import adversarial
from gan_jax.networks.minibatch import MINIBATCH_LAYERS, minibatch_layer
from gan_jax.networks.normalization import NORMALIZATIONS, discriminator_normalization
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import OPTIMIZERS, SCHEDULES, Optimizers, clip_gradients, clip_weights, historical_averaging
from gan_jax.penalties import PENALTIES, Penalty
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
    Several,
    Share,
    ShareAbove0,
    Sides,
    Text,
    UnrollSteps,
    Weight,
    Whole,
    refuse_given,
)
from gan_jax.registry import Table, build
from gan_jax.regularizers import REGULARIZERS
from gan_jax.runs.annealed import Annealed, check_setting, read_courses
from gan_jax.runs.directory import Options
from gan_jax.schedules import ANNEALED, Schedule
from gan_jax.training import Game, Trainer, minibatches_of_step, trainer
from gan_jax.typing import Array, Key


def check_objective(text: str, *, energies: bool = False) -> None:
    """Raises `InputError` for an objective of energies if D returns logits, or vice versa."""
    needs = text.partition(':')[0] == 'energy_margin'
    if needs and not energies:
        raise InputError('objective energy_margin requires a D that returns energies, as in experiments.ebgan, not logits')
    if energies and not needs:
        raise InputError(f"EBGAN's D must be low on real images, which requires the objective energy_margin, not {text}")


def check_fit(game: Game, batch: Any) -> None:
    """Raises `InputError` for incompatible networks, losses and batches, such as a batch size that packing does not divide.

    Nothing is compiled or written. `batch` is the batch of one device, of which only the shapes matter.
    """

    def losses(batch: Any, key: Key) -> Any:
        generator, discriminator = game.init(batch, key)
        play, _ = game.play(generator, batch, key)
        return game.discriminator_loss(discriminator, play, batch, key), game.generator_loss(discriminator, play, batch, key)

    try:
        jax.eval_shape(losses, batch, jax.random.key(0))
    except (ValueError, FlaxError) as error:
        raise InputError(str(error)) from error


def _once_in(schedule: Schedule | None, updates: int) -> Schedule | None:
    """A schedule that advances once every `updates` updates, as a function of the number of updates; None for None."""
    return schedule and (lambda count: schedule(count // updates))


@dataclasses.dataclass(frozen=True)
class TrainOptions(Options):
    """How long a run trains, with which seeds, on which devices, and how often its progress is recorded."""

    steps: Count = 10_000
    """Train steps, each of which updates D, perhaps several times, and G."""
    batch_size: BatchSize = 64
    """Real examples in a minibatch."""
    seed: Seed = 0
    """Seed of everything that is random."""
    seeds: SeedCount = 1
    """Number of seeds, starting with --seed, that are trained in one program. The final table contains means and 95 % intervals
    over them; pictures and the sampler are from the first."""
    runner: Literal['pmap', 'shard_map'] = 'pmap'
    """How a batch is distributed over several devices of one process; several processes always use shard_map. With several seeds,
    the seeds are distributed first."""
    init_from: Text | None = None
    """Start from the networks of the newest checkpoint of this run, such as runs/dcgan; optimizers and schedules start anew."""
    checkpoint_every: Count = 2000
    """Interval in steps at which the state is saved."""

    log_every: ClassVar[int] = 50
    free: ClassVar[tuple[str, ...]] = ('samples', 'sample_every', 'score_every', 'checkpoint_every', 'memory_limit')

    def check(self) -> None:
        """Raises `InputError` for options that cannot work, before anything is loaded or written."""
        if self.seeds == 1:
            placement.check_divisible(self.batch_size)


@dataclasses.dataclass(frozen=True)
class MethodOptions(TrainOptions):
    """Options of the training method.

    Methods are written NAME or NAME:setting=value,setting=value, with the names and settings of the library's factories.
    """

    samples: Compared = 2000
    """Number of samples in the final table."""
    sample_every: Count = 400
    """Interval in steps at which samples of the same latents are drawn."""
    score_every: Whole = 0
    """Interval in steps at which the Fréchet distance of --samples samples to the data is computed, in the features of a
    classifier of the data set, and written to scores.jsonl and scores.png; 0 to disable."""
    memory_limit: Annotated[float, Range(0, 1e6)] = 2.0
    """Largest size of a data set, in gigabytes, that is held on the device; larger ones are read as required."""
    objective: str = 'non_saturating'
    """The objective, as in f_gan:divergence=kl or least_squares:a=-1,b=1,c=0; energy_margin is for EBGAN's D, of energies."""
    objective_weight: Weight = 1.0
    """Weight of the objective in G's loss; 0 leaves only its other losses."""
    penalties: Names = ()
    """Penalties on D, as in wgan_gp:weight=10,one_sided=True. r1_r2 takes both in one pass; finite_r1 and finite_r2 are by finite
    differences."""
    penalty_every: Count = 1
    """Apply the penalties at every n-th update of D, multiplied by n."""
    penalty_decay: ShareAbove0 = 1.0
    """The penalties' weight at the last step, as a share of the initial weight (Roth et al. 2017: 0.01)."""
    optimizers: str = 'adam'
    """The optimizers of both players, named by paper, as in adam:learning_rate=1e-3; the defaults of adam are DCGAN's."""
    schedule: str = 'constant'
    """Schedule of both learning rates over --steps, as in linear:start=0.5,end=0. `end` is the final value as a share of the
    first, and `start` is the share of the steps after which the decay begins."""
    anneal: Names = ()
    """What else changes with the number of images that D has been shown: learning_rate and gamma (of all penalties) as shares of
    the initial values, beta2 of Adam, probability of diff_augment or ada, and half_life of G's average, in images, instead of
    --ema-decay. Each takes images=2e7, by default those of the whole run, and its shape is cosine, linear or geometric."""
    clip_gradients: Positive | None = None
    """Scale each player's gradient down to this norm where its norm is larger."""
    clip_weights: Positive | None = None
    """Limit the absolute value of every parameter of D to this value (WGAN: 0.01, part of --optimizers wgan)."""
    historical_averaging: Weight = 0.0
    """Weight of the term that pulls both players towards the mean of their past parameters."""
    discriminator_steps: PlayerSteps | None = None
    """Updates of D for every --generator-steps of G. The default is that of the optimizers' paper."""
    generator_steps: PlayerSteps = 1
    """Updates of G in a step."""
    own_minibatches: bool = False
    """Use real examples for G that D has not seen in the same step; otherwise those of D's first update are reused."""
    simultaneous: bool = False
    """Compute the updates of both players from the same state, instead of G's after D's."""
    extragradient: bool = False
    """Compute the updates of both players where simultaneous ones would lead (Korpelevich 1976)."""
    accumulate: PlayerSteps = 1
    """Parts of each minibatch on a device whose gradients are computed one after another and averaged, to save memory. Batch norm
    and whatever else looks at a whole batch see one part."""
    unroll_steps: UnrollSteps = 0
    """Number of updates of D that G looks ahead (Metz et al. 2017)."""
    ema_decay: Share = 0.999
    """Decay of the averaged generator, which is used to sample; 0 to use the current generator."""
    ema_widths: Annotated[tuple[RelativeWidth, ...], Several()] = ()
    """Relative widths of further averages of G, 0.05 and 0.1 in EDM2, and every checkpoint is kept. From these, --ema-width of
    generate, translate, export, evaluate, ... reconstructs the average of any width after training."""

    tables: ClassVar[dict[str, Table[Any]]] = {
        'objective': OBJECTIVES,
        'penalties': PENALTIES,
        'optimizers': OPTIMIZERS,
        'schedule': SCHEDULES,
        'anneal': ANNEALED,
    }
    """The table of each option that selects from one, which `--help` lists."""
    energies: ClassVar[bool] = False
    """Whether D returns non-negative energies instead of logits."""
    of_penalties: ClassVar[tuple[str, ...]] = ('penalty_every', 'penalty_decay')
    generator_batches: ClassVar[int] = 1
    """Number of minibatches that are joined for an update of G."""

    def identity(self) -> dict[str, Any]:
        """The identity of the run, which includes its length if the schedule or the decay of penalties depends on it."""
        whole = any(course.images is None for course in read_courses(self.anneal).values())
        steady = self.schedule == 'constant' and (self.penalty_decay == 1 or not self.penalties) and not whole
        return super().identity() | ({} if steady else {'decay_steps': self.steps})

    @staticmethod
    def from_identity(identity: dict[str, Any]) -> dict[str, Any]:
        return {'steps' if name == 'decay_steps' else name: value for name, value in identity.items()}

    def check(self) -> None:
        super().check()
        check_objective(self.objective, energies=self.energies)
        self.rules()
        nothing: Any = None  # a trainer does not use its game until it is called
        self.trainer(nothing)
        self.check_penalties()
        self.check_anneal()
        if self.extragradient:
            refuse_given(self, 'simultaneous', because='has no effect: extragradient updates are simultaneous')

    def check_anneal(self) -> None:
        """Raises `InputError` for values that are annealed though nothing reads them, or that other options fix."""
        courses = read_courses(self.anneal)
        if 'gamma' in courses and not self.penalties:
            raise InputError('--anneal gamma requires --penalties')
        if 'learning_rate' in courses and self.schedule != 'constant':
            raise InputError(f'--anneal learning_rate replaces --schedule {self.schedule}: give --schedule constant as well')
        if 'half_life' in courses:
            refuse_given(self, 'ema_decay', because='is replaced by --anneal half_life')
        if 'beta2' in courses:
            check_setting('beta2', OPTIMIZERS, [self.optimizers], '--optimizers')

    def check_penalties(self) -> None:
        """Raises `InputError` for options of penalties if there are none, and for finite differences in half precision."""
        finite = [text for text in self.penalties if text.startswith('finite_')]
        if finite and getattr(self, 'dtype', 'float32') != 'float32':
            raise InputError(f'--penalties {finite[0]} requires --dtype float32: logits must differ by more than rounding')
        if not self.penalties:
            refuse_given(self, *self.of_penalties, because='requires --penalties')

    def rules(self) -> tuple[Objective, list[Penalty]]:
        """The objective and the penalties. Raises `InputError` for invalid ones."""
        return build(OBJECTIVES, self.objective), self._penalties()

    def _penalties(self) -> list[Any]:
        chosen = [build(PENALTIES, text) for text in self.penalties]
        gamma = self.annealed().of_discriminator('gamma')
        if self.penalty_every == 1 and self.penalty_decay == 1 and gamma is None:
            return chosen
        decay = penalties.annealing(self.penalty_decay, max(2, self.steps * self.players().discriminator_steps))
        factor = decay if gamma is None else lambda updates: decay(updates) * gamma(updates)
        return [penalties.scheduled(penalty, every=self.penalty_every, factor=factor) for penalty in chosen]

    def annealed(self) -> Annealed:
        """The schedules over images. Raises `InputError` for invalid ones."""
        d_steps = self._pair().discriminator_steps if self.discriminator_steps is None else self.discriminator_steps
        courses = read_courses(self.anneal)
        return Annealed(courses, self.batch_size, d_steps, self.generator_steps, self.steps)

    def _pair(self, beta2: Schedule | None = None) -> Optimizers:
        return build(OPTIMIZERS, self.optimizers, **({} if beta2 is None else {'beta2': beta2}))

    def players(self) -> Optimizers:
        """Both optimizers, including everything that acts on parameters, and D's steps. Raises `InputError` for invalid ones."""
        over_images = self.annealed()
        d_steps = over_images.discriminator_steps
        of_players = over_images.of_generator, over_images.of_discriminator
        before = [historical_averaging(self.historical_averaging)] if self.historical_averaging else []
        before += [clip_gradients(self.clip_gradients)] if self.clip_gradients is not None else []
        each = 2 if self.extragradient else 1  # an optimizer counts the update ahead as well
        beta2 = (_once_in(of('beta2'), each) for of in of_players)
        generator, discriminator = (self._pair(schedule)[i] for i, schedule in enumerate(beta2))
        after = [clip_weights(self.clip_weights)] if self.clip_weights is not None else []
        factor = build(SCHEDULES, self.schedule)(self.steps)

        def scale(updates: int, rate: Schedule | None) -> list[optax.GradientTransformation]:
            # Optimizers count their updates, and a player may take several of them in a step.
            own = None if self.schedule == 'constant' else _once_in(factor, updates * each)
            return [optax.scale_by_schedule(schedule) for schedule in (own, _once_in(rate, each)) if schedule is not None]

        g_scale, d_scale = (
            scale(updates, of('learning_rate')) for updates, of in zip((self.generator_steps, d_steps), of_players, strict=True)
        )
        return Optimizers(
            optax.chain(*before, generator, *g_scale), optax.chain(*before, discriminator, *d_scale, *after), d_steps
        )

    def trainer(self, game: Game) -> Trainer:
        """The trainer of the game. Raises `InputError` for numbers of steps that cannot work."""
        with told_to_user():
            return trainer(
                game,
                self.players(),
                generator_steps=self.generator_steps,
                generator_batches=self.generator_batches,
                own_minibatches=self.own_minibatches,
                unroll_steps=self.unroll_steps,
                simultaneous=self.simultaneous,
                extragradient=self.extragradient,
                accumulate=self.accumulate,
                ema_widths=self.ema_widths,
                ema_decay=self.annealed().decay() or self.ema_decay,
            )

    @property
    def minibatches(self) -> int:
        """The number of minibatches in a step."""
        d_steps = self.players().discriminator_steps
        return minibatches_of_step(d_steps, self.generator_steps, self.generator_batches, self.own_minibatches)


@dataclasses.dataclass(frozen=True)
class GameOptions(MethodOptions):
    """Options of a game between a generator and a discriminator, including what is applied to the input of D."""

    penalty_at: Literal['seen', 'original'] | None = None
    """Where penalties differentiate: at what D sees, or at the original examples, through the augmentations. The default is the
    latter with an augmentation whose probability adapts, as in ADA, and the former otherwise."""
    augmentations: Names = ()
    """Augmentations of the input of D. instance_noise:updates=5000 lets the noise fade over as many updates of D; adaptive and
    ada follow the signs of real logits."""
    features: Names = ()
    """Losses added to G's loss."""
    regularizers: Names = ()
    """What else acts on the logits of D: lecam (distances from past logits), bcr and zcr (consistency under changes of images and
    of latents), and top_k (G learns from the most real of its images)."""
    d_norm: str = 'none'
    """Normalization in D; virtual is for G only."""
    g_norm: str = 'none'
    """Normalization in G."""
    minibatch: str = 'none'
    """Layer of D that acts on the whole batch."""

    tables: ClassVar[dict[str, Table[Any]]] = MethodOptions.tables | {
        'augmentations': AUGMENTATIONS,
        'features': FEATURES,
        'regularizers': REGULARIZERS,
        'd_norm': Table('norm', {name: norm for name, norm in NORMALIZATIONS.items() if not norm.needs_reference}),
        'g_norm': NORMALIZATIONS,
        'minibatch': MINIBATCH_LAYERS,
    }
    of_penalties: ClassVar[tuple[str, ...]] = ('penalty_at', 'penalty_every', 'penalty_decay')
    reconstructs: ClassVar[bool] = False
    """Whether generated example i is a reconstruction of real example i."""

    @property
    def has_losses(self) -> bool:
        """Whether G has a loss to learn from."""
        return bool(self.objective_weight or self.features)

    def check(self) -> None:
        """Raises `InputError` for methods that are unknown or do not go together, and if G would learn nothing."""
        super().check()
        if not self.has_losses:
            raise InputError('G would learn nothing: the weights of all its losses are 0')
        if not self.reconstructs and 'feature_reconstruction' in (text.partition(':')[0] for text in self.features):
            raise InputError('--features feature_reconstruction requires a game that reconstructs its examples, such as vae_gan')
        NORMALIZATIONS[self.g_norm]
        discriminator_normalization(self.d_norm)
        minibatch_layer(self.minibatch)
        if 'probability' in read_courses(self.anneal):
            check_setting('probability', AUGMENTATIONS, self.augmentations, '--augmentations')
        nothing: Any = None  # a game does not use its networks until it is initialised
        self.game(nothing, nothing, nothing)

    def game(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: Callable[[Key], Array],
        rules: Callable[..., Game] = adversarial,
    ) -> Game:
        """The game of the two networks with the selected methods. Raises `InputError` for combinations that cannot work.

        Args:
            generator: the network of the generator.
            discriminator: the network of the discriminator.
            latent: draws the latent of one example from its key.
            rules: `games.adversarial`, or another game that accepts its options: `conditional`, `semi_supervised`.
        """
        objective, penalties = self.rules()
        probability = self.annealed().of_discriminator('probability')
        context = {} if probability is None else {'probability': probability}
        chosen = [build(AUGMENTATIONS, text, **context) for text in self.augmentations]
        with told_to_user():
            return rules(
                generator,
                discriminator,
                objective,
                latent=latent,
                penalties=penalties,
                penalty_at=self.penalty_at or ('original' if any(a.reads_logits for a in chosen) else 'seen'),
                augmentation=augmentations.chain(*chosen) if chosen else None,
                feature_losses=[build(FEATURES, text) for text in self.features],
                regularizers=[build(REGULARIZERS, text) for text in self.regularizers],
                objective_weight=self.objective_weight,
            )


@dataclasses.dataclass(frozen=True)
class DataOptions(Checked):
    """Options of a data set of images; requires the `memory_limit` of the other options."""

    dataset: Text = 'digits'
    """'digits' (offline), a TFDS name such as mnist, fashion_mnist or imagenet_resized/32x32, a folder of images, or a .npz or
    .npy file. Subfolders are classes if they contain all images. A folder may contain the folders train and test. A TFDS name may
    end with the split to train on, as in svhn_cropped:train+extra."""
    data_dir: DataDir | None = None
    """Directory of prepared TFDS data sets. The default is TFDS_DATA_DIR."""
    size: Sides | None = None
    """Side of square images, 28 or 4 * 2^n; or HEIGHTxWIDTH such as 64x96, whose shorter side is one of those and whose other
    side can be halved equally often; or native, the common size of all images. The default is that of the data set (16 for the
    digits, 64 for a folder). Images are cropped about their centres."""
    channels: Literal[1, 3] | None = None
    """1 for grey images, 3 for colour. The default is that of the data set."""
    skip_broken: bool = False
    """Skip the images of a folder that cannot be read, and report their number."""

    @property
    def shape(self) -> Size | Literal['native'] | None:
        """The height and width that `size` specifies, 'native', or None."""
        if isinstance(self.size, int) or self.size is None:
            return self.size
        if self.size == 'native':
            return 'native'
        height, width = map(int, self.size.split('x'))
        return size_of(height, width)
