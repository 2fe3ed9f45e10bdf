"""
Progress of long work, for any display.

Stages and tasks call `track`; the sinks that the entry point added show it:
a live display in a terminal, log lines elsewhere, a progress artifact in the Prefect UI.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from understudy.interfaces import Progress

log = logging.getLogger("understudy")
STOPPING = threading.Event()
"""Set once a person has stopped the run: what ends after that has not failed."""


class Sink:
    """A display of progress. Called from several threads."""

    def watch(self, stage: str, out: Path) -> None:
        """`stage` is about to fill the folder or file `out`."""

    def open(self, stage: str) -> None:
        """`stage` begins."""

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """`stage` has finished `done` of `total` units."""

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        """`stage` has ended; `failed` also when it was stopped."""


class _Open(NamedTuple):
    """A stage that is going on, and what was last heard of it."""

    began: float
    last: str = ""
    first: tuple[int, float] | None = None
    """The first count that was reported, and when: what came before it says nothing about the pace."""


class LogSink(Sink):
    """
    Plain lines: where a stage is, every `every_seconds` at most, and one at its end if it took over 2 s.

    `beat`, called about once a second, adds a line when nothing at all was shown for `every_seconds`: some work has no
    units to count, and a person must see that it goes on.
    """

    def __init__(self, every_seconds: float = 8.0, first: str = "starting") -> None:
        self.every_seconds = every_seconds
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._open: dict[str, _Open] = {}
        self._idle, self._idle_since = first, time.monotonic()
        self._shown = time.monotonic()

    def open(self, stage: str) -> None:
        with self._lock:
            self._begun(stage)

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        with self._lock:
            began, _, first = self._begun(stage)
            first = first or ((done, now) if done else None)
            left = f", about {remaining(first, now, done, total)} left" if first and first[0] < done < total else ""
            count = f"{done} of {total}{left}"
            line = note if note and total == 1 else count + (f" ({note})" if note else "")
            self._open[stage] = _Open(began, line, first)
            if now - self._said.setdefault(stage, began) < self.every_seconds:
                return
            self._said[stage] = self._shown = now
        log.info("%s: %s", stage, line)

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        with self._lock:
            self._said.pop(stage, None)
            self._open.pop(stage, None)
            self._idle_since = self._shown = time.monotonic()
        if failed and STOPPING.is_set():
            log.info("%s: stopped after %.0f s", stage, seconds)
        elif failed:
            log.warning("%s: not done, ended after %.0f s", stage, seconds)
        elif seconds >= 2:
            log.info("%s: done in %.0f s", stage, seconds)

    def shown(self) -> None:
        """Something else was shown: `beat` waits from then on."""
        self._shown = time.monotonic()

    def beat(self) -> None:
        """Say what goes on, when nothing was shown for `every_seconds`."""
        now = time.monotonic()
        with self._lock:
            if now - self._shown < self.every_seconds:
                return
            self._shown = now
            stage, since, last = self._idle, self._idle_since, ""
            if self._open:
                stage, (since, last, _) = list(self._open.items())[-1]
        log.info("%s: %sstill working after %.0f s", stage, f"{last}, " if last else "", now - since)

    def _begun(self, stage: str) -> _Open:
        self._idle = "preparing what comes next"
        return self._open.setdefault(stage, _Open(time.monotonic()))


SINKS: list[Sink] = []


def remaining(first: tuple[int, float], now: float, done: int, total: int) -> str:
    """The time left at the pace since `first`, a count and its time; e.g. '45 s' or '3 min'."""
    seconds = (now - first[1]) / (done - first[0]) * (total - done)
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextmanager
def track(stage: str, out: Path | None = None) -> Iterator[Progress]:
    """A `Progress` that feeds every sink while `stage` runs; `out` is what it fills."""
    began, failed = time.monotonic(), True
    for sink in SINKS:
        sink.open(stage)
    if out:
        for sink in SINKS:
            sink.watch(stage, out)

    def progress(done: int, total: int, note: str = "") -> None:
        for sink in SINKS:
            sink.update(stage, done, total, note)

    try:
        yield progress
        failed = False
    finally:
        for sink in SINKS:
            sink.close(stage, time.monotonic() - began, failed)
