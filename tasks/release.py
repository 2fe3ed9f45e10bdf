"""What goes with a scored model: its card, and how to run it, also in the Prefect UI."""

from collections.abc import Iterator

from prefect.artifacts import create_markdown_artifact
from understudy.tasks import live, scoring

from understudy.records import AssetRef, DatasetRefs, DescriptionCard, ModelRefs, Scorecard, SplitPlan
from understudy.runs import model_card
from understudy.scoring.refusals import report
from understudy.stages import install
from understudy.workspace import Workspace

TALKS_ASKED = 20
"""Held-out talks whose language is looked at."""


def release(
    workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, card: Scorecard, summary: str
) -> tuple[dict[str, str], list[str]]:
    """Write Modelfiles and card; returns type > why it is not offered, and the lines that say how to run the rest.

    `summary` is the scorecard as markdown. It comes after the parity check, or nothing counts as refused.
    """
    folder = workspace.file(model.adapter).parent
    found = report(folder)
    refused = {check.name: check.refused for check in found.checks if check.refused} if found else {}
    install.modelfiles(workspace, model, dataset.train)
    about = model_card.About(
        config=workspace.config,
        scorecard=card,
        base=workspace.read(model.base),
        adapter=workspace.read(model.adapter),
        files={kind: (workspace.file(ref).name, ref.bytes) for kind, ref in model.files.items()},
        summary=summary,
        counts=_counts(workspace, dataset),
        languages=list(_languages(workspace, dataset)),
        refused=refused,
        parity=found,
    )
    workspace.save_card("model_card", model_card.write(about), run=model.run)
    lines = install.how_to_run(workspace, model, refused)
    with live.unharmed("how to run it"):
        create_markdown_artifact(
            key=live.key(workspace, "run"),
            markdown="\n".join([*(f"    {line}" for line in lines), "", *_told(refused)]),
            description="How to run the tuned model, and which files are not offered.",
        )
    return refused, lines


def _told(refused: dict[str, str]) -> Iterator[str]:
    for kind, why in refused.items():
        yield f"- **{kind}** is not offered: {why}"


def _counts(workspace: Workspace, dataset: DatasetRefs) -> dict[str, int]:
    """Talks, pairs and rows, from the dataset's description where there is one."""
    described = workspace.current("description")
    if described is None:
        return scoring.counts(workspace, dataset)
    card: DescriptionCard = workspace.read(described)
    rows = {side: getattr(dataset, side).rows for side in ("train", "valid", "test")}
    return {"talks": card.talks, "pairs": card.pairs, "kept": card.kept} | rows


def _languages(workspace: Workspace, dataset: DatasetRefs) -> Iterator[str]:
    """Of the held-out talks, as codes of two or three letters."""
    plan: SplitPlan = workspace.read(dataset.split)
    for name in (plan.documents["test"] or plan.documents["valid"])[:TALKS_ASKED]:
        ref: AssetRef | None = workspace.current("document", document=name)
        language = workspace.read(ref).language if ref else None
        if language:
            yield language.partition("-")[0].lower()
