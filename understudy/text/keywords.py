"""What a right answer must mention: the numbers and the rarer words of the reference that its question lacks."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from understudy.text.language import FUNCTION_WORDS
from understudy.text.stems import spelled, stem
from understudy.text.words import sentences, words

KEYWORDS = 4
ENOUGH = 0.5
"""Of the words that must be mentioned, where no number is among them."""
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_GRAMMAR = frozenset(word for listed in FUNCTION_WORDS.values() for word in listed)
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
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


def keywords(
    question: str, answer: str, rare: Mapping[str, float], at_most: int = KEYWORDS, codes: bool = False
) -> list[list[str]]:
    """Groups of one word each: every number of `answer`, then its rarest words, without those of the question.

    With `codes` also words of letters and digits, such as P4 or T-06, count as numbers.
    """
    asked = {stem(spelled(word)) for word in words(question)}
    found = [*_NUMBER.findall(answer), *(_codes(answer) if codes else ())]
    known = {*_NUMBER.findall(question), *(_codes(question) if codes else ())}
    parts = {number for code in found if not code[0].isdigit() for number in _NUMBER.findall(code)}
    numbers = [n for n in dict.fromkeys(found) if n not in known and n not in parts]
    others = {
        word: rare.get(stem(spelled(word)), 0.0)
        for word in words(answer)
        if word not in _GRAMMAR
        and len(word) > 3
        and not word[0].isdigit()
        and stem(spelled(word)) not in asked
        and word not in numbers
    }
    rarest = sorted(others, key=lambda word: (-others[word], word))
    chosen = [*numbers, *rarest][:at_most]
    return [_spellings(word) if codes else [word] for word in chosen]


def decisive(question: str, answer: str, rare: Mapping[str, float]) -> list[list[str]]:
    """Groups that tell a right answer from a wrong one: numbers and codes of the first sentence, which answers.

    Where that has none, the rarest words of the first sentence that has any.
    """
    for sentence in sentences(answer):
        groups = keywords(question, sentence, rare, codes=True)
        if numbers := [group for group in groups if any(c.isdigit() for c in group[0])]:
            return numbers
        if groups:
            return groups
    return []


def right(answer: str, groups: Sequence[Group]) -> bool:
    """Whether `answer` has every number and code of `groups`; where they have none, half of their words."""
    numbers = [group for group in groups if any(c.isdigit() for word in group for c in word)]
    return (coverage(answer, numbers or groups) or 0.0) >= (1.0 if numbers else ENOUGH)


def coverage(answer: str, groups: Sequence[Group]) -> float | None:
    """The share of `groups` of which `answer` has one; words count in any ending. None without groups."""
    if not groups:
        return None
    text = f" {' '.join(stem(spelled(word)) for word in words(answer))} "
    return sum(any(_has(text, one) for one in group) for group in groups) / len(groups)


def _spellings(word: str) -> list[str]:
    """A number also as its word, and a time without its first zero."""
    if word.isdigit() and int(word) < len(_NUMBER_WORDS):
        return [word, _NUMBER_WORDS[int(word)]]
    return [word, word[1:]] if word[0] == "0" and ":" in word else [word]


def _codes(text: str) -> list[str]:
    return [word for word in words(text) if not word[0].isdigit() and any(c.isdigit() for c in word)]


def _has(text: str, phrase: str) -> bool:
    wanted = " ".join(stem(spelled(word)) for word in words(phrase))
    return bool(wanted) and f" {wanted} " in text
