"""What a candidate answered: samples, the answers to the suites, drift from the base, and whether files agree."""

from typing import Literal

from pydantic import Field

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
