"""Whether an answer declines: says that what it was given does not hold the answer, and answers nothing."""

import re

from understudy.text.words import sentences

_TEXTS = r"\b(?:passages?|texts?|contexts?|documents?|sources?|information)\b[^.!?\n]{0,40}?"
_NOT = r"(?:(?:do(?:es)?|did|can|could) ?(?:not|n['’]t)|never)"
_SAY = r"(?:say|tell|mention|answer|contain|cover|include|address|give|provide|specify|state|describe)"
_DECLINES = re.compile(
    rf"{_TEXTS}\b{_NOT} {_SAY}\b"
    rf"|\bI (?:can(?:not|['’]t)|could not|am unable to|do not|don['’]t) (?:answer|tell|say|know|find)\b"
    r"|\b(?:is|are|was|were) ?(?:not|n['’]t) (?:mentioned|answered|covered|given|stated|provided|specified|known)\b"
    r"|\b(?:is|are|was|were) ?(?:not|n['’]t) in the (?:text|passage|context)s?\b"
    r"|\bcan(?:not|['’]t) be answered\b|\bunable to answer\b|\bno (?:information|mention) \b",
    re.IGNORECASE,
)
_QUOTES = str.maketrans("“”‘’", "\"\"''")


def declines(answer: str, phrase: str = "") -> bool:
    """True where the first sentence says that the texts do not answer, in the words of `phrase` or usual ones."""
    return begins(answer, phrase) or bool(_DECLINES.search(next(iter(sentences(answer)), "")))


def begins(answer: str, phrase: str) -> bool:
    """Whether `answer` begins with the words of `phrase`, whatever their case, spaces and quotes."""
    return bool(phrase) and _plain(answer).startswith(_plain(phrase))


def _plain(text: str) -> str:
    return " ".join(text.translate(_QUOTES).lower().split())
