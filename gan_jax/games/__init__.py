"""Games: functions that return a `gan_jax.Game`. A new game is one file here."""

from gan_jax.games.adversarial import adversarial
from gan_jax.games.conditional import conditional
from gan_jax.games.multi_generator import multi_generator
from gan_jax.games.paired_translation import paired_translation
from gan_jax.games.semi_supervised import semi_supervised
from gan_jax.games.unpaired_translation import unpaired_translation

__all__ = ['adversarial', 'conditional', 'multi_generator', 'paired_translation', 'semi_supervised', 'unpaired_translation']
