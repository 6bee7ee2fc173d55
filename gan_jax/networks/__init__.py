"""Flax Linen networks. Parameters and outputs are float32, whatever the `dtype` of the computation.

All networks raise `InputError` for unknown names and settings of norms and minibatch layers.
"""

from gan_jax.networks.attention import SelfAttention
from gan_jax.networks.autoencoder import ConvAutoencoder, EnergyDiscriminator, MLPAutoencoder
from gan_jax.networks.batch_norm import standing_statistics
from gan_jax.networks.bidirectional import PairDiscriminator, StochasticEncoder
from gan_jax.networks.biggan import BigGANDiscriminator, BigGANGenerator
from gan_jax.networks.conditional import (
    AuxiliaryDiscriminator,
    ConcatenatedDiscriminator,
    ConcatenatedGenerator,
    ProjectionDiscriminator,
)
from gan_jax.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_jax.networks.lapgan import CoarsestDiscriminator, LevelDiscriminator, LevelGenerator
from gan_jax.networks.mlp import MLP, MLPGenerator
from gan_jax.networks.quantized import QuantizedAutoencoder, VectorQuantizer
from gan_jax.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from gan_jax.networks.r3gan_presets import r3gan_networks
from gan_jax.networks.resampling import filtered_downsample, filtered_upsample
from gan_jax.networks.resnet import SNGANDiscriminator, SNGANGenerator
from gan_jax.networks.semi_supervised import SemiSupervisedClassifier, SemiSupervisedGenerator
from gan_jax.networks.stacked_mnist import STACKED_MNIST, stacked_networks
from gan_jax.networks.text_to_image import TextDiscriminator, TextGenerator
from gan_jax.networks.translation import PatchDiscriminator, ResNetGenerator, UNet

__all__ = [
    'MLP', 'STACKED_MNIST', 'AuxiliaryDiscriminator', 'BigGANDiscriminator', 'BigGANGenerator', 'CoarsestDiscriminator',
    'ConcatenatedDiscriminator', 'ConcatenatedGenerator', 'ConvAutoencoder', 'DCGANDiscriminator', 'DCGANGenerator',
    'EnergyDiscriminator', 'LevelDiscriminator', 'LevelGenerator', 'MLPAutoencoder', 'MLPGenerator', 'PairDiscriminator',
    'PatchDiscriminator', 'ProjectionDiscriminator', 'QuantizedAutoencoder', 'R3GANDiscriminator', 'R3GANGenerator',
    'ResNetGenerator', 'SNGANDiscriminator', 'SNGANGenerator', 'SelfAttention', 'SemiSupervisedClassifier',
    'SemiSupervisedGenerator', 'StochasticEncoder', 'TextDiscriminator', 'TextGenerator', 'UNet', 'VectorQuantizer',
    'filtered_downsample', 'filtered_upsample', 'r3gan_networks', 'stacked_networks', 'standing_statistics',
]  # fmt: skip
