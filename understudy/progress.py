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

from understudy.interfaces import Progress

log = logging.getLogger("understudy")


class Sink:
    """A display of progress. Called from several threads."""

    def watch(self, stage: str, out: Path) -> None:
        """`stage` is about to fill the folder or file `out`."""

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """`stage` has finished `done` of `total` units."""

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        """`stage` has ended; `failed` also when it was stopped."""


class LogSink(Sink):
    """Plain lines: one when a stage has run for `every_seconds`, and one at its end if it took over 2 s."""

    def __init__(self, every_seconds: float = 10.0) -> None:
        self.every_seconds = every_seconds
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        with self._lock:
            began = self._began.setdefault(stage, now)
            if now - self._said.setdefault(stage, began) < self.every_seconds:
                return
            self._said[stage] = now
        left = f", about {remaining(now - began, done, total)} left" if 0 < done < total else ""
        log.info("%s: %d of %d%s%s", stage, done, total, left, f" ({note})" if note else "")

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        with self._lock:
            self._said.pop(stage, None)
            self._began.pop(stage, None)
        if failed:
            log.warning("%s: not done, ended after %.0f s", stage, seconds)
        elif seconds >= 2:
            log.info("%s: done in %.0f s", stage, seconds)


SINKS: list[Sink] = []


def remaining(elapsed_seconds: float, done: int, total: int) -> str:
    """The time left at the pace so far, e.g. '45 s' or '3 min'."""
    seconds = elapsed_seconds / done * (total - done)
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextmanager
def track(stage: str, out: Path | None = None) -> Iterator[Progress]:
    """A `Progress` that feeds every sink while `stage` runs; `out` is what it fills."""
    began, failed = time.monotonic(), True
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
