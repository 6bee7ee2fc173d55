"""What one discriminator sees, its losses, and its counters. Every game has one judgement per discriminator."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax import parallel, regularizers
from gan_jax.augmentations import Augmentation, chain
from gan_jax.features import FeatureLoss
from gan_jax.objectives import Objective
from gan_jax.penalties import Penalty, Scheduled, total
from gan_jax.regularizers import Change, Heard, Regularizer
from gan_jax.training import PROGRESS as PROGRESS
from gan_jax.typing import Array, Key, Metrics, Variables

PenaltyAt = Literal['seen', 'original']


class JudgementOptions(TypedDict, total=False):
    """The options of a judgement, which every game accepts as keyword arguments and passes on to `judgement`."""

    penalties: Sequence[Penalty | Scheduled]
    """Added to the discriminator's loss, from `gan_jax.penalties`. The default is none."""
    penalty_at: PenaltyAt
    """Where the penalties take gradients: 'seen', the default, with respect to what the discriminator sees, or 'original', with
    respect to the examples before the augmentation, differentiating through it (as in the code of ADA and R3GAN).
    """
    augmentation: Augmentation | None
    """Applied to what the discriminator sees, from `gan_jax.augmentations`. The default is none."""
    feature_losses: Sequence[FeatureLoss]
    """Added to the generator's loss, from `gan_jax.features`. The default is none."""
    feature_layer: int
    """The index of the features to which `feature_losses` apply. The default is -1, the last."""
    regularizers: Sequence[Regularizer]
    """Act on the logits in both players' losses, from `gan_jax.regularizers`. The default is none."""


class Shown(NamedTuple):
    """Examples as presented to the discriminator."""

    examples: Array
    """The examples before augmentation, `[n, ...]`."""
    beside: tuple[Array, ...]
    """The images beside the examples before augmentation, each `[n, ...]`."""
    seen: tuple[Array, ...]
    """The examples and the images beside them, as the discriminator sees them."""
    augment: Callable[..., tuple[Array, ...]]
    """`(examples, *beside)`: applies the same augmentation, with the same draws, to other examples, and to other images beside
    them if they are given.
    """


class Verdict(NamedTuple):
    """The results of one pass through the discriminator."""

    output: Any
    logits: Array
    features: Sequence[Array]
    """Empty if there are no feature losses."""
    state: Variables


class GeneratorTerms(NamedTuple):
    """The parts of the generator's loss, and the verdicts that they come from."""

    objective: Array
    """The objective's loss, a mean, without a weight."""
    features: Array | None
    """The sum of the feature losses; None if there are none."""
    real: Verdict
    fake: Verdict


class Judgement(NamedTuple):
    """A discriminator with everything that affects its inputs and both players' losses; created by `judgement`.

    `given` are the discriminator's inputs after the examples, such as labels. `beside` are images that it sees beside the
    examples; they are augmented by the same draws, and penalties hold them fixed. The discriminator is called with
    `*join(example, *beside), *given`.
    """

    discriminator: nn.Module
    undecided: float | None
    """The logit at which the discriminator is undecided; None if it does not exist."""
    penalties: Sequence[Penalty | Scheduled]
    penalty_at: PenaltyAt
    augmentation: Augmentation
    feature_losses: Sequence[FeatureLoss]
    feature_layer: int
    regularizers: Sequence[Regularizer]
    logit: Callable[[Any], Array]
    join: Callable[..., tuple[Array, ...]]
    keeps_progress: bool
    around: Callable[[Change], Change] = lambda change: change
    """Applies a regularizer's change to the part of an example that it is meant for."""

    def init(self, examples: Array, key: Key, *, given: Sequence[Array] = (), beside: Sequence[Array] = ()) -> Variables:
        """The discriminator's variables, given the shapes of the examples."""
        group = self.augmentation.group
        blank = [jnp.zeros((group, *x.shape[1:]), x.dtype) for x in (examples, *beside)]
        progress = self._progress()
        seen = self._augment(progress, blank[0], blank[1:], jax.random.split(key, group))
        # Inference mode creates the same variables and does not require noise.
        variables = self.discriminator.init(key, *self.join(*seen), *(x[:1] for x in given), train=False)
        return {**variables, PROGRESS: progress} if self.keeps_progress else variables

    def split(self, variables: Variables) -> tuple[Variables, Any]:
        """Separates the network's variables from the progress."""
        network = {name: value for name, value in variables.items() if name != PROGRESS}
        return network, variables.get(PROGRESS, self._progress())

    def show(self, progress: Any, examples: Array, key: Key, *, beside: Sequence[Array] = ()) -> Shown:
        """Passes examples `[n, ...]` through the augmentation."""
        augment = lambda x, *other: self._augment(progress, x, other or beside, parallel.example_keys(len(x), key))
        return Shown(examples, tuple(beside), augment(examples), augment)

    def judge(self, network: Variables, seen: Sequence[Array], key: Key, *, given: Sequence[Array] = ()) -> Verdict:
        """One pass in training mode; the key is for the discriminator's random stream 'noise'."""
        options = {'features_too': True} if self.feature_losses else {}
        output, state = apply_network(self.discriminator, network, *self.join(*seen), *given, noise=key, **options)
        output, features = output if self.feature_losses else (output, ())
        return Verdict(output, self.logit(output), features, state)

    def penalty(
        self, network: Variables, progress: Any, real: Shown, fake: Shown, noise: Key, key: Key, *, given: Sequence[Array] = ()
    ) -> Array:
        """The mean of the sum of the penalties, of which there must be at least one.

        Args:
            network: the network's variables.
            progress: the number of updates and the state of the augmentation.
            real: the real examples.
            fake: the generated examples.
            noise: the key of the discriminator's random stream 'noise'.
            key: the key of the penalties.
            given: the discriminator's inputs after the examples.
        """
        seen = self.penalty_at == 'seen'
        points = (real.seen[0], fake.seen[0]) if seen else (real.examples, fake.examples)
        on_its_way = (lambda x: (x, *real.seen[1:])) if seen else real.augment
        critic = lambda x: self.judge(network, on_its_way(x), noise, given=given).logits
        return total(self.penalties, critic, *points, progress['updates'], key).mean()

    def regularization(
        self,
        networks: tuple[Variables, Variables],
        progress: Any,
        shown: tuple[Shown, Shown],
        heard: Heard,
        noise: Sequence[Key],
        key: Key,
        *,
        given: Sequence[Array] = (),
        realness: Callable[[Array], Array] = lambda logits: logits,
    ) -> Array:
        """The mean of the sum of the regularizers' terms in the discriminator's loss.

        Args:
            networks: the network's variables as they judged the real and the generated examples: a pass may change its state, as
                in spectral normalization.
            progress: the number of updates and the states of the regularizers.
            shown: the real and the generated examples.
            heard: what the discriminator said of them, high for real.
            noise: the keys of the discriminator's random stream 'noise' for both.
            key: the key of the changes; with images beside the examples, the draws are the same for real and generated ones.
            given: the discriminator's inputs after the examples.
            realness: as in `Objective`.
        """

        def again(change: Change, network: Variables, shown: Shown, noise: Key, key: Key) -> Array:
            together = (shown.examples, *shown.beside) if shown.beside else shown.examples
            changed = self.around(change)(together, parallel.example_keys(len(shown.examples), key))
            seen = shown.augment(*(changed if shown.beside else (changed,)))
            return realness(self.judge(network, seen, noise, given=given).logits)

        def ask(change: Change, key: Key) -> tuple[Array, Array]:
            real_key, fake_key = (key, key) if shown[0].beside else jax.random.split(key)
            both = zip(networks, shown, noise, (real_key, fake_key), strict=True)
            of_real, of_fake = (again(change, *each) for each in both)
            return of_real, of_fake

        return regularizers.discriminator_mean(self.regularizers, progress['regularizers'], heard, ask, key)

    def progressed(self, progress: Any, real: Array, fake: Array) -> Variables:
        """The collection PROGRESS after an update with these logits, high for real; empty if it is not kept."""
        if not self.keeps_progress:
            return {}
        state = self.augmentation.update(progress['augmentation'], real - (self.undecided or 0))
        after = {'updates': progress['updates'] + 1, 'augmentation': state}
        if self.regularizers:
            after['images'] = progress['images'] + parallel.batch_size(len(real) * self.augmentation.group)
            after['regularizers'] = regularizers.updated(self.regularizers, progress['regularizers'], real, fake)
        return {PROGRESS: jax.lax.stop_gradient(after)}

    def generator_mean(self, loss: Callable[[Array], Array], progress: Any, fake: Array, realness: Array) -> Array:
        """The mean of `loss(fake)`, the generator's loss of logits `[n, ...]`, in which regularizers may weigh the examples.

        `realness` are the same logits, high for real.
        """
        if not self.regularizers:
            return loss(fake).mean()
        return regularizers.generator_mean(self.regularizers, loss, progress['images'], fake, realness)

    def generator_objective(self, objective: Objective, progress: Any, real: Array, fake: Array) -> Array:
        """The mean of the objective's loss for the generator, of logits `[n, ...]`; see `generator_mean`."""
        return self.generator_mean(lambda fake: objective.generator(real, fake), progress, fake, objective.realness(fake))

    def feature_loss(self, real: Sequence[Array], fake: Sequence[Array]) -> Array:
        """The sum of the feature losses, of which there must be at least one, given the features of all layers of each side.

        Features are taken in float32 at least, as logits are.
        """
        chosen = [features[self.feature_layer] for features in (real, fake)]
        matched = [f.reshape(len(f), -1).astype(jnp.promote_types(f.dtype, jnp.float32)) for f in chosen]
        return sum(term(*matched) for term in self.feature_losses)  # type: ignore[return-value]

    def discriminator_loss(
        self,
        objective: Objective,
        variables: Variables,
        real: Array,
        fake: Array,
        key: Key,
        *,
        given: Sequence[Array] = (),
        beside: Sequence[Array] = (),
        neighbours: Array | None = None,
    ) -> tuple[Array, tuple[Variables, Metrics], Verdict, Verdict]:
        """The objective's loss plus penalties, the discriminator's state and metrics, and the verdicts on real and fake.

        Real and generated examples pass through separately, each with their own batch statistics.

        Args:
            objective: the losses of both players.
            variables: the discriminator's variables.
            real: real examples, `[n, ...]`.
            fake: generated examples, `[n, ...]`.
            key: the key of all random draws.
            given: the discriminator's inputs after the examples, each `[n, ...]`.
            beside: images seen beside the examples, each `[n, ...]`.
            neighbours: examples generated from the latents that a regularizer has moved, `[n, ...]`.
        """
        network, progress = self.split(variables)
        real_key, fake_key, penalty_key, noise_key = jax.random.split(key, 4)
        noise_keys = jax.random.split(noise_key, 3)
        # With one key, the images beside real and generated examples are identical, and so are those at points between them.
        shown_real, shown_fake = (
            self.show(progress, x, k, beside=beside) for x, k in ((real, real_key), (fake, real_key if beside else fake_key))
        )
        of_real = self.judge(network, shown_real.seen, noise_keys[0], given=given)
        after_real = {**network, **of_real.state}
        of_fake = self.judge(after_real, shown_fake.seen, noise_keys[1], given=given)
        loss = objective.discriminator(of_real.logits, of_fake.logits).mean()
        metrics = {'real_logit': of_real.logits.mean(), 'fake_logit': of_fake.logits.mean()}
        if self.penalties:
            metrics['penalty'] = self.penalty(network, progress, shown_real, shown_fake, noise_keys[2], penalty_key, given=given)
            loss += metrics['penalty']
        heard = Heard(*map(objective.realness, (of_real.logits, of_fake.logits)))
        if self.regularizers:
            if neighbours is not None:
                near = self.show(progress, neighbours, real_key if beside else fake_key, beside=beside)
                of_near = self.judge(after_real, near.seen, noise_keys[1], given=given)
                heard = heard._replace(neighbours=objective.realness(of_near.logits))
            metrics['regularization'] = self.regularization(
                (network, after_real),
                progress,
                (shown_real, shown_fake),
                heard,
                (noise_keys[0], noise_keys[1]),
                jax.random.fold_in(penalty_key, 0),
                given=given,
                realness=objective.realness,
            )
            loss += metrics['regularization']
        return loss, ({**of_fake.state, **self.progressed(progress, heard.real, heard.fake)}, metrics), of_real, of_fake

    def generator_loss(
        self,
        objective: Objective,
        variables: Variables,
        real: Array,
        fake: Array,
        key: Key,
        *,
        given: Sequence[Array] = (),
        beside: Sequence[Array] = (),
        neighbours: Array | None = None,
        weight: float = 1.0,
        paired: bool = False,
    ) -> tuple[Array, Metrics, Verdict, Verdict]:
        """The objective's loss times `weight` plus the feature losses, metrics, and the verdicts on real and fake.

        Args:
            objective: the objective, whose generator loss is computed.
            variables: the discriminator's variables.
            real: the real examples, `[n, ...]`.
            fake: the generated examples, `[n, ...]`.
            key: the key of all random draws.
            given: what the discriminator is conditioned on.
            beside: what is shown beside every example.
            neighbours: examples generated from the latents that a regularizer has moved, `[n, ...]`.
            weight: the factor of the objective's loss.
            paired: whether a generated example is augmented like the real one beside it.
        """
        terms = self.generator_terms(objective, variables, real, fake, key, given=given, beside=beside, paired=paired)
        loss = weight * terms.objective
        metrics: Metrics = {}
        if neighbours is not None:
            metrics['generator_regularization'] = regularizers.of_neighbours(self.regularizers, fake, neighbours)
            loss += metrics['generator_regularization']
        if terms.features is not None:
            metrics['feature_loss'] = terms.features
            loss += metrics['feature_loss']
        return loss, metrics, terms.real, terms.fake

    def generator_terms(
        self,
        objective: Objective,
        variables: Variables,
        real: Array,
        fake: Array,
        key: Key,
        *,
        given: Sequence[Array] = (),
        beside: Sequence[Array] = (),
        paired: bool = False,
    ) -> GeneratorTerms:
        """The parts of the generator's loss, for games that weigh them differently.

        Args:
            objective: the objective, whose generator loss is computed.
            variables: the discriminator's variables.
            real: the real examples, `[n, ...]`.
            fake: the generated examples, `[n, ...]`.
            key: the key of all random draws.
            given: what the discriminator is conditioned on, as in `discriminator_loss`.
            beside: what is shown beside every example, as in `discriminator_loss`.
            paired: whether a generated example is augmented like the real one beside it.
        """
        network, progress = self.split(variables)
        real_key, fake_key, noise_key = jax.random.split(key, 3)
        noise_keys = jax.random.split(noise_key)
        # If the objective ignores the real logits, XLA removes the pass over the real examples, as nothing else depends on it.
        shown_real = self.show(progress, real, real_key, beside=beside)
        of_real = self.judge(network, shown_real.seen, noise_keys[0], given=given)
        shown_fake = self.show(progress, fake, real_key if beside or paired else fake_key, beside=beside)
        of_fake = self.judge(network, shown_fake.seen, noise_keys[1], given=given)
        value = self.generator_objective(objective, progress, of_real.logits, of_fake.logits)
        matched = self.feature_loss(of_real.features, of_fake.features) if self.feature_losses else None
        return GeneratorTerms(value, matched, of_real, of_fake)

    def _progress(self) -> Any:
        progress = {'updates': jnp.int32(0), 'augmentation': self.augmentation.init()}
        if not self.regularizers:
            return progress
        states = tuple(regularizer.init() for regularizer in self.regularizers)
        return {**progress, 'images': jnp.int32(0), 'regularizers': states}

    def _augment(self, progress: Any, examples: Array, beside: Sequence[Array], keys: Key) -> tuple[Array, ...]:
        state = progress['augmentation']
        if not beside:
            return (self.augmentation.apply(state, examples, keys),)
        return self.augmentation.apply(state, (examples, *beside), keys)


def check_options(options: JudgementOptions) -> None:
    """Raises `TypeError` for a keyword that is not an option of a judgement; games call it before they pass options on."""
    if unknown := sorted(set(options) - set(JudgementOptions.__annotations__)):
        known = ', '.join(JudgementOptions.__annotations__)
        raise TypeError(f'unexpected keyword argument {unknown[0]!r}; the options of a judgement are {known}')


def refuse_packing(augmentation: Augmentation | None, because: str) -> None:
    """Raises `ValueError` for packing, for games whose discriminator judges each example alone; `because` says why it does."""
    if augmentation is not None and augmentation.group > 1:
        raise ValueError(f'packing {because}')


def check_latents_stay(regularizers: Sequence[Regularizer]) -> None:
    """Raises `ValueError` for a regularizer that moves latents, for games that do not generate from moved ones."""
    if any(regularizer.move is not None for regularizer in regularizers):
        raise ValueError(
            'a regularizer that moves latents, such as zcr, generates from each latent and its neighbour, which only '
            'adversarial, conditional, semi_supervised, text_to_image and laplacian_pyramid do'
        )


def judgement(
    discriminator: nn.Module,
    undecided: float | None,
    options: JudgementOptions,
    *,
    moves_latents: bool = False,
    logit: Callable[[Any], Array] = lambda output: output,
    join: Callable[..., tuple[Array, ...]] = lambda *seen: seen,
) -> Judgement:
    """The judgement of a discriminator.

    Args:
        discriminator: for feature losses it must accept `features_too=True -> (output, [features, ...])`.
        undecided: the logit at which it is undecided under the objective, or None.
        options: those of the game's keyword arguments that are of the judgement.
        moves_latents: whether the game generates from moved latents, too, for a regularizer that asks for them.
        logit: `output -> logits of being real [n, ...]`.
        join: `(example, *beside) -> the discriminator's inputs`.

    Raises `TypeError` for an unknown option, and `ValueError` for an unknown `penalty_at`, for an augmentation that follows
    logits if `undecided` is None, for a regularizer of latents if the game does not move them, and for one that has a term in
    the generator's loss but does not move latents.
    """
    check_options(options)
    penalties, regularizers = options.get('penalties', ()), options.get('regularizers', ())
    augmentation, penalty_at = options.get('augmentation'), options.get('penalty_at', 'seen')
    augment = augmentation or chain()
    if augment.reads_logits and undecided is None:
        raise ValueError(
            'an adaptive augmentation follows the sign of real logits, which is meaningless under this objective; '
            'use minimax, non_saturating, least_squares, hinge or f_gan, which have a logit at which D is undecided'
        )
    if penalty_at not in ('seen', 'original'):
        raise ValueError(f"penalty_at must be 'seen' or 'original', not {penalty_at!r}")
    if not moves_latents:
        check_latents_stay(regularizers)
    if any(regularizer.generator is not None and regularizer.move is None for regularizer in regularizers):
        raise ValueError(
            "a regularizer with a term in the generator's loss compares examples with those of moved latents: it requires a move"
        )
    keeps = augmentation is not None or len(regularizers) > 0 or any(isinstance(p, Scheduled) for p in penalties)
    return Judgement(
        discriminator,
        undecided,
        penalties,
        penalty_at,
        augment,
        options.get('feature_losses', ()),
        options.get('feature_layer', -1),
        regularizers,
        logit,
        join,
        keeps,
    )


def apply_network(
    network: nn.Module, variables: Variables, *inputs: Array, train: bool = True, noise: Key | None = None, **options: Any
) -> tuple[Any, Variables]:
    """The network's output, and its state: all collections except the parameters, as updated by the call.

    Args:
        network: the module to apply.
        variables: its variables.
        inputs: its positional inputs.
        train: whether it runs in training mode; in inference mode the state is returned unchanged.
        noise: the key of the random stream 'noise', if it draws from it.
        options: its keyword arguments.
    """
    state = {name: value for name, value in variables.items() if name != 'params'}
    rngs = None if noise is None else {'noise': noise}
    if not train:
        return network.apply(variables, *inputs, train=False, rngs=rngs, **options), state
    return network.apply(variables, *inputs, train=True, mutable=list(state), rngs=rngs, **options)  # type: ignore[return-value]
