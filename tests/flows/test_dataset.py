"""The dataset half with everything switched on: a verifier, people's decisions, a frozen split, variants, formats."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teacher_http import Exchange, Request
from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import ROOT
from tests.unit.calls.test_verifying import JudgeServer, Said, entry, reply_of
from understudy.channel import decisions
from understudy.config import load
from understudy.errors import ConfigError
from understudy.graph import Graph
from understudy.records import Pair, SplitPlan
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
SAMPLE = sorted((ROOT / "deployments/sample_channel").glob("*.[vs][tr]t"))


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for file in SAMPLE[:8]:
        shutil.copy(file, folder)
    return folder


def make_workspace(talks: Path, **changes: Any) -> Workspace:
    settings = {"name": "tea", "source": {"use": "documents", "path": str(talks)}, "questions.seconds_per_question": 60}
    settings |= {"teacher": {"use": "extractive"}}
    config = load(ROOT / "deployments/presets/documents.yaml", settings | changes)
    return Workspace(home=talks.parent / "home", config=config)


def run(workspace: Workspace) -> list[Pair]:
    from understudy.flows.pipeline import pipeline

    pipeline(config=workspace.config, home=workspace.home, only="dataset")
    ref = workspace.latest("pairs")
    assert ref
    return workspace.rows(ref)


def judged(pairs: list[Said], _request: int) -> str:
    """Approves all but the first question of each talk, with a quote from the answer, which quotes the talk."""
    return reply_of(
        *(
            entry(
                p["question_number"],
                max(re.split(r"(?<=[.?!])\s+", re.sub(r"[*\n-]+", " ", p["answer"])), key=len),
                complete=p["question_number"] != 1,
            )
            for p in pairs
        )
    )


def test_what_the_verifier_denies_is_refused_and_paid_for_once(talks: Path) -> None:
    with JudgeServer(judged) as server:
        verify = {"use": "openai", "model": "judge-1", "base_url": server.url}
        workspace = make_workspace(talks, verify=verify)
        pairs = run(workspace)
        requests = len(server.bodies)
        assert {pair.gate for pair in pairs} == {None, "verify"}
        refused = [pair for pair in pairs if pair.gate == "verify"]
        assert {pair.question_number for pair in refused if "incomplete" in (pair.reason or "")} == {1}
        assert all(pair.verified for pair in pairs if pair.kept)
        run(workspace)
        assert len(server.bodies) == requests
        assert "Verifier openai/judge-1: " in (workspace.folder / "dataset/README.md").read_text()
        shutil.copy(SAMPLE[9], talks)
        run(workspace)
        assert len(server.bodies) == requests + 1


def test_people_win_over_gates_in_every_later_run(talks: Path) -> None:
    workspace = make_workspace(talks, gates=[{"use": "length", "min_words": 75}])
    pairs = run(workspace)
    refused, kept = next(p for p in pairs if not p.kept), next(p for p in pairs if p.kept)
    for pair, action, reason in ((refused, "restore", None), (kept, "reject", "not his manner")):
        key = decisions.key_of(pair.document_id, pair.question)
        decisions.append(
            workspace.folder,
            decisions.Decision(
                document_id=key.document_id, question_sha256=key.question_sha256, about=pair.question, action=action,
                reason=reason, decided_at="2026-01-01T00:00:00+00:00",
            ),
        )  # fmt: skip
    for _ in range(2):
        after = {pair.pair_id: pair for pair in run(workspace)}
        assert after[refused.pair_id].kept
        assert (after[kept.pair_id].gate, after[kept.pair_id].reason) == ("human", "not his manner")


def test_no_held_out_row_is_ever_trained_on_however_the_channel_grows(talks: Path) -> None:
    workspace = make_workspace(talks)
    run(workspace)
    first: SplitPlan = workspace.read(workspace.latest("split"))
    for file in SAMPLE[8:12]:
        shutil.copy(file, talks)
        run(workspace)
    last: SplitPlan = workspace.read(workspace.latest("split"))
    for side in ("test", "valid"):
        assert set(first.splits[side]) <= set(last.splits[side])
    assert len(last.splits["train"]) > len(first.splits["train"])
    assert last.leakage.rows_sharing_a_document == last.leakage.near_duplicate_questions == 0


def test_variants_need_a_teacher_that_writes(talks: Path) -> None:
    from understudy.flows.pipeline import pipeline

    workspace = make_workspace(talks, **{"augment.paraphrases": 1})
    with pytest.raises(ConfigError, match="written by a model, and this teacher is none"):
        pipeline(config=workspace.config, home=workspace.home, only="dataset")


def test_two_talks_give_no_test_side_and_say_so(talks: Path, caplog: pytest.LogCaptureFixture) -> None:
    for file in sorted(talks.iterdir())[2:]:
        file.unlink()
    workspace = make_workspace(talks)
    run(workspace)
    plan: SplitPlan = workspace.read(workspace.latest("split"))
    assert plan.splits["test"] == [] and plan.splits["valid"]
    assert plan.notes and plan.notes[0] in caplog.text


def test_every_format_is_written_and_not_written_again(talks: Path) -> None:
    names = ["alpaca", "sharegpt", "openai_chat", "llama_factory", "huggingface"]
    workspace = make_workspace(talks, formats=names)
    run(workspace)
    files = {f: f.stat().st_mtime_ns for f in (workspace.folder / "dataset/formats").rglob("*") if f.is_file()}
    assert {f.relative_to(workspace.folder / "dataset/formats").parts[0] for f in files} == set(names)
    rows = json.loads((workspace.folder / "dataset/formats/alpaca/train.json").read_text())
    assert len(rows) == len(workspace.read(workspace.latest("split")).splits["train"])
    run(workspace)
    assert files == {f: f.stat().st_mtime_ns for f in (workspace.folder / "dataset/formats").rglob("*") if f.is_file()}


WAYS = ("plainly", "gently", "bluntly", "slowly", "kindly", "oddly", "boldly", "briefly", "warmly")


class Rewriter(TeacherServer):
    """The loopback teacher, which also rewords questions when it is asked for variants."""

    variants = 0

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        body = json.loads(request.body) if request.method == "POST" else {}
        prompt = body["messages"][-1]["content"] if "messages" in body else ""
        if "\nTASKS\n" not in prompt:
            return await super()._answer(request, exchange)
        self.variants += 1
        tasks = re.findall(r"^(\d+)\. REWORD", prompt.split("\nTASKS\n")[1], re.MULTILINE)
        title = prompt.partition("Title: ")[2].partition("\n")[0]
        items = [
            {"question_number": int(n), "text": f"Put {WAYS[at]}, what is there to know of {title.lower()}?"}
            for at, n in enumerate(tasks)
        ]
        choice = {"index": 0, "delta": {"content": json.dumps({"items": items})}, "finish_reason": "stop"}
        exchange.start()
        exchange.chunk(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        exchange.chunk(b"data: [DONE]\n\n")
        exchange.end()


def test_variants_join_the_train_side_alone_and_are_paid_for_once(talks: Path) -> None:
    with Rewriter(Plan()) as server:
        teacher = {"use": "openai", "model": "gpt-5-mini", "base_url": server.url}
        workspace = make_workspace(talks, teacher=teacher, gates=[{"use": "length"}], **{"augment.paraphrases": 1})
        run(workspace)
        requests = server.variants
        run(workspace)
        assert server.variants == requests > 0
    plan: SplitPlan = workspace.read(workspace.latest("split"))
    variants = workspace.rows(workspace.latest("variants"))
    rows = workspace.rows(Graph(workspace).on_disk().train)
    assert variants and {variant.document_id for variant in variants} <= set(plan.documents["train"])
    assert len(rows) == len(plan.splits["train"]) + len(variants)
    assert workspace.latest("train").rows == len(plan.splits["train"])
