"""How a candidate behaves when it is given texts to answer from: does it use them, name them, and know when not to.

A question and its texts are the user's own; keywords are what a right answer must mention.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError, model_validator

from understudy.errors import ConfigError
from understudy.records import Interval, Message, Record
from understudy.scoring.statistics import mean_interval, share_difference, wilson
from understudy.text.words import words

INSTRUCTION = (
    "Answer the question from the texts below and from nothing else. Name the title of each text you use. "
    "If the texts do not answer it, say that they do not."
)
_DECLINES = re.compile(
    r"\b(?:do(?:es)?|did) not (?:say|tell|mention|answer|contain|cover|include|address|give|provide)\b"
    r"|\b(?:do|does|did)n['’]t (?:say|tell|mention|answer|contain|cover|include|address|give|provide)\b"
    r"|\b(?:is|are|was) ?(?:not|n['’]t) (?:mentioned|answered|covered|given|stated|in the texts?)\b"
    r"|\bcan(?:not|['’]t) (?:be answered|answer|tell|say)\b|\bno (?:information|mention|answer)\b"
    r"|\bI (?:do not|don['’]t) know\b",
    re.IGNORECASE,
)


class Context(Record):
    """One text a question is asked with."""

    title: str = Field(min_length=1)
    text: str = Field(min_length=1)


class RetrievalItem(Record):
    """A question, the texts it is asked with, and what a right answer has."""

    item_id: str
    question: str
    contexts: list[Context] = Field(min_length=1)
    keywords: list[str] = Field(default=[], description="each must be in a right answer; none where it must decline")
    declines: bool = Field(default=False, description="the texts do not answer it, and a right answer says so")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "RetrievalItem":
        if self.declines == bool(self.keywords):
            raise ValueError(f"{self.item_id}: give keywords, or declines: true, not both and not neither")
        return self


class Outcome(NamedTuple):
    """What one answer did. `keywords` is the share it has, None where it had to decline; `cited` likewise."""

    declined: bool
    should_decline: bool
    keywords: float | None
    cited: bool | None


def load(file: Path) -> list[RetrievalItem]:
    """The items of a file, one JSON object a line. Raises ConfigError that names the line."""
    found: dict[str, RetrievalItem] = {}
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"evaluate.retrieval: {file} cannot be read: {error}"]) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"evaluate.retrieval: {file}, line {number}:"
        try:
            item = RetrievalItem.model_validate_json(line)
        except ValidationError as error:
            told = error.errors()[0]
            where, why = ".".join(map(str, told["loc"])), told["msg"].removeprefix("Value error, ")
            raise ConfigError([f"{place} {where}{': ' * bool(where)}{why}"]) from None
        if item.item_id in found:
            raise ConfigError([f"{place} a second item {item.item_id!r}"])
        found[item.item_id] = item
    if not found:
        raise ConfigError([f"evaluate.retrieval: {file} holds no item"])
    return list(found.values())


def conversation(item: RetrievalItem) -> list[Message]:
    """The one user turn: instruction, titled texts, question."""
    texts = "\n\n".join(f"## {context.title}\n{context.text}" for context in item.contexts)
    return [Message(role="user", content=f"{INSTRUCTION}\n\n{texts}\n\nQuestion: {item.question}")]


def outcome(item: RetrievalItem, answer: str) -> Outcome:
    """What `answer` did. An answer that gives keywords and then adds what the texts leave open has not declined."""
    said = f" {' '.join(words(answer))} "
    held = [f" {' '.join(words(keyword))} " in said for keyword in item.keywords]
    declined = bool(_DECLINES.search(answer)) and not any(held)
    if item.declines:
        return Outcome(declined, True, None, None)
    cited = any(f" {' '.join(words(context.title))} " in said for context in item.contexts)
    return Outcome(declined, False, sum(held) / len(held), cited)


def measure(outcomes: Mapping[str, Outcome], seed: int) -> dict[str, Interval]:
    """Coverage, citations, and precision and recall of declining; those without a case are left out."""
    told = list(outcomes.values())
    covered = {name: o.keywords for name, o in outcomes.items() if o.keywords is not None}
    cited = [o.cited for o in told if o.cited is not None]
    said_no, should = [o for o in told if o.declined], [o for o in told if o.should_decline]
    found = {}
    if covered:
        found["keyword_coverage"] = mean_interval(list(covered.values()), list(covered), seed, bounds=(0.0, 1.0))
        found["cites"] = wilson(sum(cited), len(cited))
    if told:
        found["declines_rightly"] = wilson(sum(o.declined == o.should_decline for o in told), len(told))
    if said_no:
        found["refusal_precision"] = wilson(sum(o.should_decline for o in said_no), len(said_no))
    if should:
        found["refusal_recall"] = wilson(sum(o.declined for o in should), len(should))
    return found


def compare(tuned: Mapping[str, Outcome], base: Mapping[str, Outcome], seed: int) -> dict[str, Interval]:
    """Tuned minus base of coverage, citations and right decisions, over the items both answered."""
    both = [(name, tuned[name], base[name]) for name in tuned if name in base]
    found = {}
    if changes := [
        (n, a.keywords - b.keywords) for n, a, b in both if a.keywords is not None and b.keywords is not None
    ]:
        found["keyword_coverage"] = coverage_change([change for _, change in changes], [n for n, _ in changes], seed)
        cited = [(n, bool(a.cited), bool(b.cited)) for n, a, b in both if a.cited is not None]
        found["cites"] = share_difference(
            [a for _, a, _ in cited], [b for *_, b in cited], [n for n, *_ in cited], seed
        )
    if both:
        right = [(a.declined == a.should_decline, b.declined == b.should_decline) for _, a, b in both]
        names = [name for name, *_ in both]
        found["declines_rightly"] = share_difference([a for a, _ in right], [b for _, b in right], names, seed)
    return found


def coverage_change(changes: Sequence[float], items: Sequence[str], seed: int) -> Interval:
    """The mean change of coverage over items, from -1 to 1, with its interval."""
    interval = mean_interval(changes, items, seed, bounds=(-1.0, 1.0))
    if len(set(changes)) > 1:
        return interval
    open_ = wilson(0, len(changes)).high  # what no spread in so few items leaves open
    return interval.model_copy(update={"low": interval.value - open_, "high": interval.value + open_})
