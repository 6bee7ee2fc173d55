"""The game, the train step and the unroll.

A game is four pure functions. Anything that returns a `Game` can be trained, unrolled, run in parallel, checkpointed and
resumed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from gan_jax import compilation, parallel
from gan_jax.averages import PowerAverage, decayed_average, moving_average, power_average
from gan_jax.optimizers import Optimizers
from gan_jax.typing import Array, Batch, Key, Metrics, Variables

PROGRESS = 'progress'
"""The collection of a discriminator's variables with its updates and the states of augmentation and regularizers."""


class PlayFunction(Protocol):
    """The type of `Game.play`."""

    def __call__(self, variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[Any, Variables]: ...


DiscriminatorLoss = Callable[[Variables, Any, Batch, Key], tuple[Array, tuple[Variables, Metrics]]]
"""`(discriminator variables, play, batch, key) -> (loss, (discriminator state, metrics))`"""


class Game(NamedTuple):
    """A two-player game as four pure functions. Losses are scalars, means over the (local) batch.

    The play is whatever the generator's side produces: images, or a pytree of them. It is separate from the losses so that an
    unrolled discriminator can respond to a fixed play, and the generator runs only once per step.

    The key is the same on every device of a parallel run; `parallel.example_keys` derives one key per example from it.
    """

    init: Callable[[Batch, Key], tuple[Variables, Variables]]
    """`(batch, key) -> (generator variables, discriminator variables)`"""
    play: PlayFunction
    """`(generator variables, batch, key, train=True) -> (play, generator state)`; use train=False for sampling."""
    discriminator_loss: DiscriminatorLoss
    """`(discriminator variables, play, batch, key) -> (loss, (discriminator state, metrics))`"""
    generator_loss: Callable[[Variables, Any, Batch, Key], tuple[Array, Metrics]]
    """`(discriminator variables, play, batch, key) -> (loss, metrics)`. It cannot update the discriminator's state."""


@struct.dataclass
class Player:
    """One side of the game: parameters, other Flax collections (batch statistics, ...) and the optimizer's state."""

    params: Any
    state: Variables
    opt_state: Any
    """An `optax.OptState`."""

    @property
    def variables(self) -> Variables:
        """The parameters and the other collections as one Flax dict."""
        return {'params': self.params, **self.state}


@struct.dataclass
class TrainState:
    """The complete state of a run, arrays only. The random numbers of step n come from `fold_in(key, n)`."""

    step: Array
    key: Key
    generator: Player
    discriminator: Player
    ema: Variables
    """The exponential moving average of the generator's variables."""
    averages: tuple[PowerAverage, ...] = ()
    """Power-function averages of the generator's variables, from which others are reconstructed after training."""


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init(
    game: Game,
    g_optimizer: optax.GradientTransformation,
    d_optimizer: optax.GradientTransformation,
    batch: Batch,
    key: Key,
    *,
    ema_widths: Sequence[float] = (),
) -> TrainState:
    """The state at step 0.

    Games read only the shapes of `batch`; `semi_supervised` also uses its values when initialisation is data-dependent.

    Args:
        game: the game to train.
        g_optimizer: the generator's optimizer.
        d_optimizer: the discriminator's optimizer.
        batch: one minibatch, with leaves `[batch, ...]`.
        key: the key of the run, for initialisation and for all steps.
        ema_widths: relative widths of the power-function averages that every step of this state updates (`averages`).

    Raises `ValueError` for widths out of range.
    """
    init_key, key = jax.random.split(key)
    generator, discriminator = (
        {'params': {}, **variables} for variables in game.init(batch, init_key)
    )  # a fixed player has no parameters
    ema = jax.tree.map(jnp.copy, generator)  # separate buffers: a donated state must not contain a buffer twice
    averages = tuple(power_average(generator, width) for width in ema_widths)
    players = new_player(generator, g_optimizer), new_player(discriminator, d_optimizer)
    return TrainState(jnp.int32(0), key, *players, ema, averages)


def new_player(variables: Variables, optimizer: optax.GradientTransformation) -> Player:
    """A player with the given variables, of which 'params' are the parameters, and a fresh state of its optimizer."""
    state = dict(variables)
    params = state.pop('params')
    return Player(params, state, optimizer.init(params))


Loss = Callable[[Any, Any], tuple[Array, tuple[Variables, Metrics, Any]]]
"""`(params, inputs) -> (loss, (state, metrics, play))`"""


def _descend(
    loss: Loss, optimizer: optax.GradientTransformation, player: Player, inputs: Any, *, parts: int = 1, at: Player | None = None
) -> tuple[Player, Array, Metrics, Any]:
    """One update of one player, with a single all-reduce.

    If there are parts, the leaves of `inputs` and of the play returned are `[parts, ...]`. The gradient is taken at the
    parameters of `at`, whose optimizer goes on, and updates those of `player`.
    """
    at = player if at is None else at
    descent = _descent if parts == 1 else _accumulated
    found, play = descent(loss, at.params, inputs)
    gradient, state, value, metrics = parallel.pmean(found)
    updates, opt_state = optimizer.update(gradient, at.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), state, opt_state), value, metrics, play


def _descent(loss: Loss, params: Any, inputs: Any) -> tuple[tuple[Any, Variables, Array, Metrics], Any]:
    """`((gradient, state, value, metrics), play)` of a loss on this device."""
    (value, (state, metrics, play)), gradient = jax.value_and_grad(loss, has_aux=True)(params, inputs)
    return (gradient, state, value, metrics), play


def _accumulated(loss: Loss, params: Any, inputs: Any) -> tuple[tuple[Any, Variables, Array, Metrics], Any]:
    """As `_descent`, as means over the parts of the inputs, one after another; every part starts from the same state."""
    parts = len(jax.tree.leaves(inputs)[0])

    def add(total: Any, numbered: tuple[Array, Any]) -> tuple[Any, Any]:
        number, own = numbered
        with parallel.part(number, parts):
            found, play = _descent(loss, params, own)
        floating = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
        return jax.tree.map(lambda x, y: x + y / parts if floating(y) else y, total, found), play

    first = jax.tree.map(lambda x: x[0], inputs)
    shapes = jax.eval_shape(lambda: _descent(loss, params, first)[0])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return lax.scan(add, zeros, (jnp.arange(parts), inputs))


def _parted(batch: Batch, parts: int) -> Batch:
    """A batch whose leaves are `[parts, batch / parts, ...]`; the batch itself if there is one part."""
    if parts == 1:
        return batch
    for n in {len(x) for x in jax.tree.leaves(batch)}:
        if n % parts:
            raise ValueError(f'a batch of {n} examples per device cannot be accumulated in {parts} equal parts')
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


def update_discriminator(
    discriminator_loss: DiscriminatorLoss,
    optimizer: optax.GradientTransformation,
    discriminator: Player,
    play: Any,
    batch: Batch,
    key: Key,
) -> tuple[Player, Metrics]:
    """One update of a discriminator against a play, and its metrics, averaged over the devices.

    Args:
        discriminator_loss: that of a game.
        optimizer: the discriminator's optimizer.
        discriminator: the player to update.
        play: the generator's play.
        batch: one minibatch, with leaves `[batch, ...]`.
        key: the key of the loss.
    """
    return _respond(discriminator_loss, optimizer, discriminator, lambda shown: shown, (play, batch), key)


def _respond(
    discriminator_loss: DiscriminatorLoss,
    optimizer: optax.GradientTransformation,
    player: Player,
    show: Callable[[Any], tuple[Any, Batch]],
    inputs: Any,
    key: Key,
    **how: Any,
) -> tuple[Player, Metrics]:
    """One update of a discriminator against the play of `show(inputs) -> (play, batch)`, and its metrics; see `_descend`."""

    def loss(params: Any, inputs: Any) -> tuple[Array, tuple[Variables, Metrics, None]]:
        play, batch = show(inputs)
        value, (state, metrics) = discriminator_loss({'params': params, **player.state}, play, batch, key)
        return value, (state, metrics, None)

    player, value, metrics, _ = _descend(loss, optimizer, player, inputs, **how)
    return player, {'discriminator_loss': value, **metrics}


def unroll(
    game: Game,
    optimizer: optax.GradientTransformation,
    discriminator: Player,
    play: Any,
    batch: Batch,
    key: Key,
    *,
    steps: int,
    recompute: bool = False,
) -> Player:
    """The discriminator after `steps` further updates against a fixed play (Metz et al. 2017, eqs. 4-6).

    The result is differentiable with respect to the play through every update, including the optimizer's, which continues from
    its current state (the first step of a fresh Adam would be the sign of the gradient, whose derivative is zero). The unrolled
    changes of parameters, statistics and optimizer state affect only the returned player, never `discriminator` itself.

    Memory grows with each step by what the backward pass of an update reads. With `recompute` it grows by one `Player` per
    step, and the backward pass repeats every update, which takes a fifth of the time of a DCGAN step with 5 unrolled updates.

    Adam is differentiable where all past gradients are zero only if its `eps_root` is above 0, as in `gan_jax.optimizers`;
    otherwise a dead unit produces NaN.

    Args:
        game: the game, of which only `discriminator_loss` is used.
        optimizer: the discriminator's optimizer.
        discriminator: the player to start from.
        play: the generator's play, the same for all updates.
        batch: one minibatch, the same for all updates.
        key: split into one key per update.
        steps: the number of updates; 0 returns `discriminator` itself.
        recompute: whether to recompute the updates in the backward pass, to save memory.
    """

    @compilation.exact
    def update(discriminator: Player, key: Key) -> Player:
        return update_discriminator(game.discriminator_loss, optimizer, discriminator, play, batch, key)[0]

    if steps == 0:
        return discriminator
    if recompute:
        update = jax.checkpoint(update)
    keys = jax.random.split(key, steps)
    # Outside the scan, the first update is differentiated only with respect to the play, as no other input depends on it.
    player = update(discriminator, keys[0])
    if steps == 1:
        return player
    return lax.scan(lambda player, key: (update(player, key), None), player, keys[1:])[0]


def minibatches_of_step(
    discriminator_steps: int = 1, generator_steps: int = 1, generator_batches: int = 1, own_minibatches: bool = False
) -> int:
    """The number of minibatches that a step of `make_train_step` takes; if it exceeds 1, they are the batch's first axis.

    Args:
        discriminator_steps: discriminator updates per step.
        generator_steps: generator updates per step.
        generator_batches: minibatches joined for each generator update.
        own_minibatches: whether the generator uses minibatches that the discriminator does not.
    """
    of_generator = generator_steps * generator_batches
    return discriminator_steps + of_generator if own_minibatches else max(discriminator_steps, of_generator)


def make_train_step(
    game: Game,
    g_optimizer: optax.GradientTransformation,
    d_optimizer: optax.GradientTransformation,
    *,
    discriminator_steps: int = 1,
    generator_steps: int = 1,
    generator_batches: int = 1,
    own_minibatches: bool = False,
    unroll_steps: int = 0,
    recompute: bool = False,
    simultaneous: bool = False,
    extragradient: bool = False,
    accumulate: int = 1,
    ema_decay: float | Callable[[Array], Array] = 0.999,
) -> Step:
    """Returns a pure `step(state, batch) -> (state, metrics)`, which the caller compiles (`parallel.RUNNERS`, `jax.jit`).

    By default updates alternate (Goodfellow et al. 2014, algorithm 1): first the discriminator is updated, then the generator
    against the new discriminator, or against what that discriminator would be after `unroll_steps` further updates.
    Simultaneous updates are one per player, both computed from the same parameters and the same play. Extragradient updates are
    simultaneous, too: both players look one update ahead, and their parameters then move by the updates computed there
    (Korpelevich 1976; with Adam, whose moments go on from the first to the second, it is algorithm 4 of Gidel et al. 2019). Both
    computations are on the same minibatch with the same noise (Mishchenko et al. 2020). Transforms of optax see both updates and
    the parameters before them: terms in the parameters do not look ahead, and `average_parameters` must not be used.

    With `accumulate`, every update computes its gradient on this many parts of its minibatch, one after another, to save memory.
    The mean of the gradients is that of the whole minibatch for losses that are means over examples. Whatever looks at a whole
    batch looks at a part instead: batch norm, whose running averages are the means over the parts, feature matching, minibatch
    layers, the means of relativistic average objectives, top-k training, the sign that an adaptive augmentation follows, an
    adaptive weight, texts from the same batch. An image pool keeps the images of the last part.

    Every update draws fresh noise. Leaves of `batch` are `[batch, ...]` if a step takes one minibatch, and
    `[minibatches_of_step(...), batch, ...]` otherwise: one minibatch for each update of the discriminator, and
    `generator_batches` joined into one for each update of the generator. Metrics are scalars, averaged over a player's updates.
    The generator's average is computed by `averages.moving_average`; the `averages` of the state, by `PowerAverage.updated`.

    Args:
        game: the game to train.
        g_optimizer: the generator's optimizer.
        d_optimizer: the discriminator's optimizer.
        discriminator_steps: discriminator updates per step.
        generator_steps: generator updates per step.
        generator_batches: minibatches joined into one for each generator update.
        own_minibatches: whether the generator's minibatches follow the discriminator's in the batch, so that its real examples
            are new in this step (as in the code of Salimans et al. 2016). Otherwise it reuses the first ones.
        unroll_steps: further discriminator updates that the generator anticipates; see `unroll`.
        recompute: whether the backward pass recomputes the unrolled updates, to save memory; see `unroll`.
        simultaneous: whether the updates are simultaneous.
        extragradient: whether the updates are computed where simultaneous ones would lead.
        accumulate: the number of parts of a minibatch on one device whose gradients are computed one after another.
        ema_decay: decay of the generator's average, in [0, 1]; or a function of the step, whose value is taken as it is, without
            the smaller decay of the first steps.

    Raises `ValueError` for counts out of range, for `ema_decay` out of range, for simultaneous or extragradient updates with more
    than one update per player or with `own_minibatches`, for an unroll with extragradient updates or in parts, and, from the
    step, for a minibatch that cannot be divided into the parts.
    """
    if min(discriminator_steps, generator_steps, generator_batches, accumulate) < 1 or unroll_steps < 0:
        counts = f'{discriminator_steps=}, {generator_steps=}, {generator_batches=}, {accumulate=}, {unroll_steps=}'
        raise ValueError(f'each player must take at least one step and unroll_steps must not be negative, got {counts}')
    once = (discriminator_steps, generator_steps, generator_batches) == (1, 1, 1)
    if (simultaneous or extragradient) and (own_minibatches or not once):
        kind = 'extragradient' if extragradient else 'simultaneous'
        counts = f'{discriminator_steps=}, {generator_steps=}, {generator_batches=}, {own_minibatches=}'
        raise ValueError(f'{kind} updates must be one per player, on one minibatch, got {counts}')
    if unroll_steps and (extragradient or accumulate > 1):
        why = (
            'extragradient updates already look ahead' if extragradient else 'a part cannot anticipate updates on the whole batch'
        )
        raise ValueError(f'unroll_steps must be 0, got {unroll_steps}: {why}')
    if not callable(ema_decay) and not 0 <= ema_decay <= 1:
        raise ValueError(f'ema_decay must be from 0 to 1, got {ema_decay}')

    def discriminator_update(player: Player, generator: Player, batch: Batch, key: Key) -> tuple[Player, Metrics]:
        play_key, loss_key = jax.random.split(key)
        show = lambda batch: (game.play(generator.variables, batch, play_key)[0], batch)
        inputs = _parted(batch, accumulate)
        return _respond(game.discriminator_loss, d_optimizer, player, show, inputs, loss_key, parts=accumulate)

    def generator_update(
        player: Player, discriminator: Player, batch: Batch, key: Key, at: Player | None = None
    ) -> tuple[Player, Metrics, Any]:
        play_key, unroll_key, loss_key = jax.random.split(key, 3)

        def loss(params: Any, batch: Batch) -> tuple[Array, tuple[Variables, Metrics, Any]]:
            play, state = game.play({'params': params, **player.state}, batch, play_key)
            future = unroll(game, d_optimizer, discriminator, play, batch, unroll_key, steps=unroll_steps, recompute=recompute)
            # Whatever changes over training counts the discriminator's real updates, not the anticipated ones.
            present = {name: value for name, value in discriminator.state.items() if name == PROGRESS}
            value, metrics = game.generator_loss({**future.variables, **present}, play, batch, loss_key)
            return value, (state, metrics, play)

        inputs = _parted(batch, accumulate)
        player, value, metrics, play = _descend(loss, g_optimizer, player, inputs, parts=accumulate, at=at)
        return player, {'generator_loss': value, **metrics}, play

    def update_both(
        players: tuple[Player, Player], batch: Batch, keys: tuple[Key, Key], at: tuple[Player, Player]
    ) -> tuple[Player, Player, Metrics, Metrics]:
        (generator, discriminator), (g_key, d_key) = players, keys
        generator, g_metrics, play = generator_update(generator, at[1], batch, g_key, at[0])
        inputs, how = (play, _parted(batch, accumulate)), {'parts': accumulate, 'at': at[1]}
        shown = lambda inputs: inputs
        discriminator, d_metrics = _respond(game.discriminator_loss, d_optimizer, discriminator, shown, inputs, d_key, **how)
        return generator, discriminator, g_metrics, d_metrics

    def repeat(
        update: Callable, player: Player, opponent: Player, batch: Batch, key: Key, steps: int, batches: int = 1
    ) -> tuple[Player, Metrics]:
        if once:
            return update(player, opponent, batch, key)[:2]
        # Interleave the examples, so that a device's share of the joined minibatch consists of its shares of the minibatches.
        together = lambda x: x.reshape(steps, batches, *x.shape[1:]).swapaxes(1, 2).reshape(steps, -1, *x.shape[2:])
        xs = (jax.tree.map(lambda x: together(x[: steps * batches]), batch), jax.random.split(key, steps))
        player, metrics = lax.scan(lambda player, x: update(player, opponent, *x)[:2], player, xs)
        return player, jax.tree.map(lambda x: x.mean(0), metrics)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        d_key, g_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        if simultaneous or extragradient:
            players = state.generator, state.discriminator
            *new, g_metrics, d_metrics = update_both(players, batch, (g_key, d_key), players)
            if extragradient:
                # Statistics and counts of updates are of the one step that is taken.
                g_ahead, d_ahead = (dataclasses.replace(a, state=b.state) for a, b in zip(new, players, strict=True))
                *new, g_metrics, d_metrics = update_both(players, batch, (g_key, d_key), (g_ahead, d_ahead))
            generator, discriminator = new
        else:
            for_d = for_g = batch
            if own_minibatches:
                first = 1 if once else slice(discriminator_steps, None)
                for_d, for_g = (jax.tree.map(lambda x, rows=rows: x[rows], batch) for rows in (0 if once else slice(None), first))
            discriminator, d_metrics = repeat(
                discriminator_update, state.discriminator, state.generator, for_d, d_key, discriminator_steps
            )
            generator, g_metrics = repeat(
                generator_update, state.generator, discriminator, for_g, g_key, generator_steps, generator_batches
            )
        if callable(ema_decay):
            ema = decayed_average(state.ema, generator.variables, ema_decay(state.step))
        else:
            ema = moving_average(state.ema, generator.variables, ema_decay, state.step)
        averages = tuple(average.updated(generator.variables, state.step + 1) for average in state.averages)
        new_state = TrainState(state.step + 1, state.key, generator, discriminator, ema, averages)
        return new_state, {**d_metrics, **g_metrics}

    return step


class Trainer(NamedTuple):
    """The training of a game as a pair of pure functions."""

    init: Callable[[Batch, Key], TrainState]
    """`(batch, key) -> state` at step 0; see the function `init`."""
    step: Step
    minibatches: int
    """The number of minibatches that a step takes; if it exceeds 1, they are the first axis of its batch."""


def trainer(game: Game, optimizers: Optimizers, *, ema_widths: Sequence[float] = (), **options: Any) -> Trainer:
    """A game with the optimizers of both players.

    Args:
        game: the game to train.
        optimizers: the optimizers, and the number of the discriminator's updates in a step.
        ema_widths: as in `init`.
        **options: the options of `make_train_step` except `discriminator_steps`.

    Raises `ValueError` as `make_train_step` does, and from `init` for widths out of range.
    """
    g_optimizer, d_optimizer, d_steps = optimizers
    step = make_train_step(game, g_optimizer, d_optimizer, discriminator_steps=d_steps, **options)
    counts = {k: v for k, v in options.items() if k in ('generator_steps', 'generator_batches', 'own_minibatches')}
    return Trainer(
        lambda batch, key: init(game, g_optimizer, d_optimizer, batch, key, ema_widths=ema_widths),
        step,
        minibatches_of_step(d_steps, **counts),
    )


def many_steps(step: Step, draw: Callable[[Any, Array], Batch], capacity: int) -> Callable:
    """Returns `(state, data, n) -> (state, metrics [capacity])`: n <= capacity steps in one call, on batches `draw(data, step)`.

    `n` is traced, so one compiled program serves every length, and a run stopped anywhere resumes bit for bit. Rows of the
    metrics from `n` on are NaN.
    """

    def run(state: TrainState, data: Any, n: Array) -> tuple[TrainState, Metrics]:
        shapes = jax.eval_shape(lambda: step(state, draw(data, state.step)))[1]
        rows = jax.tree.map(lambda m: jnp.full((capacity, *m.shape), jnp.nan, m.dtype), shapes)

        def body(i: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            state, rows = carry
            state, metrics = step(state, draw(data, state.step))
            return state, jax.tree.map(lambda row, m: row.at[i].set(m), rows, metrics)

        return lax.fori_loop(0, n, body, (state, rows))

    return run


def sample(game: Game, state: TrainState, batch: Batch | int, key: Key, *, ema: bool = True) -> Any:
    """The generator's play in inference mode, by default with its averaged variables.

    Args:
        game: the game that was trained.
        state: its state.
        batch: conditions the samples; for an unconditional game it may be their number.
        key: determines the samples.
        ema: whether to use the averaged variables rather than the current ones.
    """
    batch = jnp.zeros(batch) if isinstance(batch, int) else batch
    return game.play(state.ema if ema else state.generator.variables, batch, key, train=False)[0]
