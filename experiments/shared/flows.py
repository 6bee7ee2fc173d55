"""Options shared by experiments on adversarial flow models."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any

import optax

import gan_jax
from gan_jax import games, runs
from gan_jax.ranges import Count, Range, ShareAbove0, Weight


@dataclasses.dataclass(frozen=True)
class FlowOptions(runs.GameOptions):
    """An adversarial flow from noise to data."""

    flow_steps: Annotated[int, Range(1, 100)] = 1
    """Number of steps in which G moves noise to the data."""
    transport_weight: Weight = 0.05
    """Weight of the cost of transport in G's loss; 0 is a GAN."""
    transport_decay: ShareAbove0 = 1.0
    """That weight at the last step, as a share of the first; it falls by half a cosine."""
    centring_weight: Weight = 0.01
    """Weight of the square of the sum of a real and a generated logit in D's loss."""
    steps: Count = 5000
    objective: str = 'relativistic'

    def identity(self) -> dict[str, Any]:
        """The identity of the run, which includes its length if the weight of the cost depends on it."""
        steady = self.transport_decay == 1 or not self.transport_weight
        return super().identity() | ({} if steady else {'decay_steps': self.steps})

    @property
    def has_losses(self) -> bool:
        return super().has_losses or bool(self.transport_weight)

    @property
    def moving(self) -> Callable[..., gan_jax.Game]:
        """The game with these options, for `GameOptions.game`."""
        weight: Any = self.transport_weight
        if self.transport_decay < 1:
            updates = self.steps * self.players().discriminator_steps
            weight = optax.cosine_decay_schedule(weight, updates, self.transport_decay)
        options = {'steps': self.flow_steps, 'transport_weight': weight, 'centring_weight': self.centring_weight}
        return functools.partial(games.adversarial_flow, **options)
