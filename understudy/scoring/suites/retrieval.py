"""How a candidate behaves with texts to answer from: whether it uses and names them, and declines when they lack it.

A question and its texts are the user's own; keywords are what a right answer must mention. Where an item says which
titles are right, naming another one is no hit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError, model_validator

from understudy.errors import ConfigError
from understudy.records import Interval, Message, Record
from understudy.scoring.statistics import mean_change, mean_interval, wilson
from understudy.text.declining import declines
from understudy.text.words import words

INSTRUCTION = (
    "Answer the question from the texts below and from nothing else. Name the title of each text you use. "
    "If the texts do not answer it, say that they do not."
)


class Context(Record):
    """One text that comes with a question."""

    title: str = Field(min_length=1)
    text: str = Field(min_length=1)


class RetrievalItem(Record):
    """A question, its texts, and what a right answer contains."""

    item_id: str
    question: str
    contexts: list[Context] = Field(min_length=1)
    keywords: list[str | list[str]] = Field(
        default=[],
        description="each must be in a right answer, of a list any one; none where it must decline",
    )
    titles: list[str] = Field(default=[], description="the right ones among the contexts'; none given: all of them")
    topic: str = ""
    reference: str | None = Field(default=None, description="a right answer, to read")
    declines: bool = Field(default=False, description="the texts do not answer it, and a right answer says so")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "RetrievalItem":
        if self.declines == bool(self.keywords):
            raise ValueError(f"{self.item_id}: give keywords, or declines: true, not both and not neither")
        if missing := set(self.titles) - {context.title for context in self.contexts}:
            raise ValueError(f"{self.item_id}: no context has the title {sorted(missing)[0]!r}")
        return self

    @property
    def right_titles(self) -> list[str]:
        """The titles that a right answer names."""
        return self.titles or [context.title for context in self.contexts]


class Outcome(NamedTuple):
    """What one answer did. `keywords` is the share it has, None where it had to decline; `cited` likewise."""

    declined: bool
    should_decline: bool
    keywords: float | None
    cited: bool | None


def load(file: Path) -> list[RetrievalItem]:
    """The items of a file, one JSON object a line. Raises ConfigError that names the line."""
    items: dict[str, RetrievalItem] = {}
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
            first = error.errors()[0]
            where, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            raise ConfigError([f"{place} {where}{': ' * bool(where)}{why}"]) from None
        if item.item_id in items:
            raise ConfigError([f"{place} a second item {item.item_id!r}"])
        items[item.item_id] = item
    if not items:
        raise ConfigError([f"evaluate.retrieval: {file} holds no item"])
    return list(items.values())


def conversation(item: RetrievalItem) -> list[Message]:
    """The one user turn: instruction, titled texts, question."""
    texts = "\n\n".join(f"## {context.title}\n{context.text}" for context in item.contexts)
    return [Message(role="user", content=f"{INSTRUCTION}\n\n{texts}\n\nQuestion: {item.question}")]


def outcome(item: RetrievalItem, answer: str) -> Outcome:
    """What `answer` did. An answer that gives keywords and then adds what the texts leave open has not declined."""
    text = f" {' '.join(words(answer))} "
    groups = [[one] if isinstance(one, str) else one for one in item.keywords]
    present = [any(f" {' '.join(words(keyword))} " in text for keyword in group) for group in groups]
    declined = declines(answer) and not any(present)
    if item.declines:
        return Outcome(declined, True, None, None)
    cited = any(f" {' '.join(words(title))} " in text for title in item.right_titles)
    return Outcome(declined, False, sum(present) / len(present), cited)


def measure(outcomes: Mapping[str, Outcome], seed: int) -> dict[str, Interval]:
    """Coverage, citations, and precision and recall of declining; those without a case are left out."""
    every = list(outcomes.values())
    covered = {name: o.keywords for name, o in outcomes.items() if o.keywords is not None}
    shares = {
        "cites": [o.cited for o in every if o.cited is not None],
        "declines_rightly": [o.declined == o.should_decline for o in every],
        "refusal_precision": [o.should_decline for o in every if o.declined],
        "refusal_recall": [o.declined for o in every if o.should_decline],
    }
    coverage = mean_interval(list(covered.values()), list(covered), seed, bounds=(0.0, 1.0)) if covered else None
    return ({"keyword_coverage": coverage} if coverage else {}) | {
        name: wilson(sum(flags), len(flags)) for name, flags in shares.items() if flags
    }


def compare(tuned: Mapping[str, Outcome], base: Mapping[str, Outcome], seed: int) -> dict[str, Interval]:
    """Tuned minus base of coverage, citations and right decisions, over the items both answered."""
    both = [(name, tuned[name], base[name]) for name in tuned if name in base]
    changes = {
        "keyword_coverage": {
            n: a.keywords - b.keywords for n, a, b in both if a.keywords is not None and b.keywords is not None
        },
        "cites": {n: float(bool(a.cited)) - float(bool(b.cited)) for n, a, b in both if a.cited is not None},
        "declines_rightly": {
            n: float(a.declined == a.should_decline) - float(b.declined == b.should_decline) for n, a, b in both
        },
    }
    return {name: mean_change(list(by.values()), list(by), seed) for name, by in changes.items() if by}
