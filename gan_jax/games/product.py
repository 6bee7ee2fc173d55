"""Independent games played side by side in one program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from gan_jax.games.parts import by_collection, part_of
from gan_jax.training import Game
from gan_jax.typing import Array, Batch, Key, Metrics, Variables


def product(games: Mapping[str, Game]) -> Game:
    """Combines the named games into one, whose batch and play are dicts of theirs.

    Each player's variables are those of all games, `{'params': {name: ...}, ...}`, and its loss is the sum of theirs. The games
    do not interact, so every gradient belongs to one game alone: with an optimizer that treats each parameter separately (Adam,
    SGD), each game learns as it would alone. Metrics, including each game's losses, are prefixed with the game's name.

    Raises `ValueError` if there are no games.
    """
    if not games:
        raise ValueError('a product requires at least one game')

    def keys(key: Key) -> dict[str, Key]:
        return dict(zip(games, jax.random.split(key, len(games)), strict=True))

    def init(batch: Batch, key: Key) -> tuple[Variables, Variables]:
        pairs = {name: games[name].init(batch[name], k) for name, k in keys(key).items()}
        generators, discriminators = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
        return by_collection(generators), by_collection(discriminators)

    def play(variables: Variables, batch: Batch, key: Key, *, train: bool = True) -> tuple[dict[str, Any], Variables]:
        parts = {name: games[name].play(part_of(variables, name), batch[name], k, train=train) for name, k in keys(key).items()}
        return {name: part[0] for name, part in parts.items()}, by_collection({name: part[1] for name, part in parts.items()})

    def discriminator_loss(variables: Variables, play: Any, batch: Batch, key: Key) -> tuple[Array, tuple[Variables, Metrics]]:
        parts = _each(lambda game: game.discriminator_loss, games, variables, play, batch, keys(key))
        metrics = {name: {'discriminator_loss': loss, **found} for name, (loss, (_, found)) in parts.items()}
        state = by_collection({name: state for name, (_, (state, _)) in parts.items()})
        return sum(loss for loss, _ in parts.values()), (state, _named(metrics))  # type: ignore[return-value]

    def generator_loss(variables: Variables, play: Any, batch: Batch, key: Key) -> tuple[Array, Metrics]:
        parts = _each(lambda game: game.generator_loss, games, variables, play, batch, keys(key))
        metrics = {name: {'generator_loss': loss, **found} for name, (loss, found) in parts.items()}
        return sum(loss for loss, _ in parts.values()), _named(metrics)  # type: ignore[return-value]

    return Game(init, play, discriminator_loss, generator_loss)


def _each(
    loss: Callable[[Game], Callable],
    games: Mapping[str, Game],
    variables: Variables,
    play: Any,
    batch: Batch,
    keys: dict[str, Key],
) -> dict[str, Any]:
    return {name: loss(game)(part_of(variables, name), play[name], batch[name], keys[name]) for name, game in games.items()}


def _named(metrics: Mapping[str, Metrics]) -> Metrics:
    return {f'{game}_{name}': value for game, found in metrics.items() for name, value in found.items()}
