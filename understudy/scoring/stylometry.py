"""
The manner of a text, as numbers that hardly depend on its topic.

Burrows' Delta compares how often the most common words occur (Burrows, Literary and Linguistic Computing 17, 2002):
each frequency in standard deviations of a background, then the mean absolute difference. Profiles of 3 to 5
characters also capture endings, punctuation and layout. Both need a few thousand words per side to be stable.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from understudy.records import Phrase
from understudy.text.words import words

COMMON_WORDS, COMMON_GRAMS = 150, 3_000
CHUNK_WORDS = 400
"""The spread of a word's frequency is computed over pieces of this size."""

Matrix = np.ndarray


class Ruler:
    """Features of a text, and how far two texts are apart on them; made once from the author's own texts.

    Every candidate is measured with the same features, so that their distances are comparable.
    """

    def __init__(self, author: Sequence[str], background: Sequence[str]) -> None:
        self._rows: dict[bytes, Matrix] = {}
        every = [*author, *background]
        common = Counter(word for text in every for word in words(text))
        grams = Counter(gram for text in every for gram in _grams(text))
        self._words = {word: i for i, (word, _) in enumerate(common.most_common(COMMON_WORDS))}
        self._grams = {gram: i for i, (gram, _) in enumerate(grams.most_common(COMMON_GRAMS))}
        pieces = np.array([self._word_row(piece) for text in every for piece in _pieces(text)])
        self._spread = _frequencies(pieces).std(axis=0)
        # A word that is equally frequent in all pieces carries no information, and must not cause a division by zero.
        self._spread[self._spread < 1e-6] = np.inf

    def counts(self, texts: Sequence[str]) -> Matrix:
        """One row of counts for each text: its words in all, its common words, its grams of characters."""
        return np.array([self._row(text) for text in texts])

    def distances(self, counts: Matrix, author: Matrix) -> Matrix:
        """Delta and the cosine distance of characters of each row of `counts` to the row `author`: (rows, 2)."""
        border = 1 + len(self._words)
        apart = (_frequencies(counts[:, :border]) - _frequencies(author[None, :border])) / self._spread
        columns = max(1, int(np.isfinite(self._spread).sum()))
        delta = np.abs(apart).sum(axis=1) / columns
        # Roots, so that the few most common grams do not dominate (the Hellinger way).
        mine, other = np.sqrt(counts[:, border:]), np.sqrt(author[border:])
        norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(other)
        cosine = (mine @ other) / np.where(norms > 0, norms, 1.0)
        return np.stack([delta, 1 - cosine], axis=1)

    def _row(self, text: str) -> Matrix:
        # The same answers are counted for their own value and for every comparison they are in.
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        if digest not in self._rows:
            self._rows[digest] = np.array([*self._word_row(text), *self._gram_row(text)], dtype=np.float32)
        return self._rows[digest]

    def _word_row(self, text: str) -> list[int]:
        tokens = words(text)
        counts = Counter(tokens)
        return [len(tokens), *(counts[word] for word in self._words)]

    def _gram_row(self, text: str) -> list[int]:
        counts = Counter(_grams(text))
        return [counts[gram] for gram in self._grams]


def phrases(
    teacher: Sequence[tuple[str, str]], base: Sequence[str], tuned: Sequence[str], most: int = 15
) -> list[Phrase]:
    """The runs of 2 to 4 words that mark the teacher's answers most, with how often base and tuned use them.

    `teacher` are (document id, answer). Ranked by the z-score of the log-odds ratio with a prior (Monroe,
    Colaresi and Quinn 2008); only phrases of three talks or more, since a topic is not a manner.
    """
    talks: dict[str, set[str]] = {}
    for talk, text in teacher:
        for run in _runs(text):
            talks.setdefault(run, set()).add(talk)
    sides = [Counter(run for text in texts for run in _runs(text)) for texts in ([t for _, t in teacher], base, tuned)]
    sizes = [max(1, sum(len(words(text)) for text in texts)) for texts in ([t for _, t in teacher], base, tuned)]
    least = min(3, len({talk for talk, _ in teacher}))
    scored = [(_log_odds(sides[0][run], sides[1][run], sizes[0], sizes[1]), run) for run in talks]
    marked: list[Phrase] = []
    for score, run in sorted(scored, key=lambda one: (-one[0], one[1])):
        if score < 1.96 or len(marked) == most:
            break
        if len(talks[run]) < least or any(
            f" {run} " in f" {f.phrase} " or f" {f.phrase} " in f" {run} " for f in marked
        ):
            continue
        rates = [1000 * side[run] / size for side, size in zip(sides, sizes, strict=True)]
        marked.append(Phrase(phrase=run, talks=len(talks[run]), teacher=rates[0], base=rates[1], tuned=rates[2]))
    return marked


def _frequencies(counts: Matrix) -> Matrix:
    """Of rows [all words, count, count, ...] the shares."""
    shares: Matrix = counts[:, 1:] / np.maximum(counts[:, :1], 1.0)
    return shares


def _grams(text: str) -> Iterator[str]:
    # A line break is part of the format, so it stays; other white space is one space.
    line = "\n".join(" ".join(part.split()) for part in text.lower().splitlines())
    for size in (3, 4, 5):
        yield from (line[i : i + size] for i in range(len(line) - size + 1))


def _pieces(text: str) -> Iterator[str]:
    tokens = text.split()
    for start in range(0, len(tokens), CHUNK_WORDS):
        yield " ".join(tokens[start : start + CHUNK_WORDS])


def _runs(text: str) -> Iterator[str]:
    for line in text.splitlines():
        tokens = words(line)
        for size in (2, 3, 4):
            yield from (" ".join(tokens[i : i + size]) for i in range(len(tokens) - size + 1))


def _log_odds(mine: int, other: int, mine_words: int, other_words: int, prior: float = 0.5) -> float:
    """By how many standard errors the rate in `mine` exceeds that in `other`."""
    a, b = mine + prior, other + prior
    odds = math.log(a / max(prior, mine_words + 2 * prior - a)) - math.log(b / max(prior, other_words + 2 * prior - b))
    return odds / math.sqrt(1 / a + 1 / b)
