"""
The most a channel may cost, held before money is spent.

Each call reserves its worst case before it is sent and settles with its true price afterwards.
"""

import threading

from understudy.errors import TeacherStopped

_ROUNDING_USD = 1e-9


class Budget:
    """What may be spent, is spent, and is reserved by calls on their way. Safe to share between threads."""

    def __init__(self, max_usd: float | None, spent: float = 0.0) -> None:
        """`max_usd` None sets no limit; `spent` is what earlier runs paid."""
        self.max_usd, self.spent, self.reserved = max_usd, spent, 0.0
        self._lock = threading.Lock()

    def reserve(self, worst_usd: float) -> bool:
        """True when the worst case fits and is reserved now; False when it may fit once calls in flight settle.

        Raises TeacherStopped when it does not fit even if those came for nothing.
        """
        with self._lock:
            if self.max_usd is not None:
                limit = self.max_usd + _ROUNDING_USD
                if self.spent + worst_usd > limit:
                    raise TeacherStopped(self._used_up(worst_usd))
                if self.spent + self.reserved + worst_usd > limit:
                    return False
            self.reserved += worst_usd
            return True

    def settle(self, worst_usd: float, usd: float) -> None:
        """Turn a reservation into what was really paid."""
        with self._lock:
            self.reserved = max(0.0, self.reserved - worst_usd)
            self.spent += usd

    def _used_up(self, worst_usd: float) -> str:
        assert self.max_usd is not None
        enough = max(2 * self.max_usd, self.spent + 2 * worst_usd)
        return (
            f"the budget of {dollars(self.max_usd)} does not cover another call: {dollars(self.spent)} spent, the next "
            f"could cost {dollars(worst_usd)}; finished work is kept, go on with "
            f"--set teacher.max_usd={enough:.2f}"
        )


def dollars(usd: float) -> str:
    """`usd` for people, with cents, or finer below a dollar."""
    return f"${usd:.2f}" if usd == 0 or usd >= 1 else f"${usd:.4f}"
