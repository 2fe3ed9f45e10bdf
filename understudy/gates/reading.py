"""Texts as arrays of numbers, each read once and shared by the gates that count words."""

import weakref
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from understudy.records import Pair
from understudy.text.similarity import stem
from understudy.text.words import words

if TYPE_CHECKING:
    import numpy


class Reading:
    """One text: `words` has a 64-bit digest of each word in order, `stems` of each different stem, ascending."""

    __slots__ = ("__weakref__", "stems", "words")

    def __init__(self, text: str) -> None:
        import numpy as np

        told = words(text)
        self.words = np.fromiter(map(digest, told), dtype=np.uint64, count=len(told))
        self.stems = np.sort(np.fromiter(set(map(_stem_digest, set(told))), dtype=np.uint64))


_known: "weakref.WeakValueDictionary[bytes, Reading]" = weakref.WeakValueDictionary()
_held: dict[int, tuple["weakref.ref[Pair]", set[Reading]]] = {}


def reading(text: str, owner: Pair) -> Reading:
    """The reading of `text`, which is an answer or a talk: kept for the next gate as long as `owner` lives."""
    key = blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
    found = _known.get(key)
    if found is None:
        found = _known[key] = Reading(text)
    if id(owner) not in _held:
        _held[id(owner)] = weakref.KeyedRef(owner, lambda gone: _held.pop(gone.key, None), id(owner)), set()  # type: ignore[attr-defined]
    _held[id(owner)][1].add(found)
    return found


def member(values: "numpy.ndarray", known: "numpy.ndarray") -> "numpy.ndarray":
    """For each of `values` whether it is in `known`, which is in ascending order."""
    import numpy as np

    if not len(known):
        return np.zeros(len(values), dtype=bool)
    return known[np.minimum(known.searchsorted(values), len(known) - 1)] == values


@lru_cache(maxsize=200_000)
def digest(word: str) -> int:
    """64 bits of `word`, the same on every machine."""
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


@lru_cache(maxsize=200_000)
def _stem_digest(word: str) -> int:
    return digest(stem(word))
