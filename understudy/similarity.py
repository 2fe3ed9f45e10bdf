"""
Near-duplicate questions, without a model.

Two questions are alike when they share most of the weight of their words, rare words weighing
more (IDF-weighted Jaccard). Candidates come from an inverted index over each question's rarest
words, so the work grows far slower than all pairs. Words that decide the meaning are never
blurred: with another number, a negation or an opposite on one side they are two questions, and
so they are when a single word is exchanged for another one, as in "tea" and "bread".
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from understudy.text import words

RAREST_WORDS = 4
COMMON_AT = 300  # a word in more questions than this finds no candidates

_NEGATIONS = frozenset("not no never without cannot can't don't doesn't isn't aren't won't shouldn't nor none".split())
_ARTICLES = frozenset(["a", "an", "the"])
_OPPOSITES = [
    frozenset(pair.split())
    for pair in (
        "more less",
        "increase decrease",
        "increases decreases",
        "rise fall",
        "rises falls",
        "up down",
        "high low",
        "higher lower",
        "hot cold",
        "warm cool",
        "warms cools",
        "before after",
        "gain loss",
        "gain lose",
        "fast slow",
        "faster slower",
        "first last",
        "start stop",
        "open close",
        "best worst",
        "good bad",
        "left right",
        "in out",
        "heavy light",
        "hard soft",
        "expand contract",
        "expands contracts",
        "float sink",
        "floats sinks",
        "with without",
        "same different",
        "early late",
        "morning evening",
        "day night",
        "inside outside",
    )
]


def components(items: int, links: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> list[int]:
    """For each of `items` the smallest index it is connected to over `links` (union-find)."""
    parent = list(range(items))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in links:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(i) for i in range(items)]


def near_duplicates(questions: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Index pairs (earlier, later) of questions alike by at least `threshold` of their weight."""
    tokens = [frozenset(words(question)) - _ARTICLES for question in questions]
    frequency = Counter(word for token_set in tokens for word in token_set)
    weight = {word: math.log(1 + len(tokens) / count) for word, count in frequency.items()}
    index: dict[str, list[int]] = defaultdict(list)
    for later, mine in enumerate(tokens):
        rarest = sorted(mine, key=lambda word: (frequency[word], word))[:RAREST_WORDS]
        candidates = {earlier for word in rarest for earlier in index[word]}
        for earlier in sorted(candidates):
            if _alike(tokens[earlier], mine, weight) >= threshold and not _guarded(
                tokens[earlier] - mine, mine - tokens[earlier]
            ):
                yield earlier, later
        for word in rarest:
            if len(index[word]) < COMMON_AT:
                index[word].append(later)


def _alike(a: frozenset[str], b: frozenset[str], weight: dict[str, float]) -> float:
    union = sum(weight[word] for word in a | b)
    return sum(weight[word] for word in a & b) / union if union else 1.0


def _guarded(left: frozenset[str], right: frozenset[str]) -> bool:
    """True when the words that only one of two questions has change the meaning."""
    different = left | right
    return (
        any(any(c.isdigit() for c in word) for word in different)
        or bool(different & _NEGATIONS)
        or any(pair <= different for pair in _OPPOSITES)
        or (len(left) == len(right) == 1 and not _one_word(*left, *right))
    )


def _one_word(a: str, b: str) -> bool:
    """True for two forms of a word, such as 'rise' and 'rises'."""
    longest = max(len(a), len(b))
    shared = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return shared >= max(3, longest - 3)
