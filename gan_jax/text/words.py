"""Texts as words, and words as numbers."""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError

PADDING, UNKNOWN = 0, 1
"""The numbers that are no word's."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def tokens(text: str) -> list[str]:
    """The words of a text, without case and punctuation. Raises `InputError` if it has none."""
    words = _WORD.findall(text.casefold())
    if not words:
        raise InputError(f'the caption {text!r} has no words')
    return words


class Vocabulary(NamedTuple):
    """The words that have a number: `words[i]` has `i + 2`, after the padding's and that of every unknown word."""

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.words) + 2

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """The words of the texts that have no number, each once, in the order they come in."""
        known = set(self.words)
        return list(dict.fromkeys(word for text in texts for word in tokens(text) if word not in known))

    def ids(self, texts: Sequence[str], length: int | None = None) -> np.ndarray:
        """Texts as numbers, int32 `[n, length]`, padded at the end; by default as long as the longest text.

        Raises `InputError` for a text without words, `ValueError` for one of more than `length` words.
        """
        number = {word: i + 2 for i, word in enumerate(self.words)}
        rows = [[number.get(word, UNKNOWN) for word in tokens(text)] for text in texts]
        longest = max(map(len, rows), default=0)
        if length is not None and longest > length:
            raise ValueError(f'a text of {longest} words does not fit into {length}')
        found = np.full((len(rows), length or longest), PADDING, np.int32)
        for row, line in zip(found, rows, strict=True):
            row[: len(line)] = line
        return found


def vocabulary(texts: Iterable[str], *, min_count: int = 1, limit: int | None = None) -> Vocabulary:
    """The words that occur at least `min_count` times in the texts; the `limit` most frequent of them, most frequent first."""
    counts = collections.Counter(word for text in texts for word in tokens(text))
    ranked = sorted((word for word, number in counts.items() if number >= min_count), key=lambda word: (-counts[word], word))
    return Vocabulary(tuple(ranked[:limit]))
