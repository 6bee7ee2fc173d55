"""Steps of the Dirac-GAN with Adam, by the library's train step."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax import compilation, optimizers
from gan_jax.objectives import OBJECTIVES, Objective
from gan_jax.optimizers import Optimizers
from gan_jax.typing import Array


def game(objective: Objective) -> gan_jax.Game:
    """The unregularised game of the library's train step."""

    def logits(psi: Array, theta: Array) -> tuple[Array, Array]:
        return 0 * psi, psi * theta

    return gan_jax.Game(
        lambda start, key: ({'params': start[0]}, {'params': start[1]}),
        lambda variables, batch, key, *, train=True: (variables['params'], {}),
        lambda variables, theta, batch, key: (objective.discriminator(*logits(variables['params'], theta)), ({}, {})),
        lambda variables, theta, batch, key: (objective.generator(*logits(variables['params'], theta)), {}),
    )


def trained(objective: Objective, players: Optimizers, start: Sequence[float], steps: int, **how: Any) -> np.ndarray:
    """The trajectory `[steps + 1, 2]` of the library's train step with its options `how`."""
    trainer = gan_jax.trainer(game(objective), players, **how)

    @compilation.jit
    def path(start: Array) -> Array:
        first = trainer.init(start, jax.random.key(0))
        both = lambda state: jnp.stack([state.generator.params, state.discriminator.params])
        return jax.lax.scan(lambda state, _: (trainer.step(state, start)[0], both(state)), first, None, steps + 1)[1]

    return np.asarray(path(jnp.array(start)))


def with_adam(config: Any) -> list[dict[str, Any]]:
    """Rows of the distance from the equilibrium that Adam ends at, the largest of the last quarter, without a regulariser."""
    rows = []
    for name in ('minimax', 'non_saturating', 'wasserstein'):
        row: dict[str, Any] = {'objective': name}
        adam, optimistic = (make(config.adam_rate, 0.0, 0.9) for make in (optimizers.adam, optimizers.optimistic_adam))
        options: dict[str, tuple[Optimizers, dict[str, bool]]] = {
            'simultaneous': (adam, {'simultaneous': True}),
            'alternating': (adam, {}),
            'optimistic': (optimistic, {'simultaneous': True}),
            'extragradient': (adam, {'extragradient': True}),
        }
        for mode, (players, how) in options.items():
            distance = np.linalg.norm(trained(OBJECTIVES[name](), players, config.start, config.steps, **how), axis=1)
            row[f'{mode}_distance'] = float(distance[-(len(distance) // 4) :].max())
        rows.append(row)
    return rows
