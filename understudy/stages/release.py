"""Stage `release`: what goes with a scored model: Modelfiles, its card, and how to run it."""

from collections.abc import Iterator
from typing import NamedTuple

from understudy.graph import Graph
from understudy.records import DescriptionCard, ModelRefs, Scorecard, SplitPlan
from understudy.runs import model_card
from understudy.scoring.refusals import report
from understudy.stages import install

TALKS_READ = 20
"""Held-out talks whose language is looked at."""


class Release(NamedTuple):
    """Type of file > why it is not offered, and the lines that say how to run the others."""

    refused: dict[str, str]
    how_to_run: list[str]


def release(graph: Graph, model: ModelRefs, scorecard: Scorecard, summary: str) -> Release:
    """Write Modelfiles and card, whose `summary` is the scorecard as markdown; after the parity check."""
    workspace = graph.workspace
    parity = report(workspace.run_folder(model.run))
    refused = {check.name: check.refused for check in parity.checks if check.refused} if parity else {}
    install.modelfiles(workspace, model, graph.get("train"))
    about = model_card.About(
        config=graph.config,
        scorecard=scorecard,
        base=workspace.read(model.base),
        adapter=workspace.read(model.adapter),
        files={kind: (workspace.file(ref).name, ref.bytes) for kind, ref in model.files.items()},
        summary=summary,
        counts=_counts(graph),
        languages=list(_languages(graph)),
        refused=refused,
        parity=parity,
    )
    workspace.save_card("model_card", model_card.write(about), run=model.run)
    return Release(refused, install.how_to_run(workspace, model, refused))


def _counts(graph: Graph) -> dict[str, int]:
    """Talks, pairs and rows, from the dataset's description where there is one."""
    described, splits = graph.workspace.latest("description"), ("train", "valid", "test")
    rows = {split: graph.get(split).rows for split in splits}
    if described is None:
        return {"pairs": graph.get("pairs").rows} | rows
    card: DescriptionCard = graph.workspace.read(described)
    return {"talks": card.talks, "pairs": card.pairs, "kept": card.kept} | rows


def _languages(graph: Graph) -> Iterator[str]:
    """Of the held-out talks, as codes of two or three letters."""
    plan: SplitPlan = graph.workspace.read(graph.get("split"))
    for name in (plan.documents["test"] or plan.documents["valid"])[:TALKS_READ]:
        ref = graph.workspace.latest("document", document=name)
        language = graph.workspace.read(ref).language if ref else None
        if language:
            yield language.partition("-")[0].lower()
