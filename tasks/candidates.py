"""Tasks of answering: every candidate is asked the held-out questions, one candidate after the other."""

import logging
from pathlib import Path
from typing import NamedTuple

from prefect import task
from prefect.utilities.annotations import quote
from understudy.tasks import policies

from understudy import store
from understudy.progress import track
from understudy.records import AssetRef, ChatExample, DatasetRefs, ModelRefs, Pair, ParityReport, SplitPlan
from understudy.scoring.suites import conversations
from understudy.stages import convert_base as converting
from understudy.stages.evaluate import BASE, PROMPTED, TUNED
from understudy.workspace import Workspace

log = logging.getLogger("understudy.score")

Rows = list[tuple[Pair, ChatExample]]


class Candidate(NamedTuple):
    """What is asked, by which engine, and with which conversations."""

    engine: str
    model: AssetRef
    adapter: AssetRef | None
    rows: Rows


def test_rows(workspace: Workspace, dataset: DatasetRefs) -> Rows:
    """The held-out pairs with their chat rows, in the order of their file; valid's where there is no test side."""
    plan: SplitPlan = workspace.read(dataset.split)
    if plan.sides["test"]:
        return _rows(workspace, dataset, plan.sides["test"], dataset.test)
    return _rows(workspace, dataset, plan.sides["valid"], dataset.valid)


def train_rows(workspace: Workspace, dataset: DatasetRefs) -> Rows:
    """The pairs of the train side with their chat rows, variants left out."""
    plan: SplitPlan = workspace.read(dataset.split)
    ref = workspace.current("train")
    assert ref is not None, "the dataset is built before anybody asks what it holds"
    return _rows(workspace, dataset, plan.sides["train"], ref)


def answers(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, rows: Rows) -> dict[str, AssetRef]:
    """Candidate > its samples: base, base with examples, adapter, fused model and every exported file."""
    asked = {BASE: Candidate("mlx", model.base, None, rows)}
    if shown := _prompted(workspace, dataset, rows):
        asked[PROMPTED] = Candidate("mlx", model.base, None, shown)
    asked[TUNED] = Candidate("mlx", model.base, model.adapter, rows)
    asked["fused"] = Candidate("mlx", model.fused, None, rows)
    asked |= {kind: Candidate("llama_cpp", file, None, rows) for kind, file in model.files.items()}
    return {name: answered(workspace, dataset, model.run, name, one) for name, one in asked.items()}


def quantized_base(
    workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, checked: AssetRef, rows: Rows
) -> dict[str, AssetRef]:
    """The samples of the base at the type of the smallest file that is offered; {} where there can be none."""
    progress: ParityReport = workspace.read(checked)
    kind, settings = progress.recommended, workspace.config.evaluate
    if not settings.quantized_base or kind is None:
        return {}
    if workspace.read(model.base).quantized:
        log.warning("the base is quantized itself, so it is not compared with %s at the same type", kind)
        return {}
    file = policies.made(
        convert_base,
        "base_file",
        workspace,
        [model.base],
        kind,
        {"base": Path(model.base.path).name, "type": kind},
        model=model.base,
        row=quote(rows[0]),
    )
    name = f"base-{kind}"
    return {name: answered(workspace, dataset, model.run, name, Candidate("llama_cpp", file, None, rows))}


def answered(workspace: Workspace, dataset: DatasetRefs, run: str, name: str, asked: Candidate) -> AssetRef:
    """The samples of one candidate."""
    extra = workspace.engine_identity(asked.engine)
    if name == PROMPTED:  # the others are asked what is in the test file, which is an input already
        extra = [*extra, store.fingerprint([row.model_dump() for _, row in asked.rows])]
    return policies.made(
        answer,
        "samples",
        workspace,
        [asked.model, *([asked.adapter] if asked.adapter else []), dataset.test],
        extra,
        {"run": run, "candidate": name},
        engine=asked.engine,
        model=asked.model,
        adapter=asked.adapter,
        rows=quote(asked.rows),
    )


@task(name="answer", **policies.ASSET)
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
    cache = answer_cache(workspace, f"{workspace.config.name}/{run}", model, adapter)
    with track(f"score {candidate}") as progress:
        samples = workspace.engine(engine, answer_cache=cache).run(
            workspace.file(model),
            workspace.file(adapter) if adapter else None,
            rows,
            answers=settings.questions,
            max_tokens=settings.max_tokens,
            progress=progress,
        )
    return workspace.save("samples", samples, made_from, run=run, candidate=candidate)


@task(name="convert-base", **policies.ASSET)
def convert_base(
    workspace: Workspace, made_from: str, base: str, type: str, model: AssetRef, row: tuple[Pair, ChatExample]
) -> AssetRef:
    """The base as a file of `type`, beside it, for every run that starts from it."""
    exporter, engine, first = workspace.exporter(), workspace.engine("llama_cpp"), workspace.config.export.first

    def make(out: Path) -> converting.GgufCard:
        with track(f"convert base {type}") as progress:
            folder = workspace.file(model)
            return converting.convert_base(exporter, engine, folder, out, first, type, row, progress)

    return workspace.build_file("base_file", make, made_from, base=base, type=type)


def answer_cache(workspace: Workspace, place: str, model: AssetRef, adapter: AssetRef | None) -> Path:
    """The file of every answer these weights have generated, under models/`place`."""
    digest = "-".join(ref.sha256[:12] for ref in (model, adapter) if ref)
    return workspace.home / "models" / place / "answer_cache" / f"{digest}.jsonl"


def _prompted(workspace: Workspace, dataset: DatasetRefs, rows: Rows) -> Rows:
    """The held-out rows after style prompt and examples; [] where that is not wanted or every talk is held out."""
    if not workspace.config.evaluate.prompted_base:
        return []
    held_out = {pair.document_id for pair, _ in rows}
    train = [row for row in train_rows(workspace, dataset) if row[0].document_id not in held_out]
    if not train:
        log.warning("every talk is held out, so there is no example to show the base: it is asked without only")
        return []
    return conversations.prompted_rows(rows, train, workspace.config.seed)


def _rows(workspace: Workspace, dataset: DatasetRefs, names: list[str], ref: AssetRef) -> Rows:
    pairs = {pair.pair_id: pair for pair in workspace.rows(dataset.pairs)}
    return list(zip((pairs[name] for name in names), workspace.rows(ref), strict=True))
