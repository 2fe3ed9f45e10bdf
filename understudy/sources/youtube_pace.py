"""
The pace at which videos are requested.

Blocks are reported after 35 to 260 videos fetched in one go from a home connection; a video every
8 seconds, plus or minus half, and 60 videos per run have avoided them.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from understudy.errors import SourceError
from understudy.seams import CLOCK, Clock

JITTER = 0.5


class Enough(SourceError):
    """This run has requested as many videos as it may; the others wait for the next run."""


class Pace:
    """One run's turns: at most `at_most`, and about `seconds` between the end of one and the start of the next."""

    def __init__(self, seconds: float, at_most: int, seed: int = 0, clock: Clock = CLOCK) -> None:
        self.seconds, self.at_most = seconds, at_most
        self.taken = 0
        self._random = random.Random(seed)
        self._clock, self._next = clock, clock.monotonic()

    def ready(self) -> bool:
        """True while this run may request another video."""
        return self.taken < self.at_most

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Sleep until it is time, then count one video. Raises Enough."""
        if not self.ready():
            raise Enough(
                f"{self.at_most} videos were requested in this run (source.videos_per_run); run again for the others"
            )
        if (wait := self._next - self._clock.monotonic()) > 0:
            self._clock.sleep(wait)
        self.taken += 1
        try:
            yield
        finally:
            self._next = self._clock.monotonic() + self.seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
