"""What a model by heart is held against: what was held out how, and the same questions with passages at hand."""

from typing import Literal

from pydantic import Field

from understudy.records.base import Interval, Record

Basis = Literal["section", "question", "across"]
BY_HEART = ("base", "adapter")
WITH_PASSAGES = {name: f"{name}-passages" for name in BY_HEART}
"""Candidate > the same with passages in its prompt."""
ARMS = (*BY_HEART, *WITH_PASSAGES.values())
"""The four candidates that are compared: base and tuned, by heart and with passages."""


class BasisScore(Record):
    """The numbers of one kind of held-out questions."""

    basis: Basis = Field(
        description="section: about sections that were not trained on; question: unseen ones about trained sections; "
        "across: unseen ones that need two trained sections"
    )
    questions: int
    sections: int
    metrics: dict[str, dict[str, Interval]] = Field(description="candidate > metric > value")
    differences: dict[str, Interval] = Field(description="tuned minus base, paired by question")


class Grade(Record):
    """A judge's marks of all answers to one held-out question."""

    pair_id: str
    document_id: str
    right: dict[str, bool] | None = Field(description="candidate > right by the reference; None without marks")
    error: str | None = Field(default=None, description="why there are no marks")
    usd: float = Field(default=0.0, ge=0)


class Arm(Record):
    """One of four ways to answer: base or tuned, by heart or with passages. Means over the answered questions."""

    name: str = Field(description="the candidate")
    correct: Interval = Field(description="share of the answers with what they must mention")
    graded: Interval | None = Field(default=None, description="share that a judge finds right by the reference")
    nll: Interval = Field(description="of the reference answer, in nats per token")
    seconds: Interval | None = Field(default=None, description="per answer on the machine that scored, search included")
    prompt_tokens: float | None = None
    new_tokens: float | None = None
    usd_per_1000: dict[str, Interval] = Field(default={}, description="way of running it > USD for 1,000 answers")


class AgainstRetrieval(Record):
    """Tuning against retrieval on the same held-out questions."""

    arms: list[Arm]
    passages: int = Field(description="in the index: of all sections, held-out ones too")
    per_question: int
    found: Interval | None = Field(description="share of the questions with a passage of their own section among those")
    search_seconds: float = Field(description="per question")
    setup_usd: float | None = Field(description="teacher, verifier and training; None: the training has no price")
    break_even: dict[str, float] = Field(
        default={}, description="way > questions from which tuned by heart is cheaper than the base with passages"
    )
    best: str = Field(description="the arm to take for this material")
    sentence: str = Field(description="which to take, and why")
    grader: str | None = Field(default=None, description="the judge's label")
    warning: str | None = Field(default=None, description="when the judge is of the teacher's or verifier's family")
