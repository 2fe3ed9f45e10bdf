"""
Near-duplicate questions, without a model.

Two questions are alike when they share most of the weight of their words, rare words weighing
more (IDF-weighted Jaccard). Words that decide the meaning are never blurred: with another number,
name or kind of question, a negation or an opposite on one side, or with words of substance that
only the one and only the other has ("tea", "bread"), they are two questions.

Static embeddings (wordllama 0.4.0) are no second opinion: of the labelled pairs that these rules leave apart they
found, at a cosine of .85, 10 more that ask the same and joined 33 that do not.

Candidates come from an inverted index over pairs of each question's rarest words: of as many as are
needed for the others to weigh less than the threshold, so that no pair above it is missed (the prefix
filter of Bayardo, Ma and Srikant 2007, with two words for one).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from understudy.text.questions import Question, read, scales
from understudy.text.slips import opposite
from understudy.text.stems import stem
from understudy.text.symbols import is_symbol
from understudy.text.words import unspaced

__all__ = ["components", "near_duplicates", "stem"]

MOST_CANDIDATES = 100  # per pair of words: the latest ones, where a channel asks with hardly any rare word
PAIR = 2

_JOINS = frozenset("and or und oder et ou y 和".split())
_BY = frozenset("by von durch par por da door 被".split())
# Words that are said before or after what they are said of, and mean the same there.
_PREDICATES = frozenset(
    "affect differ bad advantage disadvantage symptom purpose happen rich easy 有害 好处 坏处 症状".split()
)


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
    """Index pairs (earlier, later) of questions alike by at least `threshold` of their weight.

    Of questions that are word for word the same, only the first is compared with the rest, and each later one is
    paired with it: their pairs grow with their number, not its square.
    """
    parsed = read(questions)
    frequency = Counter(word for question in parsed for word in question.words)
    substance = frozenset[str]().union(*(question.substance for question in parsed)) | scales().keys()
    weight = {
        word: math.log(1 + len(parsed) / count) / (1 if word in substance else 4) for word, count in frequency.items()
    }
    rank = {word: at for at, word in enumerate(sorted(weight, key=lambda word: (-weight[word], word)))}
    totals = [sum(map(weight.__getitem__, question.words)) for question in parsed]
    index: dict[tuple[str, ...], list[int]] = {}
    first: dict[Question, int] = {}
    for later, mine in enumerate(parsed):
        earlier = first.setdefault(mine, later)
        if earlier != later:
            yield earlier, later
            continue
        keys = _keys(mine.words, weight, rank, threshold, totals[later])
        low, high = threshold * totals[later], totals[later] / threshold
        candidates = {other for key in keys for other in index.get(key, ())[-MOST_CANDIDATES:]}
        for other in sorted(other for other in candidates if low <= totals[other] <= high):
            if _alike(parsed[other], mine, weight, totals[other] + totals[later], threshold):
                yield other, later
        for key in keys:
            index.setdefault(key, []).append(later)


def _keys(
    mine: frozenset[str], weight: dict[str, float], rank: dict[str, int], threshold: float, total: float
) -> list[tuple[str, ...]]:
    """Keys of which near-duplicates share at least one: the two heaviest words that are in both.

    Two words are worth a key only if they, and all that is lighter, weigh enough; one word if it alone does.
    """
    ranked = sorted(mine, key=rank.__getitem__)
    weights = [weight[word] for word in ranked]
    keys: list[tuple[str, ...]] = [(ranked[0],)] if weights and weights[0] >= threshold * total else []
    lacking = threshold * total - 1e-9 - total
    for at, second in enumerate(ranked):
        if weights[0] < lacking:
            break
        for first, heavy in zip(ranked[:at], weights, strict=False):
            if heavy < lacking:
                break
            keys.append((first, second))
        lacking += weights[at]
    return keys


def _alike(a: Question, b: Question, weight: dict[str, float], both: float, threshold: float) -> bool:
    common = sum(map(weight.__getitem__, a.words & b.words))
    return common >= threshold * (both - common) - 1e-9 and not _differ(a, b)


def _differ(a: Question, b: Question) -> bool:
    """True when what only one of two questions has, or the order of what both have, changes the meaning."""
    left, right = a.words - b.words, b.words - a.words
    different = left | right
    if a.kind != b.kind or a.denials != b.denials or different & (a.names | b.names):
        return True
    if not a.kind and a.needs != b.needs:
        return True
    substance = a.substance | b.substance
    if any(_exact(word, substance) for word in different):
        return True
    if any(opposite(x, y, scales()) for x in left for y in right):
        return True
    if _both_have_their_own(left & a.substance, right & b.substance, a, b):
        return True
    return _reversed(a, b)


def _exact(word: str, substance: frozenset[str]) -> bool:
    """True for numbers, symbols and single letters: with one more or less of them it is another question."""
    if len(word) == 1 and word in substance and word.isascii():
        return True
    return is_symbol(word) or any(c.isnumeric() for c in word)


def _both_have_their_own(left: frozenset[str], right: frozenset[str], a: Question, b: Question) -> bool:
    """True when either question has words of substance that the other has not.

    Where text is compared in pairs of characters, a word put in between parts one pair, which is no word of its own.
    """
    if not left or not right:
        return False
    if min(len(left), len(right)) > 1:
        return True
    fewer, others = (left, b.words) if len(left) <= len(right) else (right, a.words)
    (pair,) = fewer
    return not (len(pair) == PAIR and unspaced(pair) and set(pair) <= set("".join(others)))


def _reversed(a: Question, b: Question) -> bool:
    """True when the words both have stand in another order: 'does salt pull water' is not 'does water pull salt'.

    Not so when they are joined by 'and', or when one of the two is in the passive voice.
    """
    if _JOINS & a.words & b.words or _BY & (a.words ^ b.words):
        return False
    shared = (a.substance & b.substance) - _PREDICATES
    left, right = ([w for w in question.order if w in shared] for question in (a, b))
    if left and a.kind and a.indirect != b.indirect:
        left, right = (left, right) if a.indirect else (right, left)
        right = right if left == right else [*right[1:], right[0]]
    return left != right
