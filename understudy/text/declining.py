"""Whether an answer declines: says that what it was given does not hold the answer, and answers nothing."""

import re

_DECLINES = re.compile(
    r"\b(?:do(?:es)?|did) not (?:say|tell|mention|answer|contain|cover|include|address|give|provide|specify|state)\b"
    r"|\b(?:do|does|did)n['’]t (?:say|tell|mention|answer|contain|cover|include|address|give|provide|specify|state)\b"
    r"|\b(?:is|are|was) ?(?:not|n['’]t) (?:mentioned|answered|covered|given|stated|provided|in the (?:text|passage)s?)"
    r"\b"
    r"|\bcan(?:not|['’]t) (?:be answered|answer|tell|say)\b|\bunable to answer\b|\bno (?:information|mention|answer)\b"
    r"|\bI (?:do not|don['’]t) know\b",
    re.IGNORECASE,
)


def declines(answer: str, phrase: str = "") -> bool:
    """True for an answer that says that the texts do not answer, in the words of `phrase` or usual ones."""
    if phrase and " ".join(answer.lower().split()).startswith(" ".join(phrase.lower().split())):
        return True
    return bool(_DECLINES.search(answer))
