"""Captions as vectors, as the train step receives them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax import data, text


def caption_vectors(encoder: text.TextEncoder, source: data.Captioned) -> dict[str, np.ndarray]:
    """The vectors of each image's captions, `texts [n, most, size]`, and the number of its captions, `captions [n]`.

    If the images have wrong captions, equally many each, their vectors are included as `wrong [n, captions, size]`.
    """
    counts = np.array([len(own) for own in source.captions], np.int32)
    encode = lambda captions: encoder.encode([caption for own in captions for caption in own])
    texts = np.zeros((len(counts), counts.max(), encoder.size), np.float32)
    texts[np.arange(counts.max()) < counts[:, None]] = encode(source.captions)
    wrong = {} if source.wrong is None else {'wrong': encode(source.wrong).reshape(len(counts), -1, encoder.size)}
    return {'texts': texts, 'captions': counts} | wrong


def one_text(example: dict[str, jax.Array], key: jax.Array, averaged: int) -> dict[str, jax.Array]:
    """An example with one vector: the mean of `averaged` of its captions, drawn without replacement, or of all it has.

    If it has wrong captions, the vector of one of them is 'mismatched'.
    """
    texts, count = example['texts'], example['captions']
    order = jnp.where(jnp.arange(len(texts)) < count, jax.random.uniform(key, (len(texts),)), jnp.inf).argsort()
    chosen = (jnp.arange(len(texts)) < jnp.minimum(averaged, count))[:, None]
    vector = jnp.where(chosen, texts[order], 0).sum(0) / chosen.sum()
    one = {'image': example['image'], 'text': vector, 'label': example['label']}
    if 'wrong' in example:
        one['mismatched'] = jax.random.choice(jax.random.fold_in(key, 1), example['wrong'])
    return one


def tell_unknown(encoder: text.TextEncoder, captions: Sequence[str]) -> None:
    """Prints the words that the encoder does not know."""
    if unknown := encoder.unknown(captions):
        more = f' and {len(unknown) - 10} more' if len(unknown) > 10 else ''
        print(f'words that the text encoder does not know, read as one unknown word: {", ".join(unknown[:10])}{more}')
