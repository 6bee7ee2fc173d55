"""Label-conditional networks, and networks that predict the label: wrappers around any generator or discriminator.

Labels are integers `[n]` below `classes`. They are not checked in compiled code; `data.check_labels` checks those of a data set.
Discriminators that use features require a network whose call with `features_too=True` returns `(logits, [features, ...])`, the
coarsest features last.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.networks.layers import at_least_float32
from gan_jax.networks.normalization import discriminator_normalization
from gan_jax.typing import Array


class ConcatenatedGenerator(nn.Module):
    """A generator of the latent concatenated with the one-hot label (Mirza and Osindero 2014, section 3).

    Maps `(z [n, size], labels [n])` to examples.

    Args:
        network: maps `[n, size + classes]` to examples; with `labels_too`, it takes the labels as a second argument.
        classes: number of classes.
        labels_too: whether the network is itself conditioned on the labels, as by conditional batch norm.
    """

    network: nn.Module
    classes: int
    labels_too: bool = False

    @nn.compact
    def __call__(self, z: Array, labels: Array, *, train: bool = True) -> Array:
        joined = jnp.concatenate([z, jax.nn.one_hot(labels, self.classes, dtype=z.dtype)], -1)
        return self.network(joined, *([labels] if self.labels_too else []), train=train)


class ConcatenatedDiscriminator(nn.Module):
    """A discriminator of the example concatenated with the one-hot label (Mirza and Osindero 2014, section 3).

    Maps `(examples [n, ..., c], labels [n])` to logits. An image gains `classes` channels, each of them all 0 or all 1 (as in
    the conditional networks of Radford et al.). With `flat=True`, examples are flattened first, for a fully connected network.
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
    """The projection discriminator `logit(x, y) = psi(x) + <v_y, phi(x)>` (Miyato and Koyama 2018, eq. 4).

    Maps `(examples, labels [n])` to logits `[n]`; with `features_too=True`, a call returns `(logits, features)`. psi is the
    logit of the network, phi its last features, and v an embedding of the classes, which is spectrally normalised if the
    network's layers are. With `pooled`, phi is summed over positions, as in the paper's networks; otherwise it is flattened, for
    a network whose logit depends on every position. `embedding_init` initialises v.
    """

    network: nn.Module
    classes: int
    pooled: bool = True
    embedding_init: Callable = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: Array, labels: Array, *, train: bool = True, features_too: bool = False) -> Any:
        psi, features = self.network(x, train=train, features_too=True)
        phi = at_least_float32(features[-1])
        phi = phi.sum(tuple(range(1, phi.ndim - 1))) if self.pooled else phi.reshape(phi.shape[0], -1)
        wrap = _weight_normalization(self.network, train)
        v = wrap(nn.Embed(self.classes, phi.shape[-1], embedding_init=self.embedding_init))(labels)
        logits = psi + (v * phi).sum(-1)
        return (logits, features) if features_too else logits


class AuxiliaryDiscriminator(nn.Module):
    """AC-GAN's discriminator: `examples -> (logits [n], class logits [n, classes])` (Odena et al. 2017, section 3).

    The class logits are a dense layer on the flattened last features of the network. With `features_too=True`, a call returns
    `((logits, class logits), features)`.
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
    """Returns the network's weight normalisation, for one additional layer."""
    return discriminator_normalization(getattr(network, 'norm', 'none')).parts(train, jnp.float32)[0]
