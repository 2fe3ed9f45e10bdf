"""Whether the server is there and ready: while it is not, one call at a time looks, and no attempt is used up."""

import logging
from dataclasses import dataclass

LOOK_SECONDS = (1.0, 15.0)
OUTAGE_AT_MOST_SECONDS = 900.0
RETRY_AFTER_AT_MOST_SECONDS = 60.0
_log = logging.getLogger(__name__)


@dataclass
class Outage:
    """A network that went away, or a model that is still loading. Times are seconds of any clock that only moves on."""

    since: float | None = None
    reached_at: float = 0.0
    _looks: int = 0
    _look_at: float = 0.0

    def wait_seconds(self, now: float) -> float:
        """Seconds until a call may look whether the server is there again; 0 while it is."""
        return 0.0 if self.since is None else max(0.0, self._look_at - now)

    def sent(self, now: float) -> None:
        """A call goes out; during an outage the next one waits for it, and longer each time."""
        if self.since is not None:
            first, most = LOOK_SECONDS
            self._looks += 1
            self._look_at = now + min(most, first * 2.0 ** min(self._looks, 30))

    def lost(self, sent_at: float, now: float, reason: str, retry_seconds: float | None = None) -> bool:
        """A call that was sent at `sent_at` found no server; True when waiting makes no sense any more.

        One that was sent before the server was last reached shows nothing new. `retry_seconds` is the server's own
        Retry-After.
        """
        if sent_at < self.reached_at:
            return False
        if self.since is None:
            self.since, self._looks, self._look_at = now, 0, now + LOOK_SECONDS[0]
            _log.warning("%s; the calls wait until it is there", reason)
        self._look_at = max(self._look_at, now + min(retry_seconds or 0.0, RETRY_AFTER_AT_MOST_SECONDS))
        return now - self.since > OUTAGE_AT_MOST_SECONDS

    def reached(self, now: float) -> None:
        """The server has replied in some way."""
        self.reached_at = now
        if self.since is not None:
            _log.warning("the server answers after %.0f s; the calls go on", now - self.since)
            self.since = None
