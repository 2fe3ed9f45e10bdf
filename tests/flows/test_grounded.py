"""Answers from given texts, whole: rows with passages, nothing paid twice, a scorecard of citations and refusals."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.library_server import LibraryServer
from tests.flows.conftest import LEAN, ROOT
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel import forgetting
from understudy.config import load
from understudy.records import Pair, Passage, Scorecard, Split, SplitPlan
from understudy.serving import retrieve
from understudy.workspace import Workspace

LEAFLETS = sorted((ROOT / "deployments/sample_library").glob("[0-5]*.md"))


@pytest.fixture
def server() -> Iterator[LibraryServer]:
    with LibraryServer(ROOT / "deployments/sample_library_answers") as running:
        yield running


@pytest.fixture
def workspace(server: LibraryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    texts = tmp_path / "texts"
    texts.mkdir()
    for file in LEAFLETS[:14]:
        shutil.copy(file, texts)
    changes: dict[str, Any] = {
        "source": {"use": "documents", "path": str(texts)},
        "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": server.url},
        "formats": ["alpaca", "llama_factory"],
        "split.test": 0.3,
    }
    preset = load(ROOT / "deployments/presets/grounded-demo.yaml", changes | LEAN | {"evaluate.questions": 20})
    return Workspace(home=tmp_path / "home", config=preset)


def run(workspace: Workspace, only: str | None = "dataset") -> None:
    from understudy.flows.pipeline import pipeline

    pipeline(config=workspace.config, home=workspace.home, only=only)


def rows(workspace: Workspace, name: str) -> list[Any]:
    ref = workspace.latest(name)
    assert ref is not None
    return workspace.rows(ref)


@pytest.mark.usefixtures("prefect_server")
def test_rows_come_with_passages_of_their_own_split_and_are_paid_for_once(
    server: LibraryServer, workspace: Workspace
) -> None:
    run(workspace)
    pairs: dict[str, Pair] = {pair.pair_id: pair for pair in rows(workspace, "pairs") if pair.kept}
    [plan] = rows(workspace, "split")
    assert isinstance(plan, SplitPlan)
    assert {pair.kind for pair in pairs.values()} >= {"grounded", "refusal"}
    assert (plan.leakage.rows_sharing_a_passage, plan.leakage.rows_sharing_a_document) == (0, 0)
    passages: dict[str, Passage] = {passage.passage_id: passage for passage in rows(workspace, "passages")}
    splits: tuple[Split, ...] = ("train", "valid", "test")
    for split in splits:
        for pair_id, row in zip(plan.splits[split], rows(workspace, split), strict=True):
            pair = pairs[pair_id]
            system, user, answer = row.messages
            assert "Cite the title" in system.content and answer.content == pair.answer
            assert user.content.endswith(f"Question: {pair.question}") and pair.passages
            assert all(passages[name].text in user.content for name in pair.passages)
    alpaca = json.loads((workspace.folder / "dataset/formats/alpaca/train.json").read_text(encoding="utf-8"))
    assert all(entry["system"] and entry["input"] and entry["input"] not in entry["instruction"] for entry in alpaca)
    info = json.loads((workspace.folder / "dataset/formats/llama_factory/dataset_info.json").read_text())
    assert info["harbour_alpaca_train"]["columns"]["system"] == "system"

    asked = dict(server.asked)
    run(workspace)
    assert dict(server.asked) == asked
    shutil.copy(LEAFLETS[20], workspace.folder.parents[2] / "texts")
    run(workspace)
    assert server.asked["questions"] == asked["questions"] + 1 and server.asked["answers"] == asked["answers"] + 1

    [gone] = [row for row in workspace.ledger.rows() if row.document_id.startswith("01-")]
    forgetting.forget(workspace.folder, [gone])
    ledger = CallLedger(workspace.folder / CALLS)
    kept = " ".join(row[0] for row in ledger._database.rows("SELECT document_id FROM calls"))
    ledger.close()
    assert "01-the-tide-bell" not in kept and "02-the-fog-bell" in kept
    run(workspace)
    left: list[Pair] = rows(workspace, "pairs")
    assert left and not any("01-the-tide-bell.md" in pair.documents for pair in left)
    assert not any(name.startswith("01-the-tide-bell") for pair in left for name in pair.passages)
    before = {name for name in plan.documents["test"] if not name.startswith("01-")}
    assert before <= set(rows(workspace, "split")[0].documents["test"])


@pytest.mark.usefixtures("prefect_server")
def test_a_second_model_takes_out_refusals_that_are_none(server: LibraryServer, workspace: Workspace) -> None:
    from understudy.config import changed

    run(workspace)
    [first, *_] = [pair for pair in rows(workspace, "pairs") if pair.kept and pair.kind == "refusal"]
    server.answered.add(first.question)
    verify = {"use": "openai", "model": "gpt-5-nano", "base_url": server.url, "fraction": 0.01}
    checked = Workspace(home=workspace.home, config=changed(workspace.config, {"verify": verify}))
    run(checked)
    assert server.asked["unanswered"]
    assert first.question not in {pair.question for pair in rows(checked, "pairs") if pair.kind == "refusal"}


@pytest.mark.usefixtures("prefect_server")
def test_the_scorecard_counts_citations_and_refusals_and_the_model_is_asked_as_it_was_trained(
    workspace: Workspace,
) -> None:
    run(workspace, None)
    [run_folder] = [folder for folder in (workspace.home / "models/harbour").iterdir() if (folder / "gguf").exists()]
    card = Scorecard.model_validate_json((run_folder / "scorecard.json").read_bytes())
    measured = card.candidates[0].metrics
    assert {"substantive", "refusal_balance", "keyword_coverage", "over_refusal", "seconds"} <= set(measured)
    assert card.topics and any(note.startswith("The retriever, over all") for note in card.notes)
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "What right answers must mention, by topic" in page
    assert "It answers **from passages" in (run_folder / "README.md").read_text(encoding="utf-8")
    [modelfile, *_] = (run_folder / "gguf").glob("*.Modelfile")
    assert "Answer from the passages only" in modelfile.read_text(encoding="utf-8")

    [gguf] = (run_folder / "gguf").glob("*-F16.gguf")
    assert retrieve.answers_from_texts(gguf)
    found = retrieve.retriever(gguf)
    pair = next(pair for pair in rows(workspace, "pairs") if pair.kept and pair.kind == "grounded")
    shown = found.find(pair.question)
    assert shown and pair.title in {passage.title for passage in shown}
    prompt = found.prompt(pair.question, shown)
    trained = rows(workspace, "train")[0].messages
    assert prompt[0] == trained[0] and prompt[1].content.startswith(f"[{shown[0].title}]\n")
    assert found.marked(f"It rings twice [{shown[0].title}].", shown) == f"cites {shown[0].title}"
    assert "which it was not shown" in found.marked("It rings twice [The Moon].", shown)
