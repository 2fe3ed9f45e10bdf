"""Labelled pairs of questions in 24 languages: how many that ask the same are joined, and how many that do not."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure
from understudy.text.similarity import near_duplicates

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
THRESHOLD = 0.7
FEWEST_OF_A_LANGUAGE = 10

Joins = Callable[[str, str, str], bool]
"""Whether two questions of a language are joined among the others of that language."""


class LabelledPair(NamedTuple):
    """Two questions, and whether they ask the same; `half` is 'blind' where no rule was ever tuned on it."""

    a: str
    b: str
    same: bool
    language: str
    half: str


class Score(NamedTuple):
    """How often pairs were joined: rightly, wrongly, and how many ask the same."""

    right: int
    wrong: int
    same: int

    @property
    def precision(self) -> float:
        """Share of the joined pairs that ask the same; 1 when none is joined."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of the pairs that ask the same which are joined."""
        return self.right / max(1, self.same)


@cache
def labelled() -> list[LabelledPair]:
    """All labelled pairs; in either half about as many that look alike and are two questions as that ask the same."""
    lines = (FIXTURES / "labelled_questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [LabelledPair(**json.loads(line)) for line in lines]


@cache
def background(language: str) -> list[str]:
    """Other questions of a channel in that language: rare and common words are known by them only."""
    listed = json.loads((FIXTURES / "background_questions.json").read_text(encoding="utf-8"))[language]
    return [form.format(subject) for form in listed["forms"] for subject in listed["subjects"]]


def joined(a: str, b: str, language: str) -> bool:
    """Whether the product takes `a` and `b` for near-duplicates in a channel of `language`."""
    return (0, 1) in near_duplicates([a, b, *others(language, a, b)], THRESHOLD)


def others(language: str, *without: str) -> list[str]:
    """The background of `language` and the first question of every labelled pair of it, but for those of `without`."""
    return background(language) + [p.a for p in labelled() if p.language == language and p.a not in without]


def score(pairs: Sequence[LabelledPair], joins: Joins = joined) -> Score:
    """How well `joins` tells the `pairs` that ask the same."""
    linked = [pair for pair in pairs if joins(pair.a, pair.b, pair.language)]
    right = sum(pair.same for pair in linked)
    return Score(right, len(linked) - right, sum(pair.same for pair in pairs))


def figures() -> Iterator[Figure]:
    """Precision and recall of each half, and by language; about ten seconds."""
    for half in ("blind", "tuning"):
        result = score([pair for pair in labelled() if pair.half == half])
        yield Figure(f"precision_{half}", result.precision, ">=", 0.97)
        yield Figure(f"recall_{half}", result.recall, ">=", 0.8)
        yield Figure(f"traps_joined_{half}", result.wrong)
    for language in sorted({pair.language for pair in labelled()}):
        pairs = [pair for pair in labelled() if pair.language == language]
        if len(pairs) >= FEWEST_OF_A_LANGUAGE:
            result = score(pairs)
            yield Figure(f"precision_{language}", result.precision)
            yield Figure(f"recall_{language}", result.recall)


if __name__ == "__main__":
    for figure in figures():
        print(figure.line())
