"""Slips of the pen, and pairs of words that look like one and are opposites."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import takewhile

Scales = Mapping[str, Set[int]]
"""Word -> the scales it stands on."""

NONE: frozenset[int] = frozenset()
TYPO_RATIO = 84
TYPO_FREQUENCY = 500  # a word that occurs more than once is still a typo of one that occurs this many times as often
_SHORTEST_PART = 3  # no word this short is made of two

_PREFIXES = [("hyper", "hypo"), ("macro", "micro"), ("inter", "intra"), ("pre", "post"), ("pro", "anti"), ("ex", "in"),
             ("exo", "endo"), ("over", "under"), ("", "un"), ("", "in"), ("", "im"), ("", "ir"), ("", "non"),
             ("", "dis"), ("", "anti"), ("ad", "ab"), ("al", "il"), ("uni", "bi"), ("max", "min"), ("", "ne"),
             ("", "nie"), ("", "не"), ("", "без"), ("", "бес"), ("", "o"), ("", "on"), ("", "ن"), ("", "नि"),
             ("", "불"), ("", "무"), ("", "비")]  # fmt: skip
_TURKISH_NEGATION = re.compile(r"m[ıiuü]yor|m[ae](?:z|m[ae]|y[ae]|d[ıi]|m[ıi]ş)|s[ıiuü]z(?:l[ıiuü]k)?(?:$|[^aeıioöuü])")


def typos(frequency: Counter[str], scales: Scales) -> dict[str, str]:
    """Words that occur once, or far less often than another -> the word they are a typo of."""
    from rapidfuzz import fuzz, process

    shelves: dict[tuple[str, int], list[str]] = defaultdict(list)
    spelling: dict[str, str] = {}
    for word, count in frequency.most_common():
        if len(word) <= 4 or not word.isalpha():
            continue
        least = 1 if count == 1 else count * TYPO_FREQUENCY
        shelved = (shelves.get((word[0], len(word) + more), []) for more in (-1, 0, 1))
        near = [other for shelf in shelved for other in _at_least(shelf, frequency, least)]
        close = process.extract(word, near, scorer=fuzz.ratio, score_cutoff=TYPO_RATIO, limit=3) if near else []
        best = next((other for other, _, _ in close if _slip(other, word, scales)), None)
        if best:
            spelling[word] = spelling.get(best, best)
        shelves[word[0], len(word)].append(word)
    return spelling


def _at_least(shelf: list[str], frequency: Counter[str], least: int) -> Iterator[str]:
    """The beginning of `shelf`, which is in falling order of frequency."""
    return takewhile(lambda word: frequency[word] >= least, shelf)


def _slip(a: str, b: str, scales: Scales) -> bool:
    """True for words one stroke apart which are no opposites: a letter more, less, another or two exchanged."""
    from rapidfuzz.distance import OSA

    if OSA.distance(a, b, score_cutoff=1) > 1 or opposite(a, b, scales):
        return False
    return bool(_TURKISH_NEGATION.search(a)) == bool(_TURKISH_NEGATION.search(b))


def compounds(frequency: Iterable[str], apart: frozenset[str]) -> dict[str, dict[str, str]]:
    """First word -> second word -> both as one word, for the words that `frequency` also has as one.

    None begins with a word of `apart`: 'not ice' is no notice.
    """
    vocabulary = set(frequency)
    pairs: dict[str, dict[str, str]] = defaultdict(dict)
    for word in vocabulary:
        for cut in range(1, len(word) - 1) if len(word) > _SHORTEST_PART else ():
            first, second = word[:cut], word[cut:]
            if first in vocabulary and second in vocabulary and first not in apart:
                pairs[first][second] = word
    return dict(pairs)


def opposite(a: str, b: str, scales: Scales) -> bool:
    """True for words on one scale, and for two that differ in a prefix: hyper- and hypo-, able and unable."""
    if scales.get(a, NONE) & scales.get(b, NONE):
        return True
    return any(
        a.startswith(one) and b.startswith(other) and a[len(one) :] == b[len(other) :]
        for pair in _PREFIXES
        for one, other in (pair, pair[::-1])
    )
