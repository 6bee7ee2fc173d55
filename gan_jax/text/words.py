"""Splitting texts into words, and numbering words."""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gan_jax.errors import InputError

PADDING, UNKNOWN = 0, 1
"""The numbers that do not stand for a known word."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def tokens(text: str) -> list[str]:
    """The words of a text, ignoring case and punctuation. Raises `InputError` if there are none."""
    words = _WORD.findall(text.casefold())
    if not words:
        raise InputError(f'the caption {text!r} has no words')
    return words


class Vocabulary(NamedTuple):
    """The known words: `words[i]` has number `i + 2`, after those of the padding and of all unknown words."""

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers there are, including those of the padding and of unknown words."""
        return len(self.words) + 2

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """The words of the texts that are not in the vocabulary, each once, in order of appearance."""
        known = set(self.words)
        return list(dict.fromkeys(word for text in texts for word in tokens(text) if word not in known))

    def ids(self, texts: Sequence[str], length: int | None = None) -> np.ndarray:
        """Texts as numbers, int32 `[n, length]`, padded at the end; the default length is that of the longest text.

        Raises `InputError` for a text without words, and `ValueError` for one with more than `length` words.
        """
        number = {word: i + 2 for i, word in enumerate(self.words)}
        rows = [[number.get(word, UNKNOWN) for word in tokens(text)] for text in texts]
        longest = max(map(len, rows), default=0)
        if length is not None and longest > length:
            raise ValueError(f'a text of {longest} words does not fit into a length of {length}')
        found = np.full((len(rows), length or longest), PADDING, np.int32)
        for row, line in zip(found, rows, strict=True):
            row[: len(line)] = line
        return found


def vocabulary(texts: Iterable[str], *, min_count: int = 1, limit: int | None = None) -> Vocabulary:
    """The words that occur at least `min_count` times in the texts, most frequent first, and at most `limit` of them.

    Raises `InputError` for a text without words.
    """
    counts = collections.Counter(word for text in texts for word in tokens(text))
    ranked = sorted((word for word, number in counts.items() if number >= min_count), key=lambda word: (-counts[word], word))
    return Vocabulary(tuple(ranked[:limit]))
