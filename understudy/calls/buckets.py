"""
Requests per minute, tokens per minute, calls at once: how long to wait so that the provider does not answer 429.

A bucket is full at first, holds one minute's worth, and refills continuously. Its size comes
from the preset or from the headers of the first reply; until one of them is known, nothing waits.
Times are seconds of any clock that only moves forward.
"""

import logging
from dataclasses import dataclass, field
from typing import NamedTuple

from understudy.calls import Call, Limits

LIMITED_IN_A_ROW = 3
LIMITED_AT_MOST_SECONDS = 1800.0
SHRINK = 0.75
_ROUNDING = 1e-6
_log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """Where a bucket stood when a call was sent: all that was ever `taken` and answered before it."""

    sent_at: float
    counted: float


class Bucket:
    """One limit per minute. Without a limit it only counts, so that a limit learned later finds what was used."""

    def __init__(self, per_minute: float | None = None) -> None:
        self._preset = self.per_minute = per_minute
        self._level = per_minute or 0.0
        self._taken = self._answered = 0.0
        self._at: float | None = None

    def wait_seconds(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken. A cost above the whole bucket waits for a full one."""
        if self.per_minute is None:
            return 0.0
        self._refill(now)
        missing = min(cost, self.per_minute) - self._level
        return missing / self.per_minute * 60 if missing > _ROUNDING else 0.0

    def take(self, cost: float, now: float) -> Mark:
        """Take `cost` out; the mark goes to `learn` with what comes back."""
        self._refill(now)
        mark = Mark(now, self._answered)
        self._level -= cost
        self._taken += cost
        return mark

    def learn(self, limit: float | None, left: float | None, mark: Mark, cost: float, now: float) -> None:
        """Correct the level by what a reply to the call of `mark` says: `left` of `limit` when the call came in.

        The level ends between the two things that may be true: every call that was under way then is
        already counted in `left`, or none of them is.
        """
        self._refill(now)
        if limit is not None and limit > 0:
            self._resize(limit)
        if left is not None and self.per_minute is not None:
            refilled = (now - mark.sent_at) * self.per_minute / 60
            self._level = min(self._level, left + refilled, self.per_minute)
            if self._preset is None:
                uncounted = self._taken - mark.counted - cost
                self._level = max(self._level, left - uncounted)
        self._answered += cost

    def _resize(self, limit: float) -> None:
        size = limit if self._preset is None else min(limit, self._preset)
        # A limit that shows for the first time finds its bucket emptied by all that was taken before.
        self._level = size + self._level if self.per_minute is None else min(self._level, size)
        self.per_minute = size

    def _refill(self, now: float) -> None:
        if self.per_minute is not None and self._at is not None:
            self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now


class Buckets:
    """Both limits of one provider."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self.requests, self.tokens = Bucket(requests_per_minute), Bucket(tokens_per_minute)

    def wait_seconds(self, call: Call, now: float) -> float:
        """Seconds until neither limit forbids `call`."""
        return max(self.requests.wait_seconds(1, now), self.tokens.wait_seconds(token_cost(call), now))

    def take(self, call: Call, now: float) -> tuple[Mark, Mark]:
        """Count `call` as sent."""
        return self.requests.take(1, now), self.tokens.take(token_cost(call), now)

    def learn(self, call: Call, limits: Limits, marks: tuple[Mark, Mark], now: float) -> None:
        """Take over what the reply to `call` says of the limits. To be called once for each `take`."""
        self.requests.learn(limits.requests, limits.requests_left, marks[0], 1, now)
        self.tokens.learn(limits.tokens, limits.tokens_left, marks[1], token_cost(call), now)


@dataclass
class Pace:
    """How many calls may be in flight: fewer after a run of 429s, slowly more after replies.

    A server that answers one call at a time lets the others wait until they are given up: there `ceiling` is what is
    left of `most`, until two replies come at once.
    """

    most: float
    ceiling: float = field(init=False)
    width: float = field(init=False)
    resume_at: float = 0.0
    shrunk_at: float = -1.0
    last_reply_at: float | None = None
    limited: int = 0

    def __post_init__(self) -> None:
        self.width = self.ceiling = self.most

    def replied(self, now: float, overlapped: bool = False) -> None:
        """Count one reply; `overlapped`: while another one came."""
        self.limited, self.last_reply_at = 0, now
        self.ceiling = self.most if overlapped else self.ceiling
        self.width = min(self.ceiling, self.width + 1 / self.width)

    def crowded(self, sent_at: float, now: float) -> None:
        """Count one call that waited in vain for its turn; of those that waited together the first counts."""
        if sent_at > self.shrunk_at and self.width > 1:
            self.width = self.ceiling = max(1.0, float(int(self.width / 2)))
            self.limited, self.shrunk_at = 0, now
            _log.warning(
                "a call waited in vain while the server answered others, one at a time as far as seen: at most %d at "
                "once from now on", int(self.width)
            )  # fmt: skip

    def rate_limited(self, sent_at: float, now: float, wait: float, accepted: int = 0) -> bool:
        """Count one 429; True when there was no reply for so long that waiting makes no sense.

        Those of calls sent before the last shrink tell nothing new: one burst shrinks once. `accepted` calls that went
        out no later are still being answered: while they are more than the 429s in a row, the 429s are scattered.
        """
        if self.last_reply_at is None:
            self.last_reply_at = sent_at
        if sent_at > self.shrunk_at:
            self.limited += 1
            if self.limited >= max(LIMITED_IN_A_ROW, accepted):
                self.width, self.limited, self.shrunk_at = max(1.0, self.width * SHRINK), 0, now
                self.resume_at = max(self.resume_at, now + wait)
                _log.info("rate-limited by the provider: pausing %.1f s, then %d at once", wait, int(self.width))
        return now - self.last_reply_at > LIMITED_AT_MOST_SECONDS


def token_cost(call: Call) -> int:
    """Tokens a provider counts against its limit when `call` comes in: the cap counts, used or not."""
    return max(call.max_tokens, call.input_tokens + call.output_tokens)
