"""Runs of words as numbers, so that an answer and a talk of an hour are compared in a millisecond."""

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from understudy.text import words

if TYPE_CHECKING:
    import numpy

WORDS_A_GRAM = 8


def grams(text: str) -> "numpy.ndarray":
    """One 64-bit digest for each run of 8 words of `text`, in order, doubles included; the same on every machine."""
    import numpy as np

    said = np.fromiter(map(_digest, words(text)), dtype=np.uint64)
    if len(said) < WORDS_A_GRAM:
        return said[:0]
    count = len(said) - WORDS_A_GRAM + 1
    found = np.zeros(count, dtype=np.uint64)
    for at in range(WORDS_A_GRAM):
        found = found * np.uint64(0x9E3779B97F4A7C15) + said[at : at + count]  # wraps around on purpose
    return found


def covered_share(found: "numpy.ndarray") -> float:
    """The share of a text's words that stand in one of its grams marked true in `found`."""
    import numpy as np

    if not len(found):
        return 0.0
    covered = np.zeros(len(found) + WORDS_A_GRAM - 1, dtype=bool)
    for at in range(WORDS_A_GRAM):
        covered[at : at + len(found)] |= found
    return float(covered.mean())


@lru_cache(maxsize=200_000)
def _digest(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
