"""Games: functions that return a `gan_jax.Game`. To add a game, add one file here."""

from gan_jax.games.adversarial import adversarial
from gan_jax.games.adversarial_autoencoder import adversarial_autoencoder
from gan_jax.games.adversarial_flow import adversarial_flow
from gan_jax.games.bidirectional import bidirectional
from gan_jax.games.conditional import conditional
from gan_jax.games.info_gan import info_gan
from gan_jax.games.laplacian_pyramid import laplacian_pyramid
from gan_jax.games.multi_generator import multi_generator
from gan_jax.games.paired_translation import paired_translation
from gan_jax.games.product import product
from gan_jax.games.semi_supervised import semi_supervised
from gan_jax.games.style_based import style_based
from gan_jax.games.text_to_image import text_to_image
from gan_jax.games.unpaired_translation import unpaired_translation
from gan_jax.games.vae_gan import vae_gan
from gan_jax.games.vqgan import vqgan

__all__ = [
    'adversarial', 'adversarial_autoencoder', 'adversarial_flow', 'bidirectional', 'conditional', 'info_gan',
    'laplacian_pyramid', 'multi_generator', 'paired_translation', 'product', 'semi_supervised', 'style_based',
    'text_to_image', 'unpaired_translation', 'vae_gan', 'vqgan',
]  # fmt: skip
