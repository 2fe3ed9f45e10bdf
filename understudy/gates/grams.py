"""Runs of words as numbers, so that an answer and a talk of an hour are compared in a millisecond."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

WORDS_A_GRAM = 8
_FACTOR = 0x9E3779B97F4A7C15


def grams(words: "numpy.ndarray") -> "numpy.ndarray":
    """One 64-bit digest for each run of 8 of the word digests `words`, in order, duplicates included."""
    import numpy as np

    if len(words) < WORDS_A_GRAM:
        return words[:0]
    digests, run = words, 1
    while run < WORDS_A_GRAM:  # runs of 2, 4 and 8; products wrap around on purpose
        digests = digests[:-run] * np.uint64(pow(_FACTOR, run, 1 << 64)) + digests[run:]
        run *= 2
    return digests


def covered_share(marks: "numpy.ndarray") -> float:
    """The share of a text's words that are in one of its grams marked true in `marks`."""
    import numpy as np

    if not marks.any():
        return 0.0
    covered = np.zeros(len(marks) + WORDS_A_GRAM - 1, dtype=bool)
    for at in range(WORDS_A_GRAM):
        covered[at : at + len(marks)] |= marks
    return float(covered.mean())
