"""The fully connected networks of Improved GAN's semi-supervised MNIST (Salimans et al. 2016; the authors' code).

Images are in [-1, 1], as throughout this library, whereas the authors' are in [0, 1]. The generator's sigmoid is therefore
mapped to [-1, 1], and the classifier maps its input back, so that its noise has the authors' scale.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax

from gan_jax import parallel
from gan_jax.networks.batch_norm import BatchNorm
from gan_jax.networks.minibatch import minibatch_layer
from gan_jax.networks.weight_normalization import data_dependent_weight_norm, weight_norm
from gan_jax.typing import Array


class SemiSupervisedGenerator(nn.Module):
    """Improved GAN's generator, `z [n, latent] -> [n, *shape]` in [-1, 1] (Salimans et al. 2016; the authors' code).

    Softplus layers after batch norm without a scale are followed by a sigmoid layer with weight norm. The authors' latents are
    100 numbers from U(0, 1).
    """

    shape: Sequence[int] = (28, 28, 1)
    features: Sequence[int] = (500, 500)

    @nn.compact
    def __call__(self, z: Array, *, train: bool = True) -> Array:
        glorot = nn.initializers.glorot_uniform()
        for width in self.features:
            z = nn.Dense(width, use_bias=False, kernel_init=glorot)(z)
            z = BatchNorm(not train, epsilon=1e-6, use_scale=False)(z)
            z = nn.softplus(z)
        x = weight_norm(nn.Dense(math.prod(self.shape), kernel_init=glorot), train=train)(z)
        return (2 * nn.sigmoid(x) - 1).reshape(-1, *self.shape)


class GaussianNoise(nn.Module):
    """Adds noise, `x + sigma N(0, 1)` for `x [n, ...]`, separate for each example and independent of the number of devices.

    It adds noise whenever it is called, by the random stream 'noise', which is not required if sigma is 0.
    """

    sigma: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.sigma == 0:
            return x
        keys = parallel.example_keys(len(x), self.make_rng('noise'))
        return x + self.sigma * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


class SemiSupervisedClassifier(nn.Module):
    """Improved GAN's classifier, `[n, ...]` in [-1, 1] to class logits `[n, classes]` (Salimans et al. 2016; the authors' code).

    Its ReLU layers have weight norm with data-dependent initialisation: `init` requires a few hundred examples and the random
    stream 'noise'. The scales of hidden layers are not learned. In training, Gaussian noise is added to the input of every
    layer. With `features_too=True`, a call returns `(logits, hidden activations)`.

    Args:
        features: widths of the hidden layers.
        classes: number of classes.
        input_noise: standard deviation of the noise on the images, in units of [0, 1].
        noise: standard deviation of the noise on the input of every other layer.
        minibatch: member of `layers.MINIBATCH_LAYERS` that precedes the last layer.
    """

    features: Sequence[int] = (1000, 500, 250, 250, 250)
    classes: int = 10
    input_noise: float = 0.3
    noise: float = 0.5
    minibatch: str = 'none'

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False):
        noisy = lambda sigma, x: GaussianNoise(sigma)(x) if train else x

        def dense(width: int, learn_scale: bool = False):
            layer = nn.Dense(width, use_bias=False, kernel_init=nn.initializers.normal(0.1))
            return data_dependent_weight_norm(layer, learn_scale=learn_scale)

        x = noisy(self.input_noise, (x.reshape(len(x), -1) + 1) / 2)
        hidden = []
        for width in self.features:
            hidden.append(nn.relu(dense(width)(x)))
            x = noisy(self.noise, hidden[-1])
        x = minibatch_layer(self.minibatch)(x)
        logits = dense(self.classes, learn_scale=True)(x)
        return (logits, hidden) if features_too else logits
