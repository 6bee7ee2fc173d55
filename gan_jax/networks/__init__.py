"""Flax linen networks. Parameters and outputs are float32, whatever `dtype` the layers compute in."""

from gan_jax.networks.dcgan import Discriminator as DCGANDiscriminator
from gan_jax.networks.dcgan import Generator as DCGANGenerator
from gan_jax.networks.mlp import MLP

__all__ = ['MLP', 'DCGANDiscriminator', 'DCGANGenerator']
