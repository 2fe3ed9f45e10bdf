"""
What the Prefect UI shows: tables, pages and links under keys that stay the same from run to run.

Published by flows, not by tasks, so that a run whose tasks were all Cached shows them too.
"""

import json
import time
from collections.abc import Sequence

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from understudy import cards
from understudy import estimate as estimates
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, ModelTeacher
from understudy.records import AssetRef, DatasetRefs, ModelRefs, Scorecard, ScoreRefs, Talk
from understudy.report import page as pages
from understudy.stages.describe import SUMMARY
from understudy.workspace import Workspace

ROWS_SHOWN = 200  # the UI lists whole bodies: each artifact stays under 200 KB


def dataset(workspace: Workspace, about: AssetRef) -> DatasetRefs:
    """The dataset's card and its summary; returns the references of everything the split task wrote."""
    told = (workspace.file(about) / SUMMARY).read_text(encoding="utf-8")
    states = "\n".join(f"| {status} | {count} |" for status, count in workspace.ledger.counts().items())
    summary = f"{told}\n\n| talks | |\n|---|---|\n{states}"
    workspace.save_card("dataset_card", cards.dataset(workspace.config, summary))
    create_markdown_artifact(
        key=_key(workspace, "dataset"),
        markdown=f"{summary}\n\nPermission: {workspace.config.permission}.",
        description="Talks, pairs, what the gates refused, and the split.",
    )
    return workspace.dataset()


def costs(workspace: Workspace, talks: Sequence[Talk]) -> None:
    """What the teacher was estimated at and what it came to, when it is one that is paid."""
    ledger = CallLedger(workspace.folder / CALLS)
    paid = ledger.summary()
    ledger.close()
    teacher = workspace.plugin("teacher")
    if paid and isinstance(teacher, ModelTeacher):
        read = (estimates.Talk(workspace.read(talk.document), workspace.read(talk.questions), False) for talk in talks)
        rows = estimates.estimate(teacher, read, workspace.config.questions, again=True)
        create_markdown_artifact(
            key=_key(workspace, "cost"),
            markdown=estimates.compared(rows, paid),
            description="What the teacher's calls cost, beside the estimate for the same talks.",
        )


def losses(workspace: Workspace, adapter: AssetRef) -> None:
    """The loss table of the training run."""
    path = workspace.file(adapter) / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    thinned = rows[:: -(-len(rows) // ROWS_SHOWN)]
    create_table_artifact(
        key=_key(workspace, "loss"),
        table=[{k: _short(v) for k, v in row.items()} for row in thinned],
        description="Train and valid loss in nats per answer token; the first valid loss is the base's.",
    )


def files(workspace: Workspace, model: ModelRefs) -> ModelRefs:
    """Where the model's files are."""
    for kind, ref in model.files.items():
        create_link_artifact(
            key=_key(workspace, f"file-{kind}"),
            link=workspace.file(ref).resolve().as_uri(),
            link_text=f"{ref.path} ({ref.bytes / 1e6:.1f} MB)",
            description=f"The tuned model as {kind}.",
        )
    return model


def scorecard(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, card: AssetRef) -> ScoreRefs:
    """The scorecard in short, and where its page is."""
    found: Scorecard = workspace.read(card)
    report = workspace.current("report", run=model.run)
    assert report is not None, "the page is written before the scorecard"
    summary, base = pages.markdown(found), workspace.read(model.base)
    workspace.save_card("model_card", cards.model(workspace.config, found, base.name, summary), run=model.run)
    create_markdown_artifact(
        key=_key(workspace, "scorecard"),
        markdown=summary,
        description="Base against tuned on the held-out talks.",
    )
    create_link_artifact(
        key=_key(workspace, "report"),
        link=workspace.file(report).resolve().as_uri(),
        link_text=report.path,
        description="The whole page: curves, tables, answers side by side.",
    )
    return ScoreRefs(scorecard=card, report=report)


class ProgressArtifacts:
    """Shows each stage over two seconds as a progress bar in the UI."""

    def __init__(self, workspace: Workspace, every_seconds: float = 2.0) -> None:
        self.workspace, self.every_seconds = workspace, every_seconds
        self._began: dict[str, float] = {}
        self._shown: dict[str, tuple[object, float]] = {}

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """Create or move the bar, at most every `every_seconds`."""
        now = time.monotonic()
        artifact, last = self._shown.get(stage, (None, self._began.setdefault(stage, now)))
        if now - last < self.every_seconds or not total:
            return
        self._shown[stage] = (artifact, now)
        percent = round(100 * done / total, 1)
        if artifact is None:
            artifact = create_progress_artifact(
                percent, key=_key(self.workspace, f"progress-{stage}"), description=note
            )
            self._shown[stage] = (artifact, now)
        else:
            update_progress_artifact(artifact, percent, description=note)

    def close(self, stage: str, seconds: float, failed: bool) -> None:
        """Fill the bar of a stage that ended well."""
        artifact, _ = self._shown.pop(stage, (None, 0.0))
        self._began.pop(stage, None)
        if artifact is not None and not failed:
            update_progress_artifact(artifact, 100.0)


def _key(workspace: Workspace, what: str) -> str:
    """An artifact key: letters, digits and hyphens only."""
    return f"{workspace.config.name}-{what}".lower().replace("_", "-").replace(" ", "-")


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
