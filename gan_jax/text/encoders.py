"""The interface of text encoders, and the two that involve no learning."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError
from gan_jax.files import load_arrays
from gan_jax.text.words import UNKNOWN, Vocabulary, tokens, vocabulary


class TextEncoder(NamedTuple):
    """Maps texts to vectors. Anything with these fields is a text encoder."""

    size: int
    """The size of a vector."""
    encode: Callable[[Sequence[str]], np.ndarray]
    """`texts -> float32 [n, size]`. Raises `InputError` for a text without words."""
    unknown: Callable[[Iterable[str]], list[str]]
    """The unknown words of the texts, each once; the encoder does not distinguish them."""
    arrays: dict[str, np.ndarray]
    """The arrays from which `load` restores it; 'kind' names the type of encoder."""


def bag_of_words(texts: Iterable[str], *, min_count: int = 1, limit: int = 1000) -> TextEncoder:
    """The number of occurrences of each word: one entry for unknown words, and one for each of the `limit` most frequent words.

    Words must occur at least `min_count` times. Vectors have norm `sqrt(size)`, so the mean square of their entries is 1.
    Raises `InputError` for a text without words.
    """
    return bag_of_words_in(vocabulary(texts, min_count=min_count, limit=limit))


def bag_of_words_in(words: Vocabulary) -> TextEncoder:
    """`bag_of_words` with a given vocabulary."""
    size = words.size - UNKNOWN

    def encode(texts: Sequence[str]) -> np.ndarray:
        counts = np.zeros((len(texts), size + UNKNOWN), np.float32)
        for row, ids in zip(counts, words.ids(texts), strict=True):
            np.add.at(row, ids, 1)
        counts = counts[:, UNKNOWN:]  # without the count of the padding
        return counts * size**0.5 / np.linalg.norm(counts, axis=1, keepdims=True)

    arrays = {'kind': np.array('bag_of_words'), 'words': np.array(words.words)}
    return TextEncoder(size, encode, words.unknown, arrays)


def precomputed(file: str | os.PathLike) -> TextEncoder:
    """Vectors from a `.npz` file with `captions`, n texts, and `vectors`, `[n, size]`, computed by any encoder.

    Texts are looked up by their words, ignoring case and punctuation. Raises `InputError` for a file that does not hold such
    arrays and, when encoding, for a text that is not in it.
    """
    arrays = load_arrays(file)
    if not {'captions', 'vectors'} <= set(arrays):
        raise InputError(f'{file} holds {", ".join(arrays)}; precomputed vectors require arrays `captions` and `vectors`')
    return precomputed_vectors(arrays['captions'], arrays['vectors'], str(file))


def precomputed_vectors(captions: np.ndarray, vectors: np.ndarray, source: str) -> TextEncoder:
    """`precomputed` with given arrays; `source` names their origin in messages.

    Raises `InputError` unless `captions` are n strings and `vectors` are finite, `[n, size]`.
    """
    if captions.ndim != 1 or captions.dtype.kind != 'U' or vectors.ndim != 2 or len(vectors) != len(captions):
        raise InputError(
            f'{source}: captions must be n strings and vectors [n, size], '
            f'not {captions.dtype} {captions.shape} and {vectors.shape}'
        )
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise InputError(f'{source}: a vector is not finite')
    rows = {tuple(tokens(str(text))): i for i, text in enumerate(captions)}

    def encode(texts: Sequence[str]) -> np.ndarray:
        missing = [text for text in texts if tuple(tokens(text)) not in rows]
        if missing:
            raise InputError(
                f'{source} has no vector for {missing[0]!r}' + (f' and {len(missing) - 1} more' * (len(missing) > 1))
            )
        return vectors[[rows[tuple(tokens(text))] for text in texts]]

    arrays = {'kind': np.array('precomputed'), 'captions': captions, 'vectors': vectors, 'source': np.array(source)}
    return TextEncoder(vectors.shape[1], encode, lambda texts: [], arrays)
