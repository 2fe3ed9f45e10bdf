"""Texts as arrays of numbers, each computed once and shared by the gates that count words."""

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

        tokens = words(text)
        self.words = np.fromiter(map(digest, tokens), dtype=np.uint64, count=len(tokens))
        self.stems = np.sort(np.fromiter(set(map(_stem_digest, set(tokens))), dtype=np.uint64))


_readings: "weakref.WeakValueDictionary[bytes, Reading]" = weakref.WeakValueDictionary()
_owners: dict[int, tuple["weakref.ref[Pair]", set[Reading]]] = {}


def reading(text: str, owner: Pair) -> Reading:
    """The reading of `text`, which is an answer or a talk: kept for the next gate as long as `owner` lives."""
    key = blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
    result = _readings.get(key)
    if result is None:
        result = _readings[key] = Reading(text)
    if id(owner) not in _owners:
        key_of_owner = id(owner)
        _owners[key_of_owner] = weakref.ref(owner, lambda _: _owners.pop(key_of_owner, None)), set()
    _owners[id(owner)][1].add(result)
    return result


def member(values: "numpy.ndarray", members: "numpy.ndarray") -> "numpy.ndarray":
    """For each of `values` whether it is in `known`, which is in ascending order."""
    import numpy as np

    if not len(members):
        return np.zeros(len(values), dtype=bool)
    is_member: numpy.ndarray = members[np.minimum(members.searchsorted(values), len(members) - 1)] == values
    return is_member


@lru_cache(maxsize=200_000)
def digest(word: str) -> int:
    """64 bits of `word`, the same on every machine."""
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


@lru_cache(maxsize=200_000)
def _stem_digest(word: str) -> int:
    return digest(stem(word))
