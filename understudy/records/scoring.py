"""The answers of candidates, how each differs from the one it was made of, and the scorecard."""

from typing import Literal

from pydantic import Field, field_validator

from understudy.records.arms import AgainstRetrieval, BasisScore
from understudy.records.base import Interval, Record


class Sample(Record):
    """What one candidate did with one held-out pair. Written by `evaluate`."""

    pair_id: str
    document_id: str
    nll: float = Field(description="negative log-likelihood of the reference answer and its end token, in nats")
    tokens: int = Field(ge=1, description="tokens of that answer, end token included")
    text: str | None = Field(default=None, description="its own answer; None when none was generated")
    new_tokens: int | None = None
    stopped: bool | None = Field(default=None, description="True when it ended by itself before the limit")
    seconds: float | None = Field(default=None, description="from the question to the end; of a batch, its part")
    first_token_seconds: float | None = Field(default=None, description="wait for the first token of its batch")
    prompt_tokens: int | None = None
    prompt_seconds: float | None = Field(default=None, description="its part of the time its batch's prompts took")
    peak_memory_bytes: int | None = Field(default=None, description="weights, cache and activations while answering")
    opening_nll: float | None = Field(default=None, description="of `nll`: the first 20 tokens")
    opening_tokens: int | None = None
    body_nll: float | None = Field(default=None, description="of `nll`: what follows the opening")
    body_tokens: int | None = None
    end_nll: float | None = Field(default=None, description="of `nll`: the end token")


class Completion(Record):
    """A model's greedy answer to one conversation. Cached, so that nothing is generated twice."""

    text: str
    new_tokens: int = Field(ge=0, description="end token included")
    stopped: bool = Field(description="True when it ended by itself before the limit")
    seconds: float = Field(description="from question to end; of a batch, its part: they add up to the wall clock")
    first_token_seconds: float = Field(description="wait for the first token of its batch")
    prompt_tokens: int
    prompt_seconds: float = Field(description="its part of the time its batch's prompts took")
    peak_memory_bytes: int = Field(description="weights, cache and activations, the most so far")


class Divergence(Record):
    """KL(tuned || base) over the answer's tokens of one conversation, exact."""

    nats: float = Field(description="summed over the answer's tokens, end token included")
    tokens: int


class SuiteAnswers(Record):
    """What one model answers to the suites, before it is marked. Written by `evaluate`."""

    answers: dict[str, str] = Field(description="prompt > answer")
    log_p: dict[str, list[float]] = Field(description="question > sum of log p of each of its answers, in their order")
    retrieved: dict[str, str] = Field(default={}, description="question with texts > answer; the user's own items")


class Drift(Record):
    """The drift of tuned from base over one answer. Written by `evaluate`."""

    kind: Literal["general", "domain"] = Field(description="the base's answer to a prompt, or tuned's to a question")
    name: str = Field(description="the prompt, or the talk of the question: the unit of the bootstrap")
    divergence: Divergence


class Stopping(Record):
    """How a candidate's answers to the held-out questions end, and what leaks into them. Wilson intervals."""

    answers: int
    limit_tokens: int
    ended: Interval | None = Field(description="share that ended by itself with text; None when it cannot be judged")
    empty: Interval
    think_tags: Interval
    role_headers: Interval
    control_tokens: Interval


class ParityCheck(Record):
    """One candidate against the one it was made of, over the same held-out answers."""

    name: str = Field(description="adapter, fused, or the type of a file")
    reference: str | None = Field(description="what it was made of; None for the adapter, the first of them")
    rows: int = 0
    tokens: int = Field(default=0, description="answer tokens that were compared")
    nll_change: Interval | None = Field(default=None, description="nats per token, this minus the reference")
    kl: Interval | None = Field(default=None, description="mean KL(reference || this) per answer token, in nats")
    kl_exact: bool = Field(default=True, description="False: from the most probable tokens only, a lower bound")
    top1_agreement: Interval | None = Field(
        default=None, description="share of tokens where both like the same one best"
    )
    limits: dict[str, float] = Field(default={}, description="the limits it was checked against")
    stopping: Stopping | None = None
    bytes: int
    tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    first_token_seconds: float | None = Field(default=None, description="median")
    peak_memory_bytes: int | None = None
    refused: str | None = Field(default=None, description="why it is refused; None when it is not")


class ParityReport(Record):
    """Whether each file is the model that was trained. Written by `parity`."""

    channel: str
    run: str
    checks: list[ParityCheck] = Field(description="adapter, fused, then the files in the order they were made")
    recommended: str | None = Field(description="the smallest file that is not refused; None when all are")
    notes: list[str] = Field(default=[], description="what could not be judged, and why")


Word = Literal["better", "no worse", "worse", "not enough data"]
Winner = Literal["tuned", "base", "tie"]


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


SCORECARD_VERSION = 2


class Scorecard(Record):
    """Base against tuned, check by check. Written by `evaluate`."""

    version: int = Field(default=1, ge=1, description="of this format; 1 had no judge, phrases, p-values or decision")
    channel: str
    run: str
    test_pairs: int
    test_documents: int
    test_sha256: str = Field(description="digest of the held-out rows; only equal digests compare")
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
