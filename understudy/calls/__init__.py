"""
The paid call: what is sent, what comes back, what it costs, and how twenty of them share one budget.

    prompting   TeacherRequest > messages (system, talk | instruction), from the files in recipes/teach/prompts
    replies     text of a reply > numbered items that can be trusted, and what was wrong with the others
    ledger      every call and reply in SQLite, raw and before parsing
    prices      USD of a call, from a price table or the preset
    budget      reserve the worst case before sending
    buckets     requests and tokens per minute, learned from the provider's headers
    outage      a network that goes away: wait for it, one call at a time looking
    scheduler   retries before fresh work, no slot held while waiting, a breaker
    chat        one call over HTTP to any OpenAI-compatible server, streamed
    limits      how much a model takes and gives at once, learned from its refusals, and calls that fit
    refusals    which failures are about one talk, the account, or nothing but a slip
    prompt_check  whether the server has read the whole prompt

The types on this page are all that these modules know of each other.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from understudy.errors import TeacherError

Finish = Literal["stop", "length", "refused", "cut"]
"""How a reply ended: by itself, at the token cap, refused by the model or a filter, or cut off on the way."""


@dataclass(frozen=True)
class Call:
    """One request to a teacher, before it is sent.

    `label` names provider and model, never an address: a server that moves is not paid again.
    """

    kind: str
    document_id: str
    label: str
    model: str
    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any] | None
    settings: dict[str, Any]
    """What else decides the words: temperature, seed, reasoning_effort."""
    max_tokens: int
    numbers: tuple[int, ...] = ()
    """The question numbers asked for; empty in pass 1."""
    input_tokens: int = 0
    """Estimate of the prompt, for budgets."""
    output_tokens: int = 0
    """Estimate of the reply, for budgets; at most `max_tokens`."""

    @property
    def key(self) -> str:
        """Digest of everything that decides the reply, the cap included."""
        parts = [self.label, self.model, self.messages, self.schema, self.settings, self.max_tokens]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def prefix(self) -> str:
        """Digest of what the calls about one talk share: what a provider's cache is asked to keep together."""
        shared = self.messages[0]["content"] if self.messages else ""
        return hashlib.sha256(f"{self.label}/{self.document_id}/{shared}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Usage:
    """Tokens of one call as the server counted them. `input` includes `cached` and `written`."""

    input: int = 0
    cached: int = 0
    written: int = 0
    """Tokens written to the provider's prompt cache, where that costs extra."""
    output: int = 0
    reasoning: int = 0
    """The part of `output` spent on thinking."""


@dataclass(frozen=True)
class Limits:
    """What a reply's headers say of the provider's limits; None where they say nothing."""

    requests: int | None = None
    """Requests allowed per minute."""
    requests_left: int | None = None
    requests_reset_seconds: float | None = None
    tokens: int | None = None
    """Tokens allowed per minute."""
    tokens_left: int | None = None
    tokens_reset_seconds: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came back, whole or in part. A stalled or dropped stream keeps its beginning, with finish 'cut'."""

    text: str
    finish: Finish
    refusal: str | None = None
    usage: Usage | None = None
    """None when the server did not say (an old server, a stream that was cut)."""
    tier: str | None = None
    """The service tier that served it, where the server says."""
    request_id: str | None = None
    seconds: float = 0.0
    limits: Limits = field(default_factory=Limits)
    output_estimate: int | None = None
    """Without `usage`: about how many tokens came, where all that was written did come; None where that is unknown."""
    overlapped: bool = False
    """True when another reply came from the same server at the same time."""


class Transport(Protocol):
    """What carries one call to a model and its reply back."""

    async def send(self, call: Call) -> Reply:
        """One attempt, no retry.

        Raises RateLimited, Unreachable, Queued, TryAgain, CapTooLarge, TeacherError for this call alone,
        TeacherStopped for all.
        """


class RateLimited(Exception):
    """The server limits the rate of calls (429): costs nothing, and no attempt."""

    def __init__(self, reason: str, retry_seconds: float | None = None, limits: Limits | None = None) -> None:
        """`retry_seconds` is the server's own Retry-After, None when it gave none."""
        super().__init__(reason)
        self.retry_seconds, self.limits = retry_seconds, limits or Limits()


class TryAgain(Exception):
    """This attempt failed in a way that may pass: a 5xx, a timeout, a dropped connection.

    `paid` is False only when the request surely was not worked on (no connection, a 5xx before any token).
    """

    def __init__(
        self, reason: str, paid: bool = False, retry_seconds: float | None = None, output: int | None = None
    ) -> None:
        """`retry_seconds` is the server's own Retry-After. `output` are the tokens that came where it was paid, None
        when that is unknown.
        """
        super().__init__(reason)
        self.paid, self.retry_seconds, self.output = paid, retry_seconds, output


class Unreachable(TryAgain):
    """No connection stood, or no model was loaded yet, so nothing was worked on: costs nothing, and no attempt."""


class Queued(TryAgain):
    """No word came while the server worked on other calls, one at a time as far as seen: uses up no attempt."""


class CapTooLarge(TeacherError):
    """The reply may have `limit` tokens at most, fewer than asked for: to be asked in several calls. Costs nothing."""

    def __init__(self, reason: str, limit: int) -> None:
        super().__init__(reason)
        self.limit = limit
