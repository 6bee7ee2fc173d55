"""Games other than `games.adversarial`, with the options of a game."""

from collections.abc import Callable
from typing import Any

import gan_jax
from gan_jax import runs


def played(options: runs.GameOptions, rules: Callable[..., gan_jax.Game], *networks: Any, **settings: Any) -> gan_jax.Game:
    """The game `rules(*networks, objective, **settings)` with these options. Raises `InputError`.

    Args:
        options: the objective, its weight, penalties, augmentations, feature losses and regularizers.
        rules: a game that draws no latents as `games.adversarial` does, such as `games.paired_translation`.
        *networks: its networks.
        **settings: its other keyword arguments.
    """

    def chosen(_: Any, __: Any, objective: Any, *, latent: Any, **others: Any) -> gan_jax.Game:
        del latent
        return rules(*networks, objective, **others, **settings)

    nothing: Any = None
    return options.game(nothing, nothing, nothing, chosen)
