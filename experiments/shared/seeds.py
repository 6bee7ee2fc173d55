"""Several seeds of one game in one program, split over the devices; what experiments that count modes share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import compilation, data, parallel, runs
from gan_jax.typing import Array, Batch, Key

BLOCK = 5000
"""Examples that one seed draws at a time."""


class Seeds(NamedTuple):
    """A run of several seeds: its first state, how it goes on, and what it makes, `[seeds, samples, ...]`."""

    state: gan_jax.TrainState
    advance: runs.Advance
    sample: Callable[[gan_jax.TrainState], Array]


class Source(NamedTuple):
    """Where minibatches come from."""

    draw: Callable[[Any, Key, Array], Batch]
    """`(shared, a seed's key, step) -> batch`, with a leading axis where a step takes several minibatches."""
    example: jax.ShapeDtypeStruct
    """One real example, without the batch."""
    shared: Any = ()
    """Arrays that all seeds draw from."""


def mixture_source(mixture: data.Mixture, batch_size: int, minibatches: int) -> Source:
    """Points of a mixture, drawn afresh."""
    shape = (minibatches, batch_size) if minibatches > 1 else (batch_size,)
    dimension = mixture.centres.shape[1]

    def draw(_: Any, key: Key, number: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, number), shape)
        return jax.vmap(mixture.sample)(keys.reshape(-1)).reshape(*shape, dimension)

    return Source(draw, jax.ShapeDtypeStruct((dimension,), jnp.float32))


def prepare(
    config: runs.GameOptions,
    game: gan_jax.Game,
    source: Source,
    *,
    seeds: int,
    samples: int,
    unroll_steps: int = 0,
    observe: Callable[[Any, Key], Array] = lambda play, key: play,
) -> Seeds:
    """All seeds of a game in one program, by the options' optimizers. Raises `InputError` for what was chosen and does not work.

    `observe(play, key)` is what is kept of a block of samples: by default the generator's play.
    """
    step, players = config.train_step(game, unroll_steps=unroll_steps), config.players()
    batch = jax.eval_shape(source.draw, source.shared, jax.random.key(0), 0)
    runs.check_fit(game, jax.eval_shape(lambda x: x[0], batch) if config.minibatches > 1 else batch)
    place = placement(seeds)
    model_keys, data_keys = (place(keys) for keys in jax.random.split(jax.random.key(config.seed), (2, seeds)))
    example = jnp.zeros((1, *source.example.shape), source.example.dtype)

    def one(key: Key) -> gan_jax.TrainState:
        return gan_jax.init(game, players.generator, players.discriminator, example, key)

    def draw(feed: tuple[Any, Key], number: Array) -> Batch:
        return source.draw(*feed, number)

    state = compilation.jit(jax.vmap(one))(model_keys)
    state = runs.first_state(state, config.init_from, resume=config.resume)
    steps = jax.vmap(gan_jax.many_steps(step, draw, runs.CALL_STEPS), in_axes=(0, (None, 0), None))
    many = compilation.jit(steps, cached=False, donate_argnums=0)

    def advance(state: gan_jax.TrainState, n: int) -> tuple[gan_jax.TrainState, Any]:
        state, rows = many(place(state), (source.shared, data_keys), n)
        return state, {name: value[:, :n].T for name, value in rows.items()}

    def draw_samples(state: gan_jax.TrainState, key: Key) -> Array:
        def block(key: Key, n: int) -> Array:
            return observe(gan_jax.sample(game, state, jnp.zeros(n), key, ema=False), key)

        return in_blocks(block, key, samples)

    @compilation.jit
    def sample(state: gan_jax.TrainState) -> Array:
        keys = jax.random.split(jax.random.key(config.seed + 1), seeds)
        return jax.vmap(draw_samples)(state, keys)

    return Seeds(place(state), advance, sample)


def in_blocks(block: Callable[[Key, int], Array], key: Key, n: int) -> Array:
    """`block(key, m)` of `m <= BLOCK` examples at a time, n in all."""
    if n <= BLOCK:
        return block(key, n)
    rows = jax.lax.map(lambda key: block(key, BLOCK), jax.random.split(key, -(-n // BLOCK)))
    return rows.reshape(-1, *rows.shape[2:])[:n]


def devices(seeds: int) -> Sequence[jax.Device]:
    """As many local devices as can share the seeds evenly."""
    every = jax.local_devices()
    return every[: max(n for n in range(1, len(every) + 1) if seeds % n == 0)]


def placement(seeds: int) -> Callable[[Any], Any]:
    """Splits the leading axis of arrays, `[seeds, ...]`, over the devices; on one it leaves them as they are."""
    chosen = devices(seeds)
    return (lambda tree: tree) if len(chosen) == 1 else (lambda tree: parallel.split_rows(tree, chosen))


def mean_and_error(values: Any, scale: float = 1.0, digits: int = 2) -> str:
    """Mean and standard error over the seeds; where some have no finite value, of the others, and how many those are."""
    values = np.asarray(values, np.float64)
    finite = scale * values[np.isfinite(values)]
    if not len(finite):
        return 'infinite'
    error = f' +- {finite.std(ddof=1) / len(finite) ** 0.5:.{digits}f}' if len(finite) > 1 else ''
    return f'{finite.mean():.{digits}f}{error}' + (f' ({len(finite)} of {len(values)})' if len(finite) < len(values) else '')
