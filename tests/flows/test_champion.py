"""Champion and challenger, on samples made by hand: nothing is trained, everything else is real."""

from pathlib import Path

import pytest

from tests.flows.conftest import ROOT
from tests.unit.pairs import example, pair
from understudy.config import load
from understudy.graph import Graph
from understudy.records import AssetRef, Challenge, DatasetRefs, FusedCard, ModelRefs, Pair, Sample, ScoreRefs
from understudy.runs import champion
from understudy.stages import split as splitting
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
METRICS = [{"use": "nll"}]
TALKS = ("kettle", "lever", "bread", "bicycle", "bridge", "soap")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    changes = {"name": "tea", "evaluate.metrics": METRICS, "split.test": 0.5}
    return Workspace(home=tmp_path, config=load(ROOT / "deployments/presets/tiny.yaml", changes))


def dataset(workspace: Workspace) -> DatasetRefs:
    pairs = [
        pair(talk, at, f"What does the {talk} teach about {topic}?")
        for talk in TALKS
        for at, topic in enumerate(("heat", "force", "patience", "colour"), 1)
    ]
    kept: dict[str, Pair] = {one.pair_id: one for one in pairs}
    plan = splitting.split(pairs, workspace.config.split.model_copy(update={"near_duplicate": 1.0}), 0)
    workspace.save("pairs", pairs, "hand")
    for side in splitting.SPLITS:
        workspace.save(side, [example(kept[name]) for name in plan.splits[side]], "hand")
    workspace.save("split", [plan], "hand")
    return Graph(workspace).on_disk()


def run(
    workspace: Workspace, rows: DatasetRefs, name: str, nll: float, tokens: int = 10
) -> tuple[ModelRefs, ScoreRefs]:
    """A finished run whose fused model gives every held-out answer `nll` nats."""

    def fill(out: Path) -> FusedCard:
        (out / "weights").write_text(name)
        return FusedCard(architecture="llama", parameters=1, changed_share=1.0)

    fused = workspace.build("fused", fill, name, run=name)
    graph = Graph(workspace, known=dict(rows))
    fingerprint = graph.node("samples", {"model": fused}, candidate="fused", run=name).fingerprint
    samples = [
        Sample(pair_id=one.pair_id, document_id=one.document_id, nll=nll + 0.01 * at, tokens=tokens)
        for at, (one, _) in enumerate(graph.held_out())
    ]
    ref = workspace.save("samples", samples, fingerprint, run=name, candidate="fused")
    model = ModelRefs(run=name, base=fused, adapter=fused, fused=fused, files={"F16": fused})
    return model, ScoreRefs(scorecard=ref, report=ref)


def decided(workspace: Workspace, rows: DatasetRefs, made: tuple[ModelRefs, ScoreRefs]) -> Challenge:
    from prefect import flow
    from understudy.tasks import policies, publish

    from understudy.stages import promote

    @flow
    def decide() -> Challenge:
        outcome = promote.decide(Graph(workspace, policies.materialize, dict(rows)), *made)
        publish.champion(workspace, outcome, [])
        return outcome

    return decide()


@pytest.mark.parametrize(
    ("nll", "tokens", "word", "promoted"),
    [(12.0, 10, "better", True), (12.0, 30, "better", True), (20.0, 10, "no worse", False), (28.0, 10, "worse", False)],
)
def test_only_a_better_model_takes_the_champions_place(
    workspace: Workspace, nll: float, tokens: int, word: str, promoted: bool
) -> None:
    rows, models = dataset(workspace), workspace.home / "models/tea"
    run(workspace, rows, "aaaaaaaa", 20.0)
    champion.promote(models, "aaaaaaaa", ["first"])
    challenge = decided(workspace, rows, run(workspace, rows, "bbbbbbbb", nll, tokens))
    assert (challenge.verdicts["nll_per_token"], challenge.promoted) == (word, promoted)
    now = champion.current(models)
    assert now and now.name == ("bbbbbbbb" if promoted else "aaaaaaaa")
    assert champion.history(models)[-1].action == ("promoted" if promoted else "refused")


def test_what_one_rolled_back_from_or_what_has_no_good_file_is_refused(workspace: Workspace) -> None:
    rows, models = dataset(workspace), workspace.home / "models/tea"
    run(workspace, rows, "aaaaaaaa", 20.0)
    champion.promote(models, "aaaaaaaa", ["first"])
    model, score = run(workspace, rows, "bbbbbbbb", 12.0)
    bad = score.model_copy(update={"refused": {"F16": "not like the fused model"}})
    assert not decided(workspace, rows, (model, bad)).promoted
    assert decided(workspace, rows, (model, score)).promoted
    champion.rollback(models)
    challenge = decided(workspace, rows, (model, score))
    assert not challenge.promoted and challenge.reasons[0].startswith("it was rolled back manually")


def test_training_again_is_worth_it_only_with_enough_new_rows(workspace: Workspace) -> None:
    from understudy.stages import promote

    rows, models = dataset(workspace), workspace.home / "models/tea"
    reasons: list[AssetRef | str | None] = [promote.why_train(workspace)]
    run(workspace, rows, "aaaaaaaa", 20.0)
    champion.promote(models, "aaaaaaaa", ["first"])
    decided(workspace, rows, run(workspace, rows, "bbbbbbbb", 20.0))
    reasons.append(promote.why_train(workspace))
    (models / "bbbbbbbb/trained_on.json").unlink()
    (models / "bbbbbbbb/.trained_on.json.manifest.json").unlink()
    few = workspace.model_copy(
        update={"config": load(ROOT / "deployments/presets/tiny.yaml", {"name": "tea", "sync.min_new_pairs": 1})}
    )
    reasons.append(promote.why_train(few))
    assert reasons[0] == "there is no champion yet" and reasons[1] is None and "new rows in train" in str(reasons[2])
