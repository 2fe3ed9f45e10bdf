"""The judge, the comparison with retrieval, and the scorecard with all that it is made of."""

from typing import Literal

from pydantic import Field, field_validator

from understudy.records.base import Interval, Record

Word = Literal["better", "no worse", "worse", "not enough data"]
Winner = Literal["tuned", "base", "tie"]
Basis = Literal["section", "question", "across"]
BY_HEART = ("base", "adapter")
WITH_PASSAGES = {name: f"{name}-passages" for name in BY_HEART}
"""Candidate > the same with passages in its prompt."""
ARMS = (*BY_HEART, *WITH_PASSAGES.values())
"""The four candidates that are compared: base and tuned, by heart and with passages."""


class CandidateScore(Record):
    """One column of the scorecard."""

    name: str = Field(description="base, adapter, fused, F16, Q8_0, ...")
    metrics: dict[str, Interval]
    bytes: int | None = Field(default=None, description="size on disk")
    tokens_per_second: float | None = Field(default=None, description="generated tokens over generation time")


class Judgement(Record):
    """A judge's verdict on one held-out question, from two calls with the two answers in both orders."""

    pair_id: str
    document_id: str
    voice: Winner | None = Field(description="whose style is the teacher's; a tie when the orders disagree")
    answer: Winner | None = Field(default=None, description="whose answer is the better one")
    consistent: bool | None = Field(default=None, description="whether both orders had the same winner")
    first_slot: int = Field(default=0, ge=0, le=2, description="of the decided orders, how many chose the first answer")
    decided: int = Field(default=0, ge=0, le=2, description="orders with a winner, ties left out")
    length_ratio: float = Field(default=1.0, gt=0, description="words of the tuned answer over those of the base's")
    contradicts: list[Winner] = Field(default=[], description="whose answer contradicts the reference")
    error: str | None = Field(default=None, description="why there is no verdict; None when there is one")
    usd: float = Field(default=0.0, ge=0)


class JudgeScore(Record):
    """A judge's blind comparison of tuned and base. Wins minus losses is among the scorecard's differences."""

    judge: str = Field(description="the judge's own label")
    family: str = Field(description="the model family, as far as the name tells")
    warning: str | None = Field(default=None, description="when judge and teacher are of one model family")
    pairs: int
    wins: int = Field(description="the tuned model's, in voice")
    ties: int
    losses: int
    errors: int = Field(description="questions without a verdict; they count for neither side")
    difference: Interval | None = Field(description="wins minus losses, over all questions with a verdict")
    win_rate: Interval | None = Field(description="a tie is half a win; None without a verdict")
    answers: Interval | None = Field(
        default=None, description="wins minus losses in whose answer serves somebody better, manner left out"
    )
    matched: Interval | None = Field(description="wins minus losses where both answers are about equally long")
    first_slot: Interval | None = Field(description="share of decided orders that chose the first answer; 0.5 is fair")
    consistency: Interval | None = Field(description="share of the questions with the same winner in both orders")
    sign_p: float = Field(description="of wins against losses, exact, two-sided")
    contradictions: dict[Winner, int] = Field(default={}, description="answers that contradict the reference")
    agreement: Interval | None = Field(default=None, description="share of the questions on which a person agrees")
    kappa: float | None = Field(default=None, description="Cohen's, against that person")
    usd: float = Field(default=0.0, ge=0)


class Comparison(Record):
    """A person's blind choice between two answers. A line of comparison.jsonl."""

    pair_id: str
    tuned: str = Field(description="whose answer was compared with the base's: a candidate, or a file")
    base: str
    answers_sha256: str = Field(description="digest of both answers: a new answer is compared again")
    first: Literal["tuned", "base"] = Field(description="whose answer was shown first")
    chosen: Winner | None = Field(description="None: withdrawn")
    at: str = Field(description="UTC time, ISO 8601")


class Phrase(Record):
    """A phrase the teacher's answers have far more often than the base's, per 1,000 words."""

    phrase: str
    talks: int = Field(description="talks that contain it")
    teacher: float
    base: float
    tuned: float


class BaselineComparison(Record):
    """A comparison on the same held-out pairs with another baseline than the base."""

    tuned: str
    base: str
    differences: dict[str, Interval]
    verdicts: dict[str, Word]


class TopicComparison(Record):
    """How much of what right answers must mention the answers about one topic mention."""

    topic: str
    answers: int
    base: float
    tuned: float
    difference: Interval | None = Field(description="tuned minus base; None for a single document")


class Decision(Record):
    """What to do with a run, and why."""

    action: Literal[
        "ship", "lower the learning rate", "train longer", "more data", "take a better base", "bug upstream of training"
    ]
    where: str | None = Field(default=None, description="of a bug: data or template, fuse, template, quantization X")
    reasons: list[str] = Field(description="one sentence each, the deciding one first")


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


SCORECARD_VERSION = 2


class Claim(Record):
    """One side of a contradiction."""

    manual: str
    heading: list[str] = Field(default=[], description="headings over its section, the outermost first")
    section: str = Field(description="id of the section's document")
    quote: str = Field(default="", description="its words; empty where only the teacher names the contradiction")
    sha256: str = Field(default="", description="of the passage that was shown")


class Contradiction(Record):
    """Two sections that cannot both hold; both are kept."""

    first: Claim
    second: Claim
    about: str = Field(description="in a few words; the question, where the teacher names it")
    by: str = Field(description="label of the verifier, or 'teacher'")


class Contradictions(Record):
    """What was compared, and what contradicts each other. Written by `contradict`."""

    contradictions: list[Contradiction]
    verifier: str = Field(description="its label")
    prompt: str = Field(description="what stands for its prompt")
    looked_at: list[str] = Field(description="digests of the passages that need not be compared again")
    compared: int = Field(ge=0, description="pairs of passages that were shown in the last run")
    unsure: int = Field(default=0, ge=0, description="of these, those without a verdict")
    usd: float = Field(default=0.0, ge=0, description="what the last run cost")


class ManualScore(Record):
    """One manual: the verifier's rate of approval, and the held-out questions."""

    manual: str
    questions: int = Field(description="held-out ones")
    metrics: dict[str, dict[str, Interval]] = Field(description="candidate > metric > value")
    approval: Interval | None = Field(description="share approved of the pairs that the verifier judged; Wilson")


class Manuals(Record):
    """The material, manual by manual."""

    scores: list[ManualScore]
    warning: str | None = Field(default=None, description="where all verdicts of the verifier are the same")
    contradictions: list[Contradiction] = []


class Scorecard(Record):
    """Base against tuned, check by check. Written by `evaluate`."""

    version: int = Field(default=1, ge=1, description="of this format; 1 had no judge, phrases, p-values or decision")
    channel: str
    run: str
    test_pairs: int
    test_documents: int
    test_sha256: str = Field(description="digest of the held-out rows; only equal digests compare")
    unit: str = Field(default="talk", description="what test_documents counts: talk, text or section")
    candidates: list[CandidateScore]
    differences: dict[str, Interval] = Field(description="tuned minus base, paired over the same held-out pairs")
    verdicts: dict[str, Word]
    honest: bool = Field(description="copied from the split: False when the test talks were also trained on")
    p_values: dict[str, float] = Field(default={}, description="exact, of the paired yes-or-no differences (McNemar)")
    baselines: list[BaselineComparison] = Field(
        default=[],
        description="tuned against the base with examples; each file against the base's of that type",
    )
    judge: JudgeScore | None = None
    phrases: list[Phrase] = []
    topics: list[TopicComparison] = []
    basis: list[BasisScore] = Field(default=[], description="by what was held out, where that is more than one thing")
    against_retrieval: AgainstRetrieval | None = Field(default=None, description="for answers by heart")
    manuals: Manuals | None = Field(default=None, description="manual by manual, and what contradicts each other")
    decision: Decision | None = None
    notes: list[str] = Field(default=[], description="what could not be measured, and why")

    @field_validator("version")
    @classmethod
    def _can_be_read(cls, version: int) -> int:
        if version > SCORECARD_VERSION:
            raise ValueError(
                f"this scorecard has format {version}, this program reads up to {SCORECARD_VERSION}: take a newer one"
            )
        return version
