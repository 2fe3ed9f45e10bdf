"""
Which passages a question is about, by BM25: words weighted by how rare they are (Robertson and Zaragoza, 2009).

Words are those of `understudy.text`, without endings, so every script that has words or pairs of characters is indexed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from understudy.records import Passage
from understudy.text.language import FUNCTION_WORDS
from understudy.text.stems import spelled, stem
from understudy.text.words import words

_GRAMMAR = frozenset(word for listed in FUNCTION_WORDS.values() for word in listed)


class Hit(NamedTuple):
    """A passage for a question."""

    passage: Passage
    score: float


class Index:
    """BM25 over passages: their title, headings and text."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        import bm25s

        self.passages = list(passages)
        self._numbers: dict[str, int] = {}
        self._places: dict[str, list[int]] = {}
        for at, passage in enumerate(self.passages):
            self._places.setdefault(passage.document_id, []).append(at)
        self._masked: tuple[frozenset[str] | None, Any] = (None, None)
        ids = [self._ids(f"{p.title} {' '.join(p.heading)} {p.text}") for p in self.passages]
        # An index without a word cannot be built, and a word that no question has changes nothing.
        self._numbers.setdefault("", len(self._numbers))
        self._index = bm25s.BM25(method="lucene", auto_compile=False)
        filled = [one or [self._numbers[""]] for one in ids]
        if filled:
            self._index.index((filled, self._numbers), show_progress=False)

    def search(self, question: str, limit: int, among: Iterable[str] | None = None) -> list[Hit]:
        """The `limit` best passages, best first, that share a word with the question.

        `among` names the documents to look in; None: all. Of equal scores the earlier passage comes first.
        """
        import numpy as np

        known = sorted({self._numbers[w] for w in tokens(question) if w in self._numbers})
        if not known or not self.passages:
            return []
        scores = self._index.get_scores_from_ids(np.array(known, dtype=np.int32))
        if among is not None:
            scores = scores * self._mask(frozenset(among))
        count = min(limit, len(self.passages))
        # A few more than wanted, so that equal scores at the edge come in the order of the passages.
        best = np.argpartition(-scores, count - 1)[:count]
        edge = scores[best].min()
        best = np.flatnonzero(scores >= edge) if edge > 0 else best
        order = best[np.lexsort((best, -scores[best]))][:count]
        return [Hit(self.passages[at], float(scores[at])) for at in order if scores[at] > 0]

    def _mask(self, documents: frozenset[str]) -> Any:
        """1 for the passages of these documents, 0 for the others; the last one is kept, as many questions share it."""
        import numpy as np

        if self._masked[0] != documents:
            mask = np.zeros(len(self.passages), np.float32)
            places = [at for name in documents for at in self._places.get(name, ())]
            mask[places] = 1
            self._masked = documents, mask
        return self._masked[1]

    def _ids(self, text: str) -> list[int]:
        numbers = self._numbers
        return [numbers.setdefault(word, len(numbers)) for word in tokens(text)]


def tokens(text: str) -> list[str]:
    """The words of `text` that are looked up: without those of grammar, endings left out, in one spelling."""
    return [stem(spelled(word)) for word in words(text) if word not in _GRAMMAR]
