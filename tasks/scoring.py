"""Task of the scorecard: everything that is known of a run, compared and written down."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.utilities.annotations import quote
from understudy.tasks import judging, policies, suites
from understudy.tasks.candidates import Rows, train_rows

from understudy.interfaces import References
from understudy.records import AssetRef, DatasetRefs, ModelRefs, Pair, Sample
from understudy.report import page as pages
from understudy.scoring import preferences
from understudy.stages import evaluate as evaluating
from understudy.stages import judge as judge_stage
from understudy.workspace import Workspace


class Talks(Mapping[str, str]):
    """Document id > the talk's own words, read when they are asked for."""

    def __init__(self, workspace: Workspace, names: Sequence[str]) -> None:
        found = {name: workspace.current("document", document=name) for name in names}
        self.workspace, self.refs = workspace, {name: ref for name, ref in found.items() if ref}

    def __getitem__(self, name: str) -> str:
        return str(self.workspace.read(self.refs[name]).text)

    def __iter__(self) -> Iterator[str]:
        return iter(self.refs)

    def __len__(self) -> int:
        return len(self.refs)


def scorecard(
    workspace: Workspace,
    dataset: DatasetRefs,
    model: ModelRefs,
    samples: dict[str, AssetRef],
    checked: AssetRef,
    asked: dict[str, AssetRef],
    judged: AssetRef | None,
    rows: Rows,
) -> AssetRef:
    """The scorecard of a run: samples, parity, suites, a judge's verdicts and people's choices."""
    extra = [list(samples), suites.identity(workspace), judge_stage.VERSION if judged else None]
    extra.append([choice.model_dump(mode="json") for choice in preferences.load(_folder(workspace, model.run))])
    return policies.made(
        score,
        "scorecard",
        workspace,
        [dataset.pairs, dataset.split, *samples.values(), checked, *asked.values(), *([judged] if judged else [])],
        extra,
        {"run": model.run},
        dataset=dataset,
        model=model,
        samples=samples,
        checked=checked,
        asked=asked,
        judged=judged,
        rows=quote(rows),
    )


@task(name="score", **policies.ASSET)
def score(
    workspace: Workspace,
    made_from: str,
    run: str,
    dataset: DatasetRefs,
    model: ModelRefs,
    samples: dict[str, AssetRef],
    checked: AssetRef,
    asked: dict[str, AssetRef],
    judged: AssetRef | None,
    rows: Rows,
) -> AssetRef:
    """The scorecard and its page; the scorecard is written last."""
    if found := policies.ready("scorecard", workspace, made_from, {"run": run}):
        return found
    against, people = references(workspace, dataset, rows), preferences.load(_folder(workspace, run))
    said: dict[str, Sequence[Sample]] = {name: workspace.rows(ref) for name, ref in samples.items()}
    card = evaluating.score(
        workspace.config.name,
        run,
        workspace.read(dataset.split),
        rows,
        said,
        _sizes(workspace, model, samples),
        metrics(workspace),
        workspace.config.seed,
        dataset.test.sha256,
        evaluating.Extras(
            references=against,
            outcomes=suites.outcomes(workspace, asked),
            retrieval=suites.retrieved(workspace, asked),
            drift=suites.drifts(workspace, asked),
            judge=judging.scored(
                workspace, judged, rows, preferences.by_pair(people, evaluating.TUNED, evaluating.BASE)
            ),
            adapter=workspace.read(model.adapter),
            parity=workspace.read(checked),
        ),
    )
    page = pages.page(
        card,
        losses(workspace, model),
        said,
        [pair for pair, _ in rows],
        cards(workspace, model),
        counts(workspace, dataset),
        workspace.read(checked),
        against.train,
        people,
    )
    workspace.save_text("report", page, made_from, run=run)
    return workspace.save("scorecard", [card], made_from, run=run)


def losses(workspace: Workspace, model: ModelRefs) -> list[dict[str, float]]:
    """The rows of metrics.jsonl."""
    lines = (workspace.file(model.adapter) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def cards(workspace: Workspace, model: ModelRefs) -> dict[str, object]:
    """What is known of base, adapter, fused model and each file."""
    found = {"base": model.base, "adapter": model.adapter, "fused": model.fused} | model.files
    return {name: workspace.read(ref) for name, ref in found.items()}


def counts(workspace: Workspace, dataset: DatasetRefs) -> dict[str, int]:
    """Talks, pairs and rows, for the page."""
    pairs: list[Pair] = workspace.rows(dataset.pairs)
    return {
        "talks": len({pair.document_id for pair in pairs}),
        "pairs": len(pairs),
        "kept": sum(pair.kept for pair in pairs),
        "train": dataset.train.rows,
        "valid": dataset.valid.rows,
        "test": dataset.test.rows,
    }


def metrics(workspace: Workspace) -> dict[str, Any]:
    """The metrics of the preset, by name."""
    return {spec.use: workspace.plugin("metric", spec) for spec in workspace.config.evaluate.metrics}


def references(workspace: Workspace, dataset: DatasetRefs, rows: Rows) -> References:
    """What answers are measured against: the train side's own, the held-out ones, and the talks of both."""
    train, held_out = [pair for pair, _ in train_rows(workspace, dataset)], [pair for pair, _ in rows]
    talks = dict.fromkeys(pair.document_id for pair in (*train, *held_out))
    return References(train=train, held_out=held_out, talks=Talks(workspace, list(talks)))


def _folder(workspace: Workspace, run: str) -> Path:
    return workspace.home / "models" / workspace.config.name / run


def _sizes(workspace: Workspace, model: ModelRefs, samples: Mapping[str, AssetRef]) -> dict[str, int]:
    """Bytes of every candidate that is more than a way of asking."""
    found = {"base": model.base, "adapter": model.adapter, "fused": model.fused} | model.files
    base = Path(model.base.path).name
    for kind in model.files:
        if f"base-{kind}" in samples and (ref := workspace.current("base_file", base=base, type=kind)):
            found[f"base-{kind}"] = ref
    return {name: ref.bytes for name, ref in found.items()}
