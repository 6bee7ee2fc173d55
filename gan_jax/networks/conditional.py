"""Networks that are told a label, or that tell it: wrappers around any generator or discriminator.

Labels are integers `[n]` below `classes`; `data.check_labels` says so of a data set, where an error can still be raised.
Discriminators that look at features want a network with `features_too=True -> (logits, [features, ...])`, coarsest last.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import at_least_float32
from gan_jax.networks.normalization import discriminator_normalization
from gan_jax.typing import Array


class ConcatenatedGenerator(nn.Module):
    """A generator of the latent and the label's one-hot vector, joined (Mirza and Osindero 2014, section 3).

    `(z [n, size], labels [n]) -> examples`, by `network(z [n, size + classes])`; with `labels_too` by
    `network(z [n, size + classes], labels)`, for one with conditional batch norm.
    """

    network: nn.Module
    classes: int
    labels_too: bool = False

    @nn.compact
    def __call__(self, z: Array, labels: Array, *, train: bool = True) -> Array:
        joined = jnp.concatenate([z, jax.nn.one_hot(labels, self.classes, dtype=z.dtype)], -1)
        return self.network(joined, *([labels] if self.labels_too else []), train=train)


class ConcatenatedDiscriminator(nn.Module):
    """A discriminator of the example and the label's one-hot vector, joined (Mirza and Osindero 2014, section 3).

    `(examples [n, ..., c], labels [n]) -> logits`: an image has `classes` more channels, each all 0 or all 1 (as in Radford et
    al.'s conditional networks). With `flat=True` examples are flattened first, for a fully connected network.
    """

    network: nn.Module
    classes: int
    flat: bool = False

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = True, **options: Any) -> Any:
        x = x.reshape(x.shape[0], -1) if self.flat else x
        told = jax.nn.one_hot(labels, self.classes, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 2), self.classes)
        told = jnp.broadcast_to(told, (*x.shape[:-1], self.classes))
        return self.network(jnp.concatenate([x, told], -1), train=train, **options)


class ProjectionDiscriminator(nn.Module):
    """`logit(x, y) = psi(x) + <v_y, phi(x)>` (Miyato and Koyama 2018, eq. 4): `(examples, labels [n]) -> logits [n]`.

    psi is the network's own logit, phi its last features, and v a vector for each class, spectrally normalised where the
    network's layers are. With `pooled` phi is summed over positions, as in the paper's networks; without, it is flattened, for a
    network whose logit looks at every position.
    """

    network: nn.Module
    classes: int
    pooled: bool = True

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = True, features_too: bool = False) -> Any:
        psi, features = self.network(x, train=train, features_too=True)
        phi = at_least_float32(features[-1])
        phi = phi.sum(tuple(range(1, phi.ndim - 1))) if self.pooled else phi.reshape(phi.shape[0], -1)
        wrap = _weight_normalization(self.network, train)
        v = wrap(nn.Embed(self.classes, phi.shape[-1], embedding_init=nn.initializers.glorot_uniform()))(labels)
        logits = psi + (v * phi).sum(-1)
        return (logits, features) if features_too else logits


class AuxiliaryDiscriminator(nn.Module):
    """AC-GAN's discriminator: `examples -> (logits [n], class logits [n, classes])` (Odena et al. 2017, section 3).

    The class logits are one dense layer on the network's last features, flattened.
    """

    network: nn.Module
    classes: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True, features_too: bool = False) -> Any:
        logits, features = self.network(x, train=train, features_too=True)
        last = at_least_float32(features[-1])
        wrap = _weight_normalization(self.network, train)
        class_logits = wrap(nn.Dense(self.classes))(last.reshape(last.shape[0], -1))
        output = logits, class_logits
        return (output, features) if features_too else output


def _weight_normalization(network: nn.Module, train: bool) -> Any:
    """What the network does to the weights of its layers, for one more of them."""
    return discriminator_normalization(getattr(network, 'norm', 'none')).parts(train, jnp.float32)[0]
