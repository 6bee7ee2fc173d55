"""A text encoder learned from images: the structured joint embedding (Reed et al., CVPR 2016; ICML 2016, eq. 2)."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from gan_jax import compilation, finite
from gan_jax.data.feeds import to_float
from gan_jax.data.order import batch_indices
from gan_jax.networks.layers import Conv
from gan_jax.numerics import Descent, descend
from gan_jax.text.encoders import TextEncoder
from gan_jax.text.words import PADDING, UNKNOWN, Vocabulary, vocabulary
from gan_jax.typing import Array, Variables

_BLOCK = 500
_CALL_STEPS = 200


class TextNetwork(nn.Module):
    """`ids [n, length] -> [n, features]`: word vectors, a recurrent layer (GRU), the mean of its states, and a dense layer.

    Each vector has mean 0 and variance 1 over its entries. Padding affects neither the states nor their mean.
    """

    words: int
    features: int = 128
    width: int = 128

    @nn.compact
    def __call__(self, ids: Array) -> Array:
        given = (ids != PADDING)[..., None]
        states: Any = nn.RNN(nn.GRUCell(self.width))(nn.Embed(self.words, self.width // 2)(ids))
        mean = jnp.where(given, states, 0).sum(1) / given.sum(1)
        return nn.LayerNorm(use_scale=False, use_bias=False)(nn.Dense(self.features)(mean))


class ImageNetwork(nn.Module):
    """`images [n, h, w, c] -> [n, features]`: strided convolutions down to about 4 x 4, and a dense layer."""

    features: int = 128
    width: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = self.width
        while min(x.shape[1:3]) > 4:
            x = nn.relu(Conv(features=width, kernel_size=(3, 3), strides=(2, 2))(x))
            width = min(2 * width, 4 * self.width)
        return nn.LayerNorm(use_scale=False, use_bias=False)(nn.Dense(self.features)(x.reshape(len(x), -1)))


class JointNetwork(nn.Module):
    """`(images [n, ...], ids [m, length]) -> compatibilities [n, m]`: inner products, divided by `sqrt(features)`."""

    words: int
    features: int = 128

    def setup(self) -> None:
        self.text = TextNetwork(self.words, self.features)
        self.image = ImageNetwork(self.features)

    def __call__(self, images: Array, ids: Array) -> Array:
        return self.image(images) @ self.text(ids).T / self.features**0.5


def structured_loss(scores: Array, labels: Array) -> Array:
    """The symmetric structured loss of a batch, one number per pair: `[n, n], [n] -> [n]`.

    `scores[i, j]` is the compatibility F of image i and text j. The loss of pair i is the mean over the pairs j with other
    labels, or 0 if there are none, of

        max(0, 1 + F_ij - F_ii)  +  max(0, 1 + F_ji - F_ii).

    This is the surrogate of Reed et al., CVPR 2016, eqs. 5 and 6, over the texts and images of the batch, averaged over classes
    where the paper takes the maximum. Raises `ValueError` unless `scores` is `[n, n]`.
    """
    if scores.shape != (len(labels), len(labels)):
        raise ValueError(f'scores of n images with n texts must be [n, n], got {scores.shape} and {len(labels)} labels')
    other = labels[:, None] != labels
    margin = lambda f: jnp.maximum(0, 1 + f - jnp.diagonal(scores)[:, None])
    return jnp.where(other, margin(scores) + margin(scores.T), 0).sum(1) / jnp.maximum(other.sum(1), 1)


def joint_embedding(
    images: np.ndarray,
    captions: Sequence[Sequence[str]],
    labels: np.ndarray,
    *,
    features: int = 128,
    steps: int = 1500,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    min_count: int = 1,
    limit: int = 5000,
    word_dropout: float = 0.05,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> TextEncoder:
    """Trains a text encoder jointly with an image encoder, which is discarded.

    Args:
        images: uint8 `[n, h, w, c]`.
        captions: one or more for each image; a step draws one of them.
        labels: int `[n]`, what the captions describe: images with the same label are not told apart.
        features: the size of the vectors.
        steps: the number of Adam steps; the learning rate decays to 0 along a cosine.
        batch_size: the number of images per step.
        learning_rate: the initial learning rate.
        min_count: the number of occurrences that make a word known.
        limit: the maximum number of known words.
        word_dropout: the share of words that a step treats as unknown, so that the unknown word is trained, too.
        seed: determines all random draws.
        report: called with a message on how many images matched one of their texts in recent batches.

    Raises `InputError` for a caption without words, `ValueError` if an image lacks a label or a caption, and `Diverged` if the
    parameters become non-finite.
    """
    if not (len(images) == len(captions) == len(labels) and all(captions)):
        raise ValueError(f'{len(images)} images require as many labels and non-empty lists of captions')
    words = vocabulary((text for texts in captions for text in texts), min_count=min_count, limit=limit)
    flat = words.ids([text for texts in captions for text in texts])
    counts = np.array([len(texts) for texts in captions], np.int32)
    data = {'image': images, 'first': np.cumsum(counts) - counts, 'count': counts, 'label': labels}
    network = JointNetwork(words.size, features)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    init_key, order_key, draw_key = jax.random.split(jax.random.key(seed), 3)
    batch_size = min(batch_size, len(images))

    def draw(data: Any, ids: Array, step: Array) -> tuple[Array, Array, Array]:
        rows = batch_indices(len(images), batch_size, step, order_key)
        which, unknown = jax.random.split(jax.random.fold_in(draw_key, step))
        chosen = data['first'][rows] + jax.random.randint(which, (batch_size,), 0, data['count'][rows])
        dropped = jax.random.bernoulli(unknown, word_dropout, (batch_size, ids.shape[1])) & (ids[chosen] != PADDING)
        return to_float(data['image'][rows]), jnp.where(dropped, UNKNOWN, ids[chosen]), data['label'][rows]

    @functools.partial(compilation.jit, donate_argnums=0)
    def train(carry: Descent, data: Any, ids: Array, first: Array, n: Array) -> Descent:
        def loss(params: Any, found: Array, step: Array) -> tuple[Array, Array]:
            x, text, label = draw(data, ids, step)
            scores = network.apply({'params': params}, x, text)
            assert isinstance(scores, jax.Array)
            best = (label[scores.argmax(1)] == label).astype(jnp.float32).mean()
            return structured_loss(scores, label).mean(), 0.95 * found + 0.05 * best

        return descend(loss, optimizer, carry, n, first)

    params = compilation.jit(network.init)(init_key, to_float(jnp.asarray(images[:1])), jnp.asarray(flat[:1]))['params']
    carry = Descent(params, jnp.float32(0), optimizer.init(params))
    arrays, ids = jax.tree.map(jnp.asarray, data), jnp.asarray(flat)
    for first in range(0, steps, _CALL_STEPS):
        carry = train(carry, arrays, ids, jnp.int32(first), jnp.int32(min(_CALL_STEPS, steps - first)))
    finite.check_state(carry.params, steps, 'the text encoder')
    report(f'text encoder: {len(words.words)} words; {carry.memory:.1%} of images match one of their texts among {batch_size}')
    return _encoder(words, {'params': carry.params['text']}, features)


def joint_from_arrays(arrays: dict[str, np.ndarray]) -> TextEncoder:
    """Restores the encoder from its arrays."""
    flat = {name.removeprefix('params/'): value for name, value in arrays.items() if name.startswith('params/')}
    params = traverse_util.unflatten_dict(flat, sep='/')
    return _encoder(Vocabulary(tuple(map(str, arrays['words']))), {'params': params}, int(arrays['size']))


def _encoder(words: Vocabulary, variables: Variables, features: int) -> TextEncoder:
    network = TextNetwork(words.size, features)
    apply = compilation.jit(network.apply)

    def encode(texts: Sequence[str]) -> np.ndarray:
        ids = words.ids(texts)
        ids = np.pad(ids, ((0, 0), (0, -ids.shape[1] % 8)))  # round lengths up, so that few programs are compiled
        parts = [np.asarray(apply(variables, ids[i : i + _BLOCK])) for i in range(0, len(ids), _BLOCK)]
        return np.concatenate(parts) if parts else np.zeros((0, features), np.float32)

    flat = {f'params/{name}': np.asarray(x) for name, x in traverse_util.flatten_dict(variables['params'], sep='/').items()}
    arrays = {'kind': np.array('joint'), 'words': np.array(words.words), 'size': np.array(features), **flat}
    return TextEncoder(features, encode, words.unknown, arrays)
