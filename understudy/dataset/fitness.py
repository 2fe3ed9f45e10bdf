"""Whether manuals are material for an expert: what is said before anything is paid, with what to do instead."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from understudy.text.similarity import near_duplicates
from understudy.text.words import counted, sentences, words

FEW_BYTES = 50_000
CHATTY, FIRST_PERSONS = (
    0.35,
    frozenset("i we you my our your me us ich wir du ihr mein unser je nous tu vous yo".split()),
)
"""Share of the sentences with a first or second person or a question mark, from which on a text is talk."""
CHANGING, TABULAR = 0.12, 0.5
SAME = 0.9
MOST_COMPARED = 4_000
"""Sections that are compared for sameness; more are drawn evenly."""
_DATED = re.compile(
    r"\b(?:19|20)\d\d-\d\d|\b\d{1,2}[./]\d{1,2}[./](?:\d\d){1,2}\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"[a-z]*\.? (?:19|20)\d\d\b|[$€£¥] ?\d|\d ?(?:USD|EUR|GBP|CHF)\b",
    re.IGNORECASE,
)


Section = tuple[str, str]
"""Manual, and text."""


class Shares(NamedTuple):
    """What the sections are made of; shares are of sentences or of characters."""

    bytes: int
    chatty: float
    dated: float
    tables: float
    same: int
    """Sections that are near-duplicates of a section of another manual."""


def measured(sections: Sequence[Section]) -> Shares:
    """The shares over all sections."""
    lines = [sentence for _, text in sections for sentence in sentences(text)] or [""]
    chatty = sum(line.rstrip().endswith("?") or bool(FIRST_PERSONS & set(words(line))) for line in lines)
    dated = sum(bool(_DATED.search(line)) for line in lines)
    whole = "\n".join(text for _, text in sections)
    rows = [line for line in whole.split("\n") if line.count("|") > 1 or line.count("\t") > 1]
    return Shares(
        bytes=len(whole.encode(errors="replace")),
        chatty=chatty / len(lines),
        dated=dated / len(lines),
        tables=sum(map(len, rows)) / max(1, len(whole)),
        same=_same(sections),
    )


def warnings(sections: Sequence[Section]) -> list[str]:
    """One sentence for each thing that speaks against this material, with what to do instead; [] where nothing does."""
    if not sections:
        return []
    shares, found = measured(sections), list[str]()
    if shares.bytes < FEW_BYTES:
        found.append(
            f"{shares.bytes / 1000:.0f} KB of text is little for an expert: retrieval alone, or the whole text in the "
            "prompt of a larger model, will know it better (recipe: grounded)"
        )
    if shares.chatty > CHATTY:
        found.append(
            f"{shares.chatty:.0%} of the sentences are talk rather than rules: the recipe teach learns a manner from it"
        )
    if shares.dated > CHANGING:
        found.append(
            f"{shares.dated:.0%} of the sentences have a date or a price: what changes is better looked up than known "
            "by heart (recipe: grounded), or leave these sections out"
        )
    if shares.tables > TABULAR:
        found.append(
            f"{shares.tables:.0%} of the text are rows of tables: a model remembers few of their cells; keep them "
            "in a database or in passages (recipe: grounded), and train on the rules around them"
        )
    if shares.same:
        found.append(
            f"{counted(shares.same, 'section')} of one manual stand in another too, almost word for word: leave the "
            "older edition out, or its rules count twice"
        )
    return found


def _same(sections: Sequence[Section]) -> int:
    """How many sections have a near-duplicate in another manual."""
    step = -(-len(sections) // MOST_COMPARED)
    drawn = sections[:: max(1, step)]
    texts = [" ".join(text.split())[:400] for _, text in drawn]
    alike = {number for a, b in near_duplicates(texts, SAME) if drawn[a][0] != drawn[b][0] for number in (a, b)}
    return len(alike)
