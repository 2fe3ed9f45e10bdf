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

from understudy.calls.model_teacher import ModelTeacher
from understudy.dataset import card
from understudy.graph import Graph
from understudy.records import (
    AssetRef,
    Challenge,
    DatasetRefs,
    ModelRefs,
    ParityReport,
    Scorecard,
    ScoreRefs,
    Talk,
    TrialCard,
)
from understudy.report import evidence, parity_table, short, training
from understudy.runs import champion as champions
from understudy.stages import estimate as estimates
from understudy.stages import install, promote, release
from understudy.stages.describe import SUMMARY
from understudy.workspace import Workspace


def dataset(graph: Graph) -> DatasetRefs:
    """The dataset's card and its summary; returns the references of the dataset."""
    workspace = graph.workspace
    described = (workspace.file(graph.get("description")) / SUMMARY).read_text(encoding="utf-8")
    states = "\n".join(f"| {status} | {count} |" for status, count in workspace.ledger.counts().items())
    summary = f"{described}\n\n| talks | |\n|---|---|\n{states}"
    workspace.save_card("dataset_card", card.dataset(workspace.config, summary))
    create_markdown_artifact(
        key=_key(workspace, "dataset"),
        markdown=f"{summary}\n\nPermission: {workspace.config.permission}.",
        description="Talks, pairs, what the gates refused, and the split.",
    )
    return graph.dataset()


def costs(workspace: Workspace, talks: Sequence[Talk]) -> None:
    """What teacher, verifier, variants and judge were estimated at and came to, where the teacher is paid."""
    paid, teacher = estimates.paid(workspace), workspace.config.plugin("teacher")
    if paid and isinstance(teacher, ModelTeacher):
        read = [estimates.Talk(workspace.read(talk.document), workspace.read(talk.questions), False) for talk in talks]
        rows = estimates.estimate(teacher, read, workspace.config.questions, again=True)
        rows += estimates.others(workspace, read)
        create_markdown_artifact(
            key=_key(workspace, "cost"),
            markdown=estimates.compared(rows, paid),
            description="What the teacher's calls cost, beside the estimate for the same talks.",
        )


def losses(graph: Graph) -> None:
    """The losses of a finished training: as a table, and as a picture with what it answered on the way."""
    workspace, adapter = graph.workspace, graph.get("adapter")
    folder = workspace.file(adapter)
    rows, samples = (training.lines(folder / f"{name}.jsonl") for name in ("metrics", "samples"))
    with live.unharmed("the losses"):
        create_table_artifact(key=_key(workspace, "loss"), table=training.table(rows), description=live.LOSSES)
        create_markdown_artifact(
            key=_key(workspace, "loss-curve"),
            markdown=training.page(rows, samples, workspace.read(adapter)),
            description="The loss curve, and the same prompts answered at each evaluation.",
        )


def tuning(graph: Graph, tried: Sequence[TrialCard]) -> None:
    """The trials of a training, and which was taken; nothing where there were none."""
    with live.unharmed("the trials"):
        if tried:
            create_table_artifact(
                key=_key(graph.workspace, "tune"),
                table=training.trials(tried, graph.config.trainer.options["learning_rate"]),
                description="Short trainings at several learning rates; the lowest valid loss is taken.",
            )


def files(graph: Graph, model: ModelRefs) -> ModelRefs:
    """Where the model's files are, with a Modelfile beside each."""
    workspace = graph.workspace
    install.modelfiles(workspace, model, workspace.latest("train"))
    for kind, ref in model.files.items():
        _link(workspace, f"file-{kind}", ref, f"The tuned model as {kind}.")
    if model.adapter_file:
        beside = "The adapter alone: --lora of llama.cpp, ADAPTER of Ollama, beside a file of the base."
        _link(workspace, "file-adapter", model.adapter_file, beside)
    return model


def _link(workspace: Workspace, name: str, ref: AssetRef, description: str) -> None:
    create_link_artifact(
        key=_key(workspace, name),
        link=workspace.file(ref).resolve().as_uri(),
        link_text=f"{ref.path} ({ref.bytes / 1e6:.1f} MB)",
        description=description,
    )


def parity(workspace: Workspace, report: ParityReport) -> None:
    """How far each file is from what was trained, and which are refused."""
    create_markdown_artifact(
        key=_key(workspace, "parity"),
        markdown=parity_table.markdown(report),
        description="Adapter, fused model and files on the same held-out answers.",
    )


def scorecard(graph: Graph, model: ModelRefs, card: AssetRef) -> ScoreRefs:
    """The scorecard in short, where its page is, and how to run the model."""
    workspace = graph.workspace
    scores: Scorecard = workspace.read(card)
    report = workspace.latest("report", run=model.run)
    assert report is not None, "the page is written before the scorecard"
    released = release.release(graph, model, scores, short.markdown(scores))
    with live.unharmed("how to run it"):
        refusals = [f"- **{kind}** is not offered: {why}" for kind, why in released.refused.items()]
        create_markdown_artifact(
            key=_key(workspace, "run"),
            markdown="\n".join([*(f"    {line}" for line in released.how_to_run), "", *refusals]),
            description="How to run the tuned model, and which files are not offered.",
        )
    with live.unharmed("the scorecard"):
        create_markdown_artifact(
            key=_key(workspace, "scorecard"),
            markdown=short.artifact(evidence.gather(workspace.home, workspace.config.name, model.run)),
            description="Base against tuned on the held-out talks.",
        )
    _link(workspace, "report", report, "The whole page: curves, tables, answers side by side.")
    return ScoreRefs(scorecard=card, report=report, **released._asdict())


def champion(workspace: Workspace, challenge: Challenge | None, forgotten: Sequence[str]) -> None:
    """Who is the champion and why, on one page."""
    now = champions.current(workspace.models)
    page = [f"Champion of {workspace.config.name}: `{now.name if now else 'none yet'}`."]
    page.append(promote.table(challenge) if challenge else "Too little is new to train again.")
    if forgotten:
        page.append(
            f"Forgotten, as their source no longer has them: {', '.join(forgotten)}. Models trained before that were "
            "trained on them: train again, or delete them."
        )
    events = champions.history(workspace.models)[-10:]
    page.append("\n".join(f"- {e.at}: `{e.run}` {e.action}. {'; '.join(e.reasons)}" for e in reversed(events)))
    create_markdown_artifact(
        key=_key(workspace, "champion"),
        markdown="\n\n".join(page),
        description="The model in use, and why it was or was not replaced.",
    )
