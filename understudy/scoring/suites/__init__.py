"""
Further questions for every candidate, and their right answers; all decided by counting.

    instructions    60 prompts, each with rules that its answer must keep
    off_topic       20 prompts in which the teacher's style must not show
    choices         100 questions of common knowledge, scored by likelihood
    retrieval       how a candidate behaves with texts to answer from (the user's own items)
    conversations   the prompts of each candidate, including the base with examples

Results are plain data: answers by item id. A missing answer is an error.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from understudy.errors import AssetError
from understudy.records import Message, Record
from understudy.scoring.suites.checks import failed

FOLDER = Path(__file__).parent
MAX_TOKENS = 200
"""Enough for every prompt of the suites; a longer answer has failed its instruction anyway."""


class Prompt(Record):
    """A prompt and what its answer must keep."""

    id: str
    prompt: str
    checks: dict[str, Any] = Field(
        min_length=1, description="check > its argument, see understudy.scoring.suites.checks"
    )

    @property
    def conversation(self) -> list[Message]:
        """The one user turn."""
        return [Message(role="user", content=self.prompt)]


class Choice(Record):
    """A question with four answers, the first of them right."""

    id: str
    question: str
    answers: list[str] = Field(min_length=4, max_length=4)

    @property
    def conversation(self) -> list[Message]:
        """The one user turn; the answers are not shown, the likelihood of each is measured."""
        return [Message(role="user", content=f"{self.question} Answer briefly.")]


@cache
def instructions() -> tuple[Prompt, ...]:
    """The instructions, in the order of their file."""
    return _prompts("instructions")


@cache
def off_topic() -> tuple[Prompt, ...]:
    """The prompts in which no style may show."""
    return _prompts("off_topic")


@cache
def choices() -> tuple[Choice, ...]:
    """The questions of common knowledge."""
    rows = yaml.safe_load((FOLDER / "choices.yaml").read_text("utf-8"))
    return tuple(
        Choice(id=f"choice-{number}", question=question, answers=[str(answer) for answer in answers])
        for number, (question, *answers) in enumerate(rows, 1)
    )


def general_conversations() -> list[list[Message]]:
    """The prompts on which the drift of tuned from base is measured: every prompt of both prompt suites."""
    return [prompt.conversation for prompt in (*instructions(), *off_topic())]


def passed(prompts: Sequence[Prompt], answers: Mapping[str, str]) -> dict[str, bool]:
    """Item > every check holds. Raises AssetError when an answer is missing."""
    _require_all([prompt.id for prompt in prompts], answers)
    return {prompt.id: not failed(answers[prompt.id], prompt.checks) for prompt in prompts}


def chosen(questions: Sequence[Choice], log_p: Mapping[str, Sequence[float]]) -> dict[str, bool]:
    """Item > the right answer is the most probable one per character, so that a short answer has no advantage.

    `log_p` maps item > sum of log p of each of its four answers, in their order. NaN makes the item wrong.
    Raises AssetError when an item or an answer is missing.
    """
    _require_all([question.id for question in questions], log_p)
    right = {}
    for question in questions:
        sums = log_p[question.id]
        if len(sums) != len(question.answers):
            raise AssetError(
                f"{question.id} has {len(question.answers)} answers, {len(sums)} were scored; score it again"
            )
        first, *others = (value / len(text) for value, text in zip(sums, question.answers, strict=True))
        right[question.id] = all(first > other for other in others)
    return right


def _prompts(name: str) -> tuple[Prompt, ...]:
    rows = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return tuple(Prompt.model_validate(row) for row in rows)


def _require_all(items: Sequence[str], answers: Mapping[str, object]) -> None:
    if missing := [name for name in items if name not in answers]:
        raise AssetError(
            f"{len(missing)} of {len(items)} items have no answer, the first is {missing[0]!r}: a missing answer is "
            "neither right nor wrong; ask this candidate again"
        )
