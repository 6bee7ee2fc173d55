"""GANs in JAX: a game is four pure functions, and one train step plays them all."""

# ruff: noqa: E402
import importlib
from typing import TYPE_CHECKING, Any

from gan_jax import interruptions

interruptions.end_while_starting()  # before the slow imports


from gan_jax.errors import InputError
from gan_jax.training import Game, Player, Trainer, TrainState, init, make_train_step, many_steps, sample, trainer, unroll

if TYPE_CHECKING:
    from gan_jax import (
        augmentations,
        averages,
        boosting,
        codes,
        compilation,
        data,
        divergences,
        features,
        games,
        inversion,
        keys,
        latents,
        metrics,
        networks,
        numerics,
        objectives,
        optimizers,
        parallel,
        penalties,
        pipeline,
        pyramids,
        regularizers,
        runs,
        schedules,
        text,
        training,
        warping,
    )  # fmt: skip

__all__ = [
    'Game', 'InputError', 'Player', 'TrainState', 'Trainer', 'augmentations', 'averages', 'boosting', 'codes', 'compilation',
    'data', 'divergences', 'features', 'games', 'init', 'inversion', 'keys', 'latents', 'make_train_step', 'many_steps',
    'metrics', 'networks', 'numerics', 'objectives', 'optimizers', 'parallel', 'penalties', 'pipeline', 'pyramids',
    'regularizers', 'runs', 'sample', 'schedules', 'text', 'trainer', 'training', 'unroll', 'warping',
]  # fmt: skip
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    """Imports a submodule on first access, which keeps `import gan_jax` fast."""
    if name in __all__:
        return importlib.import_module(f'gan_jax.{name}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
