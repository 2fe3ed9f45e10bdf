"""
What the Prefect UI shows: tables, pages and links under keys that stay the same from run to run.

Published by flows, not by tasks, so that a run whose tasks were all Cached shows them too.
"""

from collections.abc import Sequence

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from understudy.tasks import live
from understudy.tasks.live import key as _key
from understudy.tasks.release import release

from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, ModelTeacher
from understudy.dataset import card
from understudy.records import AssetRef, DatasetRefs, ModelRefs, Scorecard, ScoreRefs, Talk, TrialCard
from understudy.report import evidence, parity_table, short, training
from understudy.stages import estimate as estimates
from understudy.stages import install
from understudy.stages.describe import SUMMARY
from understudy.workspace import Workspace


def dataset(workspace: Workspace, about: AssetRef) -> DatasetRefs:
    """The dataset's card and its summary; returns the references of everything the split task wrote."""
    told = (workspace.file(about) / SUMMARY).read_text(encoding="utf-8")
    states = "\n".join(f"| {status} | {count} |" for status, count in workspace.ledger.counts().items())
    summary = f"{told}\n\n| talks | |\n|---|---|\n{states}"
    workspace.save_card("dataset_card", card.dataset(workspace.config, summary))
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
    """The losses of a finished training: as a table, and as a picture with what it said on the way."""
    folder = workspace.file(adapter)
    rows, samples = (training.lines(folder / f"{name}.jsonl") for name in ("metrics", "samples"))
    with live.unharmed("the losses"):
        create_table_artifact(key=_key(workspace, "loss"), table=training.table(rows), description=live.LOSSES)
        create_markdown_artifact(
            key=_key(workspace, "loss-curve"),
            markdown=training.page(rows, samples, workspace.read(adapter)),
            description="The loss curve, and the same prompts answered at each evaluation.",
        )


def tuning(workspace: Workspace, tried: Sequence[TrialCard], learning_rate: float) -> None:
    """The trials of a training, and which was taken."""
    with live.unharmed("the trials"):
        create_table_artifact(
            key=_key(workspace, "tune"),
            table=training.trials(tried, learning_rate),
            description="Short trainings at several learning rates; the lowest valid loss is taken.",
        )


def files(workspace: Workspace, model: ModelRefs) -> ModelRefs:
    """Where the model's files are, with a Modelfile beside each."""
    install.modelfiles(workspace, model, workspace.current("train"))
    for kind, ref in model.files.items():
        create_link_artifact(
            key=_key(workspace, f"file-{kind}"),
            link=workspace.file(ref).resolve().as_uri(),
            link_text=f"{ref.path} ({ref.bytes / 1e6:.1f} MB)",
            description=f"The tuned model as {kind}.",
        )
    if alone := model.adapter_file:
        create_link_artifact(
            key=_key(workspace, "file-adapter"),
            link=workspace.file(alone).resolve().as_uri(),
            link_text=f"{alone.path} ({alone.bytes / 1e6:.1f} MB)",
            description="The adapter alone: --lora of llama.cpp, ADAPTER of Ollama, beside a file of the base.",
        )
    return model


def parity(workspace: Workspace, checked: AssetRef) -> None:
    """How far each file is from what was trained, and which are refused."""
    create_markdown_artifact(
        key=_key(workspace, "parity"),
        markdown=parity_table.markdown(workspace.read(checked)),
        description="Adapter, fused model and files on the same held-out answers.",
    )


def scorecard(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, card: AssetRef) -> ScoreRefs:
    """The scorecard in short, and where its page is."""
    found: Scorecard = workspace.read(card)
    report = workspace.current("report", run=model.run)
    assert report is not None, "the page is written before the scorecard"
    summary = short.markdown(found)
    refused, how_to_run = release(workspace, dataset, model, found, summary)
    with live.unharmed("the scorecard"):
        create_markdown_artifact(
            key=_key(workspace, "scorecard"),
            markdown=short.artifact(evidence.gather(workspace.home, workspace.config.name, model.run)),
            description="Base against tuned on the held-out talks.",
        )
    create_link_artifact(
        key=_key(workspace, "report"),
        link=workspace.file(report).resolve().as_uri(),
        link_text=report.path,
        description="The whole page: curves, tables, answers side by side.",
    )
    return ScoreRefs(scorecard=card, report=report, refused=refused, how_to_run=how_to_run)
