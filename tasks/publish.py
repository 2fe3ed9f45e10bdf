"""
What the Prefect UI shows: tables, pages and links under keys that stay the same from run to run.

Published by flows, not by tasks, so that a run whose tasks were all Cached shows them too.
"""

from collections.abc import Sequence

from understudy.tasks import live

from understudy.calls.ledger import Usual
from understudy.calls.model_teacher import ModelTeacher
from understudy.dataset import card
from understudy.graph import Graph
from understudy.records import (
    AdapterCard,
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
from understudy.report import evidence, parity_table, short, size, training
from understudy.report.outcome import outcome
from understudy.runs import champion as champions
from understudy.runs import teachers
from understudy.stages import estimate as estimates
from understudy.stages import install, promote, release
from understudy.stages.describe import SUMMARY
from understudy.text.table import table
from understudy.workspace import Workspace


def dataset(graph: Graph) -> DatasetRefs:
    """The dataset's card and its summary; returns the references of the dataset."""
    workspace = graph.workspace
    described = (workspace.file(graph.get("description")) / SUMMARY).read_text(encoding="utf-8")
    states = "\n".join(f"| {status} | {count} |" for status, count in workspace.ledger.counts().items())
    summary = f"{described}\n\n| talks | |\n|---|---|\n{states}"
    workspace.save_card("dataset_card", card.dataset(workspace.config, summary))
    text = f"{summary}\n\nPermission: {workspace.config.permission}."
    live.page(workspace, "dataset", text, "Talks, pairs, what the gates refused, and the split.")
    return graph.dataset()


def costs(workspace: Workspace, talks: Sequence[Talk]) -> None:
    """What teacher, verifier, variants and judge were estimated at and came to, where the teacher is paid."""
    paid, teacher = teachers.paid(workspace), workspace.config.plugin("teacher")
    if paid and isinstance(teacher, ModelTeacher):
        read = [estimates.Talk(workspace.read(talk.document), workspace.read(talk.questions), False) for talk in talks]
        usual = Usual(expected=workspace.config.plugin("recipe").TOKENS)
        rows = estimates.estimate(teacher, read, workspace.config.questions, True, usual)
        rows += estimates.others(workspace, read)
        beside = "What the teacher's calls cost, beside the estimate for the same talks."
        live.page(workspace, "cost", estimates.compared(rows, paid), beside)


def losses(graph: Graph) -> None:
    """The losses of a finished training: as a table, and as a picture with what it answered on the way."""
    workspace, adapter = graph.workspace, graph.get("adapter")
    folder = workspace.file(adapter)
    rows, samples = (training.lines(folder / f"{name}.jsonl") for name in ("metrics", "samples"))
    live.table(workspace, "loss", training.table(rows), live.LOSSES)
    page = training.page(rows, samples, workspace.read(adapter))
    rent(workspace, workspace.read(adapter))
    live.page(workspace, "loss-curve", page, "The loss curve, and the same prompts answered at each evaluation.")


def rent(workspace: Workspace, trained: AdapterCard) -> None:
    """What the machine that trained took, beside what the models that were asked have cost; nothing without a price."""
    price = workspace.config.machine.usd_per_hour
    if price is None or trained.rented_seconds is None:
        return
    hours = trained.rented_seconds / 3600
    others = sum(total.usd for total in teachers.paid(workspace))
    rows = [
        ("the machine that trained", f"{hours:.3f} h at {price:g} USD per hour", f"{hours * price:.4f}"),
        ("teacher, verifier and judge so far", "", f"{others:.4f}"),
        ("together", "", f"{hours * price + others:.4f}"),
    ]
    beside = "What the training on a rented machine cost, from the request to the copy of the adapter."
    live.page(workspace, "cost-training", table(["", "", "USD"], rows), beside)


def tuning(graph: Graph, tried: Sequence[TrialCard]) -> None:
    """The trials of a training, and which was taken; nothing where there were none."""
    if tried:
        rows = training.trials(tried, graph.config.trainer.options["learning_rate"])
        live.table(
            graph.workspace, "tune", rows, "Short trainings at several learning rates; the lowest valid loss is taken."
        )


def files(graph: Graph, model: ModelRefs) -> ModelRefs:
    """Which files the model has and where they are, with a Modelfile beside each."""
    workspace = graph.workspace
    install.modelfiles(workspace, model, workspace.latest("train"))
    rows = [(kind, f"`{workspace.file(ref)}`", size(ref.bytes)) for kind, ref in model.files.items()]
    if model.adapter_file:
        beside = "adapter alone, beside a file of the base: `--lora` of llama.cpp, `ADAPTER` of Ollama"
        rows.append((beside, f"`{workspace.file(model.adapter_file)}`", size(model.adapter_file.bytes)))
    live.page(
        workspace, "files", table(["", "file", "size"], rows), "The tuned model's files on the machine of the run."
    )
    return model


def parity(workspace: Workspace, report: ParityReport) -> None:
    """How far each file is from what was trained, and which are refused."""
    of = "Adapter, fused model and files on the same held-out answers."
    live.page(workspace, "parity", parity_table.markdown(report), of)


def scorecard(graph: Graph, model: ModelRefs, card: AssetRef) -> ScoreRefs:
    """The report in short, and how to run the model."""
    workspace = graph.workspace
    scores: Scorecard = workspace.read(card)
    report = workspace.latest("report", run=model.run)
    assert report is not None, "the page is written before the scorecard"
    released = release.release(graph, model, scores, short.markdown(scores))
    refusals = [f"- **{kind}** is not offered: {why}" for kind, why in released.refused.items()]
    how = "\n".join([*(f"    {line}" for line in released.how_to_run), "", *refusals])
    live.page(workspace, "run", how, "How to run the tuned model, and which files are not offered.")
    of_run = evidence.gather(workspace.home, workspace.config.name, model.run)
    whole = f"The whole report, with every answer: `{workspace.file(report)}`"
    text = f"{short.artifact(of_run)}\n{whole}\n"
    live.page(workspace, "report", text, "Base against tuned on the held-out talks.")
    return ScoreRefs(scorecard=card, report=report, verdict=outcome(of_run).verdict, **released._asdict())


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
    live.page(workspace, "champion", "\n\n".join(page), "The model in use, and why it was or was not replaced.")
