"""Games: functions that return a `gan_jax.Game`. A new game is one file here."""

from gan_jax.games.adversarial import adversarial

__all__ = ['adversarial']
