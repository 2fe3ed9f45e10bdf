"""
A second model looks whether two passages contradict each other: several such pairs of passages in one call.

It has to quote both. A quote that its passage does not have is no proof, and the pair counts as one without a verdict.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.calls import Call, Reply, prompting
from understudy.calls.model_teacher import ModelTeacher
from understudy.calls.reply_json import entries as json_entries
from understudy.calls.verifying import Flag, Talk
from understudy.errors import TeacherError
from understudy.records import Document, Paragraph, Passage
from understudy.text.words import one_line

KIND = "contradictions"
PER_CALL = 12
VERDICT_TOKENS, VERDICT_CAP = 60, 200  # of one entry of a reply: on average, and at most
ABOUT_CHARACTERS = 120
SCHEMA = prompting.items_schema(
    question_number=prompting.INTEGER,
    first_quote=prompting.STRING,
    second_quote=prompting.STRING,
    contradicts=prompting.BOOLEAN,
    about=prompting.STRING,
)
Two = tuple[Passage, Passage]
log = logging.getLogger("understudy.dataset")


class Opinion(NamedTuple):
    """What the model says of two passages; quotes and subject are empty where they do not contradict each other."""

    contradicts: bool
    quotes: tuple[str, str] = ("", "")
    about: str = ""


class _Entry(BaseModel):
    """One entry of a reply."""

    model_config = ConfigDict(extra="ignore")
    question_number: int
    first_quote: str | None = None
    second_quote: str | None = None
    contradicts: Flag
    about: str | None = None


def ask(verifier: ModelTeacher, candidates: Sequence[Two]) -> tuple[dict[int, Opinion], float]:
    """An opinion on each of up to `PER_CALL` candidates, by its place, and USD; those without one are missing.

    Raises TeacherStopped.
    """
    try:
        reply = verifier.send(call_for(verifier, candidates), 0, lambda one: any(_entries(one)))
    except TeacherError as error:
        log.warning("contradictions: %d pairs of passages have no verdict: %s", len(candidates), error)
        return {}, 0.0
    return parse(reply, candidates), verifier.cost_usd(reply)


def call_for(verifier: ModelTeacher, candidates: Sequence[Two]) -> Call:
    """The call that shows all of `candidates`, numbered from 1."""
    text = "\n".join(_line(number, two) for number, two in enumerate(candidates, 1))
    nonce = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
    messages = prompting.alone(KIND, {"items": text, "nonce": nonce}, verifier.prompts)
    count = len(candidates)
    sections = "+".join(dict.fromkeys(passage.document_id for two in candidates for passage in two))
    numbers = tuple(range(1, count + 1))
    return verifier.new_call(KIND, sections, messages, SCHEMA, count * VERDICT_TOKENS, count * VERDICT_CAP, numbers)


def parse(reply: Reply, candidates: Sequence[Two]) -> dict[int, Opinion]:
    """The opinions that can be trusted, by the place of their candidate; of two that differ none is."""
    found: dict[int, list[_Entry]] = {}
    for entry in _entries(reply):
        if 1 <= entry.question_number <= len(candidates):
            found.setdefault(entry.question_number - 1, []).append(entry)
    same = {at: rows[0] for at, rows in found.items() if all(row == rows[0] for row in rows)}
    opinions = ((at, _opinion(entry, candidates[at])) for at, entry in same.items())
    return {at: opinion for at, opinion in opinions if opinion}


def _entries(reply: Reply) -> Iterator[_Entry]:
    for raw in json_entries(reply.text, Counter()):
        try:
            yield _Entry.model_validate(raw)
        except ValidationError:
            continue


def _opinion(entry: _Entry, two: Two) -> Opinion | None:
    """None where it names a contradiction that its quotes do not show."""
    if not entry.contradicts:
        return Opinion(False)
    quotes = (entry.first_quote or "").strip(), (entry.second_quote or "").strip()
    shown = all(_has(passage, quote) for passage, quote in zip(two, quotes, strict=True))
    if not shown or quotes[0].casefold() == quotes[1].casefold():
        return None
    return Opinion(True, quotes, one_line(entry.about or "", ABOUT_CHARACTERS))


def _line(number: int, two: Two) -> str:
    fields: Mapping[str, object] = {
        "question_number": number,
        **{name: {"section": p.title, "text": p.text} for name, p in zip(("first", "second"), two, strict=True)},
    }
    return prompting.json_line(fields)


def _has(passage: Passage, quote: str) -> bool:
    paragraphs = [Paragraph(text=passage.text)]
    return Talk(Document(document_id="one", title="", locator="", how="", paragraphs=paragraphs)).has(quote)
