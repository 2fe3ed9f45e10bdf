"""
Near-duplicate questions, without a model.

Two questions are alike when they share most of the weight of their words, rare words weighing
more (IDF-weighted Jaccard). Words that decide the meaning are never blurred: with another number,
name or kind of question, a negation or an opposite on one side, or with words of substance that
only the one and only the other has ("tea", "bread"), they are two questions.

Candidates come from an inverted index over pairs of each question's rarest words: of as many as are
needed for the others to weigh less than the threshold, so that no pair above it is missed (the prefix
filter of Bayardo, Ma and Srikant 2007, with two words for one).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from understudy.text.language import FUNCTION_WORDS
from understudy.text.words import words

MOST_CANDIDATES = 100  # per pair of words: the latest ones, where a channel asks with hardly any rare word
TYPO_RATIO = 84
TYPO_FREQUENCY = 500  # a word that occurs more than once is still a typo of one that occurs this many times as often
CAPITALS_ARE_NAMES_BELOW = 0.2  # share of capitals inside sentences; German and Title Case have far more

# Of every language at once: a word taken for a negation by mistake only keeps two questions apart.
_NEGATIONS = (
    "not no never without cannot nor none neither avoid stop quit nicht kein keine keinen nie ohne pas jamais sans "
    "nunca sin non mai senza não sem niet geen nooit zonder"
)
# Everyday words that questions are reworded with.
_SAME = {
    word: group.split()[0]
    for group in (
        "lower reduce decrease lessen diminish", "raise increase boost elevate", "help assist aid", "start begin",
        "big large", "small little", "important crucial essential vital", "fix repair", "happen occur", "keep retain",
        "explain clarify", "way method", "reason cause why", "make create", "use utilise utilize", "buy purchase",
    )
    for word in group.split()
}  # fmt: skip
# On the same scale, and never the same: with two of one line on two sides the questions are two.
_EXCLUSIVE = [
    "more less fewer", "raise lower", "rise fall", "grow shrink", "up down", "high low", "higher lower", "hot cold",
    "warm cool", "before after during", "gain lose", "gain loss", "fast slow", "faster slower", "first last second",
    "start stop end", "open close", "best worst", "better worse", "good bad", "left right", "in out", "inside outside",
    "heavy light", "hard soft", "expand contract", "float sink", "with without", "same different", "early late",
    "morning evening", "day night", "long short", "big small", "old young new", "wet dry", "thick thin", "strong weak",
    "most least", "always never", "men women", "man woman", "boy girl", "child adult", "summer winter", "push pull",
    "buy sell", "add remove", "acute chronic", "positive negative", "internal external", "upper lower", "front back",
    "healthy unhealthy", "possible impossible", "minimum maximum", "above below", "north south", "east west",
    "safe dangerous", "help hurt harm", "advantage disadvantage", "benefit risk", "pro con", "cause prevent",
    "one two three four five six seven eight nine ten eleven twelve",
]  # fmt: skip
_PREFIXES = [("hyper", "hypo"), ("macro", "micro"), ("inter", "intra"), ("pre", "post"), ("pro", "anti"), ("ex", "in"),
             ("exo", "endo"), ("over", "under"), ("", "un"), ("", "in"), ("", "im"), ("", "ir"), ("", "non"),
             ("", "dis"), ("", "anti"), ("ad", "ab"), ("al", "il"), ("uni", "bi"), ("max", "min")]  # fmt: skip
_KINDS = re.compile(
    r"\b(?:how (?P<amount>much|many|long|often|far|old|big|fast|deep|high)|(?P<kind>when|where|who|whom|whose))\b"
    r"|\b(?:at )?what (?P<what>time|age|temperature|amount|year|country|place)\b",
    re.IGNORECASE,
)
_CAPITAL = re.compile(r"(?<=[^\s.!?:\"“(] )[\"“(]?([A-ZÄÖÜÉÈÀÁÍÓÚÑÇ][\w'’-]*)")
_LEADING = re.compile(r"^(?:(?:so|and|well|but|now|okay),? +)?([^\s,][^,?]{2,50}), +(.+)$", re.IGNORECASE)
_CJK = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class _Question(NamedTuple):
    order: tuple[str, ...]
    words: frozenset[str]
    substance: frozenset[str]
    """The words that are not only grammatical."""
    names: frozenset[str]
    kind: str
    denials: frozenset[str]


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
    parsed = _parse(questions)
    frequency = Counter(word for question in parsed for word in question.words)
    substance = frozenset[str]().union(*(question.substance for question in parsed))
    weight = {
        word: math.log(1 + len(parsed) / count) / (1 if word in substance or word in _TELLING else 4)
        for word, count in frequency.items()
    }
    totals = [sum(map(weight.__getitem__, question.words)) for question in parsed]
    index: dict[tuple[str, ...], list[int]] = {}
    first: dict[_Question, int] = {}
    for later, mine in enumerate(parsed):
        earlier = first.setdefault(mine, later)
        if earlier != later:
            yield earlier, later
            continue
        keys = _keys(mine.words, weight, threshold, totals[later])
        low, high = threshold * totals[later], totals[later] / threshold
        candidates = {other for key in keys for other in index.get(key, ())[-MOST_CANDIDATES:]}
        for other in sorted(other for other in candidates if low <= totals[other] <= high):
            if _alike(parsed[other], mine, weight, totals[other] + totals[later], threshold):
                yield other, later
        for key in keys:
            index.setdefault(key, []).append(later)


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """`word` without the endings of a plural or a verb: 'rises', 'rising' and 'rise' are one. Not a linguistic stem."""
    word = word.replace("’", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and re.search("[aeiouy]", rest) and not rest.endswith("e"):
            word = rest[:-1] if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") and not word.endswith("ee") else word


_FUNCTION = {language: frozenset(map(stem, listed)) for language, listed in FUNCTION_WORDS.items()}
_DENIALS = frozenset(map(stem, _NEGATIONS.split()))
_CANONICAL = {stem(word): stem(same) for word, same in _SAME.items()}
_SCALES: dict[str, set[int]] = defaultdict(set)
for _at, _line in enumerate(_EXCLUSIVE):
    for _word in _line.split():
        _SCALES[_CANONICAL.get(stem(_word), stem(_word))].add(_at)
_JOINS = frozenset("and or und oder et ou y".split())
_BY = frozenset("by von durch par por da door".split())
# Words of grammar that still tell questions apart when only one side has them.
_TELLING = _DENIALS | frozenset(_SCALES)


@lru_cache(maxsize=200_000)
def _tokens(word: str) -> tuple[str, ...]:
    """What a word counts as: its stem, or the pairs of signs of a script without spaces."""
    if _CJK.search(word):
        return tuple(word[at : at + 2] for at in range(max(1, len(word) - 1)))
    return (_CANONICAL.get(stem(word), stem(word)),)


def _parse(questions: Sequence[str]) -> list[_Question]:
    raw = [words(_LEADING.sub(r"\2 \1", question)) for question in questions]
    spelling = _typos(Counter(word for order in raw for word in order))
    orders = [tuple(token for word in order for token in _tokens(spelling.get(word, word))) for order in raw]
    frequency = Counter(token for order in orders for token in order)
    language = max(_FUNCTION, key=lambda code: sum(frequency[word] for word in _FUNCTION[code]))
    function = _FUNCTION[language]
    capitals = [_CAPITAL.findall(question) for question in questions]
    share = sum(map(len, capitals)) / max(1, sum(map(len, orders)))
    parsed = []
    for question, tokens, capital in zip(questions, orders, capitals, strict=True):
        names = {t for name in capital if name.rstrip("'’") != "I" for word in words(name) for t in _tokens(word)}
        kind = _KINDS.search(question)
        denied = {"not" if token.endswith(("n't", "n’t", "nnot")) else token for token in tokens} & _DENIALS
        parsed.append(
            _Question(
                tokens,
                frozenset(tokens),
                frozenset(tokens) - function,
                frozenset(names) if share < CAPITALS_ARE_NAMES_BELOW else frozenset(),
                kind.group().lower() if kind else "",
                frozenset(denied),
            )
        )
    return parsed


def _typos(frequency: Counter[str]) -> dict[str, str]:
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
        best = next((other for other, _, _ in close if not _opposite(other, word)), None)
        if best:
            spelling[word] = spelling.get(best, best)
        shelves[word[0], len(word)].append(word)
    return spelling


def _at_least(shelf: list[str], frequency: Counter[str], least: int) -> Iterator[str]:
    """The beginning of `shelf`, which is in falling order of frequency."""
    return takewhile(lambda word: frequency[word] >= least, shelf)


def _opposite(a: str, b: str) -> bool:
    """True for words on one scale, and for two that differ in a prefix: hyper- and hypo-, able and unable."""
    if _SCALES.get(a, set()) & _SCALES.get(b, set()):
        return True
    return any(
        a.startswith(one) and b.startswith(other) and a[len(one) :] == b[len(other) :]
        for pair in _PREFIXES
        for one, other in (pair, pair[::-1])
    )


def _keys(mine: frozenset[str], weight: dict[str, float], threshold: float, total: float) -> list[tuple[str, ...]]:
    """Keys of which near-duplicates share at least one: the two heaviest words that are in both.

    Two words are worth a key only if they, and all that is lighter, weigh enough; one word if it alone does.
    """
    ranked = sorted(mine, key=lambda word: (-weight[word], word))
    keys: list[tuple[str, ...]] = []
    remaining = total
    for at, second in enumerate(ranked):
        keys += [(first, second) for first in ranked[:at] if weight[first] + remaining >= threshold * total - 1e-9]
        remaining -= weight[second]
    return [*keys, *((word,) for word in ranked[:1] if weight[word] >= threshold * total)]


def _alike(a: _Question, b: _Question, weight: dict[str, float], both: float, threshold: float) -> bool:
    common = sum(map(weight.__getitem__, a.words & b.words))
    return common >= threshold * (both - common) - 1e-9 and not _differ(a, b)


def _differ(a: _Question, b: _Question) -> bool:
    """True when what only one of two questions has, or the order of what both have, changes the meaning."""
    left, right = a.words - b.words, b.words - a.words
    different = left | right
    if a.kind != b.kind or a.denials != b.denials or different & (a.names | b.names):
        return True
    if any(any(c.isdigit() for c in word) for word in different):
        return True
    if any(_opposite(x, y) for x in left for y in right):
        return True
    if left & a.substance and right & b.substance:
        return True
    return _reversed(a, b)


def _reversed(a: _Question, b: _Question) -> bool:
    """True when the words both have stand in another order: 'does salt pull water' is not 'does water pull salt'.

    Not so when they are joined by 'and', or when one of the two is in the passive voice.
    """
    if _JOINS & a.words & b.words or _BY & (a.words ^ b.words):
        return False
    shared = a.substance & b.substance
    return [w for w in a.order if w in shared] != [w for w in b.order if w in shared]
