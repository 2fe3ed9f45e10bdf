"""Tasks of scoring: let every candidate answer the held-out questions, then compare."""

import json
from collections.abc import Sequence

from prefect import task

from tasks import policies
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, DatasetRefs, ModelRefs, Pair, Sample, SplitPlan
from understudy.report import page as pages
from understudy.stages import evaluate as evaluating
from understudy.workspace import Workspace

Rows = list[tuple[Pair, ChatExample]]


def test_rows(workspace: Workspace, dataset: DatasetRefs) -> Rows:
    """The held-out pairs with their chat rows, in the order of their file; valid's where there is no test side."""
    plan: SplitPlan = workspace.read(dataset.split)
    pairs = {pair.pair_id: pair for pair in workspace.rows(dataset.pairs)}
    names, rows = plan.sides["test"], dataset.test
    if not names:
        names, rows = plan.sides["valid"], dataset.valid
    return list(zip((pairs[name] for name in names), workspace.rows(rows), strict=True))


@task(name="answer", task_run_name="answer-{candidate}", **policies.ASSET)
def answer(
    workspace: Workspace,
    made_from: str,
    run: str,
    candidate: str,
    engine: str,
    model: AssetRef,
    adapter: AssetRef | None,
    rows: Rows,
) -> AssetRef:
    """What one candidate makes of the held-out questions."""
    if found := policies.ready("samples", workspace, made_from, {"run": run, "candidate": candidate}):
        return found
    settings = workspace.config.evaluate
    with track(f"score {candidate}") as report:
        samples = workspace.engine(engine).run(
            workspace.file(model),
            workspace.file(adapter) if adapter else None,
            rows,
            answers=settings.questions,
            max_tokens=settings.max_tokens,
            report=report,
        )
    return workspace.save("samples", samples, made_from, run=run, candidate=candidate)


@task(name="score", **policies.ASSET)
def score(
    workspace: Workspace,
    made_from: str,
    run: str,
    dataset: DatasetRefs,
    model: ModelRefs,
    samples: dict[str, AssetRef],
    rows: Rows,
) -> AssetRef:
    """The scorecard and its page; the scorecard is written last."""
    if found := policies.ready("scorecard", workspace, made_from, {"run": run}):
        return found
    said: dict[str, Sequence[Sample]] = {name: workspace.rows(ref) for name, ref in samples.items()}
    card = evaluating.score(
        workspace.config.name,
        run,
        workspace.read(dataset.split),
        rows,
        said,
        _sizes(model),
        {spec.use: workspace.plugin("metric", spec) for spec in workspace.config.evaluate.metrics},
        workspace.config.seed,
        dataset.test.sha256,
    )
    page = pages.page(
        card,
        losses(workspace, model),
        said,
        [pair for pair, _ in rows],
        cards(workspace, model),
        counts(workspace, dataset),
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


def _sizes(model: ModelRefs) -> dict[str, int]:
    folders = {"base": model.base.bytes, "adapter": model.adapter.bytes, "fused": model.fused.bytes}
    return folders | {name: ref.bytes for name, ref in model.files.items()}
