"""The flow with a teacher that costs money, on the loopback server: what is paid for once is never paid again."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.clock import FakeClock
from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.conftest import ROOT, holding
from understudy.__main__ import main
from understudy.calls import prompting
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.config import load
from understudy.errors import TeacherStopped
from understudy.sections import PromptSettings
from understudy.teachers.openai import OpenAITeacher
from understudy.workspace import Workspace

PRICE = {"input": 0.25, "output": 2.0}
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with TeacherServer(Plan(latency=0.05)) as running:
        yield running


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for file in sorted((ROOT / "deployments/sample_channel").glob("0*"))[:6]:
        shutil.copy(file, folder)
    return folder


def make_workspace(server: TeacherServer, talks: Path, **teacher: Any) -> Workspace:
    changes = {
        "name": "tea", "source": {"use": "documents", "path": str(talks)},
        "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": server.url} | teacher,
        "gates": [{"use": "length"}],
    }  # fmt: skip
    return Workspace(home=talks.parent / "home", config=load(ROOT / "deployments/presets/documents.yaml", changes))


def run(workspace: Workspace) -> None:
    from understudy.flows.pipeline import pipeline

    pipeline(config=workspace.config, home=workspace.home, only="dataset")


def paid(server: TeacherServer) -> int:
    """Paid calls since the last look."""
    calls = server.account.paid_calls
    server.reset()
    return calls


@pytest.mark.usefixtures("prefect_server")
def test_only_what_is_new_is_paid_for(server: TeacherServer, talks: Path) -> None:
    workspace = make_workspace(server, talks)
    run(workspace)
    assert paid(server) == 2 * 6
    run(workspace)
    assert paid(server) == 0
    shutil.copy(ROOT / "deployments/sample_channel" / sorted(os.listdir(ROOT / "deployments/sample_channel"))[7], talks)
    run(workspace)
    assert paid(server) == 2
    own = (prompting.FOLDER / "answers.md").read_text() + "\nBe brief.\n"
    changed = workspace.config.model_copy(update={"prompts": PromptSettings(answers=own)})
    run(workspace.model_copy(update={"config": changed}))
    assert paid(server) == 7, "a preset's own prompt asks again; what it leaves alone stays"


@pytest.mark.usefixtures("prefect_server")
def test_a_number_of_pairs_is_asked_for_until_it_is_reached_or_no_talk_has_room(
    server: TeacherServer, talks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make_workspace(server, talks)

    def aimed_at(pairs: int, at_most: int = 60) -> int:
        """The accepted pairs of a run that aims at so many."""
        questions = workspace.config.questions.model_copy(update={"target_pairs": pairs, "at_most": at_most})
        aiming = workspace.model_copy(update={"config": workspace.config.model_copy(update={"questions": questions})})
        run(aiming)
        return sum(pair.kept for pair in aiming.rows(aiming.latest("pairs")))

    run(workspace)
    before = sum(pair.kept for pair in workspace.rows(workspace.latest("pairs")))
    paid(server)
    assert aimed_at(before + 10) >= before + 10
    assert 0 < paid(server) <= 2 * 6, "what was answered before is not paid again"
    assert aimed_at(before + 10) >= before + 10 and paid(server) == 0
    logging.getLogger("understudy.talks").addHandler(caplog.handler)
    most = aimed_at(10_000, at_most=8)
    logging.getLogger("understudy.talks").removeHandler(caplog.handler)
    assert before < most <= 6 * 8 and "no talk holds more" in caplog.text


@pytest.mark.usefixtures("prefect_server")
def test_a_budget_stops_before_it_is_passed_and_the_rest_costs_no_more(server: TeacherServer, talks: Path) -> None:
    with pytest.raises(TeacherStopped, match=r"--set teacher\.max_usd="):
        run(make_workspace(server, talks, max_usd=0.03, price=PRICE, concurrency=2))
    first = server.account.usd
    assert 0 < first <= 0.03
    run(make_workspace(server, talks, max_usd=5, price=PRICE))
    assert server.account.good_paid_twice == 0
    assert server.account.paid_calls == 12


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("plan", "message", "requests"),
    [
        ({"key": "right"}, "TEACHER_KEY", 1),
        ({"models": ("gpt-5",)}, "gpt-5-mini", 4),
        ({"quota_usd": 0.0}, "quota", 25),
        ({"context_tokens": 600}, "OLLAMA_CONTEXT_LENGTH", 25),
    ],
)
def test_a_teacher_that_cannot_go_on_stops_the_run_at_once(
    talks: Path, plan: dict[str, Any], message: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with TeacherServer(Plan(**plan)) as running:
        with pytest.raises(TeacherStopped, match=message) as stopped:
            run(make_workspace(running, talks, api_key_env="TEACHER_KEY"))
        assert running.account.requests <= requests
        assert KEY not in str(stopped.value)


@pytest.mark.usefixtures("prefect_server")
def test_a_talk_that_a_filter_refuses_is_left_out_and_the_next_run_asks_again(talks: Path) -> None:
    with TeacherServer(Plan(filters="Why Tea Cools", output_tokens=4096)) as running:
        workspace = make_workspace(running, talks)
        run(workspace)
        (left_out,) = [row for row in workspace.ledger.rows() if row.status == "unanswered"]
        assert "content management policy" in (left_out.reason or "")
        assert workspace.latest("split")
        paid(running)
        running.change(filters="")
        run(workspace)
        assert 2 <= paid(running) <= 5, "only the one that is missing"
        assert not [row for row in workspace.ledger.rows() if row.status == "unanswered"]


@pytest.mark.usefixtures("prefect_server")
def test_nobody_at_the_address_is_said_at_once(server: TeacherServer, talks: Path) -> None:
    with pytest.raises(TeacherStopped, match=r"No connection can be made to http://127\.0\.0\.1:9/v1"):
        run(make_workspace(server, talks, base_url="http://127.0.0.1:9/v1"))


@pytest.mark.usefixtures("prefect_server")
def test_a_batch_brings_the_same_answers_for_half_the_price(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAITeacher, "clock", FakeClock())
    answers, usd = {}, {}
    for mode in ("direct", "batch"):
        home = talks.parent / mode
        with TeacherServer(Plan()) as running:
            workspace = make_workspace(running, talks, mode=mode, price=PRICE).model_copy(update={"home": home})
            run(workspace)
            run(workspace)
            usd[mode] = sum(total.usd for total in CallLedger(workspace.folder / CALLS).summary())
        files = sorted(home.rglob("documents/*/answers.json"))
        answers[mode] = {f.parent.name: [a["answer"] for a in json.loads(f.read_text())["answers"]] for f in files}
    assert answers["direct"] == answers["batch"]
    assert len(answers["direct"]) == 6
    assert usd["batch"] == pytest.approx(usd["direct"] / 2, rel=0.01)


@pytest.mark.usefixtures("prefect_server")
def test_a_recording_gives_the_same_dataset_offline(server: TeacherServer, talks: Path, tmp_path: Path) -> None:
    workspace = make_workspace(server, talks)
    run(workspace)
    file = tmp_path / "replies.jsonl"
    assert main(["--home", str(workspace.home), "record", str(file), "--channel", "tea"]) == 0
    requests = server.account.requests
    changes = {"teacher": {"use": "replay", "file": str(file)}, "name": "tea", "gates": [{"use": "length"}],
               "source": {"use": "documents", "path": str(talks)}}  # fmt: skip
    again = Workspace(home=tmp_path / "again", config=load(ROOT / "deployments/presets/documents.yaml", changes))
    run(again)
    assert server.account.requests == requests
    for name in ("train.jsonl", "valid.jsonl", "test.jsonl"):
        assert (again.folder / "dataset" / name).read_bytes() == (workspace.folder / "dataset" / name).read_bytes()


@pytest.mark.usefixtures("prefect_server")
def test_what_is_forgotten_leaves_no_reply_behind(server: TeacherServer, talks: Path) -> None:
    workspace = make_workspace(server, talks)
    run(workspace)
    row = workspace.ledger.rows()[0]
    before = sum(total.calls for total in CallLedger(workspace.folder / CALLS).summary())
    assert main(["--home", str(workspace.home), "forget", row.document_id, "--channel", "tea"]) == 0
    assert sum(total.calls for total in CallLedger(workspace.folder / CALLS).summary()) == before - 2
    left = holding(workspace.folder, row.document_id.encode())
    assert not [file for file in left if not file.name.startswith("ledger.sqlite")]
    before_plan = workspace.read(workspace.latest("split"))
    run(workspace)
    after = workspace.read(workspace.latest("split"))
    assert set(before_plan.splits["test"]) <= set(after.splits["test"])


@pytest.mark.usefixtures("prefect_server")
def test_what_a_bad_reply_cost_is_told_as_wasted(talks: Path) -> None:
    for plan, wasted in ((Plan(), False), (Plan(missing=0.4, seed=1), True)):
        with TeacherServer(plan) as running:
            name = "clean" if not wasted else "missing"
            workspace = make_workspace(running, talks, price=PRICE).model_copy(update={"home": talks.parent / name})
            run(workspace)
        totals = CallLedger(workspace.folder / CALLS).summary()
        assert (sum(total.wasted_usd for total in totals) > 0) == wasted


def test_a_killed_run_pays_again_at_most_the_calls_in_flight(talks: Path) -> None:
    with TeacherServer(Plan(latency=1.0)) as running:
        command = [
            sys.executable, "flows/main.py", "--preset", "documents", "--documents", str(talks), "--only", "dataset",
            "--home", str(talks.parent / "home"), "--set", "gates=[{use: length}]", "--set", "runner.workers=6",
            "--set", f"teacher={{use: openai, model: gpt-5-mini, base_url: '{running.url}', concurrency: 2}}",
        ]  # fmt: skip
        environment = os.environ | {"OPENAI_API_KEY": KEY}
        for calls in (3, 7):
            process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, env=environment)
            while running.account.paid_calls < calls:
                time.sleep(0.02)
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert running.account.paid_again <= 2 * 2
        assert running.account.paid_calls <= 12 + 2 * 2
    assert not holding(talks.parent / "home", KEY.encode())
