"""From manuals to an expert, whole: sections, questions over two, held-out questions of two kinds, four ways."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.manuals_server import ManualsServer
from tests.flows.conftest import LEAN, ROOT
from understudy.config import load
from understudy.records import ARMS, Contradictions, GoldRow, Pair, Scorecard, SplitPlan
from understudy.sources.sections import FILE
from understudy.sources.sections import load as sections_in
from understudy.workspace import Workspace

MANUALS, WRITTEN = ROOT / "deployments/sample_manuals", ROOT / "deployments/sample_manuals_answers"


@pytest.fixture
def server() -> Iterator[ManualsServer]:
    with ManualsServer(MANUALS, WRITTEN) as running:
        yield running


@pytest.fixture
def workspace(server: ManualsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    (tmp_path / "manuals").mkdir()
    for name in ("kiln-operation.md", "night-firing.md"):
        shutil.copy(MANUALS / name, tmp_path / "manuals")
    changes: dict[str, Any] = {
        "source": {"use": "documents", "path": str(tmp_path / "manuals")},
        "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": server.url},
        "verify": {"use": "openai", "model": "gpt-4.1-mini", "base_url": server.url},
    }
    preset = load(
        ROOT / "deployments/presets/expert-demo.yaml", changes | LEAN | {"evaluate.questions": 6, "export.types": []}
    )
    return Workspace(home=tmp_path / "home", config=preset)


def run(workspace: Workspace, only: str | None = None) -> None:
    from understudy.flows.pipeline import pipeline

    pipeline(config=workspace.config, home=workspace.home, only=only)


def rows(workspace: Workspace, name: str, **keys: str) -> list[Any]:
    ref = workspace.latest(name, **keys)
    assert ref is not None
    return workspace.rows(ref)


@pytest.mark.usefixtures("prefect_server")
def test_manuals_become_an_expert_and_the_page_says_which_of_four_ways_to_take(
    server: ManualsServer, workspace: Workspace
) -> None:
    run(workspace)
    sections = sections_in(workspace.folder / FILE)
    assert len({section.place.manual_id for section in sections}) == 2
    pairs: list[Pair] = rows(workspace, "pairs")
    wrong = [pair for pair in pairs if not pair.kept and pair.gate == "verify"]
    assert len(wrong) == 8, "every planted wrong pair is refused, and no other one"
    kept = {pair.pair_id: pair for pair in pairs if pair.kept}
    over_two = [pair for pair in kept.values() if pair.kind == "synthesis"]
    assert over_two and all(len({source.document_id for source in pair.sources}) == 2 for pair in over_two)
    assert all(pair.manual and pair.section and pair.type and pair.reasoning for pair in kept.values())
    [plan] = rows(workspace, "split")
    assert isinstance(plan, SplitPlan)
    trained = {kept[name].document_id for name in plan.splits["train"]}
    assert plan.recall and {kept[name].document_id for name in plan.recall} <= trained
    sections_held_out = {kept[name].document_id for name in plan.splits["test"] if name not in plan.recall}
    assert sections_held_out and not sections_held_out & trained
    _gold_names_what_is_contradicted(workspace)
    _says_which_way(workspace)
    _pays_for_what_changed(server, workspace)


def _gold_names_what_is_contradicted(workspace: Workspace) -> None:
    [known] = rows(workspace, "contradictions")
    assert isinstance(known, Contradictions)
    [one] = known.contradictions
    assert ("120 marks" in one.first.quote, "90 marks" in one.second.quote) == (True, True), "the planted one, no other"
    gold: list[GoldRow] = rows(workspace, "gold")
    assert {row.document for row in gold if row.contradicts} == {one.first.section, one.second.section}
    readme = (workspace.folder / "dataset/README.md").read_text(encoding="utf-8")
    assert "approved by the verifier" in readme and one.second.quote in readme
    assert len(gold) + len(rows(workspace, "rejects")) == len(rows(workspace, "pairs"))


def _says_which_way(workspace: Workspace) -> None:
    [file] = (workspace.home / "models/kilns").glob("*/scorecard.json")
    [card] = rows(workspace, "scorecard", run=file.parent.name)
    assert isinstance(card, Scorecard) and card.against_retrieval
    assert [arm.name for arm in card.against_retrieval.arms] == list(ARMS)
    assert card.against_retrieval.passages > 20 and card.against_retrieval.found
    assert card.against_retrieval.arms[2].prompt_tokens > 2 * card.against_retrieval.arms[0].prompt_tokens
    assert {score.basis for score in card.basis} >= {"section", "question"}
    page = (file.parent / "report.html").read_text(encoding="utf-8")
    assert card.manuals and len(card.manuals.scores) >= 3 and "Manual by manual" in page
    assert all(score.approval and score.approval.n for score in card.manuals.scores if " and " not in score.manual)
    assert card.against_retrieval.sentence.partition(":")[0] in page


def _pays_for_what_changed(server: ManualsServer, workspace: Workspace) -> None:
    before = dict(server.asked)
    run(workspace, "dataset")
    assert dict(server.asked) == before, "a second run asks for nothing"
    manual = Path(workspace.config.source.options["path"]) / "night-firing.md"
    text = manual.read_text(encoding="utf-8")
    manual.write_text(text.replace("The book is kept for 4 years.", "The book is kept for 5 years."), encoding="utf-8")
    run(workspace, "dataset")
    more = {kind: count - before[kind] for kind, count in server.asked.items()}
    assert (more["questions"], more["answers"]) == (1, 1), "only the changed section is asked about"
    assert more["contradictions"] == 1, "and only its passages are compared"
