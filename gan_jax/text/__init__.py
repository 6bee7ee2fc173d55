"""Text encoders: a bag of words, vectors from a file, and an encoder learned from images."""

from gan_jax.text.encoders import TextEncoder, bag_of_words, precomputed
from gan_jax.text.files import load, save
from gan_jax.text.joint import JointNetwork, joint_embedding, structured_loss
from gan_jax.text.words import Vocabulary, tokens, vocabulary

__all__ = [
    'JointNetwork', 'TextEncoder', 'Vocabulary', 'bag_of_words', 'joint_embedding', 'load', 'precomputed', 'save',
    'structured_loss', 'tokens', 'vocabulary',
]  # fmt: skip
