"""Runs of words as numbers, so that an answer and a talk of an hour are compared in a millisecond."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

WORDS_A_GRAM = 8
_FACTOR = 0x9E3779B97F4A7C15


def grams(said: "numpy.ndarray") -> "numpy.ndarray":
    """One 64-bit digest for each run of 8 of the word digests `said`, in order, doubles included."""
    import numpy as np

    if len(said) < WORDS_A_GRAM:
        return said[:0]
    found, run = said, 1
    while run < WORDS_A_GRAM:  # runs of 2, 4 and 8; products wrap around on purpose
        found = found[:-run] * np.uint64(pow(_FACTOR, run, 1 << 64)) + found[run:]
        run *= 2
    return found


def covered_share(found: "numpy.ndarray") -> float:
    """The share of a text's words that stand in one of its grams marked true in `found`."""
    import numpy as np

    if not found.any():
        return 0.0
    covered = np.zeros(len(found) + WORDS_A_GRAM - 1, dtype=bool)
    for at in range(WORDS_A_GRAM):
        covered[at : at + len(found)] |= found
    return float(covered.mean())
