"""
What the UI shows of work that is still going on: bars, and the losses of a training.

Nothing here may end the work it shows: an API that fails is a line in the log and is tried again later. Nor
may it slow it down: after each call it waits until the call was at most a hundredth of the time.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import Artifact, MarkdownArtifact, ProgressArtifact, TableArtifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.runtime import flow_run

from understudy.progress import Sink
from understudy.report import training
from understudy.text.words import one_line, slug
from understudy.workspace import Workspace

REST_SECONDS = 60.0
SHARE = 0.01  # of the time, at most, for one artifact
LOSSES = "Losses in nats per answer token, one row per iteration; the first valid loss is the base's."
log = logging.getLogger("understudy.live")
_SPANS: list[tuple[str, float, float]] = []
"""Part > when it began and ended, in this process and run."""


def key(workspace: Workspace, what: str) -> str:
    """An artifact key: letters, digits and hyphens only."""
    return slug(f"{workspace.config.name}-{what}")


@contextmanager
def unharmed(what: str) -> Iterator[None]:
    """Let the block fail with no more than a line in the log: `what` is not shown then."""
    try:
        yield
    except Exception as error:
        log.warning("%s cannot be shown in the UI; the work goes on (%s)", what, one_line(str(error), 200))


def page(workspace: Workspace, name: str, text: str, description: str) -> None:
    """Show a page of markdown under a key that stays the same from run to run."""
    with unharmed(name):
        _create(MarkdownArtifact(key=key(workspace, name), markdown=text, description=description))


def table(workspace: Workspace, name: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table in the same way."""
    with unharmed(name):
        _create(TableArtifact(key=key(workspace, name), table=rows, description=description))


@contextmanager
def span(name: str) -> Iterator[None]:
    """Count the time of the block for the run's timeline."""
    began = time.monotonic()
    try:
        yield
    finally:
        _SPANS.append((name, began, time.monotonic()))


@contextmanager
def timeline(workspace: Workspace) -> Iterator[None]:
    """Show where the time of the block went, in the order in which its parts began."""
    _SPANS.clear()
    began = time.monotonic()
    try:
        yield
    finally:
        ended = time.monotonic()
        rows = [_row(name, start - began, end - start, ended - began) for name, start, end in _SPANS]
        rows.append(_row("all", 0.0, ended - began, ended - began))
        table(workspace, "timeline", rows, "Where the time went: each part with when it began, and how long it took.")


def _row(name: str, after: float, seconds: float, whole: float) -> dict[str, Any]:
    took = {"seconds": round(seconds, 1), "share": f"{seconds / max(whole, 0.001):.0%}"}
    return {"part": name, "began after seconds": round(after, 1)} | took


def _create(artifact: Artifact) -> Any:
    """Create it on the run that was started: its page is the one people open."""
    return artifact.model_copy(update={"flow_run_id": _started(flow_run.id)}).create()


@lru_cache(maxsize=16)
def _started(run: str | None) -> UUID | None:
    """The run that `run` is a part of."""
    return UUID(flow_run.root_flow_run_id) if run else None


class Shown:
    """One artifact that follows what it shows."""

    def __init__(self, what: str, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.every_seconds, self.clock = what, every_seconds, clock
        self.artifact: UUID | None = None
        self._next = clock() + every_seconds

    @property
    def due(self) -> bool:
        """Whether it is time to show something newer."""
        return self.clock() >= self._next

    def put(self, create: Callable[[], Any], update: Callable[[UUID], object]) -> None:
        """Show what is known now."""
        began, wait = self.clock(), REST_SECONDS
        with unharmed(self.what):
            if self.artifact is None:
                self.artifact = create()
            else:
                update(self.artifact)
            wait = max(self.every_seconds, (self.clock() - began) / SHARE)
        self._next = self.clock() + wait


class ProgressArtifacts(Sink):
    """Shows each stage over two seconds as a progress bar in the UI, and the losses of a training as they come."""

    def __init__(
        self, workspace: Workspace, every_seconds: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.workspace, self.every_seconds, self.clock = workspace, every_seconds, clock
        self._bars: dict[str, Shown] = {}
        self._losses: tuple[str, Shown, Path] | None = None

    def watch(self, stage: str, out: Path) -> None:
        """Follow the metrics.jsonl that grows in `out` while it is a training that is going on."""
        if stage == "train":
            self._losses = stage, Shown("the loss table", 2.5 * self.every_seconds, self.clock), out / "metrics.jsonl"

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """Create or move the bar, at most every `every_seconds`."""
        bar = self._bars.setdefault(stage, Shown(f"the bar of {stage}", self.every_seconds, self.clock))
        if bar.due and total:
            percent, name = round(100 * done / total, 1), key(self.workspace, f"progress-{stage}")
            bar.put(
                lambda: _create(ProgressArtifact(progress=percent, key=name, description=note)).id,
                lambda artifact: update_progress_artifact(artifact, percent, description=note),
            )
        if self._losses and self._losses[0] == stage and self._losses[1].due:
            self._show_losses(*self._losses[1:])

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        """Fill the bar of a stage that ended well."""
        if self._losses and self._losses[0] == stage:
            self._losses = None
        bar = self._bars.pop(stage, None)
        if bar is not None and bar.artifact is not None and not failed:
            with unharmed(bar.what):
                update_progress_artifact(bar.artifact, 100.0)

    def _show_losses(self, shown: Shown, metrics: Path) -> None:
        rows, name = training.table(training.lines(metrics)), key(self.workspace, "loss")

        def update(artifact: UUID) -> None:
            with get_client(sync_client=True) as client:
                client.update_artifact(artifact, ArtifactUpdate(data=json.dumps(rows)))

        description = f"{LOSSES} Still training."
        shown.put(lambda: _create(TableArtifact(key=name, table=rows, description=description)).id, update)
