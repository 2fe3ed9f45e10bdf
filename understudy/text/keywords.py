"""What a right answer must mention: the numbers and the rarer words of the reference that its question lacks."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from understudy.text.language import FUNCTION_WORDS
from understudy.text.stems import spelled, stem
from understudy.text.words import words

KEYWORDS = 4
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_GRAMMAR = frozenset(word for listed in FUNCTION_WORDS.values() for word in listed)
Group = Sequence[str]
"""Words or phrases of which any one will do."""


def rarity(texts: Iterable[str]) -> dict[str, float]:
    """Word without its ending > how rare it is among `texts`: the logarithm of their number over those that have it."""
    count: Counter[str] = Counter()
    total = 0
    for text in texts:
        total += 1
        count.update({stem(spelled(word)) for word in words(text)})
    return {word: math.log((total + 1) / (times + 0.5)) for word, times in count.items()}


def keywords(question: str, answer: str, rare: Mapping[str, float], at_most: int = KEYWORDS) -> list[list[str]]:
    """Groups of one word each: every number of `answer`, then its rarest words, without those of the question."""
    asked = {stem(spelled(word)) for word in words(question)}
    numbers = [n for n in dict.fromkeys(_NUMBER.findall(answer)) if n not in set(_NUMBER.findall(question))]
    others = {
        word: rare.get(stem(spelled(word)), 0.0)
        for word in words(answer)
        if word not in _GRAMMAR and len(word) > 3 and not word[0].isdigit() and stem(spelled(word)) not in asked
    }
    rarest = sorted(others, key=lambda word: (-others[word], word))
    return [[word] for word in [*numbers, *rarest][:at_most]]


def coverage(answer: str, groups: Sequence[Group]) -> float | None:
    """The share of `groups` of which `answer` has one; words count in any ending. None without groups."""
    if not groups:
        return None
    text = f" {' '.join(stem(spelled(word)) for word in words(answer))} "
    return sum(any(_has(text, one) for one in group) for group in groups) / len(groups)


def _has(text: str, phrase: str) -> bool:
    wanted = " ".join(stem(spelled(word)) for word in words(phrase))
    return bool(wanted) and f" {wanted} " in text
